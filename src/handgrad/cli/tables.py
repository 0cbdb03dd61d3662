"""Tables from files: CSV, TSV, Parquet and JSON lines, read by DuckDB, each column as one array.

Which cells are empty, which columns are numbers, and what a broken file is called, is decided here and nowhere else.
"""

from __future__ import annotations

import csv
import glob
import gzip
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from handgrad.cli.faults import InputError, did_you_mean, listed

EMPTY = ("", "NA", "N/A", "NULL", "null")  # cells of a text file that say "no value"
READERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
# no BOOLEAN: it would turn yes and no, T and F, 1.0 and 0.0 into true and false, which are not what the file says
CSV_TYPES = ("BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMPTZ", "VARCHAR")
TRUTH = {"true": True, "false": False}  # casefolded
DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")  # a number where semicolons separate
SQL_KINDS = {
    "boolean": ("BOOLEAN",),
    "integer": ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
    "number": ("FLOAT", "DOUBLE", "DECIMAL", "HUGEINT", "UHUGEINT"),
    "text": ("VARCHAR", "ENUM", "UUID"),
    "time": ("DATE", "TIMESTAMP", "TIME", "INTERVAL"),
}


@dataclass(frozen=True)
class Column:
    """One column. kind: "integer", "number", "boolean", "text", "time" (days since 1970) or "other" (lists and such).

    values: (rows,), objects of str for text, else numbers or booleans. missing: (rows,), True where a cell is empty;
    the value there has no meaning. spelled: (rows,), the cells as the file writes them, where that was asked for.
    """

    name: str
    kind: str
    values: np.ndarray
    missing: np.ndarray
    spelled: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Column:
        """The column of those rows."""
        spelled = None if self.spelled is None else self.spelled[rows]
        return Column(self.name, self.kind, self.values[rows], self.missing[rows], spelled)

    @property
    def present(self) -> np.ndarray:
        """The values that are there."""
        return self.values[~self.missing]

    def texts(self) -> np.ndarray:
        """The values as text, whatever they are: how classes and categories are called."""
        if self.spelled is not None:
            return self.spelled
        if self.kind == "text":
            return self.values
        if self.kind == "boolean":
            return np.where(self.values, "true", "false").astype(object)
        if self.kind == "number" and np.all(self.present == np.round(self.present)):
            return np.array([str(int(v)) if np.isfinite(v) else "" for v in self.values], dtype=object)
        return np.array([str(v) for v in self.values.tolist()], dtype=object)


@dataclass(frozen=True)
class Table:
    """Columns of equal length, in the order of the file. source: what to call it in messages."""

    source: str
    columns: dict[str, Column]
    rows: int

    def column(self, name: str, what: str) -> Column:
        """The column of that name. Raises InputError with those there are; `what` says what it is for."""
        if name not in self.columns:
            names = list(self.columns)
            raise InputError(
                f"{what} {name!r} is not a column of {self.source}{did_you_mean(name, names)}; "
                f"its columns are {listed(names)}"
            )
        return self.columns[name]

    def take(self, rows: np.ndarray) -> Table:
        """The table of those rows."""
        return Table(self.source, {name: column.take(rows) for name, column in self.columns.items()}, len(rows))


def read_table(path: Path, text: Collection[str] = ()) -> Table:
    """The table in a file. Columns named in `text` are read as text, also where they look like numbers.

    Raises InputError for a file that is no table, with what is wrong and where.
    """
    reader = _reader(path)
    names: list[str] = []
    commas = False
    if reader == "csv":
        commas = _delimiter_of(path) == ";"
        names, options = _csv_options(path, text)
        source, parameters = f"read_csv($path, {options})", {"path": glob.escape(str(path))}
    else:
        source, parameters = f"read_{reader}($path)", {"path": glob.escape(str(path))}
    arrays, kinds = _query(path, source, parameters, names)
    if not names:
        names = list(kinds)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"{path} has more than one column called {listed(repeated)}; give each a name of its own")
    columns, rows = {}, 0
    for name, (kind, array) in zip(names, arrays, strict=True):
        column = _column(name, kind, array)
        columns[name] = _typed(column, commas) if reader == "csv" and name not in text else column
        rows = len(array)
    if rows == 0:
        raise InputError(f"{path} has a header ({listed(names)}) but no rows")
    return Table(str(path), columns, rows)


