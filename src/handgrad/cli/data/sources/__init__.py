"""Where tables come from: files, folders and patterns of them, SQLite and DuckDB files, and SELECTs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from handgrad.cli.data.given import Data
from handgrad.cli.data.sources.base import BLOCK, Source
from handgrad.cli.data.sources.files import DATABASES, files_of
from handgrad.cli.data.tables import Table
from handgrad.cli.faults import UsageError

__all__ = ["BLOCK", "Data", "Source", "is_there", "name_of", "open_source", "read_table", "reads"]

SELECT = re.compile(r"""(\s|--[^\n]*\n|/\*.*?\*/|\()*(select|with|from)[\s*('"]""", re.IGNORECASE | re.DOTALL)


def is_select(given: str) -> bool:
    """Whether DATA is a SELECT, and no file."""
    return bool(SELECT.match(given)) and not os.path.exists(given)  # which a long SELECT may be asked, too


def is_there(data: Data) -> bool:
    """Whether what is named is something to read: a SELECT, or files."""
    given = data.given
    if data.sql is not None:
        return True
    return isinstance(given, str) and (is_select(given) or os.path.exists(given) or bool(glob.glob(given)))


def reads(data: Data, path: Path) -> bool:
    """Whether that file is among those that are named; what a SELECT reads is not looked into."""
    given = data.given
    if given is None or is_select(given) or not path.exists() or not is_there(data):
        return False
    return any(path.samefile(each) for each in files_of(given).paths)


def open_source(data: Data) -> Source:
    """The rows of what the user named, to be read in blocks. To be closed.

    Raises InputError, with the file and the line or row, for what is no table; UsageError for options that do not fit.
    """
    from handgrad.cli.data.sources import delimited, json_lines, sqlite, typed

    given, sql = data.given, data.sql
    if given is not None and is_select(given):
        if sql is not None:
            raise UsageError("DATA is a SELECT already; leave out --sql")
        given, sql = None, given
    data = replace(data, given=given, sql=sql)
    if given is None:
        if data.table is not None:
            raise UsageError(f"--table {data.table!r} is of a SQLite or DuckDB file; give that as DATA")
        return typed.open_select(data)
    files = files_of(given)
    if files.reader not in DATABASES:
        beside = f"and {given!r} is {files.reader}"
        if data.table is not None:
            raise UsageError(f"--table is for SQLite and DuckDB files, {beside}")
        if sql is not None:
            raise UsageError(
                f"--sql beside DATA is for SQLite and DuckDB files, {beside}; leave DATA out, and name it in FROM: "
                f"--sql \"SELECT ... FROM '{given}'\""
            )
    if data.table is not None and data.sql is not None:
        raise UsageError("--table and --sql each say what to read; give one of them")
    readers = {
        "csv": delimited.open_delimited,
        "parquet": typed.open_parquet,
        "json": json_lines.open_json,
        "sqlite": sqlite.open_sqlite,
        "duckdb": typed.open_duckdb,
    }
    return readers[files.reader](files, data)


def read_table(data: Data | Path | str, text: Collection[str] = ()) -> Table:
    """The table, whole. Columns named in `text` are read as text, also where they look like numbers. Raises as
    `open_source` does."""
    if not isinstance(data, Data):
        data = Data(str(data), text=frozenset(text))
    with open_source(data) as source:
        return source.read()


def name_of(data: Data) -> str:
    """What a run of it is called."""
    if data.given is None or is_select(data.given):
        return "select"
    path = Path(data.given)
    stems = (re.sub(r"[^\w+-]", "", each.name.split(".")[0]) for each in (path, *path.parents))
    return next(filter(None, stems), "data")
