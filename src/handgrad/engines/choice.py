"""Which engine runs a training: by its name, or the fastest that can."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from handgrad.checks import by_name, whole
from handgrad.engines.eager import Begun, EagerEngine, Part
from handgrad.engines.group import current_group, share
from handgrad.engines.private import PrivateEngine, SampleClipping
from handgrad.engines.shared import SharedEagerEngine
from handgrad.errors import UnsupportedError
from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.optim import Optimizer
from handgrad.optim.base import State

# Multiplications in a product, a few milliseconds of one core. Below it, sharing a BLAS call out costs more than it
# saves, and on a busy machine, where threads wait for one that has no core, many times more.
SHARED_PRODUCT = 2**26
THREAD_STEP = 2**24  # multiplications of a thread in a step of the compiled engine, a quarter of a millisecond
THREAD_ROWS = 8  # rows of a batch that a thread takes at least
# Parameters that one core trains on a row in the time in which another reads a number of it from a file and shuffles
# it, 15 to 25 ns, less what threads that are disturbed lose by waiting for each other.
READ = 256


class Engine(Protocol):
    """What training asks of an engine; see `EagerEngine`."""

    name: str
    optimizer: Optimizer

    @property
    def params(self) -> Parameters: ...

    @property
    def state(self) -> State:
        """The optimizer's state as it is."""

    def resume(self, params: Parameters, state: State | None = None) -> None:
        """Go on from there."""

    def finish(self) -> Parameters:
        """The parameters, when no more epochs are to come."""

    @property
    def begun(self) -> Begun:
        """How far the epoch has come, for `epoch` to go on from there; on_step may ask."""

    def epoch(
        self,
        parts: Iterable[Part],
        batch_size: int,
        generator: Callable[[], np.random.Generator],
        on_step: Any,
        begun: Begun | None = None,
    ) -> tuple[float, float]:
        """One pass over (rows, order) of each part: the mean loss over samples, the mean gradient norm over steps."""


NAMES = ("auto", "eager", "compiled")


def engine_of(
    name: str,
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    regularizer: L2 | None,
    clip_norm: float | None,
    params: Parameters,
    data: Any,
    batch_size: int,
    threads: int | str,
    private: SampleClipping | None = None,
    read: int = 0,
) -> tuple[Engine, str]:
    """(the engine, why it is not the compiled one, where "auto" found that it cannot be).

    read: numbers of each row that another thread reads meanwhile. Raises UnsupportedError, which names the layer, where
    "compiled" was asked for and cannot run it.
    """
    reason, group = "", current_group()
    if private:
        if group.size > 1:
            raise UnsupportedError("per_sample_clip is of one process alone; train with one worker")
        reason = "the compiled engine does not take each sample's own gradient, which per_sample_clip bounds"
        if name == "compiled":
            raise UnsupportedError(reason)
        reason = "" if name == "eager" else reason
        return PrivateEngine(model, loss, optimizer, regularizer, clip_norm, params, private), reason
    if name != "eager":
        try:
            from handgrad.engines.compiled.engine import CompiledEngine
            from handgrad.engines.compiled.shared import SharedEngine

            count = step_threads(threads, params, len(share(group, batch_size)), read)
            args = (model, loss, optimizer, regularizer, clip_norm, params, data, batch_size, count)
            return SharedEngine(*args, group) if group.size > 1 else CompiledEngine(*args), ""
        except UnsupportedError as error:
            if name == "compiled":
                raise
            reason = str(error)
    if group.size > 1:
        return SharedEagerEngine(model, loss, optimizer, regularizer, clip_norm, params, group), reason
    return EagerEngine(model, loss, optimizer, regularizer, clip_norm, params), reason


def engine_name(name: str) -> str:
    """The name, checked. Raises ValueRangeError for one that is not known."""
    return by_name("engine", name, {known: known for known in NAMES})


def cores() -> int:
    """How many cores this process may run on, and, in a container, has the time of."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # "max 100000", or microseconds of all cores together in a period of so many
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def step_threads(threads: int | str, params: Parameters, batch: int, read: int = 0) -> int:
    """Threads for a step of the compiled engine: as asked, or with "auto" as many as have enough to do.

    read: numbers of each row that another thread reads meanwhile, which keeps a core where it is as busy as they.
    """
    if threads != "auto":
        return whole("threads", threads)
    there, size = cores(), params.flat.shape[0]
    if size < READ * there * read:
        there -= 1
    return max(1, min(there, 3 * batch * size // THREAD_STEP, batch // THREAD_ROWS))


def blas_limit(threads: int | str, params: Parameters, batch_size: int) -> int | None:
    """The limit on BLAS threads for eager steps and for validation, or None for none."""
    if threads != "auto":
        return whole("threads", threads)
    if not isinstance(params.flat, np.ndarray):
        return None
    matrices = [math.prod(spec.shape) for spec in params.specs.values() if len(spec.shape) == 2]
    return 1 if batch_size * max(matrices, default=0) < SHARED_PRODUCT else None
