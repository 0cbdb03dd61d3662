"""From the columns of a table to the numbers a network takes, and back: learnt on the training part, kept as JSON.

Numbers are brought to mean 0 and standard deviation 1, and smoothly held within +-CLIP, so that a rare large value does
not rule its layer. An empty cell becomes the mean, beside a column that says "was empty". Text is one-hot: a column for
each common value, one for the empty cell, and one for all other values where the training part has rare ones.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Self

import numpy as np

from handgrad.cli.data.summaries import Summary
from handgrad.cli.data.tables import TRUTH, Column, Table, check_finite, is_number, not_a_number
from handgrad.cli.faults import InputError
from handgrad.formats import FormatError

CLIP = 3.0  # standard deviations
HUGE = 1e15  # standard deviations: as good as infinite, and with a square that float32 holds
LARGE = 1e300  # beyond, the difference of two numbers may overflow
MOST_LEVELS = 50  # of a text column; rarer values share one column
FAR_DAYS = 1e8  # from 1970: the times that microseconds in 64 bits can say
TILE = 4096  # rows that are encoded at once: their features stay in the processor's cache


@dataclass(frozen=True)
class Number:
    """A column of numbers, truth values or times, as one feature, and a second one where cells were empty."""

    name: str
    kind: str
    mean: float
    std: float
    flags_missing: bool

    @classmethod
    def learn(cls, summary: Summary) -> Self | None:
        """None where all values are equal and none is missing, so that there is nothing to learn from."""
        moments, empty = summary.moments, summary.train_missing > 0
        if moments.constant and (not moments.count or not empty):
            return None
        return cls(summary.name, summary.kind, moments.mean, 1.0 if moments.constant else moments.std, empty)

    @property
    def width(self) -> int:
        return 2 if self.flags_missing else 1

    def encode(self, column: Column, rows: np.ndarray | slice, out: np.ndarray) -> None:
        """Into (width, rows), some rows of a column that is `fitting`, not yet `_held`."""
        z, scale = column.values[rows].astype(np.float64), 1.0
        if max(abs(self.mean), self.std) > LARGE:
            scale = 0.5
            z *= scale
        z -= scale * self.mean
        z /= scale * self.std
        out[0] = z
        if column.has_gaps:
            out[0, column.missing[rows]] = 0.0
        if self.flags_missing:
            out[1] = column.missing[rows]

    def raw(self, column: Column) -> np.ndarray:
        """(rows,): numbers, or datetime64 for times, and NaN or NaT where empty. Raises as encode does."""
        column = self.fitting(column)
        values = column.values.astype(float)
        if self.kind == "time":
            micro = np.rint(np.clip(values, -FAR_DAYS, FAR_DAYS) * 86400e6).astype(np.int64)
            return np.where(column.missing, np.datetime64("NaT"), micro.astype("datetime64[us]"))
        return np.where(column.missing, np.nan, values)

    def fitting(self, column: Column) -> Column:
        """The column, where it holds numbers as in training. Raises InputError for text, and for NaN or infinity."""
        if column.kind == "text" and column.missing.all():  # a column of empty cells is text to the reader
            return Column(column.name, "number", np.zeros(len(column.values)), column.missing)
        if column.kind in ("text", "other"):
            row = not_a_number(column)[1] if column.kind == "text" else 0
            if self.kind == "boolean" and column.kind == "text":
                cells = zip(column.values, column.missing, strict=True)
                wrong = (place for place, (cell, gone) in enumerate(cells) if not gone and cell.casefold() not in TRUTH)
                row = next(wrong, row)
            raise InputError(
                f"column {column.name!r} holds {column.values[row]!r} in {column.at(row)}, "
                f"and the model learnt it as {_PLURAL[self.kind]}; correct the cell, or leave it empty"
            )
        if (column.kind == "time") != (self.kind == "time"):
            raise InputError(
                f"column {column.name!r} holds {_PLURAL[column.kind]}, and the model learnt it as {_PLURAL[self.kind]}"
            )
        check_finite(column)
        return column


@dataclass(frozen=True)
class Category:
    """A column of text, one-hot: `levels`, the empty cell, all other values; the last two where training had them."""

    name: str
    levels: tuple[str, ...]
    has_empty: bool
    has_other: bool

    @classmethod
    def learn(cls, summary: Summary) -> Self | None:
        """None where all cells are alike. Levels are the most frequent ones, in the order of their names."""
        counts, empty = summary.train.counts, summary.train_missing > 0
        if len(counts) + empty < 2:
            return None
        levels = sorted(sorted(counts, key=lambda level: (-counts[level], level))[:MOST_LEVELS])
        return cls(summary.name, tuple(levels), empty, len(counts) > MOST_LEVELS)

    @property
    def width(self) -> int:
        return len(self.levels) + self.has_empty + self.has_other

    def fitting(self, column: Column) -> Column:
        """The column, whatever it holds."""
        return column

    def encode(self, column: Column, rows: np.ndarray | slice, out: np.ndarray) -> None:
        """Into (width, rows), some rows; a value not among the levels is "other", and all zeros where training had no
        others."""
        place = self._places(column.slice(rows.start, rows.stop) if isinstance(rows, slice) else column.take(rows))
        out[:] = 0.0
        known = np.flatnonzero(place >= 0)
        out[place[known], known] = 1.0

    def raw(self, column: Column) -> np.ndarray:
        """(rows,) objects: the text of each cell, None where it is empty."""
        texts = column.texts().astype(object)  # a copy
        texts[column.missing] = None
        return texts

    def unseen(self, column: Column, levels: Collection[object] | None = None) -> Counter[str]:
        """The cells that hold a value that is not among `levels`, by default the column's own, by their values."""
        levels = set(self.levels) if levels is None else levels
        return Counter({text: many for text, many in column.counts().items() if text not in levels})

    def _places(self, column: Column) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        levels = pa.array(self.levels, pa.large_string())
        found = pc.index_in(column.strings().cast(pa.large_string()), value_set=levels)
        place = found.fill_null(-1).to_numpy(zero_copy_only=False)
        if self.has_other:
            place = np.where(place < 0, len(self.levels) + self.has_empty, place)
        if column.missing.any():
            place = np.where(column.missing, len(self.levels) if self.has_empty else -1, place)
        return place


