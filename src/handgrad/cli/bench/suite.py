"""A measurement of one configuration: the rivals' workers made and checked, then asked for rounds in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handgrad.cli.bench.configurations import Configuration
from handgrad.cli.bench.process import BenchError, Process
from handgrad.cli.bench.rivals import Entry

LIMIT = "handgrad.cli.bench.limit:Limit"
OURS = "handgrad"
# relative. An epoch's order is the rival's own, and moves the mean loss by up to 5 % in A; steps left out move it more.
TOLERANCES = {"steps": 1e-3, "epoch": 0.1, "scores": 1e-3, "labels": 0.0}

Say = Callable[[str], object]


@dataclass
class Measurement:
    """Seconds of a step by rival and round; the limit in the same rounds; why rivals are left out."""

    configuration: Configuration
    threads: int
    titles: dict[str, str]
    ours: tuple[str, ...] = (OURS,)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    limits: list[dict[str, float]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        """The median over rounds of a rival's step, in seconds."""
        return statistics.median(self.seconds[name]) if self.seconds.get(name) else None

    @property
    def limit(self) -> float | None:
        """The median over rounds of the limit."""
        return statistics.median(row["seconds"] for row in self.limits) if self.limits else None

    @property
    def best_rival(self) -> str | None:
        """The fastest but handgrad."""
        medians = {name: statistics.median(times) for name, times in self.seconds.items() if name not in self.ours}
        return min(medians, key=lambda name: medians[name]) if medians else None

    @property
    def ratio(self) -> float | None:
        """The best rival's time by handgrad's: above 1 where handgrad is ahead."""
        ours = self.median(OURS)
        return None if ours is None or self.best_rival is None else statistics.median(self.rival_times) / ours

    @property
    def rival_times(self) -> list[float]:
        return self.seconds[self.best_rival] if self.best_rival else []

    @property
    def shares(self) -> list[float]:
        """In each round, the limit by handgrad's time."""
        return [row["seconds"] / own for row, own in zip(self.limits, self.seconds.get(OURS, ()), strict=False)]

    @property
    def share(self) -> float | None:
        """The median over rounds of the share of the limit."""
        return statistics.median(self.shares) if self.shares else None

    @property
    def usual_share(self) -> float | None:
        """As `share`, of the limit at the median rates of the same rounds."""
        own = self.seconds.get(OURS, ())
        shares = [row["usual"] / seconds for row, seconds in zip(self.limits, own, strict=False)]
        return statistics.median(shares) if shares else None


class Pool:
    """Worker processes by name, to be used again for the next configuration where `keep` says so."""

    def __init__(self, threads: int, keep: bool = False):
        self.threads = threads
        self._keep = keep
        self._kept: dict[str, Process] = {}
        self._stack = ExitStack()

    def worker(self, name: str, stack: ExitStack) -> Process:
        """The process of that name; it ends with `stack`, or with the pool where it is kept."""
        if not self._keep:
            return stack.enter_context(Process(self.threads))
        if name not in self._kept:
            self._kept[name] = self._stack.enter_context(Process(self.threads))
        return self._kept[name]

    def drop(self, name: str) -> None:
        """Take no more of that process, as it failed."""
        self._kept.pop(name, None)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def measure(
    configuration: Configuration,
    rivals: Mapping[str, Entry],
    pool: Pool,
    *,
    reference: Mapping[str, Any],
    rounds: int = 7,
    seconds: float = 0.4,
    limit: bool = True,
    say: Say = lambda text: None,
) -> Measurement:
    """Seconds of a step of each rival, in turn, round by round.

    reference: what each rival's check must agree with. seconds: of measuring in a round. limit: whether to measure it
    as well. say: told what is being done.

    A rival that is not installed or fails is left out, with the reason. Raises BenchError where handgrad itself fails,
    or where a rival's check does not agree.
    """
    titles = {name: entry.title for name, entry in rivals.items()}
    ours = tuple(name for name, entry in rivals.items() if entry.ours)
    found = Measurement(configuration, pool.threads, titles, ours)
    with ExitStack() as stack:
        workers: dict[str, Process] = {}
        for name, entry in rivals.items():
            missing = entry.missing(configuration)
            if missing is not None:
                found.left_out[name] = missing
                continue
            say(f"{configuration.name}: starting {entry.title}")
            try:
                worker = pool.worker(name, stack)
                worker.start(entry.target, configuration)
                answer = worker.ask("check")
            except BenchError as error:
                if entry.ours:
                    raise BenchError(f"{entry.title}, configuration {configuration.name}: {error}") from None
                found.left_out[name] = str(error)
                pool.drop(name)
                continue
            agrees(entry.title, configuration, reference, answer)
            workers[name] = worker
        if limit:
            meter = pool.worker("limit", stack)
            meter.start(LIMIT, configuration)
        for number in range(rounds):
            for name, worker in workers.items():
                say(f"{configuration.name}: round {number + 1} of {rounds}, {titles[name]}")
                found.seconds.setdefault(name, []).append(worker.ask("round", seconds=seconds)["seconds"])
                if limit and name == OURS:  # right after handgrad, so that both find the machine alike
                    found.limits.append(meter.ask("round", seconds=seconds))
            if limit and OURS not in workers:
                found.limits.append(meter.ask("round", seconds=seconds))
    return found


def agrees(title: str, configuration: Configuration, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise BenchError where what a rival's check found is not what it should be: it did other work."""
    for name, values in found.items():
        wanted, given = np.asarray(expected[name]), np.asarray(values)
        scale = np.abs(wanted).max() if name == "scores" else np.abs(wanted)  # a score may be near 0 by chance
        if wanted.shape != given.shape or not np.all(np.abs(given - wanted) <= TOLERANCES[name] * scale):  # NaN is not
            raise BenchError(
                f"{title} does other work than the rest in configuration {configuration.name}: its {name} are "
                f"{_few(given)}, and {_few(wanted)} was expected to {TOLERANCES[name]:g} relative"
            )


def _few(values: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in values.ravel()[:5])
