"""Arithmetic on two arrays or one, with NumPy's broadcasting: what graphs are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from handgrad.errors import ShapeError
from handgrad.ops.arrays import Array, broadcast, namespace_of, operands, same_dtype, sum_to_shape
from handgrad.ops.base import Cache, Elementwise, Kink, Op, match_upstream, single


class Binary(Op):
    """An op on pairs of elements, broadcast to one shape. A subclass gives `value` and the pair of local derivatives.

    A value that was broadcast serves many outputs, so its gradient is the sum over the axes it was stretched along.
    """

    inputs = ("x", "y")
    value: Callable[..., tuple[Array, Any]]  # (x, y) -> f(x, y), and what `local` needs of it
    local: Callable[..., tuple[Array | float, Array | float]]  # saved -> (df/dx, df/dy) for each element

    def forward(self, x: Array, y: Array) -> tuple[Array, Cache]:
        x, y = operands(x, y)
        namespace_of(x=x, y=y)
        same_dtype(x=x, y=y)
        _check_broadcast(x, y)
        out, saved = self.value(x, y)
        return out, (saved, x.shape, y.shape, out.shape, single(out))

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, ...]:
        saved, x_shape, y_shape, out_shape, like = cache
        dout = match_upstream(dout, out_shape, like)
        xp = namespace_of(dout=dout)
        by_x, by_y = self.local(saved)
        return sum_to_shape(xp, dout * by_x, x_shape), sum_to_shape(xp, dout * by_y, y_shape)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        saved, _, _, out_shape, _ = cache
        by_x, by_y = self.local(saved)
        tangent = tangents[0] * by_x + tangents[1] * by_y
        return broadcast(namespace_of(tangent=tangent), tangent, out_shape)


def _check_broadcast(x: Array, y: Array, beside: int = 0) -> None:
    """Raise ShapeError unless x and y broadcast together, in the axes before their last `beside`."""
    for a, b in zip(x.shape[::-1][beside:], y.shape[::-1][beside:], strict=False):
        if a != b and a != 1 and b != 1:
            raise ShapeError(f"x in shape {tuple(x.shape)} and y in shape {tuple(y.shape)} do not broadcast together")


class Add(Binary):
    """x + y. It distributes: both inputs receive the upstream gradient. Saves nothing."""

    name = "add"
    formula = r"z = x + y"
    derivative = r"\frac{\partial z}{\partial x} = 1,\quad \frac{\partial z}{\partial y} = 1"
    saves = "nothing"

    def value(self, x: Array, y: Array) -> tuple[Array, None]:
        return x + y, None

    def local(self, saved: None) -> tuple[float, float]:
        return 1.0, 1.0


class Subtract(Binary):
    """x - y. Saves nothing."""

    name = "subtract"
    formula = r"z = x - y"
    derivative = r"\frac{\partial z}{\partial x} = 1,\quad \frac{\partial z}{\partial y} = -1"
    saves = "nothing"

    def value(self, x: Array, y: Array) -> tuple[Array, None]:
        return x - y, None

    def local(self, saved: None) -> tuple[float, float]:
        return 1.0, -1.0


class Multiply(Binary):
    """x * y. It swaps: each input receives the upstream gradient times the other. Saves x and y."""

    name = "multiply"
    formula = r"z = x \odot y"
    derivative = r"\frac{\partial z}{\partial x} = y,\quad \frac{\partial z}{\partial y} = x"
    saves = "x, y"

    def value(self, x: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
        return x * y, (x, y)

    def local(self, saved: tuple[Array, Array]) -> tuple[Array, Array]:
        x, y = saved
        return y, x


class Divide(Binary):
    """x / y. Saves y and the quotient z, since dz/dy = -x / y^2 = -z / y."""

    name = "divide"
    formula = r"z = \frac{x}{y}"
    derivative = r"\frac{\partial z}{\partial x} = \frac{1}{y},\quad \frac{\partial z}{\partial y} = -\frac{z}{y}"
    saves = "y, z"

    def value(self, x: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
        z = x / y
        return z, (y, z)

    def local(self, saved: tuple[Array, Array]) -> tuple[Array, Array]:
        y, z = saved
        return 1 / y, -z / y


class Power(Binary):
    """x^y. Saves x, y and z = x^y.

    The derivative by y needs log x: it is 0 at x = 0 (the limit for y > 0) and NaN for x < 0, where z as a function of
    real y does not exist. The derivative by x at y = 0 is 0, at x = 0 too.
    """

    name = "power"
    formula = r"z = x^y"
    derivative = r"\frac{\partial z}{\partial x} = y\,x^{y-1},\quad \frac{\partial z}{\partial y} = z \ln x"
    saves = "x, y, z"

    def value(self, x: Array, y: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        z = x**y
        return z, (x, y, z)

    def local(self, saved: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x, y, z = saved
        xp = namespace_of(x=x, y=y)
        one = xp.ones_like(x)
        constant = y == 0
        by_x = xp.where(constant, 0.0, y * xp.where(constant, one, x) ** (y - 1))
        log_x = xp.log(xp.where(x > 0, x, one))
        by_y = xp.where(x < 0, float("nan"), z * log_x)
        return by_x, by_y


class Maximum(Binary):
    """The larger of x and y, element by element. It routes: the upstream gradient goes to the larger alone.

    Where both are equal each takes half, the subgradient that treats them alike. Saves x and y.
    """

    name = "maximum"
    formula = r"z = \max(x, y)"
    derivative = (
        r"\frac{\partial z}{\partial x} = \begin{cases} 1 & x > y \\ \frac{1}{2} & x = y \\ 0 & x < y \end{cases},\quad"
        r"\frac{\partial z}{\partial y} = 1 - \frac{\partial z}{\partial x}"
    )
    saves = "x, y"
    kinks = (Kink("x = y", r"(\tfrac{1}{2}, \tfrac{1}{2})"),)

    def value(self, x: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
        return namespace_of(x=x, y=y).maximum(x, y), (x, y)

    def local(self, saved: tuple[Array, Array]) -> tuple[Array, Array]:
        x, y = saved
        xp = namespace_of(x=x, y=y)
        half = 0.5 * xp.astype(x == y, x.dtype)
        return xp.astype(x > y, x.dtype) + half, xp.astype(x < y, x.dtype) + half


class Negative(Elementwise):
    """-x. Saves x, of which it needs the shape alone."""

    name = "negative"
    formula = r"y = -x"
    derivative = r"\frac{\partial y}{\partial x} = -1"
    saves = "x"

    def value(self, x: Array) -> tuple[Array, Array]:
        return -x, x

    def local(self, x: Array) -> Array:
        return -namespace_of(x=x).ones_like(x)


class Exp(Elementwise):
    """e^x. Saves y, which is its own derivative."""

    name = "exp"
    formula = r"y = e^x"
    derivative = r"\frac{\partial y}{\partial x} = e^x"
    saves = "y"

    def value(self, x: Array) -> tuple[Array, Array]:
        y = namespace_of(x=x).exp(x)
        return y, y

    def local(self, y: Array) -> Array:
        return y


class Log(Elementwise):
    """The natural logarithm. Saves x. At x = 0 it is -inf, below 0 NaN, as the array library has it."""

    name = "log"
    formula = r"y = \ln x"
    derivative = r"\frac{\partial y}{\partial x} = \frac{1}{x}"
    saves = "x"

    def value(self, x: Array) -> tuple[Array, Array]:
        return namespace_of(x=x).log(x), x

    def local(self, x: Array) -> Array:
        return 1 / x


class MatMul(Op):
    """Z = X Y over the last two axes, broadcast over those before them; a vector counts as one row or one column.

    dX = dZ Y^T and dY = X^T dZ: each the upstream gradient times the other factor, transposed, on its own side.
    Saves x and y.
    """

    name = "matmul"
    inputs = ("x", "y")
    formula = r"Z = X Y"
    derivative = (
        r"\frac{\partial L}{\partial X} = \frac{\partial L}{\partial Z} Y^\top,\quad"
        r"\frac{\partial L}{\partial Y} = X^\top \frac{\partial L}{\partial Z}"
    )
    saves = "x, y"

    def forward(self, x: Array, y: Array) -> tuple[Array, Cache]:
        x, y = operands(x, y)
        xp = namespace_of(x=x, y=y)
        same_dtype(x=x, y=y)
        if x.ndim < 1 or y.ndim < 1 or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
            raise ShapeError(f"x in shape {tuple(x.shape)} and y in shape {tuple(y.shape)} have no matrix product")
        _check_broadcast(x, y, beside=2)
        z = xp.matmul(x, y)
        return z, (x, y, z.shape)

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, ...]:
        x, y, shape = cache
        dout = match_upstream(dout, shape, x)
        xp = namespace_of(x=x, y=y)
        row, column = x[None, :] if x.ndim == 1 else x, y[:, None] if y.ndim == 1 else y
        if y.ndim == 1:
            dout = dout[..., None]
        if x.ndim == 1:
            dout = dout[..., None, :]
        dx = sum_to_shape(xp, dout @ column.mT, row.shape)
        dy = sum_to_shape(xp, row.mT @ dout, column.shape)
        return xp.reshape(dx, x.shape), xp.reshape(dy, y.shape)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        x, y, _ = cache
        return tangents[0] @ y + x @ tangents[1]


add = Add()
subtract = Subtract()
multiply = Multiply()
divide = Divide()
power = Power()
maximum = Maximum()
negative = Negative()
exp = Exp()
log = Log()
matmul = MatMul()
