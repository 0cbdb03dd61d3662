"""From the columns of a table to the numbers a network takes, and back: learnt on the training part, kept as JSON.

Numbers are brought to mean 0 and standard deviation 1, and smoothly held within +-CLIP, so that a rare large value does
not rule its layer. An empty cell becomes the mean, beside a column that says "was empty". Text is one-hot: a column for
each common value, one for the empty cell, and one for all other values where the training part has rare ones.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from handgrad.cli.faults import InputError
from handgrad.cli.tables import TRUTH, Column, Table, check_finite, not_a_number
from handgrad.formats import FormatError

CLIP = 3.0  # standard deviations
HUGE = 1e150  # standard deviations: as good as infinite
MOST_LEVELS = 50  # of a text column; rarer values share one column
MOSTLY_UNIQUE = 0.9  # a text column with more different values than this share of its cells names its rows
FAR_DAYS = 1e8  # from 1970: the times that microseconds in 64 bits can say
FEW_ROWS = 20  # below, a column that counts 1, 2, 3, ... may well be a measurement


def moments(values: np.ndarray) -> tuple[float, float]:
    """(mean, standard deviation), without overflow for any finite numbers."""
    biggest = float(np.abs(values).max())
    scale = biggest if biggest > 1e100 else 1.0
    return float((values / scale).mean()) * scale, float((values / scale).std()) * scale


@dataclass(frozen=True)
class Number:
    """A column of numbers, truth values or times, as one feature, and a second one where cells were empty."""

    name: str
    kind: str
    mean: float
    std: float
    flags_missing: bool

    @classmethod
    def learn(cls, column: Column) -> Self | None:
        """None where all values are equal and none is missing, so that there is nothing to learn from."""
        present = column.present.astype(float)
        mean, std = moments(present) if len(present) else (0.0, 0.0)
        constant = not std > 1e-12 * max(1.0, float(np.abs(present).max(initial=0.0)))
        if constant and (len(present) == 0 or not column.missing.any()):
            return None
        return cls(column.name, column.kind, mean, 1.0 if constant else std, bool(column.missing.any()))

    @property
    def width(self) -> int:
        return 2 if self.flags_missing else 1

    def encode(self, column: Column) -> np.ndarray:
        """(rows, width). Raises InputError for text, and for NaN or infinity."""
        column = self._numeric(column)
        values = np.where(column.missing, self.mean, column.values.astype(float))
        with np.errstate(over="ignore"):  # halves, whose difference is finite; what is beyond is held at the bound
            z = np.clip((values / 2 - self.mean / 2) / (self.std / 2), -HUGE, HUGE)
        z /= np.hypot(1, z / CLIP)
        return np.stack([z, column.missing], axis=1) if self.flags_missing else z[:, None]

    def raw(self, column: Column) -> np.ndarray:
        """(rows,): numbers, or datetime64 for times, and NaN or NaT where empty. Raises as encode does."""
        column = self._numeric(column)
        values = column.values.astype(float)
        if self.kind == "time":
            micro = np.rint(np.clip(values, -FAR_DAYS, FAR_DAYS) * 86400e6).astype(np.int64)
            return np.where(column.missing, np.datetime64("NaT"), micro.astype("datetime64[us]"))
        return np.where(column.missing, np.nan, values)

    def _numeric(self, column: Column) -> Column:
        """The column, where it holds what it did in training."""
        if column.kind == "text" and column.missing.all():  # a column of empty cells is text to the reader
            return Column(column.name, "number", np.zeros(len(column.values)), column.missing)
        if column.kind in ("text", "other"):
            row = not_a_number(column)[1] if column.kind == "text" else 0
            if self.kind == "boolean" and column.kind == "text":
                cells = zip(column.values, column.missing, strict=True)
                wrong = (place for place, (cell, gone) in enumerate(cells) if not gone and cell.casefold() not in TRUTH)
                row = next(wrong, row)
            raise InputError(
                f"column {column.name!r} holds {column.values[row]!r} in row {row + 1} (the first below the header is "
                f"1), and the model learnt it as {_PLURAL[self.kind]}; correct the cell, or leave it empty"
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
    def learn(cls, column: Column) -> Self | None:
        """None where all cells are alike. Levels are the most frequent ones, in the order of their names."""
        counts = Counter(column.present.tolist())
        if len(counts) + bool(column.missing.any()) < 2:
            return None
        levels = sorted(sorted(counts, key=lambda level: (-counts[level], level))[:MOST_LEVELS])
        return cls(column.name, tuple(levels), bool(column.missing.any()), len(counts) > MOST_LEVELS)

    @property
    def width(self) -> int:
        return len(self.levels) + self.has_empty + self.has_other

    def encode(self, column: Column) -> np.ndarray:
        """(rows, width); a value not among the levels is "other", and all zeros where training had no others."""
        place = self._places(column)
        return (place[:, None] == np.arange(self.width)).astype(float)

    def raw(self, column: Column) -> np.ndarray:
        """(rows,) objects: the text of each cell, None where it is empty."""
        texts = column.texts().astype(object)  # a copy
        texts[column.missing] = None
        return texts

    def unseen(self, column: Column, levels: Collection[object] | None = None) -> int:
        """How many cells hold a value that is not among `levels`; by default the column's own."""
        levels = set(self.levels) if levels is None else levels
        return sum(value not in levels for value in column.texts()[~column.missing].tolist())

    def _places(self, column: Column) -> np.ndarray:
        known = {level: place for place, level in enumerate(self.levels)}
        empty = len(known) if self.has_empty else -1
        other = len(known) + self.has_empty if self.has_other else -1
        cells = zip(column.texts().tolist(), column.missing.tolist(), strict=True)
        return np.array([empty if gone else known.get(value, other) for value, gone in cells], dtype=np.int64)


