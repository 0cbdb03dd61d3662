"""What each worker does: the training, together with the others, and a word to the driver where it fails."""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from handgrad.engines.group import ALONE, Group, joined
from handgrad.errors import CheckpointError, CheckpointWarning, LogWarning
from handgrad.scale.data import Shards
from handgrad.scale.processes import CollectiveError, Processes
from handgrad.training import EpochEnd, Result
from handgrad.training import fit as fit_here

WORD = 3.0  # seconds in which a worker that failed tells why, before the others take it for dead
LOCKED = 30.0  # seconds until the folder's lock of a worker that was killed is free
TOLD = (CheckpointWarning, LogWarning)  # of a worker's warnings


class Notes:
    """What workers tell the driver and each other, in an actor: how often they began, and why one of them failed."""

    def __init__(self) -> None:
        self.begun = 0
        self.failure: Exception | None = None
        self.rows: list[dict[str, Any]] = []
        self.warnings: dict[tuple[str, type[Warning]], None] = {}

    def begin(self) -> int:
        """How often training began before."""
        self.begun += 1
        return self.begun - 1

    def tell(self, row: dict[str, Any]) -> None:
        """An epoch has ended."""
        self.rows.append(row)

    def told(self, before: int) -> list[dict[str, Any]]:
        """The rows of the history that were told, but for so many."""
        return self.rows[before:]

    def fail(self, error: Exception) -> None:
        """A worker met an error; the first counts."""
        self.failure = self.failure or error

    def failed(self) -> Exception | None:
        """The error, if there was one."""
        return self.failure

    def warn(self, text: str, category: type[Warning]) -> None:
        """The first worker was warned."""
        self.warnings[text, category] = None

    def warned(self) -> list[tuple[str, type[Warning]]]:
        """Of what, each once."""
        return list(self.warnings)


@dataclass
class Job:
    """A training as it is sent to the workers. data: a reference to arrays, or None where each streams its share."""

    model: Any
    data: Any
    options: dict[str, Any]
    callbacks: tuple[Callable[[EpochEnd], object], ...]
    checkpoint: str | None
    resume: bool
    notes: Any
    shards: Shards | None = None


class Together:
    """The callbacks of the first worker, whose answers hold for all."""

    def __init__(self, callbacks: Iterable[Callable[[EpochEnd], object]], group: Group):
        self.callbacks, self.group = tuple(callbacks), group

    def __call__(self, end: EpochEnd) -> bool:
        # the first alone calls them; True and its like stop training, as in `fit`
        return self.group.first(lambda: any(answer is True for answer in [c(end) for c in self.callbacks]))

    def end(self, result: Result) -> None:
        """Training has ended."""
        for callback in self.callbacks:
            if callable(tell := getattr(callback, "end", None)):
                tell(result)

    def state(self) -> list[Any]:
        return [c.state() if hasattr(c, "state") else None for c in self.callbacks]

    def resume(self, states: list[Any]) -> None:
        for callback, state in zip(self.callbacks, states, strict=False):
            if state is not None and hasattr(callback, "resume"):
                callback.resume(state)


def train(job: Job) -> Result | None:
    """Ray Train's function: the first worker returns the result. What is sure to fail again is noted, not raised."""
    import ray
    from ray.train import get_context

    size = get_context().get_world_size()
    group: Group = Processes(apart=job.shards is not None) if size > 1 else ALONE
    again = group.first(lambda: ray.get(job.notes.begin.remote()))
    try:
        with joined(group), _warnings_told(job.notes, group):
            return _train(job, group, bool(again))
    except CollectiveError:
        if _other_failed(job.notes):
            return None
        raise
    except Exception as error:
        error.add_note(f"in worker {group.rank} of {size}, on {socket.gethostname()}")
        ray.get(job.notes.fail.remote(error))
        if isinstance(group, Processes):
            group.leave()  # or the others would wait for this one until their time is out
        return None


def _train(job: Job, group: Group, again: bool) -> Result | None:
    import ray

    leads = group.rank == 0
    callbacks: tuple[Callable[[EpochEnd], object], ...] = ()
    if leads:
        callbacks = (*job.callbacks, partial(_tell, job.notes))
    options = job.options | {"callbacks": [Together(callbacks, group)]}
    if job.checkpoint is not None and leads:
        options |= {"checkpoint": job.checkpoint, "resume": job.resume or again}
    if job.shards is None:
        data = ray.get(job.data)
    else:
        data, options["batch_size"] = job.shards.stream(group, options["batch_size"])
    until = time.monotonic() + LOCKED
    while True:
        try:
            result = fit_here(job.model, data, progress=False, **options)
            return result if leads else None
        except CheckpointError as error:
            if not (again and "in use" in str(error) and time.monotonic() < until):
                raise
            time.sleep(0.5)


def _other_failed(notes: Any) -> bool:
    """Whether another worker said why it left, soon enough."""
    import ray

    until = time.monotonic() + WORD
    while time.monotonic() < until:
        if ray.get(notes.failed.remote()) is not None:
            return True
        time.sleep(0.1)
    return False


@contextmanager
def _warnings_told(notes: Any, group: Group) -> Iterator[None]:
    """The driver is to hear of the first worker's warnings about checkpoints and logs; others stay in its own log."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if category not in TOLD:
            shown(message, category, *place, **more)
        elif group.rank == 0:
            notes.warn.remote(str(message), category)

    with warnings.catch_warnings():
        for category in TOLD:
            warnings.simplefilter("always", category)
        warnings.showwarning = show  # catch_warnings puts the other back
        yield


def _tell(notes: Any, end: EpochEnd) -> None:
    """The driver is to hear of each epoch."""
    notes.tell.remote(dict(end.row))