_PLURAL = {
    "integer": "numbers",
    "number": "numbers",
    "boolean": "truth values",
    "time": "dates or times",
    "text": "text",
    "other": "lists or records",
}


@dataclass
class Unlike:
    """Rows to predict, and how many cells among them training had none of, by column: unseen values, with an example of
    each column's, and empty cells."""

    rows: int
    values: Counter[str]
    examples: dict[str, str]
    empty: Counter[str]

    def add(self, more: Unlike) -> None:
        """Take more rows in."""
        self.rows += more.rows
        self.empty.update(more.empty)
        self.values.update(more.values)
        self.examples = more.examples | self.examples


@dataclass(frozen=True)
class Features:
    """The encoders of all columns that are used, in the order of the features."""

    columns: tuple[Number | Category, ...]

    @classmethod
    def learn(cls, table: Table, train: np.ndarray) -> tuple[Self, list[str]]:
        """The encoders, learnt from the rows `train`, and notes on columns left out. The target is not in `table`.

        Raises InputError where no column is left, or a column of numbers holds NaN or infinity.
        """
        summaries = []
        for column in table.columns.values():
            summaries.append(summary_of(column))
            summaries[-1].add(column, train)
        return cls.of(summaries, table.source)

    @classmethod
    def of(cls, summaries: Iterable[Summary], source: str) -> tuple[Self, list[str]]:
        """The encoders of columns that were summed up, and notes on those left out. Raises as `learn` does."""
        encoders: list[Number | Category] = []
        constant, naming, counting, other, notes = [], [], [], [], []
        for summary in summaries:
            if summary.kind == "other":
                other.append(summary.name)
            elif summary.names_rows:
                naming.append(summary.name)
            elif summary.counts_rows:
                counting.append(summary.name)
            else:
                kind: type[Number | Category] = Category if summary.kind == "text" else Number
                encoder = kind.learn(summary)
                if encoder is None:
                    constant.append(summary.name)
                else:
                    encoders.append(encoder)
                    notes += _looks_numeric(summary)
        left_out = [
            (constant, "one value in the training part"),
            (naming, "text that names rows"),
            (counting, "it numbers the rows"),
        ]
        for names, why in (*left_out, (other, "lists or records")):
            if names:
                notes.append(f"left out, {why}: {', '.join(names[:8])}" + (", ..." if len(names) > 8 else ""))
        if not encoders:
            raise InputError(
                f"no column of {source} is left to learn from"
                + (f": {'; '.join(notes)}" if notes else "; it has the target alone")
            )
        return cls(tuple(encoders)), notes

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def width(self) -> int:
        """The number of features."""
        return sum(column.width for column in self.columns)

    def encode(self, table: Table, dtype: np.dtype[Any] | type, chosen: np.ndarray | None = None) -> np.ndarray:
        """(rows, width), of the rows `chosen` alone where that is given. Raises InputError for a column that is not
        there or holds something else than it did."""
        self._need(table)
        out = np.empty((table.rows if chosen is None else len(chosen), self.width), dtype)
        columns = [encoder.fitting(table.columns[encoder.name]) for encoder in self.columns]
        ends = np.cumsum([0, *(encoder.width for encoder in self.columns)]).tolist()
        numbers = _runs([end for encoder, end in zip(self.columns, ends, strict=False) if isinstance(encoder, Number)])
        parts = list(zip(self.columns, columns, pairwise(ends), strict=True))
        with np.errstate(over="ignore"):  # what is beyond all bounds is held
            for start in range(0, len(out), TILE):
                tile = slice(start, min(start + TILE, len(out)))
                rows = tile if chosen is None else chosen[tile]
                turned = np.empty((self.width, tile.stop - start), dtype)  # a column in one piece
                for encoder, column, (left, right) in parts:
                    encoder.encode(column, rows, turned[left:right])
                for run in numbers:
                    _held(turned[run])
                out[tile] = turned.T
        return out

    def raw(self, table: Table) -> dict[str, np.ndarray]:
        """The columns in use as they are, for a model that encodes them itself. Raises as encode does."""
        self._need(table)
        return {column.name: column.raw(table.columns[column.name]) for column in self.columns}

    def _need(self, table: Table) -> None:
        missing = [name for name in self.names if name not in table.columns]
        if missing:
            raise InputError(
                f"{table.source} lacks {len(missing)} of the {len(self.names)} columns the model needs: "
                f"{', '.join(missing[:12])}" + (", ..." if len(missing) > 12 else "")
            )

    def unlike(self, table: Table, levels: Mapping[str, Collection[object]] | None = None) -> Unlike:
        """What is unlike the training part in rows to predict: values and empty cells that it did not have.

        levels: the values that columns of text had, by their names, where the model knows more of them.
        """
        values, examples, empty = Counter[str](), dict[str, str](), Counter[str]()
        for encoder in self.columns:
            column = table.columns[encoder.name]
            if isinstance(encoder, Category):
                if unseen := encoder.unseen(column, (levels or {}).get(encoder.name)):
                    values[encoder.name], examples[encoder.name] = unseen.total(), next(iter(unseen))
                flagged = encoder.has_empty
            else:
                flagged = encoder.flags_missing
            if not flagged and (count := int(column.missing.sum())):
                empty[encoder.name] = count
        return Unlike(table.rows, values, examples, empty)

    def notes(self, unlike: Unlike, gap: str = "the mean") -> list[str]:
        """That in words. gap: what an empty cell among numbers is taken as."""
        notes = []
        for encoder in self.columns:
            name, text = encoder.name, isinstance(encoder, Category)
            if count := unlike.values[name]:
                shown = f", such as {unlike.examples[name]!r}"
                notes.append(f"{name}: {count} of {unlike.rows} cells hold a value not seen in training{shown}")
            if count := unlike.empty[name]:
                notes.append(
                    f"{name}: {count} of {unlike.rows} cells are empty, none was in training; "
                    f"taken as {'no category' if text else gap}"
                )
        return notes

    def to_json(self) -> list[dict[str, Any]]:
        return [{"type": type(column).__name__, **asdict(column)} for column in self.columns]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        kinds: Mapping[str, Any] = {"Number": Number, "Category": Category}
        try:
            columns = []
            for entry in data:
                kind = kinds[entry["type"]]
                given = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items() if name != "type"}
                for field in fields(kind):
                    if not _PLAIN[field.type](given[field.name]):
                        raise TypeError(f"{field.name} must be {field.type}, got {given[field.name]!r:.60}")
                if given.get("kind", "text") not in _PLURAL:
                    raise KeyError(given["kind"])
                columns.append(kind(**given))
            return cls(tuple(columns))
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"the model's preprocessing can't be read: {error!r:.200}") from None


