"""From a table to the inputs of a network: robust scaling, piecewise-linear bins, one-hot levels, target statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from handgrad.estimators.tabular.columns import Table

RARE = 3  # rows below which a level of a column with many is grouped with the other rare ones
MOST_LEVELS = 128  # that get an input of their own, the most frequent ones
MANY_LEVELS = 16  # from which a column also gets the mean of the target at each level
FOLDS = 5  # for that mean, which no row's own target may be part of
PRIOR = 10.0  # rows that the overall mean counts as beside those of a level
ROWS = 4096  # encoded at a time
HELD = -1  # the fold of rows that are no part of any other's mean
FAR = 1e9  # quartile distances from the median: beyond, smooth clipping changes nothing


@dataclass(frozen=True)
class Numbers:
    """Numeric columns: smooth(scale (x - median)), an indicator where any was missing, and the bins.

    scale: 1 over the distance of the quartiles, or, where they are equal, 2 over that of the extremes; smooth(z) =
    z / sqrt(1 + (z / 3)²) keeps outliers within ±3. Holzmüller et al., 2024, "Better by default", section 3.
    A bin from a to b is clip((x - a) / (b - a), 0, 1), for edges at quantiles. Gorishniy et al., 2022, "On embeddings
    for numerical features in tabular deep learning", section 3.2. What is missing is taken as the median.
    """

    median: np.ndarray  # (d,), of all columns
    scale: np.ndarray
    plain: np.ndarray  # indices of the columns that vary
    absent: np.ndarray  # indices of those with an indicator
    source: np.ndarray  # of each bin, the column it is of
    low: np.ndarray
    inverse: np.ndarray  # 1 / (b - a)

    @property
    def width(self) -> int:
        """Inputs that the columns become."""
        return len(self.plain) + len(self.absent) + len(self.source)

    @classmethod
    def of(cls, x: np.ndarray, bins: int) -> Numbers:
        """Fitted to x (m, d), NaN where missing. bins: of a column at most; below 2 for none."""
        d = x.shape[1]
        median, scale, varies, gaps = np.zeros(d), np.zeros(d), np.zeros(d, bool), np.zeros(d, bool)
        source, low, inverse = [], [], []
        for j in range(d):
            missing = np.isnan(x[:, j])
            gaps[j] = missing.any() and not missing.all()
            present = np.sort(x[~missing, j])
            if not len(present) or present[0] == present[-1]:
                median[j] = present[0] if len(present) else 0.0
                continue
            varies[j] = True
            first, median[j], third = np.quantile(present, [0.25, 0.5, 0.75])
            scale[j] = _over(1, third - first) if third > first else _over(2, present[-1] - present[0])
            edges = _edges(present, bins)
            for a, b in pairwise(edges):
                source.append(j)
                low.append(a)
                inverse.append(_over(1, b - a))
        return cls(
            median,
            scale,
            np.flatnonzero(varies),
            np.flatnonzero(gaps),
            np.array(source, np.int64),
            np.array(low, float),
            np.array(inverse, float),
        )

    def encode(self, x: np.ndarray, out: np.ndarray) -> None:
        """Write the inputs of x (m, d) to out (m, width)."""
        missing = np.isnan(x)
        if missing.any():
            x = np.where(missing, self.median, x)
        n, k = len(self.plain), len(self.plain) + len(self.absent)
        with np.errstate(over="ignore"):  # what is infinitely far is clipped as well
            z = np.clip((x[:, self.plain] - self.median[self.plain]) * self.scale[self.plain], -FAR, FAR)
            bins = x[:, self.source]
            bins -= self.low
            bins *= self.inverse
        out[:, :n] = z / np.sqrt(1 + (z / 3) ** 2)
        out[:, n:k] = missing[:, self.absent]
        np.clip(bins, 0.0, 1.0, out=out[:, k:], casting="unsafe")


def _over(numerator: float, distance: float) -> float:
    """numerator / distance, finite for the least distance too."""
    return numerator / max(float(distance), 1e-300)


def _edges(present: np.ndarray, bins: int) -> np.ndarray:
    """The edges of at most that many bins of sorted numbers: their quantiles, or, of few, each number itself."""
    if bins < 2:
        return present[:0]
    distinct = np.unique(present)
    if len(distinct) <= bins + 1:
        return distinct if len(distinct) > 2 else present[:0]
    return np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)))


@dataclass(frozen=True)
class Levels:
    """A category column: its level's own input, and where there are many levels the mean of the target at each.

    codes: level -> its number, from 1; 0 is what was never seen. rows: number -> row of `inputs`; row 0 is all zeros.
    Two levels share one input, -1 and 1; rare ones, where there are many, share one too. means: (1 + levels, k).
    """

    codes: dict[Hashable, int]
    rows: np.ndarray
    inputs: np.ndarray
    means: np.ndarray

    @property
    def width(self) -> int:
        """Inputs that the column becomes."""
        return self.inputs.shape[1] + self.means.shape[1]

    @classmethod
    def of(cls, keys: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Levels:
        """Fitted to keys (m,), with the target (m, k) for the means, weighed."""
        counts = Counter(keys.tolist())
        levels = [level for level, _ in counts.most_common()]
        many = len(levels) > MANY_LEVELS
        own = sum(counts[level] >= RARE for level in levels[:MOST_LEVELS]) if many else len(levels)
        width = own + (own < len(levels))  # the last input is that of all the rare ones
        one_hot = np.array([[-1.0], [1.0]]) if width == 2 else np.eye(width)[:, : width * (width > 1)]
        inputs = np.vstack([np.zeros(one_hot.shape[1]), one_hot])
        codes = {level: i + 1 for i, level in enumerate(levels)}
        rows = np.minimum(np.arange(1 + len(levels)), width)
        index = np.fromiter((codes[key] for key in keys.tolist()), np.int64, len(keys))
        means = _means(index, target[:, : target.shape[1] * many], weight, len(levels))
        return cls(codes, rows, inputs, means)

    def encode(self, keys: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Write the inputs of keys (m,) to out (m, width); returns the number of each one's level."""
        index = np.fromiter((self.codes.get(key, 0) for key in keys.tolist()), np.int64, len(keys))
        own = self.inputs.shape[1]
        out[:, :own] = self.inputs[self.rows[index]]
        out[:, own:] = self.means[index]
        return index

    def encode_fitted(
        self, keys: np.ndarray, target: np.ndarray, weight: np.ndarray, folds: np.ndarray, out: np.ndarray
    ) -> None:
        """As encode, for the very rows it was fitted to: each row's means are those of the folds that it is not in,
        without those in the fold HELD."""
        index = self.encode(keys, out)
        own = self.inputs.shape[1]
        if own == self.width:
            return
        for fold in np.unique(folds):
            held, rest = folds == fold, (folds != fold) & (folds != HELD)
            means = _means(index[rest], target[rest], weight[rest], len(self.codes))
            out[held, own:] = means[index[held]]


