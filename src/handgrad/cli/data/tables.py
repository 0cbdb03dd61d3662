"""Tables: columns of equal length, each as one array, and where their rows stand, for messages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from handgrad.cli.faults import InputError, did_you_mean, listed

TRUTH = {"true": True, "false": False}  # casefolded
HEADED = " (the first below the header is 1)"


@dataclass(frozen=True)
class Origin:
    """Whose rows a table's are. files: each with the number of its rows, in order. headed: whether they are text files,
    which a line of names begins."""

    files: tuple[tuple[str, int], ...]
    headed: bool = False

    def row(self, number: int) -> str:
        """What to call the row of that number, counted from 0 over all files."""
        for name, rows in self.files:
            file = name
            if number < rows:
                break
            number -= rows
        return f"row {number + 1:,} of {file}{HEADED * self.headed}"


@dataclass(frozen=True)
class Column:
    """One column. kind: "integer", "number", "boolean", "text", "time" (days since 1970) or "other" (lists and such).

    cells: (rows,), an Arrow array of strings or objects of str for text, else numbers or booleans. missing: (rows,),
    True where a cell is empty; the value there has no meaning. spelled: (rows,), text as the file writes the cells,
    where that was asked for. origin, numbers: where the rows stand; numbers: (rows,), or the first of them.
    """

    name: str
    kind: str
    cells: Any
    missing: np.ndarray
    spelled: Any = None
    origin: Origin | None = None
    numbers: Any = 0

    def __len__(self) -> int:
        return len(self.missing)

    def take(self, rows: np.ndarray, numbers: Any = None) -> Column:
        """The column of those rows. numbers: theirs, where they are known already."""
        return Column(
            self.name,
            self.kind,
            _take(self.cells, rows),
            self.missing[rows],
            None if self.spelled is None else _take(self.spelled, rows),
            self.origin,
            self.numbers_of(rows) if numbers is None else numbers,
        )

    def numbers_of(self, rows: np.ndarray) -> np.ndarray:
        """Where those rows stand in the origin."""
        return rows + self.numbers if isinstance(self.numbers, int) else self.numbers[rows]

    def slice(self, start: int, stop: int) -> Column:
        """The column of the rows from `start` to `stop`, without a copy."""
        part = slice(start, stop)
        spelled = None if self.spelled is None else self.spelled[part]
        numbers = self.numbers + start if isinstance(self.numbers, int) else self.numbers[part]
        return Column(self.name, self.kind, self.cells[part], self.missing[part], spelled, self.origin, numbers)

    @cached_property
    def values(self) -> np.ndarray:
        """(rows,): objects of str for text, else numbers or booleans."""
        return _objects(self.cells)

    @cached_property
    def has_gaps(self) -> bool:
        """Whether a cell is empty."""
        return bool(self.missing.any())

    @property
    def present(self) -> np.ndarray:
        """The values that are there."""
        return self.values[~self.missing]

    def texts(self) -> np.ndarray:
        """The values as text, whatever they are: how classes and categories are called."""
        if self.spelled is not None:
            return _objects(self.spelled)
        if self.kind == "text":
            return self.values
        if self.kind == "boolean":
            return np.where(self.values, "true", "false").astype(object)
        if self.kind == "number" and np.all(self.present == np.round(self.present)):
            return np.array([str(int(v)) if np.isfinite(v) else "" for v in self.values], dtype=object)
        return np.array([str(v) for v in self.values.tolist()], dtype=object)

    def strings(self) -> Any:
        """`texts` as an Arrow array."""
        import pyarrow as pa

        cells = self.cells if self.spelled is None else self.spelled
        if self.spelled is None and self.kind != "text":
            cells = self.texts()
        return cells if isinstance(cells, pa.Array) else pa.array(cells, pa.large_string(), from_pandas=True)

    def coded(self) -> tuple[np.ndarray, np.ndarray]:
        """(the different texts, (rows,) which of them each cell is); -1 where there is none."""
        if self.spelled is None and self.kind not in ("text", "boolean"):
            values, codes = np.unique(self.values, return_inverse=True)
            return Column(self.name, self.kind, values, np.zeros(len(values), bool)).texts(), codes
        found = self.strings().dictionary_encode()
        codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return found.dictionary.to_numpy(zero_copy_only=False), codes

    def counts(self) -> Counter[str]:
        """How often each text comes, the empty cells left out."""
        texts, codes = self.coded()
        if self.missing.any():
            codes = codes[~self.missing]
        many = np.bincount(codes, minlength=len(texts))
        return Counter({text: count for text, count in zip(texts.tolist(), many.tolist(), strict=True) if count})

    def at(self, row: int) -> str:
        """What to call a row in a message, counted from 0 here."""
        number = self.numbers + row if isinstance(self.numbers, int) else int(self.numbers[row])
        return f"row {number + 1:,}{HEADED}" if self.origin is None else self.origin.row(number)


@dataclass(frozen=True)
class Table:
    """Columns of equal length, in the order of the file. source: what to call it in messages."""

    source: str
    columns: dict[str, Column]
    rows: int

    def column(self, name: str, what: str) -> Column:
        """The column of that name. Raises InputError with those there are; `what` says what it is for."""
        check_column(name, what, self.source, list(self.columns))
        return self.columns[name]

    def take(self, rows: np.ndarray) -> Table:
        """The table of those rows."""
        numbers = self._numbers_of(rows)
        taken = {name: column.take(rows, numbers) for name, column in self.columns.items()}
        return Table(self.source, taken, len(rows))

    def keep(self, rows: np.ndarray) -> Table:
        """The table of those rows, in place of this one, which is emptied: memory holds one column twice, not all."""
        numbers = self._numbers_of(rows)
        taken = {name: self.columns.pop(name).take(rows, numbers) for name in list(self.columns)}
        return Table(self.source, taken, len(rows))

    def _numbers_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Of all columns: they are of the same rows."""
        first = next(iter(self.columns.values()), None)
        return None if first is None else first.numbers_of(rows)

    def without(self, names: Sequence[str]) -> Table:
        """The table without those columns."""
        kept = {name: column for name, column in self.columns.items() if name not in names}
        return Table(self.source, kept, self.rows)