def spelled(path: Path, column: Column) -> Column:
    """The column of the table in `path`, with its cells as a text file writes them; other files have no spelling."""
    if column.kind == "text" or READERS.get(_suffix(path)) != "csv":
        return column
    return replace(column, spelled=read_table(path, [column.name]).columns[column.name].values)


def check_finite(column: Column, way_out: str = "write it as an empty cell") -> None:
    """Raise InputError, naming the row, where a column of numbers holds a literal NaN or infinity."""
    values = _as_numbers(column) if column.kind == "text" else column.values
    if values is None or values.dtype.kind != "f":
        return
    wrong = ~np.isfinite(values) & ~column.missing
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"column {column.name!r} holds {column.values[row]} in row {row + 1} (the first below the header is 1); "
            f"numbers must be finite; {way_out}"
        )


def not_a_number(column: Column) -> tuple[int, int]:
    """(how many of a text column's cells are not numbers, the row of the first of them, counted from 0)."""
    cells = zip(column.values, column.missing, strict=True)
    wrong = np.array([not gone and not _is_number(value) for value, gone in cells], dtype=bool)
    return int(wrong.sum()), int(wrong.argmax())


def _reader(path: Path) -> str:
    if not path.exists():
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(f"there is no file {str(path)!r}{did_you_mean(path.name, near)}")
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; give one CSV, TSV, Parquet or JSON lines file")
    reader = READERS.get(_suffix(path))
    if reader is None or (path.suffix.lower() == ".gz" and reader == "parquet"):
        raise InputError(f"can't tell what {str(path)!r} is by its name; known are {', '.join(READERS)}, or .csv.gz")
    if path.stat().st_size == 0:
        raise InputError(f"{str(path)!r} is empty; expected a table with a header")
    return reader


def _suffix(path: Path) -> str:
    """What the name says that the file is."""
    return (Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix).lower()


def _open(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row that is not blank; InputError where the file is not text."""
    try:
        with _open(path) as file:
            first = file.readline()
            while first and not first.strip():
                first = file.readline()
            if "\0" in first:
                raise InputError(f"{str(path)!r} is not a text file; if it is Parquet, name it .parquet")
            file.seek(0)
            line = 1
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: {error}; is a quote left open?") from None
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{str(path)!r} can't be read as UTF-8 text: {error}") from None


def _delimiter(header: str) -> str:
    bare = "".join(part for place, part in enumerate(header.split('"')) if place % 2 == 0)  # what is not in quotes
    return max(",;\t|", key=bare.count)  # the first of equals: a single column has none of them


def _delimiter_of(path: Path) -> str:
    with _open(path) as file:
        try:
            start = file.read(65536)
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
            raise InputError(f"{str(path)!r} can't be read as UTF-8 text: {error}") from None
    if not start.strip():
        raise InputError(f"{str(path)!r} is empty; expected a table with a header")
    return "\t" if ".tsv" in path.suffixes else _delimiter(start.lstrip().splitlines()[0])


def _csv_options(path: Path, text: Collection[str]) -> tuple[list[str], str]:
    """The names in the header as they are, and the options for DuckDB to read the rest by."""
    delimiter = _delimiter_of(path)
    _, header = next(_csv_rows(path, delimiter))
    names = [name.strip() or f"column {place + 1}" for place, name in enumerate(header)]
    types = ["'VARCHAR'" if name in text else None for name in names]
    options = {
        "header": "true",
        "delim": _quote(delimiter),
        "quote": "'\"'",
        "escape": "'\"'",
        "comment": "''",
        "sample_size": "-1",  # the type of a column is decided by all of its cells
        "nullstr": f"[{', '.join(map(_quote, EMPTY))}]",
        "auto_type_candidates": f"[{', '.join(map(_quote, CSV_TYPES))}]",
        "names": f"[{', '.join(_quote(f'c{place}') for place in range(len(names)))}]",
    }
    forced = ", ".join(f"'c{place}': 'VARCHAR'" for place, kind in enumerate(types) if kind)
    if forced:
        options["types"] = f"{{{forced}}}"
    return names, ", ".join(f"{name}={value}" for name, value in options.items())


def _query(
    path: Path, source: str, parameters: dict[str, str], names: list[str]
) -> tuple[list[tuple[str, Any]], dict[str, str]]:
    """[(kind, array)] for each column, and the kinds by DuckDB's names."""
    import duckdb

    config = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    try:
        with duckdb.connect(":memory:", config=config) as connection:
            # this file and no other, whatever stands in it
            connection.execute("SET allowed_paths = $paths", {"paths": [str(path), glob.escape(str(path))]})
            connection.execute("SET enable_external_access = false")
            connection.execute("SET TimeZone = 'UTC'")
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}", parameters).fetchall()
            kinds = {str(row[0]): _kind(str(row[1])) for row in described}
            if names and len(kinds) != len(names):
                raise InputError(_ragged(path) or f"the header of {str(path)!r} does not fit its rows")
            select = ", ".join(_expression(name, kind) for name, kind in kinds.items())
            found = connection.execute(f"SELECT {select} FROM {source}", parameters).fetchnumpy()
    except duckdb.Error as error:
        reason = _ragged(path) if names else None
        first = str(error).strip().splitlines()[0]
        raise InputError(reason or f"{str(path)!r} can't be read as {path.suffix[1:]}: {first}") from None
    return [(kind, found[name]) for name, kind in kinds.items()], kinds


