"""Inverted dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np

import handgrad.checks as checks
from handgrad.errors import ValueRangeError
from handgrad.ops.arrays import Array, floating, namespace_of, operand
from handgrad.ops.base import Cache, Op, match_upstream, single


class Dropout(Op):
    """y = x k / (1 - rate), with k_i = 0 at the given rate and 1 otherwise, so that y has x's expectation.

    rng, a generator or a seed, decides k; dropping happens in training alone, so that prediction needs no op at all.
    A dropped element is 0 whatever it was, and its gradient is 0. Saves k, a byte for each element.
    Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting".
    """

    name = "dropout"
    inputs = ("x",)
    formula = r"y_i = \frac{k_i}{1 - r}\,x_i,\quad k_i \sim \operatorname{Bernoulli}(1 - r)"
    derivative = r"\frac{\partial y_i}{\partial x_i} = \frac{k_i}{1 - r}"
    saves = "k"

    def forward(self, x: Array, rate: float = 0.5, rng: np.random.Generator | int | None = None) -> tuple[Array, Cache]:
        x = operand(x)
        floating(x=x)
        rate = checks.number("rate", rate, "a number of at least 0 and below 1", lambda r: 0 <= r < 1)
        if rng is None:
            raise ValueRangeError("dropout needs rng, a NumPy generator or a seed: no randomness is global here")
        keep = np.random.default_rng(rng).random(tuple(x.shape), dtype=np.float32) >= rate
        cache = namespace_of(x=x).asarray(keep, device=array_api_compat.device(x)), 1 / (1 - rate), single(x)
        return self._kept(x, cache), cache

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, ...]:
        keep, _, like = cache
        dout = match_upstream(dout, keep.shape, like)
        return (self._kept(dout, cache),)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        return self._kept(tangents[0], cache)

    def _kept(self, x: Array, cache: Cache) -> Array:
        keep, scale, _ = cache
        xp = namespace_of(x=x)
        return xp.where(keep, x * scale, xp.zeros((), dtype=x.dtype, device=x.device))


dropout = Dropout()
