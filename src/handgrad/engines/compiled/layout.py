"""How matrices lie in memory.

A matrix of samples, (m, n), lies in panels of P columns: panel q holds the columns from q P on as (m, P), one panel
after the other. The last one may have room to spare. A weight, (k, n), lies in panels too, panel q as (k, w), w being
its own number of columns, so that it takes k n numbers and no more. Where there are no vectors, each is one panel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.vectors import LINE, Vectors


@dataclass(frozen=True)
class Layout:
    """The layout for a dtype and a kind of vector."""

    real: Any
    kind: Vectors

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.real).itemsize

    @property
    def panel(self) -> int:
        """Columns of a panel; 0 where a matrix is one."""
        return self.kind.panel(self.real)

    def samples(self, m: int, n: int) -> int:
        """Numbers that m samples of n features take."""
        return m * (-(-n // self.panel) * self.panel if self.panel else n)

    def blocks(self, k: int, n: int) -> int:
        """How many blocks a weight (k, n) has, each as high as a panel and as wide, or as those that go abreast."""
        return -(-k // self.panel) * -(-n // (self.panel * self.kind.abreast)) if self.panel else 1

    def panels(self, k: int, n: int) -> Iterator[tuple[int, int, int]]:
        """(first column, columns, place of its first number) for each panel of a weight."""
        width = self.panel or n
        for j in range(0, n, width):
            yield j, min(width, n - j), j * k

    def pack(self, weight: np.ndarray, target: np.ndarray) -> None:
        """The weight (k, n) into its panels; target: k n numbers."""
        k, n = weight.shape
        for j, w, place in self.panels(k, n):
            target[place : place + k * w].reshape(k, w)[...] = weight[:, j : j + w]

    def unpack(self, source: np.ndarray, weight: np.ndarray) -> None:
        """The inverse of `pack`: into the weight (k, n)."""
        k, n = weight.shape
        for j, w, place in self.panels(k, n):
            weight[:, j : j + w] = source[place : place + k * w].reshape(k, w)


def place(buffers: Mapping[int, tuple[int, int, int]], guard: int = 0) -> tuple[dict[int, int], int]:
    """Where each buffer begins, and the bytes that all take: those that are not in use at once share their room.

    buffers: (bytes, first, last) of each, first and last instruction that it is used by. guard: bytes to leave free
    before and after each; with it none share, so that a write to where it should not be is seen.
    """
    placed: list[tuple[int, int, int, int]] = []  # (begin, end, first, last)
    offsets: dict[int, int] = {}
    for name, (count, first, last) in sorted(buffers.items(), key=lambda item: -item[1][0]):
        count = -(-count // LINE) * LINE
        begin = guard
        for other_begin, other_end, other_first, other_last in sorted(placed):
            at_once = guard or (first <= other_last and other_first <= last)
            if at_once and begin < other_end + guard and other_begin < begin + count + guard:
                begin = other_end + guard
        placed.append((begin, begin + count, first, last))
        offsets[name] = begin
    return offsets, max((end for _, end, _, _ in placed), default=0) + guard


def one_after_other(buffers: Mapping[int, tuple[int, int, int]], until: int) -> dict[int, int]:
    """For each buffer the one whose room it takes: another of its size that is done with before it begins, or itself.

    buffers: as for `place`. For those whose last instruction is before `until`, where threads are at different ones: a
    thread reads and writes its own samples alone, which lie at the same place in all matrices of one size. Where an
    instruction does not keep to that (see `program.COLUMNWISE`), all threads wait for one another before and after it,
    or what it writes is in use beyond `until`.
    """
    owners: dict[int, int] = {}
    free: dict[int, dict[int, int]] = {}  # size -> owner -> its last instruction
    for name, (count, first, last) in sorted(buffers.items(), key=lambda item: item[1][1]):
        ends = free.setdefault(count, {})
        owner = next((other for other, end in ends.items() if end < first), name) if last < until else name
        owners[name] = owner
        if last < until:
            ends[owner] = last
    return owners
