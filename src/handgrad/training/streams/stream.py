"""What a user gives for data larger than memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from array_api_compat import is_array_api_obj

import handgrad.checks as checks
from handgrad.errors import DTypeError, StreamError, ValueRangeError
from handgrad.training.streams.files import digest_of
from handgrad.training.streams.tables import Table, is_table

UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
PLACE = 8  # bytes that the number of a row's place takes while places are drawn


@dataclass(frozen=True, eq=False)
class Stream:
    """Data that is read while it is trained on, for what is larger than memory: `fit(model, Stream(...), ...)`.

    source: what gives batches (X, y) or (X, y, sample_weight) of any number of rows, anew for each epoch: a list, an
        object of your own that can be iterated over, or a function without arguments that gives an iterator. Or a
        table, with the names of its columns below: a pyarrow Dataset or Table, a DuckDB relation, any object with
        __arrow_c_stream__ (a data frame of Polars or pandas), or a function that gives one of these.
    target: of a table, the column that is y, or a list of columns for y of (m, k). weight: the column of sample
        weights. features: the columns of X in their order; all others unless said. Numbers, booleans and decimals
        serve; X is float32 where no column needs more, else float64.
    rows: how many there are. A table's are counted, others' are known after the first epoch: where the learning rate
        depends on the number of steps, it must be given.
    buffer: of the shuffling, in rows, or as text such as "256 MB". Rows are drawn from it at random, and those that
        come take their places, so that a row moves by a buffer's length on the average; data that fit in it are
        shuffled as data in memory are, to the same bits. 0 leaves the rows in their order. Beside the buffer there are
        `prefetch` + 3 blocks of a sixteenth of it in memory, and what the source itself takes: a row group or two
        of a Parquet dataset, what its memory_limit leaves DuckDB.
    prefetch: blocks that another thread makes ready. 0 reads in the thread that trains.
    weight_mean: the mean of the weights, by which they are divided. Unless given it is found by a pass over them
        before the first step: over that column alone in a table.

    The rows must be the same, and in the same order, each time: then the same seed gives the same bits. Raises
    ValueRangeError or DTypeError for options that do not go together.
    """

    source: Any = field(repr=False)
    target: str | Iterable[str] | None = None
    weight: str | None = None
    features: Iterable[str] | None = field(default=None, kw_only=True)
    rows: int | None = field(default=None, kw_only=True)
    buffer: int | str = field(default="256 MB", kw_only=True)
    prefetch: int = field(default=2, kw_only=True)
    weight_mean: float | None = field(default=None, kw_only=True)
    table: Table | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        def settle(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if self.rows is not None:
            settle("rows", checks.whole("rows", self.rows))
        settle("prefetch", checks.whole("prefetch", self.prefetch, 0))
        if self.weight_mean is not None:
            settle("weight_mean", checks.positive("weight_mean", self.weight_mean))
        _buffer(self.buffer)
        features = None if self.features is None else _names("features", self.features)
        if self.weight is not None and not isinstance(self.weight, str):
            raise DTypeError(f"weight must be the name of a column, got a {type(self.weight).__name__}")
        if self.target is not None:
            target = self.target if isinstance(self.target, str) else _names("target", self.target)
            settle("target", target)
            settle("features", features)
            settle("table", Table(self.source, target, self.weight, features))
            return
        if self.weight is not None or self.features is not None:
            raise ValueRangeError("weight and features are names of a table's columns; give target, the column of y")
        if is_table(self.source):
            raise ValueRangeError("target must say which column of the table is y")
        if not callable(self.source) and not isinstance(self.source, Iterable):
            raise DTypeError(
                "source must give batches (X, y): a list, a function that gives an iterator, or a table with target=, "
                f"got {type(self.source).__name__}"
            )

    @property
    def once(self) -> bool:
        """Whether its rows come only once."""
        return isinstance(self.source, Iterator)

    def blocks(self) -> Iterator[Any]:
        """One pass: (X, y) or (X, y, sample_weight) of some rows at a time, unchecked."""
        if self.table is not None:
            return self.table.blocks()
        given = self.source() if callable(self.source) else self.source
        if not isinstance(given, Iterable):
            raise DTypeError(f"source() must give an iterator of batches (X, y), got {type(given).__name__}")
        return iter(given)

    def interrupt(self) -> bool:
        """Cut off a query that another thread waits for. False where there is one, and it cannot be."""
        return self.table is None or self.table.interrupt()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of X's columns, where they are known."""
        return self.table.named if self.table is not None else ()

    @property
    def files(self) -> list[int]:
        """The sizes in bytes of those of this machine that it is read from, once any was."""
        return [size for size, _ in self.table.seen.values()] if self.table is not None else []

    @property
    def content(self) -> str:
        """What tells these files from others of their sizes; nothing where there are none."""
        return digest_of(self.table.seen) if self.table is not None and self.table.seen else ""

    def count(self) -> int | None:
        """How many rows it has, where that is known."""
        counted = self.table.rows() if self.table is not None else None
        if self.rows is not None and counted is not None and counted != self.rows:
            raise StreamError(f"rows={self.rows} was given, and the table has {counted}")
        return self.rows if counted is None else counted

    def capacity(self, bytes_of_a_row: int) -> int:
        """The rows that the buffer holds."""
        size, unit = _buffer(self.buffer)
        return size if unit == "rows" else max(1, size // (bytes_of_a_row + PLACE))


def stream_of(data: Any, name: str = "data") -> Stream | None:
    """The Stream that `data` stands for in fit(model, data): itself, batches, or a table with its columns' names.

    None for arrays (X, y) or (X, y, sample_weight).
    """
    if isinstance(data, Stream):
        return data
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        if isinstance(data[1], str) or (is_table(data[0]) and _are_names(data[1])):
            return Stream(*data)
        return Stream(data) if all(map(_is_batch, data)) else None
    if isinstance(data, tuple | str | bytes | Mapping) or is_array_api_obj(data):
        return None
    if is_table(data):
        raise ValueRangeError(f"{name} is a table; give ({name}, 'target'), with the name of the column that is y")
    return Stream(data) if callable(data) or isinstance(data, Iterable) else None


def _is_batch(value: Any) -> bool:
    """Whether it is surely (X, y) or (X, y, sample_weight): its first has samples as rows, and is no sample itself."""
    if not isinstance(value, tuple | list) or len(value) not in (2, 3):
        return False
    return is_array_api_obj(value[0]) and value[0].ndim > 1 and len(value[0]) == len(value[1])


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple | list) and bool(value) and all(isinstance(name, str) for name in value)


def _names(argument: str, value: Any) -> tuple[str, ...]:
    """Raises DTypeError unless they are names of columns, one or more."""
    found = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if not _are_names(found):
        one = " the name of a column, or" if argument == "target" else ""
        raise DTypeError(f"{argument} must be{one} a list of columns' names, one or more, got {value!r:.200}")
    return found


def _buffer(value: Any) -> tuple[int, str]:
    """(number, "rows" or "bytes")."""
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0:
        return int(value), "rows"
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([kMG]B)", value.strip()) if isinstance(value, str) else None
    if found and float(found[1]) > 0:
        return int(float(found[1]) * UNITS[found[2]]), "bytes"
    raise ValueRangeError(f"buffer must be a number of rows, or text such as '256 MB' or '2 GB', got {value!r}")
