"""Activations on each element: sigmoid, tanh, ReLU, LeakyReLU, Swish, GELU, identity."""

from __future__ import annotations

import math

import numpy as np

import handgrad.checks as checks
from handgrad.errors import ValueRangeError
from handgrad.ops.arrays import Array, Namespace, magnitude, namespace_of, real
from handgrad.ops.base import Elementwise, Kink
from handgrad.ops.special import erfc


def logistic(xp: Namespace, x: Array) -> Array:
    """1 / (1 + exp(-x)), exact to rounding in both tails: only exp of numbers <= 0 is taken."""
    small = xp.exp(-magnitude(xp, x))
    return xp.where(real(xp, x) < 0, small, xp.ones_like(small)) / (1 + small)


class Identity(Elementwise):
    """y = x. Saves x, of which it needs the shape alone. The gate of the bilinear unit."""

    name = "identity"
    formula = r"y = x"
    derivative = r"\frac{\partial y}{\partial x} = 1"
    saves = "x"

    def value(self, x: Array) -> tuple[Array, Array]:
        return x, x

    def local(self, x: Array) -> Array:
        return namespace_of(x=x).ones_like(x)


class Sigmoid(Elementwise):
    """y = 1 / (1 + exp(-x)), in (0, 1). Saves y, since dy/dx = y (1 - y)."""

    name = "sigmoid"
    formula = r"\sigma(x) = \frac{1}{1 + e^{-x}}"
    derivative = r"\sigma'(x) = \sigma(x)\,(1 - \sigma(x))"
    saves = "y"

    def value(self, x: Array) -> tuple[Array, Array]:
        y = logistic(namespace_of(x=x), x)
        return y, y

    def local(self, y: Array) -> Array:
        return y * (1 - y)


class Tanh(Elementwise):
    """y = tanh(x), in (-1, 1); tanh(x) = 2 sigmoid(2x) - 1. Saves y, since dy/dx = 1 - y^2."""

    name = "tanh"
    formula = r"\tanh(x) = \frac{e^x - e^{-x}}{e^x + e^{-x}}"
    derivative = r"\tanh'(x) = 1 - \tanh^2(x)"
    saves = "y"

    def value(self, x: Array) -> tuple[Array, Array]:
        y = namespace_of(x=x).tanh(x)
        return y, y

    def local(self, y: Array) -> Array:
        return 1 - y * y


class ReLU(Elementwise):
    """y = max(x, 0). Saves y, which is above 0 just where x is. At x = 0 the slope is 0."""

    name = "relu"
    formula = r"\operatorname{relu}(x) = \max(0, x)"
    derivative = r"\operatorname{relu}'(x) = \begin{cases} 1 & x > 0 \\ 0 & x \le 0 \end{cases}"
    saves = "y"
    kinks = (Kink("x = 0", "0"),)

    def value(self, x: Array) -> tuple[Array, Array]:
        xp = namespace_of(x=x)
        y = xp.maximum(x, xp.zeros((), dtype=x.dtype, device=x.device))
        return y, y

    def local(self, y: Array) -> Array:
        return namespace_of(y=y).astype(y > 0, y.dtype)


class LeakyReLU(Elementwise):
    """y = x where x > 0, otherwise alpha x. Saves x. At x = 0 the slope is alpha. Maas, Hannun and Ng (2013)."""

    name = "leaky_relu"
    formula = r"f(x) = \begin{cases} x & x > 0 \\ \alpha x & x \le 0 \end{cases}"
    derivative = r"f'(x) = \begin{cases} 1 & x > 0 \\ \alpha & x \le 0 \end{cases}"
    saves = "x"
    kinks = (Kink("x = 0", r"\alpha"),)

    def value(self, x: Array, alpha: float = 0.01) -> tuple[Array, Array]:
        checks.finite("alpha", alpha)
        return namespace_of(x=x).where(x > 0, x, alpha * x), x

    def local(self, x: Array, alpha: float = 0.01) -> Array:
        xp = namespace_of(x=x)
        return xp.where(x > 0, xp.ones_like(x), alpha)


class Swish(Elementwise):
    """y = x sigmoid(beta x), smooth, and not monotonic for beta > 0 (beta = 1 is SiLU). Saves x and sigmoid(beta x).

    Ramachandran, Zoph and Le (2017), "Searching for activation functions".
    """

    name = "swish"
    formula = r"\operatorname{swish}(x) = x\,\sigma(\beta x)"
    derivative = r"\operatorname{swish}'(x) = \sigma(\beta x) + \beta x\,\sigma(\beta x)\,(1 - \sigma(\beta x))"
    saves = "x, sigmoid(beta x)"

    def value(self, x: Array, beta: float = 1.0) -> tuple[Array, tuple[Array, Array]]:
        checks.finite("beta", beta)
        with np.errstate(over="ignore"):  # beta x past the largest number is a gate of 0 or 1, as it should
            s = logistic(namespace_of(x=x), beta * x)
        return x * s, (x, s)

    def local(self, saved: tuple[Array, Array], beta: float = 1.0) -> Array:
        x, s = saved
        return s + x * (beta * s * (1 - s))  # x last: s (1 - s) is 0 where beta x would overflow


class GELU(Elementwise):
    """y = x Phi(x), Phi the standard normal distribution function. Saves x and the factor beside it.

    approximate="none" takes Phi by erfc; approximate="tanh" takes sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3),
    with the true derivative of that. Hendrycks and Gimpel (2016), "Gaussian error linear units".
    """

    name = "gelu"
    formula = r"\operatorname{gelu}(x) = x\,\Phi(x)"
    derivative = r"\operatorname{gelu}'(x) = \Phi(x) + x\,\varphi(x),\quad \varphi(x) = \frac{e^{-x^2/2}}{\sqrt{2\pi}}"
    saves = "x, Phi(x)"

    def value(self, x: Array, approximate: str = "none") -> tuple[Array, tuple[Array, Array]]:
        if approximate == "none":
            phi = 0.5 * erfc(x * -math.sqrt(0.5))
        elif approximate == "tanh":
            t = _within(x, 40.0)
            phi = logistic(namespace_of(x=x), math.sqrt(8 / math.pi) * t * (1 + 0.044715 * t * t))
        else:
            raise ValueRangeError(f'approximate must be "none" or "tanh", got {approximate!r}')
        return x * phi, (x, phi)

    def local(self, saved: tuple[Array, Array], approximate: str = "none") -> Array:
        x, phi = saved
        if approximate == "none":
            t = _within(x, 40.0)
            return phi + t * namespace_of(x=x).exp(-0.5 * t * t) / math.sqrt(2 * math.pi)
        t = _within(x, 40.0)
        return phi + t * phi * (1 - phi) * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * t * t)


def _within(x: Array, bound: float) -> Array:
    """x, held within +-bound, past which GELU's bell and its lower tail are 0, so that no power of x overflows."""
    xp = namespace_of(x=x)
    return xp.where(real(xp, x) > bound, bound, xp.where(real(xp, x) < -bound, -bound, x))


identity = Identity()
sigmoid = Sigmoid()
tanh = Tanh()
relu = ReLU()
leaky_relu = LeakyReLU()
swish = Swish()
gelu = GELU()
