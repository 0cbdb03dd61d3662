"""The eager engine over several processes: each takes its share of a batch, and the gradients are summed."""

from __future__ import annotations

from typing import Any

import numpy as np

from handgrad.engines.eager import EagerEngine
from handgrad.engines.group import Group, Share, share
from handgrad.errors import UnsupportedError
from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.ops.arrays import Array
from handgrad.optim import Optimizer

VAGUE = ("the loss", "the gradient's norm")  # places where the fault only comes to light


class SharedEagerEngine(EagerEngine):
    """As EagerEngine, in each process of a group. The results are those of one process, to rounding."""

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        regularizer: L2 | None,
        clip_norm: float | None,
        params: Parameters,
        group: Group,
    ):
        if not isinstance(params.flat, np.ndarray):
            kind = type(params.flat).__name__
            raise UnsupportedError(f"several processes train on NumPy arrays, got params as a {kind}")
        super().__init__(model, loss, optimizer, regularizer, clip_norm, params)
        self.group = group

    def _value_and_grad(self, batch: Any, x: Array, rng: np.random.Generator) -> tuple[Array, Parameters]:
        part = share(self.group, len(batch))
        value, gradient = np.zeros(1), self.params.like(np.zeros_like(self.params.flat))
        if len(part):
            mine = slice(part.begin, part.end)
            here = PartGenerator(rng, part) if part.whole != len(part) else rng
            found, gradient = super()._value_and_grad(batch.take(mine), x[mine], here)
            weight = len(part) / part.whole
            value[0], gradient = float(found) * weight, gradient.like(gradient.flat * weight)
        self.group.sum(value)
        self.group.sum(gradient.flat)
        return value[0], gradient

    def place_of_fault(self, batch: Any, rng: np.random.Generator) -> str:
        return agreed_place(self.group, super().place_of_fault(batch, rng))


def agreed_place(group: Group, place: str) -> str:
    """Where the fault is, which may be seen in one process alone: the first that knows."""
    places = group.gather(place)
    return next((place for place in places if place not in VAGUE), places[0])


class PartGenerator(np.random.Generator):
    """Draws the numbers of a whole batch, and gives those of a share of its rows."""

    def __init__(self, rng: np.random.Generator, part: Share):
        super().__init__(rng.bit_generator)
        self.part = part

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        if not isinstance(size, tuple) or size[:1] != (len(self.part),):
            return super().random(size, dtype, out)
        drawn = super().random((self.part.whole, *size[1:]), dtype)
        return drawn[self.part.before : self.part.before + len(self.part)]
