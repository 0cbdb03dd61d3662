"""SQLite files, by Python's own reader: a table, or a SELECT that SQLite runs, in batches of rows.

SQLite's columns have no fixed types, so the kinds are those of the values that are there; a column declared a date or a
truth value is read as that.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from handgrad.cli.data.given import Data
from handgrad.cli.data.sources.base import Source
from handgrad.cli.data.sources.cells import way_out
from handgrad.cli.data.sources.delimited import skipped
from handgrad.cli.data.sources.duck import identifier
from handgrad.cli.data.sources.files import Files
from handgrad.cli.data.sources.typed import table_of
from handgrad.cli.data.tables import Origin
from handgrad.cli.faults import InputError, listed

ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
SELECT = re.compile(r"\s*(select|with|values)\b", re.IGNORECASE)
COMMENT = re.compile(r"""('[^']*'|"[^"]*"|`[^`]*`|\[[^\]]*\])|--[^\n]*|/\*.*?(?:\*/|\Z)""", re.DOTALL)  # or quoted
VIRTUAL = "a virtual table, which is not read; copy its rows into a plain one: CREATE TABLE ... AS SELECT"
SHADOWS = ("content", "data", "idx", "docsize", "config", "segments", "segdir", "stat", "node", "parent", "rowid")
INFINITE = "(9e999, -9e999)"
ASKED = 250  # columns at once: SQLite gives at most 2000 values
STORED = ("integer", "real", "text", "blob")  # as SQLite's typeof calls them
SQL_VALUE = {
    "time": "(julianday({c}) - 2440587.5)",  # days since 1970
    "boolean": "({c} <> 0)",
    "number": "CAST({c} AS REAL)",
    "text": "CAST({c} AS TEXT)",
    "other": "({c} IS NULL)",
}


def open_sqlite(files: Files, data: Data) -> Source:
    """A table of a SQLite file, or a SELECT over its tables."""
    path = files.paths[0]
    with _connected(path) as connection:
        if data.sql is None:
            name = table_of(path, _tables(connection, path, data.table), data.table)
            source, name = identifier(name), f"{path.name}, table {name}"
        else:
            sql = COMMENT.sub(lambda part: part[1] or " ", data.sql)
            if not SELECT.match(sql):
                raise InputError(f"expected one SELECT, which is all that is run, got {data.sql!r:.60}")
            sql = sql.rstrip("; \t\r\n")
            source, name = f"({sql})", "the SELECT"
        connection.set_authorizer(_only_read)
        described = connection.execute(f"SELECT * FROM {source} LIMIT 0").description
        names = [str(column[0]) for column in described]
        declared = {} if data.sql is not None else _declared(path, source)
        kinds, where, notes, rows = _kinds(connection, source, name, names, declared, data)
    values = [SQL_VALUE.get(kinds[column], "{c}").format(c=identifier(column)) for column in names]
    select = f"SELECT {', '.join(values)} FROM {source}{where}"
    origin = Origin(((name, rows),))
    if not rows:
        raise InputError(f"{name} gives no rows; its columns are {listed(names)}")
    batches = partial(_batches, path, select, [kinds[column] for column in names])
    return Source(name, kinds, origin, files, batches, notes=notes)


def _tables(connection: sqlite3.Connection, path: Path, wanted: str | None) -> list[str]:
    """The names of the tables and views. Raises InputError where `wanted` is a virtual table: reading it would run a
    module of SQLite's on whatever the file holds.
    """
    found = connection.execute(
        "SELECT name, sql LIKE 'CREATE VIRTUAL%' FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT GLOB "
        "'sqlite_*' ORDER BY 1"
    ).fetchall()
    virtual = [name for name, is_virtual in found if is_virtual]
    own = {f"{name}_{part}" for name in virtual for part in SHADOWS}  # where such a table keeps its rows
    names = [name for name, is_virtual in found if not is_virtual and name not in own]
    if wanted in virtual or (virtual and not names):
        raise InputError(f"{str(path)!r}: {wanted or virtual[0]!r:.60} is {VIRTUAL}")
    return names


def _only_read(action: int, *_: Any) -> int:
    return sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, opened to be read alone, in this thread."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of a message that quotes a damaged file
        denied = "not authorized" in str(error) or "prohibited" in str(error)
        said = "it does more than to SELECT, which is all that is run" if denied else str(error)
        if "vtable constructor failed" in said:  # for which it would have to do more
            said = f"it needs {VIRTUAL}"
        raise InputError(f"{str(path)!r} can't be read as SQLite: {said}") from None


