"""runs/NAME/history.jsonl while a run is trained: a line an epoch, on its way to the disk as the epoch ends."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from handgrad.checks import whole
from handgrad.cli.runs.folders import line_of
from handgrad.errors import LogWarning
from handgrad.formats.atomic import replacing
from handgrad.training.fit import EpochEnd

Row = dict[str, Any]

LAST = 2**53  # no training has more epochs


@dataclass
class HistoryFile:
    """The file. The networks of a run, one or an ensemble's members at once, add to it.

    A line is written when its epoch has ended, so that SIGKILL loses none, and flushed to the disk before a checkpoint
    is. Where there is no room for one, the training is worth more: it goes on, and the lines wait for the next.
    """

    path: Path
    _end: int | None = None  # the bytes that are written for good; None before any are
    _waiting: str = ""
    _lock: Lock = field(default_factory=Lock)

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row after those that are there."""
        with self._lock:
            silent, self._waiting = not self._waiting, self._waiting + line_of(row)
            try:
                with _opened(self.path) as file:
                    end = file.seek(0, os.SEEK_END) if self._end is None else file.seek(self._end)
                    file.truncate()  # half a line that there was no room for
                    self._end = end
                    file.write(self._waiting.encode())
                    file.flush()
                    self._end, self._waiting = file.tell(), ""
            except OSError as error:
                if silent:  # say so once
                    self._warn(error)

    def forget(self, member: int | None, epoch: int) -> None:
        """Leave out the rows of a network from that epoch on, which are to come again, and lines cut off."""
        with self._lock:
            self._end = None
            there = rows_in(self.path)
            kept = "".join(
                line_of(row) for row in there if row.get("member") != member or row["epoch"] < epoch
            ).encode()
            try:
                if self.path.exists() and kept != self.path.read_bytes():
                    with replacing(self.path) as file:
                        file.write(kept)
            except OSError as error:
                self._warn(error)

    def flush(self) -> None:
        """See that what was written is on the disk."""
        with self._lock:
            if self.path.exists():
                with _opened(self.path) as file:
                    os.fsync(file.fileno())

    def _warn(self, error: OSError) -> None:
        what = f"{self.path}: {(error.strerror or str(error)).lower()}"
        warnings.warn(f"{what}; training goes on, and its epochs are kept in memory", LogWarning, stacklevel=3)


@dataclass
class Lines:
    """The callback of `fit` that adds the epochs of one network. member: of an ensemble, counted from 1."""

    file: HistoryFile
    member: int | None = None
    _begun: bool = False

    def __call__(self, end: EpochEnd) -> None:
        self._begin(end.row["epoch"])
        self.file.add(end.row if self.member is None else {"member": self.member, **end.row})

    def state(self) -> dict[str, Any]:
        """For a checkpoint that is about to be written, behind which the file must not fall."""
        self.file.flush()
        return {}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Nothing is kept: the first epoch that comes says which are to stay."""

    def _begin(self, epoch: int) -> None:
        if not self._begun:
            self.file.forget(self.member, epoch)
            self._begun = True


def rows_in(path: Path) -> Iterator[Row]:
    """The rows of a history that are whole; none where there is no file. A run that is killed may leave half a line."""
    text = path.read_bytes() if path.is_file() else b""
    for line in text.split(b"\n")[:-1]:
        try:
            row = json.loads(line)
            if whole("epoch", row["epoch"]) > LAST:
                continue
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        yield row


def _opened(path: Path) -> Any:
    """The file to read and write, made where there is none."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