_PLURAL = {
    "integer": "numbers",
    "number": "numbers",
    "boolean": "truth values",
    "time": "dates or times",
    "text": "text",
    "other": "lists or records",
}


@dataclass(frozen=True)
class Features:
    """The encoders of all columns that are used, in the order of the features."""

    columns: tuple[Number | Category, ...]

    @classmethod
    def learn(cls, table: Table, train: np.ndarray) -> tuple[Self, list[str]]:
        """The encoders, learnt from the rows `train`, and notes on columns left out. The target is not in `table`.

        Raises InputError where no column is left, or a column of numbers holds NaN or infinity.
        """
        encoders: list[Number | Category] = []
        constant, naming, counting, other, notes = [], [], [], [], []
        for name, column in table.columns.items():
            check_finite(
                column, f"write it as an empty cell, or leave the column out with --ignore {shlex.quote(name)}"
            )
            if column.kind == "other":
                other.append(name)
            elif _names_rows(column):
                naming.append(name)
            elif _counts_rows(column):
                counting.append(name)
            else:
                kind = Category if column.kind == "text" else Number
                encoder = kind.learn(column.take(train))
                if encoder is None:
                    constant.append(name)
                else:
                    encoders.append(encoder)
                    notes += _looks_numeric(column)
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
                f"no column of {table.source} is left to learn from"
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

    def encode(self, table: Table, dtype: np.dtype[Any] | type) -> np.ndarray:
        """(rows, width). Raises InputError for a column that is not there or holds something else than it did."""
        self._need(table)
        out = np.empty((table.rows, self.width), dtype)
        start = 0
        for column in self.columns:
            out[:, start : start + column.width] = column.encode(table.columns[column.name])
            start += column.width
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

    def notes(
        self, table: Table, levels: Mapping[str, Collection[object]] | None = None, gap: str = "the mean"
    ) -> list[str]:
        """What is unlike the training part in a table to predict: values and empty cells that it did not have.

        levels: the values that columns of text had, by their names, where the model knows more of them. gap: what an
        empty cell among numbers is taken as.
        """
        notes = []
        for encoder in self.columns:
            column = table.columns[encoder.name]
            if isinstance(encoder, Category):
                if count := encoder.unseen(column, (levels or {}).get(encoder.name)):
                    notes.append(f"{encoder.name}: {count} of {table.rows} cells hold a value not seen in training")
                flagged = encoder.has_empty
            else:
                flagged = encoder.flags_missing
            if not flagged and (count := int(column.missing.sum())):
                taken = "no category" if isinstance(encoder, Category) else gap
                notes.append(
                    f"{encoder.name}: {count} of {table.rows} cells are empty, none was in training; taken as {taken}"
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
            raise FormatError(f"the model's preprocessing can't be read: {error!r}") from None


# what a field of that type is in JSON
_PLAIN: dict[Any, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "float": lambda value: type(value) in (int, float) and math.isfinite(value),
    "tuple[str, ...]": lambda value: isinstance(value, tuple) and all(isinstance(each, str) for each in value),
}


def _names_rows(column: Column) -> bool:
    """Whether a text column has a value of its own for nearly every row, as an id or a name does."""
    if column.kind != "text":
        return False
    present = column.present.tolist()
    return len(present) > 1 and len(set(present)) > MOSTLY_UNIQUE * len(present)


def _counts_rows(column: Column) -> bool:
    """Whether a column is k, k + 1, k + 2, ...: the number of the row, which would tell a sorted table's target."""
    if column.kind != "integer" or len(column.values) < FEW_ROWS or column.missing.any():
        return False
    return bool(np.all(np.diff(column.values.astype(np.int64)) == 1))


def _looks_numeric(column: Column) -> list[str]:
    """A note where a text column holds numbers but for a few cells: likely a mark for "unknown"."""
    if column.kind != "text":
        return []
    count, row = not_a_number(column)
    if not 0 < count <= 0.1 * len(column.present):
        return []
    return [
        f"{column.name} is taken as text: {count} of its cells {'is' if count == 1 else 'are'} no number, "
        f"such as {column.values[row]!r} in row {row + 1}"
    ]
