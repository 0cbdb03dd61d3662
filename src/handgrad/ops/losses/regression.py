"""Losses for numbers: squared error, Huber, Poisson, quantile. A sample's loss is the mean over its outputs."""

from __future__ import annotations

import handgrad.checks as checks
from handgrad.ops.arrays import Array, namespace_of, real
from handgrad.ops.base import Kink
from handgrad.ops.losses.base import Loss, mean_over_outputs, refuse_first, same_shape, share_of_outputs


class RegressionLoss(Loss):
    """A loss of predictions s against numbers y in the same shape; (m,) serves predictions of (m, 1)."""

    def targets(self, scores: Array, y: Array) -> Array:
        return same_shape(scores, y)


class SquaredError(RegressionLoss):
    """L_i = the mean over outputs of (s - y)^2. Its gradient is 2 (s - y) / outputs. Saves s - y."""

    name = "squared_error"
    formula = r"L_i = \frac{1}{n} \sum_j (s_j - y_j)^2"
    derivative = r"\frac{\partial L_i}{\partial s_j} = \frac{2}{n} (s_j - y_j)"
    saves = "s - y"

    def value(self, s: Array, y: Array) -> tuple[Array, Array]:
        r = s - y
        return mean_over_outputs(r * r), r

    def local(self, r: Array) -> Array:
        return share_of_outputs(2 * r)


class Huber(RegressionLoss):
    """r^2 / 2 while |r| <= delta, delta (|r| - delta / 2) beyond, r = s - y; L_i = its mean over outputs.

    The gradient is r held within +-delta, over outputs, so that an outlier pulls no harder than delta. It is
    continuous: at |r| = delta only the second derivative jumps. Saves r. Huber (1964).
    """

    name = "huber"
    formula = (
        r"L_i = \frac{1}{n} \sum_j \begin{cases} \frac{1}{2} r_j^2 & |r_j| \le \delta \\"
        r" \delta\,(|r_j| - \frac{\delta}{2}) & |r_j| > \delta \end{cases},\quad r = s - y"
    )
    derivative = r"\frac{\partial L_i}{\partial s_j} = \frac{1}{n} \max(-\delta, \min(\delta, r_j))"
    saves = "s - y"

    def value(self, s: Array, y: Array, delta: float = 1.0) -> tuple[Array, Array]:
        checks.positive("delta", delta)
        r = s - y
        held = self._held(r, delta)
        return mean_over_outputs(held * (r - 0.5 * held)), r

    def local(self, r: Array, delta: float = 1.0) -> Array:
        return share_of_outputs(self._held(r, delta))

    def _held(self, r: Array, delta: float) -> Array:
        # h (r - h/2) with h = r held within +-delta is r^2/2 inside and delta (|r| - delta/2) outside
        xp = namespace_of(r=r)
        size = real(xp, r)  # which decides for a complex step too, whose imaginary part else would at |r| = delta
        return xp.where(size > delta, delta, xp.where(size < -delta, -delta, r))


class Poisson(RegressionLoss):
    """L_i = the mean over outputs of exp(s) - y s: counts y with the rate exp(s), up to a term of y alone.

    Scores are log rates, so any score is a rate above 0. The gradient is (exp(s) - y) / outputs. Saves exp(s) and y.
    A score above 709 (88 in float32) is a rate past the largest number: the loss is inf there.
    """

    name = "poisson"
    formula = r"L_i = \frac{1}{n} \sum_j e^{s_j} - y_j s_j"
    derivative = r"\frac{\partial L_i}{\partial s_j} = \frac{1}{n} \left(e^{s_j} - y_j\right)"
    saves = "exp(s), y"

    def targets(self, scores: Array, y: Array) -> Array:
        y = same_shape(scores, y)
        refuse_first(~(y >= 0), y, "y must hold counts or rates of at least 0")
        return y

    def value(self, s: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
        rate = namespace_of(s=s).exp(s)
        return mean_over_outputs(rate - y * s), (rate, y)

    def local(self, saved: tuple[Array, Array]) -> Array:
        rate, y = saved
        return share_of_outputs(rate - y)


class Quantile(RegressionLoss):
    """q (y - s) where y > s, (1 - q) (s - y) otherwise; L_i = its mean over outputs. Its minimum is y's q-quantile.

    The gradient is -q below y, 1 - q above it, and 0 at y itself, each over outputs. Saves y - s.
    Koenker and Bassett (1978), "Regression quantiles".
    """

    name = "quantile"
    formula = r"L_i = \frac{1}{n} \sum_j \max\left(q\,(y_j - s_j),\ (q - 1)\,(y_j - s_j)\right)"
    derivative = (
        r"\frac{\partial L_i}{\partial s_j} = \frac{1}{n} \begin{cases} -q & s_j < y_j \\ 0 & s_j = y_j \\"
        r" 1 - q & s_j > y_j \end{cases}"
    )
    saves = "y - s"
    kinks = (Kink("s_j = y_j", "0"),)

    def value(self, s: Array, y: Array, q: float = 0.5) -> tuple[Array, Array]:
        checks.number("q", q, "a number above 0 and below 1", lambda q: 0 < q < 1)
        u = y - s
        return mean_over_outputs(namespace_of(u=u).where(u > 0, q * u, (q - 1) * u)), u

    def local(self, u: Array, q: float = 0.5) -> Array:
        xp = namespace_of(u=u)
        return share_of_outputs((1 - q) * xp.astype(u < 0, u.dtype) - q * xp.astype(u > 0, u.dtype))


squared_error = SquaredError()
huber = Huber()
poisson = Poisson()
quantile = Quantile()
