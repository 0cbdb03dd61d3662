"""What there is to know of a column before its encoder is chosen, added up block by block: a table larger than memory
is learnt from in one pass, and a small one is a single block."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from handgrad.cli.data.tables import Column, check_finite

MOST_VALUES = 300_000  # different texts of a column that are counted one by one
MOST_LETTERS = 50_000_000  # that these have in all
MOSTLY_UNIQUE = 0.9  # a text column with more different values than this share of its cells names its rows
FEW_ROWS = 20  # below, a column that counts 1, 2, 3, ... may well be a measurement


class Moments:
    """Count, mean, standard deviation and range of numbers, without overflow for any finite ones.

    Parts are joined as Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", have it.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.std = 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, values: np.ndarray) -> None:
        """Take more numbers in. Those that are not finite leave `low` or `high` not finite."""
        if not len(values):
            return
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        if not math.isfinite(self.low) or not math.isfinite(self.high):
            self.low = math.nan
            return
        largest = max(-self.low, self.high)
        scale = largest if largest > 1e100 else 1.0
        values = values / scale if scale != 1.0 else values.astype(np.float64)
        mean = float(values.mean())
        values -= mean
        values *= values  # not np.dot, whose threads would only wait for one another
        self._join(len(values), mean * scale, math.sqrt(float(values.mean())) * scale)

    def _join(self, count: int, mean: float, std: float) -> None:
        total = self.count + count
        own, new = self.count / total, count / total
        apart = 2 * math.sqrt(own * new) * (mean / 2 - self.mean / 2)  # halves, whose difference is finite
        self.std = math.hypot(math.sqrt(own) * self.std, math.sqrt(new) * std, apart)
        self.mean = own * self.mean + new * mean
        self.count = total

    @property
    def largest(self) -> float:
        """The largest absolute value, 0 of none."""
        return max(-self.low, self.high) if self.count else 0.0

    @property
    def constant(self) -> bool:
        """Whether all numbers are equal, to rounding."""
        return not self.std > 1e-12 * max(1.0, self.largest)


class Texts:
    """How often each text comes. Of more different ones than MOST_VALUES, or with more letters than MOST_LETTERS, the
    rarest are forgotten; the others' counts are then lower bounds."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.cells = self._letters = 0
        self.forgot = self.unique = False

    def add(self, counts: Counter[str]) -> None:
        """Take more texts in."""
        if self.unique:
            return
        self._letters += sum(len(text) for text in counts if text not in self.counts)
        self.counts.update(counts)
        self.cells += counts.total()
        if len(self.counts) > MOST_VALUES or self._letters > MOST_LETTERS:
            self.unique = not self.forgot and len(self.counts) > MOSTLY_UNIQUE * self.cells
            self._forget()

    def _forget(self) -> None:
        """All but the most frequent ones, of half as many as there may be, and with half as many letters."""
        kept, letters = Counter[str](), 0
        for text in sorted(self.counts, key=lambda text: (-self.counts[text], text))[: MOST_VALUES // 2]:
            letters += len(text)
            if kept and letters > MOST_LETTERS // 2:
                break
            kept[text] = self.counts[text]
        self.counts, self.forgot, self._letters = kept, True, sum(map(len, kept))


class Summary:
    """One column. `train` is of the rows to train on, `texts` of all; `moments` are of those to train on.

    check: what to do about a number that is not finite, for the error on it.
    """

    def __init__(self, column: Column, way_out: str):
        self.name, self.kind, self._way_out = column.name, column.kind, way_out
        self.rows = self.missing = 0
        self.train_missing = 0
        self.moments = Moments()
        self.texts, self.train = Texts(), Texts()
        self.counting = self.kind == "integer"
        self._last: int | None = None

    def add(self, column: Column, train: np.ndarray) -> None:
        """Take a block of rows in; train: the places of those to train on, in order."""
        if not len(column):
            return
        self.rows += len(column)
        some_missing = bool(column.missing.any())
        if some_missing:
            self.missing += int(column.missing.sum())
            self.train_missing += int(column.missing[train].sum())
        if self.kind == "other":
            return
        if self.kind == "text":
            self._add_texts(column, train)
            return
        check_finite(column, self._way_out)
        values = column.values if len(train) == len(column) else column.values[train]
        self.moments.add(values[~column.missing[train]] if some_missing else values)
        if self.counting:
            whole = column.values.astype(np.int64)
            goes_on = self._last is None or int(whole[0]) == self._last + 1
            self.counting = goes_on and not some_missing and bool(np.all(np.diff(whole) == 1))
            self._last = int(whole[-1])

    def _add_texts(self, column: Column, train: np.ndarray) -> None:
        counts = column.counts()
        self.texts.add(counts)
        if len(train) < len(column):
            counts = column.take(train).counts()
        self.train.add(counts)

    @property
    def names_rows(self) -> bool:
        """Whether a text column has a value of its own for nearly every row, as an id or a name does."""
        cells = self.texts.cells
        return self.texts.unique or (
            self.kind == "text" and cells > 1 and len(self.texts.counts) > MOSTLY_UNIQUE * cells
        )

    @property
    def counts_rows(self) -> bool:
        """Whether a column is k, k + 1, k + 2, ...: the number of the row, which would tell a sorted table's target."""
        return self.counting and self.rows >= FEW_ROWS