def _kind(sql_type: str) -> str:
    base = sql_type.split("(")[0].split(" ")[0].removesuffix("_NS").removesuffix("_MS").removesuffix("_S")
    if sql_type.endswith("]"):
        return "other"
    return next((kind for kind, types in SQL_KINDS.items() if base in types), "other")


def _expression(name: str, kind: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    cast = {
        "number": f"CAST({column} AS DOUBLE)",
        "text": f"CAST({column} AS VARCHAR)",
        "time": f"epoch({column}) / 86400.0",
        "other": f"{column} IS NULL",
    }
    return f"{cast.get(kind, column)} AS {column}"


def _column(name: str, kind: str, array: Any) -> Column:
    missing = np.array(np.ma.getmaskarray(array))
    values = np.asarray(np.ma.getdata(array))
    return Column(name, kind, values, missing)


def _typed(column: Column, commas: bool) -> Column:
    """A text column of a text file as what its cells are, where DuckDB does not see it: truth values; numbers with an
    infinity; numbers with decimal commas, if `commas`."""
    if column.kind != "text" or not len(column.present):
        return column
    cells, missing = column.present.tolist(), column.missing
    if all(cell.casefold() in TRUTH for cell in cells):
        values = np.zeros(len(missing), bool)
        values[~missing] = [TRUTH[cell.casefold()] for cell in cells]
        return Column(column.name, "boolean", values, missing)
    if commas and all(DECIMAL_COMMA.fullmatch(cell) for cell in cells):
        numbers = np.zeros(len(missing))
        numbers[~missing] = [float(cell.replace(",", ".")) for cell in cells]
        return Column(column.name, "number", numbers, missing)
    found = _as_numbers(column)
    if found is not None and not np.isfinite(found[~missing]).all():
        return Column(column.name, "number", found, missing)  # numbers, but for "inf", which DuckDB takes for a word
    return column


def _as_numbers(column: Column) -> np.ndarray | None:
    """A text column's values as floats, 0 where missing; None where a cell is something else."""
    try:
        return np.array([0.0 if gone else float(v) for v, gone in zip(column.values, column.missing, strict=True)])
    except ValueError:
        return None


def _is_number(text: str) -> bool:
    if DECIMAL_COMMA.fullmatch(text):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _ragged(path: Path) -> str | None:
    """What is wrong with the first row that has more or fewer cells than the header; None where all have as many."""
    width = 0
    for line, cells in _csv_rows(path, _delimiter_of(path)):
        width = width or len(cells)
        if len(cells) != width:
            return f"{path}, line {line}: {len(cells)} cells where the header has {width} columns"
    return None


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
