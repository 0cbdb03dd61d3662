"""Adam, and AdamW with its decoupled weight decay."""

from __future__ import annotations

import math
from dataclasses import dataclass

import handgrad.checks as checks
from handgrad.errors import ValueRangeError
from handgrad.ops.arrays import Array, Namespace
from handgrad.optim.base import Optimizer, Slots, State
from handgrad.optim.schedules import Schedule


@dataclass(frozen=True)
class Adam(Optimizer):
    """m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g²;

    update = -rate m' / (sqrt(v') + epsilon), with the corrected m' = m / (1 - beta1^t), v' = v / (1 - beta2^t), and t
    from 1. Kingma and Ba, 2015, algorithm 1. The state holds "first_moment", m, and "second_moment", v.
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.decays(self, "beta1", "beta2")
        checks.positives(self, "epsilon")

    @property
    def slots(self) -> tuple[str, ...]:
        return ("first_moment", "second_moment")

    def rule(
        self, xp: Namespace, t: int, rate: float, g: Array, slots: Slots, w: Array, decayed: Array
    ) -> tuple[Array, Slots]:
        m = self.beta1 * slots[0]
        m += (1 - self.beta1) * g
        square = g * g
        square *= 1 - self.beta2
        v = self.beta2 * slots[1]
        v += square
        root = xp.sqrt(v)
        root *= 1 / math.sqrt(1 - self.beta2**t)  # the corrections are numbers: no pass of their own
        root += self.epsilon
        update = m / root
        update *= -rate / (1 - self.beta1**t)
        return update, (m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam's update, less rate weight_decay w: the decay does not pass through the moments.

    Loshchilov and Hutter, Decoupled weight decay regularization, 2019, algorithm 2, with the rate as in PyTorch.
    `update` needs params; its `decayed` says which of them decay (weights do, biases as a rule do not).
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.rates(self, "weight_decay")

    def update(
        self, state: State, gradient: Array, params: Array | None = None, *, decayed: Array | None = None
    ) -> tuple[State, Array]:
        if params is None:
            raise ValueRangeError("AdamW: update needs params, which it decays; call update(state, gradient, params)")
        return super().update(state, gradient, params, decayed=decayed)

    def rule(
        self, xp: Namespace, t: int, rate: float, g: Array, slots: Slots, w: Array, decayed: Array
    ) -> tuple[Array, Slots]:
        update, moments = super().rule(xp, t, rate, g, slots, w, decayed)
        decay = (rate * self.weight_decay) * w
        if decayed is not None:
            decay *= xp.astype(decayed, decay.dtype, copy=False)
        update -= decay
        return update, moments
