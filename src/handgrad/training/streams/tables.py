"""Tables as blocks of rows: Arrow's datasets and tables, whatever else gives Arrow's stream, and DuckDB's relations."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handgrad.checks import by_name
from handgrad.errors import DTypeError, ShapeError, StreamError, ValueRangeError

Block = tuple[np.ndarray, ...]  # X and y, or X, y and the weight
Print = dict[str, tuple[int, int]]  # of files: their size, and when they were written last

BLOCK = 65536  # rows of a block, which is two of DuckDB's
READ = 2**20  # bytes of a column that are read at once
MOST = np.iinfo(np.int64).max
TILE = 2048  # rows whose columns are turned at a time: they, and what they become, stay in the core's own cache


def is_table(source: Any) -> bool:
    """Whether it has columns with names, and can give them in batches."""
    return hasattr(source, "__arrow_c_stream__") or _is_dataset(source) or _is_relation(source)


def _is_dataset(source: Any) -> bool:
    return hasattr(source, "to_batches") and hasattr(source, "count_rows")


def _is_relation(source: Any) -> bool:
    return hasattr(source, "to_arrow_reader") or hasattr(source, "fetch_arrow_reader")


@contextmanager
def ctrl_c() -> Iterator[None]:
    """Call it what it is, where DuckDB takes it for an error of a query."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from None
        raise


