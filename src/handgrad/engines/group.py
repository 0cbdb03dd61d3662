"""Processes that train one model together: what an engine and a training ask of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """A process's rows [begin, end) of those it holds of a batch, `whole` rows in all, `before` of them at others."""

    begin: int
    end: int
    whole: int
    before: int

    def __len__(self) -> int:
        return self.end - self.begin


class Group(Protocol):
    """A process among `size` of them, its number `rank` from 0. All methods but `share` are collective.

    apart: whether each holds other rows, whole batches of its own, all of one length; else each holds all rows, and
    does its share of every batch.
    """

    rank: int
    size: int
    apart: bool

    def sum(self, vector: np.ndarray) -> None:
        """Put the sum over all processes in the vector's place, the same bits everywhere."""

    def first(self, make: Callable[[], T]) -> T:
        """What the first process makes, told to all; what it raises is raised by all."""

    def gather(self, value: Any) -> list[Any]:
        """The value of each process, in the order of their ranks."""


class Alone:
    """A process on its own."""

    rank, size, apart = 0, 1, False

    def sum(self, vector: np.ndarray) -> None:
        pass

    def first(self, make: Callable[[], T]) -> T:
        return make()

    def gather(self, value: Any) -> list[Any]:
        return [value]


def share(group: Group, rows: int) -> Share:
    """The share of a batch, of which this process holds so many rows. The first process never goes without."""
    if group.apart:
        return Share(0, rows, rows * group.size, rows * group.rank)
    begin, end = (-(-rows * r // group.size) for r in (group.rank, group.rank + 1))
    return Share(begin, end, rows, begin)


def of_all(group: Group, rows: int) -> int:
    """How many rows all processes have, where this one has so many of a batch or of an epoch."""
    return rows * group.size if group.apart else rows


ALONE = Alone()
_current: ContextVar[Group] = ContextVar("group", default=ALONE)


def current_group() -> Group:
    """The group that trainings of this context are done by."""
    return _current.get()


@contextmanager
def joined(group: Group) -> Iterator[None]:
    """Within it, trainings are done together with the others of the group, each of which does the same."""
    token = _current.set(group)
    try:
        yield
    finally:
        _current.reset(token)
