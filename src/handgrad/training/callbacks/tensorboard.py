"""Event files for TensorBoard, written by tensorboardX."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np

from handgrad.checks import whole
from handgrad.errors import DTypeError
from handgrad.formats.extras import extra
from handgrad.formats.packing import on_host
from handgrad.layers import Parameters
from handgrad.training.callbacks.log import Log, numbers
from handgrad.training.fit import EpochEnd
from handgrad.training.history import Result


class TensorBoard(Log):
    """A callback that writes each column of the history as a curve, and the parameters as histograms.

    folder: a training's own; one above it is what `tensorboard --logdir` takes. histograms: of each parameter, every so
    many epochs; 0 for the end alone.

    What the folder holds of the first epoch that is told of, and of later ones, is hidden from then on: a training that
    is resumed goes on with its own curves, each point once, and another one that is given the same folder takes their
    place. A full disk ends the log, with a LogWarning, and not the
    training. Needs `pip install 'handgrad[tensorboard]'`.
    """

    def __init__(self, folder: str | os.PathLike[str], *, histograms: int = 0):
        if not isinstance(folder, str | os.PathLike):
            raise DTypeError(f"folder must be the name of a folder, got {folder!r}")
        self.folder, self.histograms = os.fspath(folder), whole("histograms", histograms, 0)
        extra("tensorboardX", "TensorBoard", "tensorboard")
        parts = ("event_file_writer", "summary", "proto.event_pb2")
        self._events, self._summary, self._event = (import_module(f"tensorboardX.{part}") for part in parts)
        self._writer: Any = None
        self._epoch, self._begun = 0, False

    def __call__(self, end: EpochEnd) -> None:
        first, self._epoch, self._begun = not self._begun, end.row["epoch"], True
        if first:
            self.attempt(self._hide)
        self.attempt(self.scores, numbers(end.row))
        if self.histograms and self._epoch % self.histograms == 0:
            self.attempt(self._parameters, end.params)

    def end(self, result: Result) -> None:
        """`fit` has ended: the histograms of the parameters it returns."""
        if self._begun:  # else nothing was trained
            self.attempt(self._parameters, result.params)
        self._epoch, self._begun = len(result.history), False

    def scores(self, values: Mapping[str, float]) -> None:
        """A point of each curve, at the last epoch."""
        for name, value in values.items():
            self._write(summary=self._summary.scalar(name, value))
        self._writer.flush()

    def _hide(self) -> None:
        """Hide what the folder holds from this epoch on."""
        self._write(session_log=self._event.SessionLog(status=self._event.SessionLog.START))

    def _parameters(self, params: Parameters) -> None:
        for name in params:
            array = np.asarray(on_host(params[name]), np.float64)
            if array.size and np.isfinite(array).all():
                self._write(summary=self._summary.histogram(f"parameters/{name}", array, bins="auto", max_bins=100))
        self._writer.flush()

    def _write(self, **content: Any) -> None:
        """Write an event at the last epoch.

        To the file itself, as tensorboardX's SummaryWriter hands events to a thread, which ends where the disk is full,
        and leaves who hands it more waiting for good.
        """
        if self._writer is None:
            self._events.directory_check(self.folder)
            # a file's name has the time in seconds, and a training may be resumed within one
            suffix = f".{self._epoch:06d}.{os.getpid()}"
            self._writer = self._events.EventsWriter(os.path.join(self.folder, "events"), suffix)
            weakref.finalize(self, _close, self._writer)
        self._writer.write_event(self._event.Event(wall_time=time.time(), step=self._epoch, **content))


def _close(writer: Any) -> None:
    with suppress(OSError):  # that the disk is full was said
        try:
            writer.close()
        except OSError:  # it flushes first, and has not closed the file
            writer._py_recordio_writer.close()
