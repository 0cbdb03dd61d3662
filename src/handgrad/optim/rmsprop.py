"""RMSprop: the gradient over the root of its mean square."""

from __future__ import annotations

from dataclasses import dataclass

import handgrad.checks as checks
from handgrad.ops.arrays import Array, Namespace
from handgrad.optim.base import Optimizer, Slots
from handgrad.optim.schedules import Schedule


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """s = decay s + (1 - decay) g²;  update = -rate g / (sqrt(s) + epsilon).

    Tieleman and Hinton, Neural Networks for Machine Learning, lecture 6.5, 2012; epsilon outside of the root and
    s from 0, as in PyTorch, which calls decay alpha. The state holds "mean_square", s.
    """

    learning_rate: float | Schedule = 1e-3
    decay: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.decays(self, "decay")
        checks.positives(self, "epsilon")

    @property
    def slots(self) -> tuple[str, ...]:
        return ("mean_square",)

    def rule(
        self, xp: Namespace, t: int, rate: float, g: Array, slots: Slots, w: Array, decayed: Array
    ) -> tuple[Array, Slots]:
        square = g * g
        square *= 1 - self.decay
        s = self.decay * slots[0]
        s += square
        root = xp.sqrt(s)
        root += self.epsilon
        update = g / root
        update *= -rate
        return update, (s,)