def _declared(path: Path, table: str) -> dict[str, str]:
    with _connected(path) as connection:
        return {row[1]: str(row[2]).upper() for row in connection.execute(f"PRAGMA table_info({table})")}


def _kinds(
    connection: sqlite3.Connection, source: str, name: str, names: list[str], declared: dict[str, str], data: Data
) -> tuple[dict[str, str], str, list[str], int]:
    """(kinds, WHERE, notes, rows) by one pass over the table, or a few where it is wide."""
    read = int(connection.execute(f"SELECT count(*) FROM {source}").fetchone()[0])
    facts: list[list[int]] = []
    for first in range(0, len(names), ASKED):
        facts += _facts(connection, source, [identifier(column) for column in names[first : first + ASKED]])
    kinds, tests = {}, []
    for column, (whole, real, text, blob, infinite, dated, odd) in zip(names, facts, strict=True):
        cell, type_said, there = identifier(column), declared.get(column, ""), whole + real + text + blob
        kind = "other" if blob else "text" if text else "number" if real else "integer"
        if column in data.text and kind != "other":
            kind = "text"
        elif kind == "text" and text < there:
            if not data.skip_bad_rows:
                raise _changes(connection, source, name, column, whole + real > text, data)
            kind = "text" if text > whole + real else "number"
            tests.append(f"typeof({cell}) IN ({chr(39)}null{chr(39)}, {_types(kind)})")
        elif kind == "text" and ("DATE" in type_said or "TIME" in type_said) and dated == there:
            kind = "time"
        elif kind == "integer" and "BOOL" in type_said and not odd:
            kind = "boolean"
        if not there:
            kind = "text"
        if kind == "number" and infinite and data.skip_bad_rows:
            tests.append(f"({cell} IS NULL OR {cell} NOT IN {INFINITE})")
        kinds[column] = kind
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    rows = int(connection.execute(f"SELECT count(*) FROM {source}{where}").fetchone()[0]) if tests else read
    return kinds, where, skipped(read - rows, read, ["a value of another type than its column's"]), rows


def _facts(connection: sqlite3.Connection, source: str, columns: list[str]) -> list[list[int]]:
    """How many cells of each column are stored as what, are infinite, say a time, and are neither 0 nor 1."""
    tests = [*(f"typeof({{c}}) = '{stored}'" for stored in STORED)]
    tests += [f"{{c}} IN {INFINITE}", "julianday({c}) IS NOT NULL", "{c} NOT IN (0, 1)"]
    asks = (f"sum({test.format(c=column)})" for column in columns for test in tests)
    found = [int(count or 0) for count in connection.execute(f"SELECT {', '.join(asks)} FROM {source}").fetchone()]
    return [found[first : first + len(tests)] for first in range(0, len(found), len(tests))]


def _types(kind: str) -> str:
    return "'text'" if kind == "text" else "'integer', 'real'"


def _changes(
    connection: sqlite3.Connection, source: str, name: str, column: str, numbers: bool, data: Data
) -> InputError:
    """The error on a column of numbers and text, with the first cell that is of the rarer type."""
    cell, rare = identifier(column), "= 'text'" if numbers else "IN ('integer', 'real')"
    row, value = connection.execute(
        f"SELECT nth, {cell} FROM (SELECT row_number() OVER () AS nth, {cell} FROM {source}) "
        f"WHERE typeof({cell}) {rare}"
    ).fetchone()
    held = "numbers" if numbers else "text"
    return InputError(
        f"{name}, row {row:,}: column {column!r} holds {value!r:.60}, and {held} elsewhere; {way_out(column, data)}"
    )


ARROW = {"integer": "int64", "number": "float64", "time": "float64", "boolean": "bool_", "other": "bool_"}


def _batches(path: Path, select: str, kinds: list[str], most: int) -> Generator[Any]:
    import pyarrow as pa

    types = [getattr(pa, ARROW.get(kind, "large_string"))() for kind in kinds]
    with _connected(path) as connection:
        connection.set_authorizer(_only_read)
        cursor = connection.execute(select)
        while rows := cursor.fetchmany(most):
            arrays = []
            for column, kind in zip(zip(*rows, strict=True), types, strict=True):
                cells = [None if cell is None else bool(cell) for cell in column] if kind == pa.bool_() else column
                arrays.append(pa.array(cells, kind))
            yield pa.record_batch(arrays, [f"v{i}" for i in range(len(arrays))])
