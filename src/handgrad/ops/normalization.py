"""Layer normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import handgrad.checks as checks
from handgrad.errors import ShapeError
from handgrad.ops.arrays import Array, magnitude, namespace_of, operand, real, rows, same_dtype
from handgrad.ops.base import Cache, Op, match_upstream
from handgrad.ops.samples import pooled


class LayerNorm(Op):
    """y = scale * n + shift, n = (x - mean) / sqrt(variance + epsilon), over the last axis of length d.

    scale and shift have shape (d,). Saves n, 1 / sqrt(variance + epsilon) and scale. With u = dy * scale,
    dx = (u - mean(u) - n mean(u n)) / sqrt(variance + epsilon): the two means take out what moves the row's own mean
    and spread. Ba, Kiros and Hinton (2016), "Layer normalization".
    """

    name = "layer_norm"
    inputs = ("x", "scale", "shift")
    formula = r"y = \gamma \odot n + \beta,\quad n = \frac{x - \mu}{\sqrt{s^2 + \varepsilon}}"
    derivative = (
        r"\frac{\partial L}{\partial x} = \frac{1}{\sqrt{s^2 + \varepsilon}}"
        r"\left(u - \overline{u} - n\,\overline{u \odot n}\right),\quad u = \gamma \odot \frac{\partial L}{\partial y}"
    )
    saves = "n, 1 / sqrt(variance + epsilon), scale"

    def forward(self, x: Array, scale: Array, shift: Array, epsilon: float = 1e-5) -> tuple[Array, Cache]:
        x, scale, shift = operand(x), operand(scale), operand(shift)
        xp = namespace_of(x=x, scale=scale, shift=shift)
        same_dtype(x=x, scale=scale, shift=shift)
        epsilon = checks.positive("epsilon", epsilon)
        if x.ndim < 1 or x.shape[-1] == 0:
            raise ShapeError(f"x must have a last axis of one element or more, got shape {tuple(x.shape)}")
        for name, array in (("scale", scale), ("shift", shift)):
            if tuple(array.shape) != (x.shape[-1],):
                raise ShapeError(f"{name} must have shape {(x.shape[-1],)} to match x, got {tuple(array.shape)}")
        # Rows are measured in units of their largest element, so that no square of a large number overflows.
        size = magnitude(xp, x)
        unit = xp.max(size, axis=-1, keepdims=True)
        unit = xp.where(real(xp, unit) > 1, unit, xp.ones_like(unit))
        x = x / unit
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        variance = xp.mean(centred * centred, axis=-1, keepdims=True)
        smallest = xp.finfo(real(xp, x).dtype).smallest_normal  # keeps 0 / 0 away from rows that are huge and constant
        inverse = 1 / xp.sqrt(variance + (epsilon**0.5 / unit) ** 2 + smallest)
        n = centred * inverse
        return n * scale + shift, (n, inverse / unit, scale)

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, ...]:
        n, inverse, scale = cache
        dout = match_upstream(dout, n.shape, n)
        xp = namespace_of(n=n)
        dscale = xp.sum(rows(xp, dout * n), axis=0)
        dshift = xp.sum(rows(xp, dout), axis=0)
        return self._normalized(dout * scale, n, inverse), dscale, dshift

    def sample_gradients(self, dout: Array, cache: Cache, dx: bool = True) -> tuple[Any, ...]:
        """As backward, with the gradients by scale and shift for each sample alone; dx=False leaves dx out."""
        n, inverse, scale = cache
        dout = match_upstream(dout, n.shape, n)
        if n.ndim < 2:
            raise ShapeError(
                f"x must have a batch axis, to have a gradient for each sample, got shape {tuple(n.shape)}"
            )
        down = self._normalized(dout * scale, n, inverse) if dx else None
        return down, pooled(dout * n), pooled(dout)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        n, inverse, scale = cache
        tx, tscale, tshift = tangents
        return self._normalized(tx, n, inverse) * scale + n * tscale + tshift

    def _normalized(self, u: Array, n: Array, inverse: Array) -> Array:
        # The Jacobian of n by x is symmetric, so that it serves backward and jvp alike.
        xp = namespace_of(n=n)
        mean_un = xp.mean(u * n, axis=-1, keepdims=True)
        return (u - xp.mean(u, axis=-1, keepdims=True) - n * mean_un) * inverse


layer_norm = LayerNorm()
