"""What every source of rows gives: its columns and their kinds, how many rows, and the rows themselves in blocks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import numpy as np

from handgrad.cli.data.sources.files import Files
from handgrad.cli.data.tables import Column, Origin, Table, joined
from handgrad.cli.faults import InputError

BLOCK = 16_384  # rows
LOOKED_AT = 1000  # for what a row takes


@dataclass
class Source(AbstractContextManager["Source"]):
    """Rows that can be read again and again, in the same order. To be closed.

    kinds: of the columns, by name. batches: gives the rows anew, as Arrow record batches of at most so many rows, a
    column for each of `kinds` in its order, and one more where `spelled` says whose spelling it is. notes: on rows
    that were skipped, and on what may be read in two ways. styles: of text files' columns, how their cells are written.
    """

    name: str
    kinds: dict[str, str]
    origin: Origin
    files: Files
    batches: Callable[[int], Generator[Any]]
    close: Callable[[], None] = lambda: None
    spelled: str | None = None
    notes: list[str] = field(default_factory=list)
    styles: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(rows for _, rows in self.origin.files)

    @cached_property
    def bytes_of_columns(self) -> dict[str, float]:
        """What a row of each column takes in memory, on the average of the first ones."""
        with closing(self.blocks(LOOKED_AT)) as blocks:
            block = next(blocks)
        return {name: (each.cells.nbytes + each.missing.nbytes) / block.rows for name, each in block.columns.items()}

    @property
    def bytes_of_a_row(self) -> float:
        """What all of a row takes."""
        return sum(self.bytes_of_columns.values())

    def blocks(self, most: int = BLOCK) -> Generator[Table]:
        """The table, in blocks of so many rows, the last of what is left. Raises InputError where a file is not what it
        was."""
        self.files.check_unchanged()
        first = 0
        with closing(self.batches(most)) as batches:
            for batch in _resized(batches, most):
                yield self._table(batch.columns, batch.num_rows, first)
                first += batch.num_rows
        self.files.check_unchanged()
        if first != self.rows:
            raise InputError(
                f"{self.name} gave {first:,} rows, and {self.rows:,} before: it has changed, or its SELECT does not "
                "give the same rows each time"
            )

    def read(self) -> Table:
        """The table, whole."""
        self.files.check_unchanged()
        tables, first = list[Table](), 0
        with closing(self.batches(8 * BLOCK)) as batches:
            for batch in batches:
                tables.append(self._table(list(map(_own, batch.columns)), batch.num_rows, first))
                first += batch.num_rows
                del batch  # its memory goes when nothing holds a part of it
        self.files.check_unchanged()
        if not tables:
            raise InputError(f"{self.name} gives no rows any more, of which it had {self.rows:,}")
        return joined(tables)

    def _table(self, arrays: list[Any], rows: int, first: int) -> Table:
        spelled = None if self.spelled is None else _text(arrays[-1])
        columns = {}
        for (name, kind), array in zip(self.kinds.items(), arrays, strict=False):
            columns[name] = Column(name, kind, *_cells(kind, array), None, self.origin, first)
        if self.spelled is not None:
            own = columns[self.spelled]
            columns[own.name] = Column(own.name, own.kind, own.cells, own.missing, spelled, self.origin, first)
        return Table(self.name, columns, rows)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self


def _resized(batches: Iterator[Any], size: int) -> Iterator[Any]:
    """Record batches of that many rows, so that what is summed up by blocks does not depend on how threads cut them."""
    import pyarrow as pa

    waiting: list[Any] = []
    for batch in batches:
        if not waiting and batch.num_rows == size:
            yield batch
            continue
        waiting.append(batch)
        while (there := sum(each.num_rows for each in waiting)) >= size:
            whole = pa.concat_batches(waiting)
            yield whole.slice(0, size)
            waiting = [whole.slice(size)] if there > size else []
    if any(batch.num_rows for batch in waiting):
        yield pa.concat_batches(waiting)


def _cells(kind: str, array: Any) -> tuple[Any, np.ndarray]:
    """(cells, missing) of an Arrow array."""
    import pyarrow as pa

    if kind == "other":  # read as whether it is empty
        empty = _numpy(array)
        return np.zeros(len(empty), bool), empty
    missing = _numpy(array.is_null()) if array.null_count else np.zeros(len(array), bool)
    if kind == "text":
        return _text(array), missing
    zero = False if pa.types.is_boolean(array.type) else 0
    return _numpy(array.fill_null(zero) if array.null_count else array), missing


def _own(array: Any) -> Any:
    """A copy: DuckDB gives back the memory of a batch when none of its columns is held any more. From the system's
    pool, as Arrow's own would keep what is given back."""
    import pyarrow as pa

    return pa.concat_arrays([array, array.slice(0, 0)], memory_pool=pa.system_memory_pool())


def _numpy(array: Any) -> np.ndarray:
    return array.to_numpy(zero_copy_only=False)


def _text(array: Any) -> Any:
    """Large strings, of which no number of letters is too many."""
    import pyarrow as pa

    return array.cast(pa.large_string())
