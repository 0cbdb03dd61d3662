"""Steps in which no sample counts for more than a bound, with noise to hide each: differentially private training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from handgrad.checks import at_least_0, positive
from handgrad.engines.eager import EagerEngine, Generators
from handgrad.engines.samples import per_sample_gradients
from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.ops.arrays import Array
from handgrad.optim import Optimizer


@dataclass(frozen=True)
class SampleClipping:
    """max_norm: the longest that a sample's gradient may be. noise_multiplier: the noise's deviation in units of it."""

    max_norm: float
    noise_multiplier: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_norm", positive("per_sample_clip", self.max_norm))
        object.__setattr__(self, "noise_multiplier", at_least_0("noise_multiplier", self.noise_multiplier))


class PrivateEngine(EagerEngine):
    """As EagerEngine, with each sample's gradient clipped before they are summed, and noise added to the sum.

    With noise every row enters a step by chance, independently of all others and of the steps before, as the privacy
    accounting takes it: batch_size is the mean size of a step then, and the sum is divided by it, not by the number of
    rows drawn, which would tell. Without noise the batches are those of any training. Abadi et al. (2016), "Deep
    learning with differential privacy".
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        regularizer: L2 | None,
        clip_norm: float | None,
        params: Parameters,
        clipping: SampleClipping,
    ):
        super().__init__(model, loss, optimizer, regularizer, clip_norm, params)
        self.clipping = clipping
        self._noise, self._size = np.random.default_rng(0), 0

    def _generators(self, rng: np.random.Generator) -> Generators:
        if not self.clipping.noise_multiplier:
            return (rng,)
        sequence: Any = rng.bit_generator.seed_seq
        return (rng, *(np.random.default_rng(child) for child in sequence.spawn(2)))

    def _batches(
        self, order: np.ndarray, batch_size: int, generators: Generators, first: int = 0
    ) -> Iterator[np.ndarray]:
        if not self.clipping.noise_multiplier:
            self._size = 0
            yield from super()._batches(order, batch_size, generators, first)
            return
        _, draws, self._noise = generators
        self._size = min(batch_size, len(order))
        for _ in range(first, math.ceil(len(order) / batch_size)):
            yield np.flatnonzero(draws.random(len(order)) < self._size / len(order))

    def _value_and_grad(self, batch: Any, x: Array, rng: np.random.Generator) -> tuple[Array, Parameters]:
        xp = array_api_compat.array_namespace(x)
        found = per_sample_gradients(
            self.model, self.loss, self.params, x, batch.y, sample_weight=batch.weight, train=True, rng=rng
        )
        m = len(batch)
        gradient = found.clipped(self.clipping.max_norm)
        deviation = self.clipping.noise_multiplier * self.clipping.max_norm
        if deviation:
            noise, flat = self._noise.normal(0.0, deviation, gradient.flat.shape[0]), gradient.flat
            flat[...] = flat + xp.asarray(noise, dtype=flat.dtype, device=array_api_compat.device(flat))
        gradient.flat[...] = gradient.flat / (self._size or m)
        value = xp.sum(found.losses) / max(1, m)
        if self.regularizer is not None:
            penalty, of_penalty = self.regularizer.value_and_grad(self.params)
            value = value + penalty
            for name, part in of_penalty.items():
                gradient[name][...] = gradient[name] + part
        return value, gradient
