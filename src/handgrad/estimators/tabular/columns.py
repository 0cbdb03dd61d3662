"""Tables as columns: what each holds is decided once, when a model is fitted, and holds ever after."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from handgrad.errors import DTypeError, ShapeError, ValueRangeError

NUMBER, DATE, CATEGORY, EMPTY = "number", "date", "category", "empty"
DAY = 86400.0  # seconds
MISSING_KINDS = ("NoneType", "NAType", "NaTType")  # None, and what pandas has for it, named so as not to import it


@dataclass(frozen=True)
class Column:
    """A column of a table as it was at fit: its name, and "number", "date", "category" or "empty" (all missing)."""

    name: Hashable
    role: str

    def __str__(self) -> str:
        return f"column {self.name!r}"


@dataclass(frozen=True)
class Table:
    """Rows, parted by role: numbers (m, d), NaN where missing, and the keys of each category column, (m,) objects
    in which None is missing."""

    numbers: np.ndarray
    categories: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, index: Any) -> Table:
        """The rows of that index or slice."""
        return Table(self.numbers[index], [keys[index] for keys in self.categories])


def is_frame(X: Any) -> bool:
    """Whether X is a table with named columns: pandas, polars, pyarrow or any that reads as they do."""
    return (
        not isinstance(X, np.ndarray) and (hasattr(X, "column_names") or hasattr(X, "columns")) and hasattr(X, "shape")
    )


def part_of(X: Any, start: int, stop: int) -> Any:
    """Rows of a frame or an array, from `start` up to `stop`."""
    if isinstance(X, np.ndarray):
        return X[start:stop]
    return X.iloc[start:stop] if hasattr(X, "iloc") else X.slice(start, stop - start)


def roles_of(X: Any) -> tuple[Column, ...]:
    """The columns of a frame or an array, each with its role. Raises DTypeError for what is no number, text or date."""
    if _is_numeric(X):
        return tuple(Column(j, NUMBER) for j in range(X.shape[1]))
    return tuple(
        Column(name, CATEGORY if _is_categorical(values) else _role(_values(values), name))
        for name, values in _columns(X)
    )


def table_of(X: Any, columns: tuple[Column, ...], first: int = 0) -> Table:
    """The rows of X, read as these columns. Raises DTypeError or ValueRangeError, which name the column and the row.

    first: the number of the first row, for these errors.
    """
    if _is_numeric(X) and all(column.role == NUMBER for column in columns):
        matrix = np.asarray(X, np.float64)
        if np.isinf(matrix).any():
            j = int(np.isinf(matrix).any(axis=0).argmax())
            _refuse_infinity(matrix[:, j], columns[j], first)
        return Table(matrix, [])
    numbers: list[np.ndarray] = []
    categories: list[np.ndarray] = []
    rows = 0
    for column, (_, given) in zip(columns, _columns(X), strict=True):
        values = _values(given)
        rows = len(values)
        if column.role == CATEGORY:
            categories.append(_keys(values, column, first))
        elif column.role == DATE:
            numbers += list(_date_parts(_seconds(values, column, first)).T)
        elif column.role == NUMBER:
            numbers.append(_refuse_infinity(_floats(values, column, first), column, first))
    return Table(np.stack(numbers, axis=1) if numbers else np.zeros((rows, 0)), categories)


def _is_numeric(X: Any) -> bool:
    return isinstance(X, np.ndarray) and X.dtype.kind in "fiub"


def names_of(X: Any) -> list[Hashable]:
    """The names of a frame's columns."""
    return list(X.column_names if hasattr(X, "column_names") else X.columns)


def _columns(X: Any) -> Iterator[tuple[Hashable, Any]]:
    """(name, values) of each column, as X keeps them; an array's are named by their number."""
    if isinstance(X, np.ndarray):
        yield from ((j, X[:, j]) for j in range(X.shape[1]))
        return
    names = names_of(X)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ShapeError(f"columns must have names of their own, got {twice!r} more than once")
    for name in names:
        yield name, X[name]


def _is_categorical(column: Any) -> bool:
    """Whether a column of pandas or pyarrow was declared to hold categories, be they numbers."""
    kind = str(getattr(column, "dtype", None) or getattr(column, "type", ""))
    return kind == "category" or kind.startswith("dictionary<")


def _values(column: Any) -> np.ndarray:
    """A column as an array: numbers, dates or objects."""
    if hasattr(column, "to_pylist"):  # pyarrow's
        if _is_categorical(column):
            return np.array(column.to_pylist(), object)
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if str(getattr(column, "dtype", "")) == "Null":  # polars', nothing but missing
        return np.full(len(column), None)
    if type(column).__module__.startswith("pandas") and not isinstance(column.dtype, np.dtype):
        return np.asarray(column, dtype=object)
    return np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)


