"""A line for each trial that has ended."""

from __future__ import annotations

import sys
from typing import Any

from ray.tune import Callback

from handgrad.cli.tune.search import METRIC


class Progress(Callback):
    """Of so many trials, says on stderr how each did."""

    def __init__(self, trials: int):
        self.trials = trials

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        ended = sum(other is trial or other.is_finished() for other in trials)
        last = trial.last_result or {}
        score, epochs = last.get(METRIC, float("nan")), last.get("training_iteration", 0)
        print(
            f"trial {ended} of {self.trials}: {METRIC} {score:.4g} after {epochs} epochs", file=sys.stderr, flush=True
        )