@dataclass
class Table:
    """A table, or a function that gives one, and which of its columns are what. features: all others, unless said."""

    source: Any
    target: str | tuple[str, ...]
    weight: str | None = None
    features: tuple[str, ...] | None = None
    seen: Print = field(default_factory=dict)  # the files, as they were when they were first read
    named: tuple[str, ...] = ()  # the features, once any were read
    _read: Any = field(default=None, init=False, repr=False, compare=False)  # the relation that is, in this pass

    @property
    def now(self) -> Any:
        """The table as it is in this pass. Raises DTypeError for what is none."""
        source = self.source() if callable(self.source) and not is_table(self.source) else self.source
        if not is_table(source):
            hint = "; pyarrow.dataset.dataset(path) reads files" if isinstance(source, str | os.PathLike) else ""
            raise DTypeError(
                "source must be a pyarrow Dataset or Table, a DuckDB relation or an object with __arrow_c_stream__, "
                f"when target names a column, got {type(source).__name__}{hint}"
            )
        return source

    def rows(self) -> int | None:
        """How many it has, or None where only reading it would tell."""
        source = self.now
        if _is_dataset(source):
            return int(source.count_rows())
        if _is_relation(source):
            with ctrl_c():
                return int(source.count("*").fetchall()[0][0])
        return len(source) if hasattr(source, "__len__") else None

    def columns(self, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(features, targets) in a table of these columns. Raises ValueRangeError for names that are not there."""
        table = {name: name for name in names}
        targets = tuple(by_name("target", name, table) for name in self._targets)
        apart = {*targets}
        if self.weight is not None:
            apart.add(by_name("weight", self.weight, table))
        features = self.features
        if features is None:
            features = tuple(name for name in names if name not in apart)
        features = tuple(by_name("features", name, table) for name in features)
        if not features:
            raise ShapeError(f"the table has no columns beside {', '.join(map(repr, names))}; features are needed")
        for name in {*features, *apart}:
            if list(names).count(name) > 1:
                raise ValueRangeError(f"the table has {list(names).count(name)} columns {name!r}; give each its own")
        return features, targets

    @property
    def _targets(self) -> tuple[str, ...]:
        return (self.target,) if isinstance(self.target, str) else self.target

    def blocks(self) -> Iterator[Block]:
        """(X, y) or (X, y, weight) of at most BLOCK rows each: X row-major, float32 where no column needs more.

        Raises DTypeError for a column that holds no numbers, ValueRangeError for a null, StreamError for a file that
        was written to meanwhile; whatever its own library raises for what cannot be read comes through.
        """
        with ctrl_c():
            yield from self._blocks()

    def _blocks(self) -> Iterator[Block]:
        source = self.now
        self._read = source if _is_relation(source) else None
        try:
            yield from self._blocks_of(_reader(source, self._wanted(source), self.seen))
        finally:
            if self._read is source:  # and not a later pass's
                self._read = None

    def _blocks_of(self, reader: _Reader) -> Iterator[Block]:
        try:
            names = reader.names
            features, targets = self.columns(names)
            self.named, first = features, 0
            for batch in reader.batches():
                for start in range(0, batch.num_rows, BLOCK):
                    part = batch.slice(start, BLOCK)
                    column = _Columns(part, first)
                    y = column.of(targets[0]) if isinstance(self.target, str) else column.side_by_side(targets)
                    weight = () if self.weight is None else (column.of(self.weight),)
                    yield column.of_features(features), y, *weight
                    first += part.num_rows
        finally:
            reader.close()

    def interrupt(self) -> bool:
        """Cut off the query that another thread waits for, if one does. False where it cannot be reached: by DuckDB's
        relations before version 2, which do not know their connection."""
        relation = self._read
        if relation is None:
            return True
        import duckdb

        held = gc.get_referents(relation)  # no public name says the connection
        connections = [each for each in held if isinstance(each, duckdb.DuckDBPyConnection)]
        for connection in connections:
            with suppress(duckdb.Error):  # one that is closed has no query
                connection.interrupt()
        return bool(connections)

    def weights(self) -> Iterator[np.ndarray]:
        """The column of weights, block by block."""
        assert self.weight is not None
        with ctrl_c():
            reader = _reader(self.now, (self.weight,), self.seen)
            try:
                by_name("weight", self.weight, {name: name for name in reader.names})
                first = 0
                for batch in reader.batches():
                    yield _Columns(batch, first).of(self.weight)
                    first += batch.num_rows
            finally:
                reader.close()

    def _wanted(self, source: Any) -> tuple[str, ...] | None:
        """The columns to read, None for all: where not all features are wanted, and the table can leave some out."""
        if self.features is None:
            return None
        names = source.schema.names if _is_dataset(source) else getattr(source, "columns", None)
        if _is_dataset(source) or _is_relation(source):
            features, targets = self.columns(list(names or ()))
            chosen = dict.fromkeys([*features, *targets, *([self.weight] if self.weight else [])])
            return tuple(chosen)
        return None


@dataclass
class _Reader:
    """A pass over a table: its columns' names, and its record batches in their order."""

    names: list[str]
    batches: Callable[[], Iterator[Any]]
    close: Callable[[], object] = lambda: None


def _reader(source: Any, wanted: tuple[str, ...] | None, seen: Print) -> _Reader:
    """The pass. wanted: the columns that are, None for all."""
    if _is_dataset(source):
        names = list(wanted) if wanted else list(source.schema.names)
        return _Reader(names, lambda: _of_dataset(source, wanted, seen))
    if _is_relation(source):
        if wanted:
            source = source.project(", ".join('"' + name.replace('"', '""') + '"' for name in wanted))
        give = getattr(source, "to_arrow_reader", None) or source.fetch_arrow_reader
        reader = give(BLOCK)
    else:
        import pyarrow

        if type(source).__module__.partition(".")[0] == "pandas":  # by itself it gives its index as a column
            source = pyarrow.Table.from_pandas(source, preserve_index=False)
        reader = source if isinstance(source, pyarrow.RecordBatchReader) else None
        if reader is None:
            reader = pyarrow.RecordBatchReader.from_stream(source)
    return _Reader(list(reader.schema.names), lambda: iter(reader), reader.close)


def _of_dataset(dataset: Any, wanted: tuple[str, ...] | None, seen: Print) -> Iterator[Any]:
    """The record batches of a dataset, in their order."""
    _refuse_changes(dataset, seen)
    try:
        if getattr(dataset, "_scan_options", True):  # it has a filter, which belongs to no file alone
            yield from dataset.to_batches(columns=list(wanted) if wanted else None, **_frugal(dataset))
            return
        for fragment in dataset.get_fragments():
            yield from _of_fragment(fragment, dataset.schema, wanted)
    except Exception as error:
        _refuse_changes(dataset, seen, error)
        raise
    _refuse_changes(dataset, seen)


def _of_fragment(fragment: Any, schema: Any, wanted: tuple[str, ...] | None) -> Iterator[Any]:
    """The record batches of a file. Parquet is read a row group at a time, when it is asked for."""
    import pyarrow.dataset
    import pyarrow.parquet

    columns = list(wanted or schema.names)
    if isinstance(fragment, pyarrow.dataset.ParquetFileFragment):
        own = fragment.physical_schema
        if all(own.get_field_index(name) >= 0 and own.field(name).type == schema.field(name).type for name in columns):
            groups = [group.id for group in fragment.row_groups]
            with fragment.open() as opened:
                file = pyarrow.parquet.ParquetFile(opened, buffer_size=READ, pre_buffer=False)
                for group in groups:  # each for itself: what spans several is kept for longer
                    yield from file.iter_batches(BLOCK, [group], columns, use_threads=False)
            return
    yield from fragment.to_batches(schema=schema, columns=columns, **_frugal(fragment))


def _frugal(source: Any) -> dict[str, Any]:
    """How Arrow is to scan a dataset or a file: by itself it reads gigabytes ahead, and keeps what it has read."""
    import pyarrow.dataset

    options: dict[str, Any] = {"batch_size": BLOCK, "batch_readahead": 0, "fragment_readahead": 1}
    if isinstance(getattr(source, "format", None), pyarrow.dataset.ParquetFileFormat):
        options["fragment_scan_options"] = pyarrow.dataset.ParquetFragmentScanOptions(pre_buffer=False)
    return options


def _refuse_changes(dataset: Any, seen: Print, cause: Exception | None = None) -> None:
    """Raise StreamError for a file of this machine that was written to since it was `seen` first."""
    for path in getattr(dataset, "files", ()):
        try:
            about = os.stat(path)
        except OSError as error:
            if path in seen:
                raise FileNotFoundError(error.errno, "the file cannot be found any more", path) from cause
            continue  # it is elsewhere, or was never there: who reads it will say so
        now = about.st_size, about.st_mtime_ns
        if seen.setdefault(path, now) != now:
            raise StreamError(
                f"{path!r} was written to since it was first read; a stream must give the same rows again"
            ) from cause


class _Columns:
    """The columns of a record batch as NumPy's arrays. first: the number of its first row."""

    def __init__(self, batch: Any, first: int):
        self._batch, self._first = batch, first
        self._places = {name: i for i, name in enumerate(batch.schema.names)}

    def of(self, name: str) -> np.ndarray:
        """A column: integers and booleans as int64, the rest as float64, or float32 where that holds it. Of integers
        some may be beyond int64."""
        column = self._numbers(name, True)
        if column.dtype.kind in "iub" and not (column.dtype == np.uint64 and (column > MOST).any()):
            return column.astype(np.int64)
        return column.astype(np.result_type(column.dtype, np.float32), copy=False)

    def side_by_side(self, names: Sequence[str]) -> np.ndarray:
        """(m, k) of k columns."""
        return np.column_stack([self.of(name) for name in names])

    def of_features(self, names: Sequence[str]) -> np.ndarray:
        """(m, n), each row in one piece."""
        columns = [self._numbers(name) for name in names]
        dtype = np.result_type(np.float32, *(column.dtype for column in columns))
        out = np.empty((self._batch.num_rows, len(names)), dtype)
        for start in range(0, len(out), TILE):
            part = slice(start, start + TILE)
            out[part] = np.array([column[part] for column in columns], dtype).T
        return out

    def _numbers(self, name: str, labels: bool = False) -> np.ndarray:
        """labels: whether decimals without a fraction are integers."""
        import pyarrow as pa

        column = self._batch.column(self._places[name])
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if column.null_count:
            row = self._first + column.is_null().index(True).as_py()
            raise ValueRangeError(f"column {name!r} is null at row {row}; fill it, or leave such rows out")
        kind = column.type
        if pa.types.is_decimal(kind):
            column = _whole(column) if labels and kind.scale == 0 else column.cast(pa.float64())
        elif pa.types.is_boolean(kind):
            column = column.cast(pa.uint8())
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            what = "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)
            raise DTypeError(f"column {name!r} must hold numbers, got {what}; encode it, or leave it out of features")
        return column.to_numpy(zero_copy_only=False)


def _whole(column: Any) -> Any:
    """Decimals without a fraction as int64, as float64 where that does not hold them."""
    import pyarrow as pa

    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column.cast(pa.float64())
