"""Ops that change the shape: sum, mean and max over axes, and reshape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any

from handgrad.errors import ShapeError
from handgrad.ops.arrays import Array, floating, namespace_of, operand, unit_axis
from handgrad.ops.base import Cache, Kink, Op, match_upstream, single

Axes = int | tuple[int, ...] | None


def _axes(axis: Axes, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(unit_axis(index(a), ndim) for a in (axis if isinstance(axis, tuple | list) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axis={axis} names one axis twice")
    return axes


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape after a reduction that keeps the reduced axes with length 1."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


class Sum(Op):
    """The sum over axis (None: all). A copy backwards: each element receives the upstream gradient. Saves the shape."""

    name = "sum"
    inputs = ("x",)
    formula = r"y = \sum_i x_i"
    derivative = r"\frac{\partial y}{\partial x_i} = 1"
    saves = "the shape of x"

    def forward(self, x: Array, axis: Axes = None, keepdims: bool = False) -> tuple[Array, Cache]:
        x = operand(x)
        floating(x=x)
        axes = _axes(axis, x.ndim)
        y = namespace_of(x=x).sum(x, axis=axes, keepdims=keepdims)
        return y, (x.shape, axes, y.shape, single(y))

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, ...]:
        x_shape, axes, y_shape, like = cache
        dout = match_upstream(dout, y_shape, like)
        xp = namespace_of(dout=dout)
        # added to zeros, not a view of stride 0: a gradient is an array of its own, which its owner may write to
        return (xp.zeros(x_shape, dtype=dout.dtype, device=dout.device) + xp.reshape(dout, _kept(x_shape, axes)),)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        _, axes, y_shape, _ = cache
        xp = namespace_of(tangent=tangents[0])
        return xp.reshape(xp.sum(tangents[0], axis=axes), y_shape)


class Mean(Sum):
    """The mean over axis (None: all): each of the n elements receives 1/n of the upstream gradient. Saves the shape."""

    name = "mean"
    formula = r"y = \frac{1}{n} \sum_i x_i"
    derivative = r"\frac{\partial y}{\partial x_i} = \frac{1}{n}"

    def forward(self, x: Array, axis: Axes = None, keepdims: bool = False) -> tuple[Array, Cache]:
        x = operand(x)
        count = self._count(x.shape, _axes(axis, x.ndim))
        if count == 0:
            raise ShapeError(f"x has nothing to take a mean of over axis={axis}, got shape {tuple(x.shape)}")
        total, cache = super().forward(x, axis, keepdims)
        return total / count, cache

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, ...]:
        x_shape, axes, y_shape, like = cache
        return super().backward(match_upstream(dout, y_shape, like) / self._count(x_shape, axes), cache)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        x_shape, axes, _, _ = cache
        return super().jvp(tangents, cache) / self._count(x_shape, axes)

    def _count(self, shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
        return math.prod(shape[a] for a in axes)


class Max(Op):
    """The largest element over axis (None: all). It routes: the upstream gradient goes to the largest element alone.

    Where k elements tie for the largest each takes 1/k, the subgradient that treats them alike. Saves each element's
    share. A slice that holds a NaN has the maximum NaN and passes no gradient.
    """

    name = "max"
    inputs = ("x",)
    formula = r"y = \max_i x_i"
    derivative = (
        r"\frac{\partial y}{\partial x_i} = \begin{cases} \frac{1}{k} & x_i = y \\ 0 & x_i < y \end{cases},"
        r"\quad k \text{ the number of } x_j = y"
    )
    saves = "each element's share"
    kinks = (Kink(r"x_i = x_j = y", r"\tfrac{1}{k}"),)

    def forward(self, x: Array, axis: Axes = None, keepdims: bool = False) -> tuple[Array, Cache]:
        x = operand(x)
        floating(x=x)
        xp = namespace_of(x=x)
        axes = _axes(axis, x.ndim)
        if any(x.shape[a] == 0 for a in axes):
            raise ShapeError(f"x has nothing to take a maximum of over axis={axis}, got shape {tuple(x.shape)}")
        largest = xp.max(x, axis=axes, keepdims=True)
        ties = xp.astype(x == largest, x.dtype)
        count = xp.sum(ties, axis=axes, keepdims=True)
        share = ties / xp.where(count == 0, xp.ones_like(count), count)
        y = largest if keepdims else xp.reshape(largest, tuple(n for i, n in enumerate(x.shape) if i not in axes))
        return y, (share, axes, y.shape)

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, ...]:
        share, axes, y_shape = cache
        dout = match_upstream(dout, y_shape, share)
        return (share * namespace_of(dout=dout).reshape(dout, _kept(share.shape, axes)),)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        share, axes, y_shape = cache
        xp = namespace_of(share=share)
        return xp.reshape(xp.sum(share * tangents[0], axis=axes), y_shape)


class Reshape(Op):
    """x in another shape, with at most one length given as -1. Its gradient is reshaped back. Saves x's shape."""

    name = "reshape"
    inputs = ("x",)
    formula = r"y = \operatorname{reshape}(x)"
    derivative = (
        r"\frac{\partial L}{\partial x} = \operatorname{reshape}^{-1}\!\left(\frac{\partial L}{\partial y}\right)"
    )
    saves = "the shape of x"

    def forward(self, x: Array, shape: Sequence[int] | int = (-1,)) -> tuple[Array, Cache]:
        x = operand(x)
        given = tuple(map(index, shape if isinstance(shape, Sequence) else (shape,)))
        known = math.prod(n for n in given if n != -1)
        wild = given.count(-1)
        size = math.prod(x.shape)
        if wild > 1 or any(n < -1 for n in given) or (known != size if wild == 0 else known == 0 or size % known):
            raise ShapeError(f"shape={given} does not hold the {size} elements of x in shape {tuple(x.shape)}")
        y = namespace_of(x=x).reshape(x, tuple(size // known if n == -1 else n for n in given))
        return y, (x.shape, y.shape, single(y))

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, ...]:
        x_shape, y_shape, like = cache
        dout = match_upstream(dout, y_shape, like)
        return (namespace_of(dout=dout).reshape(dout, x_shape),)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        return namespace_of(tangent=tangents[0]).reshape(tangents[0], cache[1])


sum = Sum()
mean = Mean()
max = Max()
reshape = Reshape()