# what a field of that type is in JSON
_PLAIN: dict[Any, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "float": lambda value: type(value) in (int, float) and math.isfinite(value),
    "tuple[str, ...]": lambda value: isinstance(value, tuple) and all(isinstance(each, str) for each in value),
}


def _runs(places: Sequence[int]) -> list[slice]:
    """Ascending places as slices of those that follow one another."""
    cuts = [0, *(i for i in range(1, len(places)) if places[i] != places[i - 1] + 1), len(places)]
    return [slice(places[a], places[b - 1] + 1) for a, b in pairwise(cuts) if b > a]


def _held(z: np.ndarray) -> None:
    """Smoothly within +-CLIP, in place: z / sqrt(1 + (z / CLIP)^2)."""
    np.minimum(np.maximum(z, -HUGE, out=z), HUGE, out=z)
    bend = z * z
    bend *= CLIP**-2
    bend += 1
    z /= np.sqrt(bend, out=bend)


def summary_of(column: Column) -> Summary:
    """An empty summary of a column that is to be a feature."""
    way_out = f"write it as an empty cell, or leave the column out with --ignore {shlex.quote(column.name)}"
    return Summary(column, way_out)


def _looks_numeric(summary: Summary) -> list[str]:
    """A note where a text column holds numbers but for a few cells: likely a mark for "unknown"."""
    odd = {text: count for text, count in summary.texts.counts.items() if not is_number(text)}
    count = sum(odd.values())
    if not 0 < count <= 0.1 * summary.texts.cells:
        return []
    return [
        f"{summary.name} is taken as text: {count} of its cells {'is' if count == 1 else 'are'} no number, "
        f"such as {next(iter(odd))!r}"
    ]
