"""The L2 penalty on weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import handgrad.checks as checks
from handgrad.ops.arrays import Array, floating, namespace_of, operand
from handgrad.ops.base import Cache, Op, match_upstream


class L2Penalty(Op):
    """R = strength * sum of w^2, over one array of weights. Its gradient is 2 strength w. Saves w."""

    name = "l2"
    inputs = ("w",)
    formula = r"R = \lambda \sum_{ij} W_{ij}^2"
    derivative = r"\frac{\partial R}{\partial W} = 2 \lambda W"
    saves = "w"

    def forward(self, w: Array, strength: float = 1.0) -> tuple[Array, Cache]:
        w = operand(w)
        floating(w=w)
        strength = checks.at_least_0("strength", strength)
        return strength * namespace_of(w=w).sum(w * w), (w, strength)

    def backward(self, dout: Any, cache: Cache) -> tuple[Array, ...]:
        w, strength = cache
        dout = match_upstream(dout, (), w)
        return (2 * strength * dout * w,)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        w, strength = cache
        return namespace_of(w=w).sum(2 * strength * w * tangents[0])


l2 = L2Penalty()
