"""Early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handgrad.checks import by_name
from handgrad.layers import Parameters
from handgrad.training.metrics import HIGHER_IS_BETTER


@dataclass
class Watch:
    """Early stopping: the best value of one column so far, and the parameters that reached it."""

    monitor: str
    patience: int | None
    min_delta: float
    sign: int  # 1 where lower is better, -1 where higher is
    best: float = math.inf
    best_epoch: int = 0
    best_params: Parameters | None = None
    waited: int = 0

    @classmethod
    def of(cls, monitor: str | None, patience: int | None, min_delta: float, held: bool, metrics: list[str]) -> Watch:
        columns = {"loss": 1, "gradient_norm": 1}
        if held:
            columns |= {"validation_loss": 1} | {f"validation_{m}": -1 if m in HIGHER_IS_BETTER else 1 for m in metrics}
        if monitor is None:
            monitor = "validation_loss" if held else "loss"
        return cls(monitor, patience, min_delta, by_name("monitor", monitor, columns))

    def see(self, row: Mapping[str, Any], params: Parameters) -> None:
        """An epoch is done; where there is patience, this is to be told."""
        value = self.sign * row[self.monitor]
        if value < self.best - self.min_delta:
            self.best, self.best_epoch, self.waited = value, row["epoch"], 0
            self.best_params = params  # an engine makes new parameters each step, so that these stay as they are
        else:
            self.waited += 1

    @property
    def is_over(self) -> bool:
        return self.patience is not None and self.waited >= self.patience
