"""A folder of checkpoints: when one is due, how it is written, and which one a training goes on from."""

from __future__ import annotations

import errno
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

from handgrad.checks import whole
from handgrad.errors import CheckpointError, CheckpointWarning, Terminated, ValueRangeError
from handgrad.formats import FormatError
from handgrad.formats.checkpoint import read_checkpoint, write_checkpoint
from handgrad.training.moment import Training
from handgrad.training.setup import Setup, differences
from handgrad.training.signals import Signals

LOCK = ".lock"
SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
ADVICE = {
    **dict.fromkeys(("ENOSPC", "EDQUOT", "EFBIG"), "free some space, or give another folder"),
    **dict.fromkeys(("EROFS", "EACCES", "EPERM"), "give a folder that can be written to"),
}


@dataclass(frozen=True)
class Every:
    """How often a checkpoint is written: so many epochs or steps, or seconds."""

    count: float
    unit: str = "epoch"

    @classmethod
    def of(cls, every: Any) -> Every:
        """From 5, which are epochs, or a text such as "500 steps" or "10 minutes"."""
        text = str(every) if isinstance(every, str | Integral) else ""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(?: *(epoch|step|second|minute|hour)s?)?", text.strip())
        if found:
            count, unit = float(found[1]), found[2] or "epoch"
            if unit in SECONDS and count > 0:
                return cls(count * SECONDS[unit], "second")
            if unit not in SECONDS and count >= 1 and count.is_integer():
                return cls(count, unit)
        raise ValueRangeError(
            f"every must be a number of epochs, or text such as '500 steps', '30 seconds' or '10 minutes', "
            f"got {every!r:.60}"
        )


@dataclass
class Folder:
    """The checkpoints of one training, which holds the folder's lock."""

    path: Path
    every: Every
    keep: int
    resume: bool
    signals: Signals
    setup: Setup = field(default_factory=dict)
    around: Setup = field(default_factory=dict)
    last: Path | None = None  # the newest that is whole
    _written: tuple[int, float] = (0, 0.0)  # when one was last due: the step, and the time
    _whole: bool = True  # whether it could be written then
    _failed: str = ""  # why the last could not be, "" where it could

    def begin(self, training: Training, setup: Setup, around: Setup) -> None:
        """Go on from the newest checkpoint, or write the first.

        Raises CheckpointError for a folder that holds another training, OSError where nothing can be written.
        """
        self.setup, self.around = setup, around
        files = self._files()
        if files and not self.resume:
            raise CheckpointError(
                f"{str(self.path)!r} holds the checkpoints of a training; give resume=True to go on from there, "
                "or another folder"
            )
        if files:
            self._go_on(training, files)
        else:
            self._write(training)
        self._written = training.done, time.monotonic()

    def step(self, training: Training, steps: int, began: float) -> None:
        """So many steps of an epoch are done: write a checkpoint where one is due, and leave where a signal says so.

        began: when the epoch did, on the clock of time.perf_counter.
        """
        done = len(training.history) * training.steps + steps
        since = {"step": done - self._written[0], "second": time.monotonic() - self._written[1]}
        if self.signals.came or since.get(self.every.unit, 0) >= self.every.count:
            training.begun, training.seconds = training.runner.begun, time.perf_counter() - began
            self._try(training)
            self._leave(training)

    def epoch(self, training: Training) -> None:
        """An epoch is done. The last moment of a training is always kept."""
        due = self.every.unit == "epoch" and len(training.history) % self.every.count == 0
        if due or training.is_over or self.signals.came:
            self._try(training)
        if self.signals.came == "SIGTERM" or not training.is_over:
            self._leave(training)

    def _leave(self, training: Training) -> None:
        """Raise what the signal stands for that came, if one did."""
        if self.signals.came == "SIGINT":
            raise KeyboardInterrupt
        if self.signals.came == "SIGTERM":
            self.signals.heeded = True
            kept = "no checkpoint could be written"
            if self.last:
                kept = f"the checkpoint {str(self.last)!r} " + ("holds it" if self._whole else "is the last before")
            stop = Terminated(f"SIGTERM: training stopped in epoch {training.epoch}, step {training.done}; {kept}")
            if self.signals.unwatched:  # nobody else will say why the process ends
                print(stop, file=sys.stderr)
            raise stop

    def _try(self, training: Training) -> None:
        """Write a checkpoint; where that fails say so and go on, as the training is worth more than its copy."""
        self._written, self._whole = (training.done, time.monotonic()), False
        if not training.finite():  # the next step will say where the NaN came from
            return
        try:
            self._write(training)
            self._whole, self._failed = True, ""
        except (OSError, MemoryError, FormatError) as error:
            why = getattr(error, "strerror", None) or str(error) or "out of memory"
            if why != self._failed:  # a full disk is said once, not at each checkpoint
                before = f"the last checkpoint is {self.last.name}" if self.last else "without any checkpoint"
                where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
                _warn(f"{where}{why}; training goes on, {before}")
            self._failed = why

    def _write(self, training: Training) -> None:
        arrays, content = training.freeze()
        path = self.path / f"step-{training.done:010d}.safetensors"
        try:
            write_checkpoint(path, arrays, {"setup": self.setup, "surroundings": self.around, **content})
        except OSError as error:
            text = f"the checkpoint cannot be written: {_reason(error)}"
            raise OSError(error.errno or 0, text, str(path)) from None
        self.last = path
        for number, other in self._files():  # one with a higher number was damaged, and passed over
            if number > training.done:
                _remove(other)
        for _, other in self._files()[: -self.keep]:
            _remove(other)

    def _go_on(self, training: Training, files: list[tuple[int, Path]]) -> None:
        damaged: list[str] = []
        for number, path in reversed(files):
            try:
                arrays, content = read_checkpoint(path)
                before, around = (content.get(name) for name in ("setup", "surroundings"))
                if content.get("step") != number or not isinstance(before, dict) or not isinstance(around, dict):
                    raise FormatError(f"{str(path)!r} is not the checkpoint of step {number}")
                if found := differences(before, self.setup):
                    raise CheckpointError(
                        f"{str(path)!r} is of another training: {'; '.join(found)}. Give what it was written with, "
                        "or another folder"
                    )
                training.thaw(arrays, content)
            except FormatError as error:
                damaged.append(str(error))
                continue
            self.last = path
            if damaged:
                _warn(f"{'; '.join(damaged)}. Training goes on from {path.name}, the newest that is whole")
            if others := differences(around, self.around):
                _warn(f"{path.name}: {'; '.join(others)}. Training goes on, and its last bits may be others")
            return
        raise CheckpointError(
            f"no checkpoint in {str(self.path)!r} can be read: {'; '.join(damaged)}. "
            "To begin anew, remove them or give another folder"
        )

    def _files(self) -> list[tuple[int, Path]]:
        """(step, file) of each checkpoint, the oldest first."""
        found = ((re.fullmatch(r"step-(\d{10,})\.safetensors", path.name), path) for path in self.path.iterdir())
        return sorted((int(match[1]), path) for match, path in found if match)


