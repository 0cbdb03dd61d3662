"""DuckDB as the reader: a connection that reaches the files it is given and nothing else, and rows in record batches.

No extension is ever installed or loaded, nothing is written, and of what a user writes one SELECT alone is run.
"""

from __future__ import annotations

import glob
import os
import re
import tempfile
import threading
import time
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from handgrad.cli.data.memory import available
from handgrad.cli.faults import InputError
from handgrad.training.streams.tables import ctrl_c

LEAST_MEMORY, MOST_MEMORY = 200_000_000, 2_000_000_000  # bytes that DuckDB may take, of those there are a quarter
MOST_THREADS = 4
PATIENCE = 2.0  # seconds that are given to a query to end in
MOST_SAID = 500  # characters of DuckDB's messages, which may quote cells of any length
SQL_KINDS = {
    "boolean": ("BOOLEAN",),
    "integer": ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
    "number": ("FLOAT", "DOUBLE", "DECIMAL", "HUGEINT", "UHUGEINT"),
    "text": ("VARCHAR", "ENUM", "UUID"),
    "time": ("DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIME", "INTERVAL"),
}
Fields = list[tuple[str, str]]  # names and SQL types


class Duck:
    """A connection. paths: the files it may read; None for all of this machine's, as a user's own SELECT may."""

    def __init__(self, paths: Iterable[Path] | None, attached: Path | None = None, threads: int | None = None):
        self._attached, self._reading = attached is not None, dict[Any, int]()  # by cursor the thread that reads
        with ExitStack() as undo:
            self._connection = self._connected(undo, paths, attached, threads)
            self._undo = undo.pop_all()

    @staticmethod
    def _connected(undo: ExitStack, paths: Iterable[Path] | None, attached: Path | None, threads: int | None) -> Any:
        import duckdb

        spill = undo.enter_context(tempfile.TemporaryDirectory(prefix="handgrad-"))
        there = available()
        memory = LEAST_MEMORY if there is None else min(MOST_MEMORY, max(LEAST_MEMORY, there // 4))
        config = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,  # a name in a SELECT is a table's, never a variable's of this program
            "memory_limit": f"{memory // 1_000_000}MB",
            "temp_directory": spill,
            "enable_external_file_cache": False,  # the system caches files; this would fill the memory that is allowed
            "threads": threads or min(MOST_THREADS, os.cpu_count() or 1),
        }
        connection = undo.enter_context(duckdb.connect(":memory:", config=config))
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")  # it would be among what is printed
        if attached is not None:
            connection.execute(f"ATTACH {quoted(str(attached))} AS given (READ_ONLY)")
            connection.execute("USE given")
        if paths is not None:
            allowed = sorted({name for path in paths for name in (str(path), glob.escape(str(path)))})
            connection.execute("SET allowed_paths = $paths", {"paths": allowed})
            connection.execute("SET allowed_directories = $paths", {"paths": [spill]})
            connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return connection

    def close(self) -> None:
        """Close it, and remove what it has spilled. A query that another thread waits for is cut off."""
        until = time.monotonic() + PATIENCE
        while others := [cursor for cursor, thread in [*self._reading.items()] if thread != threading.get_ident()]:
            for cursor in others:
                cursor.interrupt()
            if time.monotonic() > until:
                break
            time.sleep(0.01)  # Python must not end while DuckDB has the thread
        self._undo.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with ctrl_c():
            return self._connection.execute(sql).fetchall()

    def row(self, sql: str) -> tuple[Any, ...]:
        """The one row of a query."""
        return self.rows(sql)[0]

    def fields(self, source: str) -> Fields:
        """The columns of what stands after FROM."""
        return [(str(row[0]), str(row[1])) for row in self.rows(f"DESCRIBE SELECT * FROM {source}")]

    def batches(self, sql: str, most: int) -> Generator[Any]:
        """The rows of a query in record batches, in the order of the source. In any thread; another may read too."""
        with self._connection.cursor() as cursor:
            self._reading[cursor] = threading.get_ident()
            try:
                if self._attached:
                    cursor.execute("USE given")  # which each cursor has to be told
                relation = cursor.sql(sql)
                read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader  # before DuckDB 2
                with ctrl_c():
                    yield from read(most)
            except OSError as error:  # Arrow's, of whatever DuckDB met on the way; the system's own have a number
                if error.errno is not None:
                    raise
                raise InputError(first_line(error)) from None
            finally:
                del self._reading[cursor]


@contextmanager
def read_errors(what: str) -> Iterator[None]:
    """Say DuckDB's errors in one line that begins with `what`."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise InputError(f"{what}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """DuckDB's message without the SQL and the advice below it."""
    return re.sub(r"^(\w+ )+Error: ", "", str(error).strip()).splitlines()[0].strip()[:MOST_SAID]


def check_select(sql: str) -> None:
    """Raise InputError for anything but one SELECT."""
    import duckdb

    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise InputError(f"the SELECT can't be read: {first_line(error)}") from None
    kinds = [statement.type.name for statement in statements]
    if kinds != ["SELECT"]:
        found = " and ".join(kinds) if kinds else "nothing"
        raise InputError(f"expected one SELECT, which is all that is run, got {found}")


def bare(sql: str) -> str:
    """A SELECT, checked, to stand in brackets: without the semicolon at its end, and comments below that."""
    check_select(sql)
    ends = (found.start() for found in re.finditer(";", sql))
    end = next((end for end in ends if _statements(sql[:end]) == 1 and _statements(sql[end:]) == 0), len(sql))
    return f"({sql[:end]}\n)"  # a comment may end it


def _statements(sql: str) -> int | None:
    """How many there are; None where a quote or a comment is cut in two."""
    import duckdb

    try:
        return len(duckdb.extract_statements(sql))
    except duckdb.Error:
        return None


def kind_of(sql_type: str) -> str:
    """What a column of that SQL type is to us."""
    base = sql_type.split("(")[0].split(" ")[0].removesuffix("_NS").removesuffix("_MS").removesuffix("_S")
    if sql_type.endswith("]"):
        return "other"
    return next((kind for kind, types in SQL_KINDS.items() if base in types), "other")


def expression(name: str, sql_type: str) -> str:
    """A column of that SQL type as the values that a Column of its kind holds."""
    column, kind = identifier(name), kind_of(sql_type)
    if sql_type == "TIMESTAMPTZ_NS":  # which epoch does not take
        column = f"CAST({column} AS TIMESTAMPTZ)"
    if kind == "number":
        return column if sql_type == "FLOAT" else f"CAST({column} AS DOUBLE)"
    cast = {
        "text": f"CAST({column} AS VARCHAR)",
        "time": f"epoch({column}) / 86400.0",
        "other": f"{column} IS NULL",
    }
    return cast.get(kind, column)


def selected(fields: Fields, source: str) -> str:
    """The SELECT of all columns as their values."""
    columns = ", ".join(f"{expression(name, kind)} AS c{place}" for place, (name, kind) in enumerate(fields))
    return f"SELECT {columns} FROM {source}"


def quoted(text: str) -> str:
    """A string in SQL."""
    return "'" + text.replace("'", "''") + "'"


def paths_in(paths: Collection[Path]) -> str:
    """A list of files in SQL, each taken as it is called, though it has * or [ in its name."""
    return f"[{', '.join(quoted(glob.escape(str(path))) for path in paths)}]"


def identifier(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'
