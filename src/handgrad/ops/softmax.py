"""Softmax over one axis, with a temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import handgrad.checks as checks
from handgrad.errors import ShapeError
from handgrad.ops.arrays import Array, floating, namespace_of, operand, real, unit_axis
from handgrad.ops.base import Cache, Op, held, match_upstream


class Softmax(Op):
    """p = softmax(x / T) over one axis: positive, summing to 1. Saves p.

    T below 1 sharpens the distribution (one-hot at the maximum as T goes to 0), T above 1 flattens it (uniform as T
    goes to infinity). backward is the product with the full Jacobian (diag(p) - p p^T) / T, joined to no loss.
    """

    name = "softmax"
    inputs = ("x",)
    formula = r"p_i = \frac{e^{x_i / T}}{\sum_j e^{x_j / T}}"
    derivative = r"\frac{\partial p}{\partial x} = \frac{1}{T}\left(\operatorname{diag}(p) - p\,p^\top\right)"
    saves = "p"

    def forward(self, x: Array, temperature: float = 1.0, axis: int = -1) -> tuple[Array, Cache]:
        x = operand(x)
        floating(x=x)
        temperature = checks.positive("temperature", temperature)
        xp = namespace_of(x=x)
        # a temperature past the range of x's dtype would be 0 or inf in it
        temperature = max(held(temperature, x), float(xp.finfo(x.dtype).smallest_normal))
        axis = unit_axis(axis, x.ndim)
        if x.shape[axis] == 0:
            raise ShapeError(
                f"x has no elements along axis {axis}, got shape {tuple(x.shape)}; softmax needs one or more"
            )
        with np.errstate(over="ignore"):  # a difference that overflows to -inf has the probability 0, as it should
            e = xp.exp((x - _largest(x, axis)) / temperature)
        p = e / xp.sum(e, axis=axis, keepdims=True)
        return p, (p, temperature, axis)

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, ...]:
        p, temperature, axis = cache
        dout = match_upstream(dout, p.shape, p)
        return (self._product(dout, p, temperature, axis),)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        return self._product(tangents[0], *cache)

    def _product(self, v: Array, p: Array, temperature: float, axis: int) -> Array:
        # The Jacobian is symmetric, so that it stands for its transpose too.
        xp = namespace_of(p=p)
        return p * (v - xp.sum(p * v, axis=axis, keepdims=True)) / temperature


def _largest(x: Array, axis: int) -> Array:
    xp = namespace_of(x=x)
    return xp.max(real(xp, x), axis=axis, keepdims=True)


softmax = Softmax()