@contextmanager
def folder_of(
    checkpoint: str | os.PathLike[str] | None, every: Any, keep: Any, resume: Any, signals: Signals
) -> Iterator[Folder | None]:
    """The folder, made and locked; None where there are to be no checkpoints.

    Raises ValueRangeError for options out of their range, CheckpointError where another process has it, OSError where
    it cannot be made or written to.
    """
    how, keep = Every.of(every), whole("keep", keep)
    if checkpoint is None:
        if resume:
            raise ValueRangeError("resume=True goes on from a folder of checkpoints; give checkpoint=FOLDER too")
        yield None
        return
    path = Path(checkpoint)
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "checkpoint must be a folder, got a file", str(path)) from None
    except OSError as error:
        text = f"cannot serve as a folder of checkpoints: {_reason(error)}"
        raise OSError(error.errno or 0, text, str(path)) from None
    try:
        _lock(handle, path)
        for left in path.glob(".step-*.tmp"):  # half a file of a process that was killed
            _remove(left)
        yield Folder(path, how, keep, bool(resume), signals)
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    """Take the lock, which ends with this process however that ends. Raises CheckpointError where another has it."""
    try:
        import fcntl
    except ImportError:  # Windows, where two trainings in one folder are not seen
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
        raise CheckpointError(
            f"{str(path)!r} is in use by another training{f', of process {holder}' * bool(holder)}; "
            "wait for it to end, or give another folder"
        ) from None
    except OSError:  # a file system without locks
        return
    with suppress(OSError):  # for the message above alone
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)


def _warn(text: str) -> None:
    warnings.warn(text, CheckpointWarning, stacklevel=2)


def _reason(error: OSError) -> str:
    """In words, with what to do."""
    advice = ADVICE.get(errno.errorcode.get(error.errno or 0, ""), "")
    return (error.strerror or str(error)).lower() + f"; {advice}" * bool(advice)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
