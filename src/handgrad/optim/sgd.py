"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from dataclasses import dataclass

import handgrad.checks as checks
from handgrad.errors import ValueRangeError
from handgrad.ops.arrays import Array, Namespace
from handgrad.optim.base import Optimizer, Slots
from handgrad.optim.schedules import Schedule


@dataclass(frozen=True)
class SGD(Optimizer):
    """v = momentum v + g;  update = -rate v, or with nesterov -rate (g + momentum v).

    Polyak, 1964, for momentum; Sutskever et al., 2013, for Nesterov's, in the form of PyTorch and ONNX, where the
    parameters are those at which the gradient is taken. The state holds "velocity", v, unless momentum is 0.
    """

    learning_rate: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.decays(self, "momentum")
        checks.flags(self, "nesterov")
        if self.nesterov and self.momentum == 0:
            raise ValueRangeError("SGD: nesterov=True needs momentum above 0, got momentum=0.0")

    @property
    def slots(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    def rule(
        self, xp: Namespace, t: int, rate: float, g: Array, slots: Slots, w: Array, decayed: Array
    ) -> tuple[Array, Slots]:
        if not slots:
            return -rate * g, ()
        v = self.momentum * slots[0]
        v += g
        if not self.nesterov:
            return -rate * v, (v,)
        update = self.momentum * v
        update += g
        update *= -rate
        return update, (v,)