def is_missing(value: Any) -> bool:
    """Whether a cell is None, NaN, or what pandas has for them."""
    return type(value).__name__ in MISSING_KINDS or (
        isinstance(value, float | np.floating | Decimal | np.datetime64 | np.timedelta64) and value != value
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | Decimal | np.bool_ | datetime.timedelta | np.timedelta64)


def _number(value: Any) -> float:
    """A number as a float, infinite where there is none so large; a duration in seconds."""
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "s"))
    if isinstance(value, datetime.timedelta):
        return float(value / datetime.timedelta(seconds=1))
    try:
        return float(value)
    except OverflowError:
        return float(np.copysign(np.inf, 1 if value > 0 else -1))


def _is_date(value: Any) -> bool:
    return isinstance(value, datetime.date | np.datetime64)


def _role(values: np.ndarray, name: Hashable) -> str:
    kind = values.dtype.kind
    if kind in "fiubm":
        return NUMBER
    if kind == "M":
        return DATE
    if kind in "US":
        return CATEGORY
    if kind != "O":
        raise DTypeError(f"column {name!r} must hold numbers, text, categories or dates, got dtype {values.dtype}")
    present = [value for value in values if not is_missing(value)]
    if not present:
        return EMPTY
    for role, holds in ((NUMBER, _is_number), (DATE, _is_date)):
        if all(map(holds, present)):
            return role
    _keys(values, Column(name, CATEGORY), 0)
    return CATEGORY


def _refuse_infinity(numbers: np.ndarray, column: Column, first: int) -> np.ndarray:
    infinite = np.isinf(numbers)
    if infinite.any():
        raise ValueRangeError(f"Input X contains infinity: {column} in row {first + int(infinite.argmax())}")
    return numbers


def _converted(
    values: np.ndarray,
    column: Column,
    first: int,
    holds: Callable[[Any], bool],
    convert: Callable[[Any], float],
    expected: str,
) -> np.ndarray:
    """Objects as floats, NaN where missing."""
    out = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if is_missing(value):
            continue
        if not holds(value):
            raise DTypeError(f"{column} held {expected} at fit, got {value!r} in row {first + i}")
        out[i] = convert(value)
    return out


def _floats(values: np.ndarray, column: Column, first: int) -> np.ndarray:
    if values.dtype.kind in "fiub":
        return values.astype(np.float64)
    if values.dtype.kind == "m":
        seconds = values / np.timedelta64(1, "s")
        return np.asarray(seconds, np.float64)
    return _converted(values, column, first, _is_number, _number, "numbers")


def _seconds(values: np.ndarray, column: Column, first: int) -> np.ndarray:
    """Dates as seconds since 1970, in the time zone of each where it has one."""
    if values.dtype.kind == "M":
        micro = values.astype("datetime64[us]").astype(np.int64)
        return np.where(np.isnat(values), np.nan, micro / 1e6)
    return _converted(values, column, first, _is_date, _second, "dates")


def _second(value: Any) -> float:
    if isinstance(value, np.datetime64):
        return float(value.astype("datetime64[us]").astype(np.int64)) / 1e6
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    return float((value.replace(tzinfo=None) - datetime.datetime(1970, 1, 1)) / datetime.timedelta(seconds=1))


def _date_parts(seconds: np.ndarray) -> np.ndarray:
    """(m, 4): days since 1970, the day of the year, the weekday (Monday 0) and the seconds of the day."""
    missing = np.isnan(seconds)
    days = np.floor(np.where(missing, 0.0, seconds) / DAY)
    dates = days.astype(np.int64).astype("datetime64[D]")
    of_year = (dates - dates.astype("datetime64[Y]")).astype(np.float64)
    parts = np.stack([seconds / DAY, of_year, (days + 3) % 7, seconds - days * DAY], axis=1)
    parts[missing] = np.nan
    return parts


def _keys(values: np.ndarray, column: Column, first: int) -> np.ndarray:
    """Cells as what they are told apart by: themselves, and None where missing."""
    keys = np.empty(len(values), object)
    for i, value in enumerate(values.tolist()):
        if is_missing(value):
            continue
        try:
            hash(value)
        except TypeError:
            message = f"{column} must hold numbers, text, categories or dates, got {value!r} in row {first + i}"
            raise DTypeError(message) from None
        keys[i] = value
    return keys
