"""What every rival has in common: how its work is checked, how a round of it is timed, how its memory is taken."""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.cli.bench.configurations import Block, Configuration

RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
CHECKED_STEPS = 5
WARM_STEPS = 3
MOST_EPOCHS = 100_000


class Rival(ABC):
    """Trains a configuration. Subclasses say how; each training starts from the configuration's first weights."""

    def __init__(self, configuration: Configuration, threads: int):
        self.configuration = configuration
        self.threads = threads
        self.x, self.y = configuration.data()
        self._epoch: float | None = None  # about how many seconds one takes

    @abstractmethod
    def losses(self, rows: int, epochs: int) -> list[float]:
        """The mean loss of each epoch over the first `rows` rows."""

    @abstractmethod
    def times(self, epochs: int) -> list[float]:
        """The seconds of each epoch over all rows, in a new order each."""

    def check(self) -> dict[str, list[float]]:
        """Losses that every rival must reach.

        "steps": of some steps on the first batch, which the order of its rows can't change. "epoch": the mean of one
        epoch over all rows in an order of the rival's own, so that it agrees but roughly.
        """
        rows = self.configuration.rows
        return {"steps": self.losses(self.configuration.batch, CHECKED_STEPS), "epoch": self.losses(rows, 1)}

    def round(self, seconds: float) -> dict[str, float]:
        """The median seconds of a step over the epochs of about `seconds` seconds, after a few steps to warm up."""
        self.losses(self.configuration.batch, WARM_STEPS)
        if self._epoch is None:
            self._epoch = self.times(1)[0]
        times = self.times(min(max(1, round(seconds / self._epoch)), MOST_EPOCHS))
        kept = times[1:] if len(times) > 2 else times
        self._epoch = statistics.median(kept)
        return {"seconds": self._epoch / self.configuration.batches, "epochs": len(kept)}

    def memory(self) -> dict[str, float]:
        """By how many bytes an epoch of training raises the peak of this process's memory.

        The data and the first weights are there before; so is the library's code, as a tiny network trains first.
        """
        tiny = type(self)(shrunk(self.configuration), self.threads)
        tiny.losses(tiny.configuration.rows, 2)
        del tiny
        reset_peak()
        before = peak()
        self.losses(self.configuration.rows, 1)
        return {"before": before, "bytes": peak() - before}


class Stepper(Rival):
    """A rival whose epochs the suite runs itself."""

    @abstractmethod
    def reset(self) -> None:
        """Back to the first weights, with a new optimizer."""

    @abstractmethod
    def epoch(self, order: np.ndarray) -> float:
        """The mean loss of a step for each batch of rows in that order."""

    def losses(self, rows: int, epochs: int) -> list[float]:
        self.reset()
        return [self.epoch(np.arange(rows)) for _ in range(epochs)]

    def times(self, epochs: int) -> list[float]:
        self.reset()
        rng, times = np.random.default_rng(2), []
        for _ in range(epochs):
            began = time.perf_counter()
            self.epoch(rng.permutation(self.configuration.rows))
            times.append(time.perf_counter() - began)
        return times


def shrunk(configuration: Configuration) -> Configuration:
    """The same kinds of blocks, a few units wide."""
    blocks: list[Any] = [Block(block.kind, 4, 4) for block in configuration.blocks]
    return replace(configuration, name="tiny", blocks=tuple(blocks), batch=8, batches=2)


def peak() -> int:
    """The most bytes of memory this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak() -> None:
    """Take the peak anew from what the process holds now, where the system can (Linux)."""
    with suppress(OSError):  # then what was held for a moment before is not counted again
        Path("/proc/self/clear_refs").write_text("5")