def _means(index: np.ndarray, target: np.ndarray, weight: np.ndarray, levels: int) -> np.ndarray:
    """(1 + levels, k): the overall mean of the target, then each level's, drawn to it by PRIOR rows. Micci-Barreca,
    2001, "A preprocessing scheme for high-cardinality categorical attributes in classification"."""
    overall = np.average(target, axis=0, weights=weight)
    means = np.tile(overall, (1 + levels, 1))
    prior = PRIOR * weight.mean()
    total = np.bincount(index, weight, 1 + levels) + prior
    for j, column in enumerate(target.T):
        means[:, j] = (np.bincount(index, weight * column, 1 + levels) + prior * overall[j]) / total
    return means


@dataclass(frozen=True)
class Encoder:
    """All columns of a table to the inputs of a network, (m, width) in float32."""

    numbers: Numbers
    levels: tuple[Levels, ...]

    @property
    def width(self) -> int:
        """Inputs of the network; one, that is always 0, where nothing varies."""
        return max(1, self.numbers.width + sum(levels.width for levels in self.levels))

    @classmethod
    def of(cls, table: Table, target: np.ndarray, weight: np.ndarray, bins: int) -> Encoder:
        """Fitted to a table. target (m, k): what levels are given the mean of. bins: of a number at most."""
        return cls(Numbers.of(table.numbers, bins), tuple(Levels.of(keys, target, weight) for keys in table.categories))

    def encode(self, table: Table) -> np.ndarray:
        """The inputs of each row."""
        out = np.zeros((len(table), self.width), np.float32)
        self._encode_numbers(table, out)
        for levels, keys, part in self._parts(table, out):
            levels.encode(keys, part)
        return out

    def encode_fitted(
        self, x: np.ndarray, table: Table, target: np.ndarray, weight: np.ndarray, folds: np.ndarray
    ) -> np.ndarray:
        """x, what `encode` gave of the rows it was fitted to, but for means of the target: each row's leave out its
        own fold and the fold HELD. A copy, or x itself where there are no means."""
        if not any(levels.means.shape[1] for levels in self.levels):
            return x
        out = x.copy()
        for levels, keys, part in self._parts(table, out):
            levels.encode_fitted(keys, target, weight, folds, part)
        return out

    def _encode_numbers(self, table: Table, out: np.ndarray) -> None:
        for start in range(0, len(table), ROWS):
            part = slice(start, start + ROWS)
            self.numbers.encode(table.numbers[part], out[part, : self.numbers.width])

    def _parts(self, table: Table, out: np.ndarray) -> list[tuple[Levels, np.ndarray, np.ndarray]]:
        parts, start = [], self.numbers.width
        for levels, keys in zip(self.levels, table.categories, strict=True):
            parts.append((levels, keys, out[:, start : start + levels.width]))
            start += levels.width
        return parts