def check_column(name: str, what: str, source: str, names: list[str]) -> None:
    """Raise InputError where no column of `source` has that name; `what` says what it is for."""
    if name not in names:
        raise InputError(
            f"{what} {name!r} is not a column of {source}{did_you_mean(name, names)}; its columns are {listed(names)}"
        )


def check_finite(column: Column, way_out: str = "write it as an empty cell") -> None:
    """Raise InputError, naming the row, where a column of numbers holds a literal NaN or infinity."""
    if column.kind == "text" or column.values.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(float(column.values.sum())):  # the quick way, right for all tables but those of huge numbers
            return
    wrong = ~np.isfinite(column.values)
    wrong &= ~column.missing
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"column {column.name!r} holds {column.values[row]} in {column.at(row)}; numbers must be finite; {way_out}"
        )


def is_number(text: str) -> bool:
    """Whether a text says a number."""
    try:
        float(text.strip().replace(",", ".", 1))
    except ValueError:
        return False
    return True


def not_a_number(column: Column) -> tuple[int, int]:
    """(how many of a text column's cells are not numbers, the row of the first of them, counted from 0)."""
    cells = zip(column.values, column.missing, strict=True)
    wrong = np.array([not gone and not is_number(value) for value, gone in cells], dtype=bool)
    return int(wrong.sum()), int(wrong.argmax())


def joined(tables: Sequence[Table]) -> Table:
    """The rows of several tables of the same columns, in order; one at least. They are emptied: memory holds one column
    twice, not all."""
    source, names, rows = tables[0].source, list(tables[0].columns), sum(table.rows for table in tables)
    numbers: Any = None
    columns = {}
    for name in names:
        parts = [table.columns.pop(name) for table in tables]
        numbers = _numbers(parts) if numbers is None else numbers
        columns[name] = replace(
            parts[0],
            cells=_concatenated([part.cells for part in parts]),
            missing=_missing(parts, rows),
            spelled=None if parts[0].spelled is None else _concatenated([part.spelled for part in parts]),
            numbers=numbers,
        )
    return Table(source, columns, rows)


def _missing(parts: list[Column], rows: int) -> np.ndarray:
    """One False that stands for all takes no memory."""
    if any(part.has_gaps for part in parts):
        return np.concatenate([part.missing for part in parts])
    return np.broadcast_to(np.False_, rows)


def _numbers(parts: list[Column]) -> Any:
    """Where the rows of several parts stand: the number of the first, where they stand one after another."""
    place = parts[0].numbers
    for part in parts:
        if not isinstance(part.numbers, int) or part.numbers != place:
            return np.concatenate([each.numbers_of(np.arange(len(each))) for each in parts])
        place += len(part)
    return parts[0].numbers


def _concatenated(cells: list[Any]) -> Any:
    if isinstance(cells[0], np.ndarray):
        return np.concatenate(cells)
    import pyarrow as pa

    return pa.concat_arrays(cells)


def _take(cells: Any, rows: np.ndarray) -> Any:
    if isinstance(cells, np.ndarray):
        return cells[rows]
    import pyarrow as pa

    return cells.take(pa.array(rows))


def _objects(cells: Any) -> np.ndarray:
    return cells if isinstance(cells, np.ndarray) else cells.to_numpy(zero_copy_only=False)
