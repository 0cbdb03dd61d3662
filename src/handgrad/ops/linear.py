"""The linear layer's affine map, in both weight layouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from handgrad.errors import ShapeError, ValueRangeError
from handgrad.ops.arrays import Array, Namespace, namespace_of, operand, rows, same_dtype
from handgrad.ops.base import Cache, Op, match_upstream
from handgrad.ops.samples import outer, pooled

LAYOUTS = ("in_out", "out_in")


class Linear(Op):
    """Z = X W + b over the last axis of x, with any leading axes; X^T, W^T and b^T below are for x as rows.

    layout="in_out": w is (n_in, n_out).   dX = dZ W^T, dW = X^T dZ, db = the sum of dZ over all rows.
    layout="out_in": w is (n_out, n_in), as PyTorch keeps it, and Z = X W^T + b.   dX = dZ W, dW = dZ^T X, db the same.
    The transposes are changes of strides; nothing is copied. flatten=True takes x of shape (N, d1, ..., dk) as (N, D),
    D = d1 * ... * dk, and gives dx in x's own shape. b, of shape (n_out,), may be None. Saves x and w.
    """

    name = "linear"
    inputs = ("x", "w", "b")
    formula = r"Z = X W + b"
    derivative = (
        r"\frac{\partial L}{\partial X} = \frac{\partial L}{\partial Z} W^\top,\quad"
        r"\frac{\partial L}{\partial W} = X^\top \frac{\partial L}{\partial Z},\quad"
        r"\frac{\partial L}{\partial b} = \sum_i \frac{\partial L}{\partial Z_{i\cdot}}"
    )
    saves = "x, w"

    def forward(
        self, x: Array, w: Array, b: Array | None = None, layout: str = "in_out", flatten: bool = False
    ) -> tuple[Array, Cache]:
        if layout not in LAYOUTS:
            raise ValueRangeError(f'layout must be "in_out" or "out_in", got {layout!r}')
        x, w, b = operand(x), operand(w), None if b is None else operand(b)
        xp = namespace_of(x=x, w=w, b=b)
        same_dtype(x=x, w=w, b=b)
        _check_shapes(x, w, b, layout, flatten)
        x2 = _as_rows(xp, x, flatten)
        z = x2 @ (w if layout == "in_out" else w.mT)
        if b is not None:
            z += b
        leading = x.shape[:1] if flatten else x.shape[:-1]
        if z.ndim != len(leading) + 1:
            z = xp.reshape(z, (*leading, z.shape[-1]))
        return z, (x, w, b is not None, layout, flatten)

    def backward(self, dout: Array, cache: Cache, needs: Sequence[bool] = (True, True, True)) -> tuple[Any, ...]:
        """(dx, dw, db); None in place of each that `needs` leaves out, so that no product is wasted on it."""
        x, w, has_bias, layout, flatten = cache
        xp = namespace_of(x=x)
        inward = layout == "in_out"
        shape = (*(x.shape[:1] if flatten else x.shape[:-1]), w.shape[1 if inward else 0])
        dout = match_upstream(dout, shape, x)
        x2, dz = _as_rows(xp, x, flatten), rows(xp, dout)
        dx = dw = db = None
        if needs[0]:
            dx = dz @ (w.mT if inward else w)
            if dx.shape != x.shape:
                dx = xp.reshape(dx, x.shape)
        if needs[1]:
            dw = x2.mT @ dz if inward else dz.mT @ x2
        if needs[2] and has_bias:
            db = xp.sum(dz, axis=0)
        return dx, dw, db

    def sample_gradients(self, dout: Array, cache: Cache, dx: bool = True) -> tuple[Any, ...]:
        """As backward, with the gradients by w and b for each sample alone: (dx or None, `Outer`, `Each` or None)."""
        x, _, has_bias, _, flatten = cache
        down, _, _ = self.backward(dout, cache, needs=(dx, False, False))
        xp = namespace_of(x=x)
        if flatten and x.ndim != 2:
            x = _as_rows(xp, x, flatten)
        if x.ndim < 2:
            raise ShapeError(
                f"x must have a batch axis, to have a gradient for each sample, got shape {tuple(x.shape)}"
            )
        factors = (x, dout) if cache[3] == "in_out" else (dout, x)
        return down, outer(*factors), pooled(dout) if has_bias else None

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        x, w, has_bias, layout, flatten = cache
        tx, tw, tb = tangents
        z, _ = self.forward(tx, w, None, layout=layout, flatten=flatten)
        z += self.forward(x, tw, None, layout=layout, flatten=flatten)[0]
        return z + tb if has_bias else z


def _as_rows(xp: Namespace, x: Array, flatten: bool) -> Array:
    if flatten and x.ndim != 2:
        return xp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
    return rows(xp, x)


def _check_shapes(x: Array, w: Array, b: Array | None, layout: str, flatten: bool) -> None:
    if w.ndim != 2:
        raise ShapeError(f"w must have two axes, got shape {tuple(w.shape)}")
    n_in, n_out = w.shape if layout == "in_out" else w.shape[::-1]
    if x.ndim < 1 or (flatten and x.ndim < 2):
        raise ShapeError(
            f"x must have {'a batch axis and more' if flatten else 'an axis of features'}, got {tuple(x.shape)}"
        )
    given = math.prod(x.shape[1:]) if flatten else x.shape[-1]
    if given != n_in:
        raise ShapeError(
            f"x has {given} features, in shape {tuple(x.shape)}, but w, in shape {tuple(w.shape)} and "
            f'layout "{layout}", takes {n_in}'
        )
    if b is not None and tuple(b.shape) != (n_out,):
        raise ShapeError(f"b must have shape {(n_out,)} to match w in shape {tuple(w.shape)}, got {tuple(b.shape)}")


linear = Linear()
