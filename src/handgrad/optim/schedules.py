"""Learning-rate schedules: pure functions from the number of the step, counted from 0, to a rate.

`steps=None` stands for "as many as the training has": `bind(total)` fills it in. Beyond its last step a schedule
holds its final value.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import handgrad.checks as checks
from handgrad.errors import ValueRangeError


@dataclass(frozen=True)
class Schedule(ABC):
    """A learning rate that depends on the step. A schedule of your own defines `at(step)`."""

    def __call__(self, step: int) -> float:
        """The rate of `step`, counted from 0. Raises ValueRangeError while the number of steps is open."""
        step = checks.whole("step", step, 0)
        if not self.bound:
            raise ValueRangeError(f"{self} does not know its number of steps; give steps=..., or call bind(total)")
        return checks.number(
            f"the rate of {type(self).__name__} at step {step}",
            self.at(step),
            "a finite number of at least 0",
            lambda rate: 0 <= rate < math.inf,
        )

    @abstractmethod
    def at(self, step: int) -> float:
        """The rate of a valid step of a bound schedule."""

    @property
    def bound(self) -> bool:
        """Whether the number of steps is known, or not needed."""
        return True

    def bind(self, total: int) -> Schedule:
        """This schedule for a training of `total` steps; itself when it is bound already."""
        checks.whole("total", total, 1)
        return self


@dataclass(frozen=True)
class Constant(Schedule):
    """rate."""

    rate: float

    def __post_init__(self) -> None:
        checks.rates(self, "rate")

    def at(self, step: int) -> float:
        return self.rate


@dataclass(frozen=True)
class Step(Schedule):
    """rate * factor^floor(step / every), with a factor in [0, 1]."""

    rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        checks.rates(self, "rate")
        checks.counts(self, "every")
        checks.shares(self, "factor")

    def at(self, step: int) -> float:
        return self.rate * self.factor ** (step // self.every)


class _Spanning(Schedule):
    """A schedule stretched over a number of steps, a field of the dataclasses below."""

    steps: int | None

    @property
    def bound(self) -> bool:
        return self.steps is not None

    def bind(self, total: int) -> Self:
        total = checks.whole("total", total, 1)
        return self if self.bound else replace(self, steps=total)  # type: ignore[call-arg]


@dataclass(frozen=True)
class Cosine(_Spanning):
    """final + (rate - final) (1 + cos(π step / steps)) / 2: half a cosine from rate to final, reached at `steps`.

    Loshchilov and Hutter, SGDR, 2017, equation 5, without restarts.
    """

    rate: float
    steps: int | None = None
    final: float = 0.0

    def __post_init__(self) -> None:
        checks.rates(self, "rate", "final")
        if self.steps is not None:
            checks.counts(self, "steps")

    def at(self, step: int) -> float:
        assert self.steps is not None
        return _half_cosine(self.rate, self.final, min(step / self.steps, 1.0))


@dataclass(frozen=True)
class CosineLog(_Spanning):
    """rate (1 - cos(2 π log2(1 + (2^cycles - 1) step / steps))) / 2: waves from 0 to rate and back, each twice as long.

    Holzmüller, Grinsztajn and Steinwart, Better by default, 2024, section 3, where `cycles` is 4.
    """

    rate: float
    steps: int | None = None
    cycles: int = 4

    def __post_init__(self) -> None:
        checks.rates(self, "rate")
        checks.counts(self, "cycles")
        if self.steps is not None:
            checks.counts(self, "steps")

    def at(self, step: int) -> float:
        assert self.steps is not None
        share = min(step / self.steps, 1.0)
        return self.rate * (1 - math.cos(2 * math.pi * math.log2(1 + (2**self.cycles - 1) * share))) / 2


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A line from `start` at step 0 to the first rate of `then` at step `steps`, where `then` starts to count.

    `bind(total)` gives `then` the steps after the warm-up.
    """

    steps: int
    then: Schedule
    start: float = 0.0

    def __post_init__(self) -> None:
        checks.counts(self, "steps", low=0)
        checks.rates(self, "start")
        if not isinstance(self.then, Schedule):
            raise ValueRangeError(f"WarmUp: then must be a schedule, such as Constant(0.001), got {self.then!r}")

    @property
    def bound(self) -> bool:
        return self.then.bound

    def bind(self, total: int) -> WarmUp:
        total = checks.whole("total", total, 1)
        if self.bound:
            return self
        if total <= self.steps:
            raise ValueRangeError(
                f"WarmUp: steps must be below the {total} steps of the training, to leave some for {self.then}, "
                f"got {self.steps}"
            )
        return replace(self, then=self.then.bind(total - self.steps))

    def at(self, step: int) -> float:
        if step >= self.steps:
            return self.then(step - self.steps)
        share = step / self.steps
        return (1 - share) * self.start + share * self.then(0)


@dataclass(frozen=True)
class OneCycle(_Spanning):
    """Half a cosine up from peak / start_div to peak, half a cosine down to peak / (start_div final_div).

    The rise takes the share `warm` of the steps; the last step, steps - 1, has the final rate. Smith and Topin,
    Super-convergence, 2018, in the two-phase form of fast.ai and PyTorch's OneCycleLR (momentum is left as it is).
    """

    peak: float
    steps: int | None = None
    warm: float = 0.3
    start_div: float = 25.0
    final_div: float = 1e4

    def __post_init__(self) -> None:
        checks.rates(self, "peak")
        checks.shares(self, "warm")
        checks.positives(self, "start_div", "final_div")
        if self.steps is not None:
            checks.counts(self, "steps")

    def at(self, step: int) -> float:
        assert self.steps is not None
        start = self.peak / self.start_div
        last = self.steps - 1
        turn = max(self.warm * self.steps - 1, 0.0)  # too short a rise for even one step: begin at the peak
        step = min(step, last)
        if step > turn:
            return _half_cosine(self.peak, start / self.final_div, (step - turn) / (last - turn))
        return _half_cosine(start, self.peak, step / turn if turn else 1.0)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
