"""Parquet, tables of a DuckDB file, and SELECTs: rows whose columns have types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

from handgrad.cli.data.given import Data
from handgrad.cli.data.sources.base import Source
from handgrad.cli.data.sources.cells import ISO
from handgrad.cli.data.sources.delimited import check_same_columns, skipped
from handgrad.cli.data.sources.duck import (
    Duck,
    Fields,
    bare,
    expression,
    identifier,
    kind_of,
    paths_in,
    quoted,
    read_errors,
)
from handgrad.cli.data.sources.files import NOWHERE, Files
from handgrad.cli.data.sources.json_types import of_one_type
from handgrad.cli.data.tables import Origin
from handgrad.cli.faults import InputError, did_you_mean, listed

SAME = {"integer": "number"}  # kinds that go together in one column
FILE = "the file, to Handgrad"  # what no column is called


def open_parquet(files: Files, data: Data) -> Source:
    """The table in Parquet files. Raises InputError, with the file and the column, where their schemas differ."""
    duck = Duck(files.paths)
    try:
        first, *others = files.paths
        expected = _parquet_fields(duck, first)
        for path in others:
            _check_same_kinds(str(path), _parquet_fields(duck, path), str(first), expected)
        source = f"read_parquet({paths_in(files.paths)}, union_by_name=true, hive_partitioning=false)"
        return source_of(duck, files.name, source, files, data, "parquet")
    except BaseException:
        duck.close()
        raise


def open_duckdb(files: Files, data: Data) -> Source:
    """A table of a DuckDB file, or a SELECT over its tables."""
    path = files.paths[0]
    what = f"{str(path)!r} can't be read as a DuckDB file"
    with read_errors(what):
        duck = Duck(None if data.sql is not None else files.paths, path, threads=None if data.sql is None else 1)
    try:
        with read_errors(what):
            found = duck.rows(
                "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_catalog = "
                "'given' AND table_schema NOT IN ('information_schema', 'pg_catalog') ORDER BY ALL"
            )
        names = {name if schema == "main" else f"{schema}.{name}": (schema, name, kind) for schema, name, kind in found}
        if data.sql is not None:
            return _selected(duck, data.sql, files, data)
        schema, name, kind = names[table_of(path, list(names), data.table)]
        if kind == "VIEW":  # one thread, as for a SELECT
            duck.close()
            duck = Duck(files.paths, path, threads=1)
        source = f"given.{identifier(schema)}.{identifier(name)}"
        return source_of(duck, f"{path.name}, table {name}", source, files, data, "a DuckDB table")
    except BaseException:
        duck.close()
        raise


def open_select(data: Data) -> Source:
    """What a SELECT gives, over files that stand in its FROM."""
    assert data.sql is not None
    bare(data.sql)
    duck = Duck(None, threads=1)
    try:
        return _selected(duck, data.sql, NOWHERE, data)
    except BaseException:
        duck.close()
        raise


def table_of(path: Path, names: list[str], wanted: str | None) -> str:
    """The name of the table to read. Raises InputError with those there are where none, or more than one, is meant."""
    if not names:
        raise InputError(f"{str(path)!r} has no tables")
    if wanted is None:
        if len(names) > 1:
            raise InputError(f"{str(path)!r} has {len(names)} tables; name one with --table: {listed(names)}")
        return names[0]
    if wanted not in names:
        near = did_you_mean(wanted, names)
        raise InputError(f"{str(path)!r} has no table {wanted!r}{near}; its tables are {listed(names)}")
    return wanted


def _selected(duck: Duck, sql: str, files: Files, data: Data) -> Source:
    with read_errors("the SELECT can't be run"):
        names = Counter(str(row[0]) for row in duck.rows(f"DESCRIBE {bare(sql)}"))
    if repeated := [name for name, count in names.items() if count > 1]:
        raise InputError(f"the SELECT has more than one column called {listed(repeated)}; give each a name of its own")
    # one thread, in which joins and groups come in the same order each time
    return source_of(duck, "the SELECT", bare(sql), files, data, "a table")


def source_of(duck: Duck, name: str, source: str, files: Files, data: Data, what: str, dated: bool = False) -> Source:
    """The rows of what stands after FROM. what: for an error, "parquet" or "json". dated: whether text that says times
    as ISO 8601 in all cells is times."""
    failure = f"{name!r} can't be read as {what}" if files.paths else f"{name} can't be run"
    if name == "the SELECT":
        failure = "the SELECT can't be run"
    with read_errors(failure):
        fields = duck.fields(source)
        repeated = [column for column, count in Counter(column for column, _ in fields).items() if count > 1]
        if repeated:
            raise InputError(f"{name} has more than one column called {listed(repeated)}; give each a name of its own")
        kinds = {column: kind_of(kind) for column, kind in fields}
        values = {column: expression(column, kind) for column, kind in fields}
        for column in (column for column, kind in fields if kind == "JSON"):
            kinds[column], values[column] = of_one_type(duck, source, name, column, data)
        if dated:
            texts = [column for column in kinds if kinds[column] == "text" and column not in data.text]
            for column in _times(duck, source, texts):
                kinds[column], values[column] = "time", ISO.value.format(c=identifier(column))
        where, notes = "", list[str]()
        if data.skip_bad_rows:
            where, notes = _finite(duck, source, kinds, values)
        rows = _counted(duck, source, where, files)
        texts = [column for column in data.text if kinds.get(column, "text") not in ("text", "other")]
        values |= {column: f"CAST({identifier(column)} AS VARCHAR)" for column in texts}
        kinds |= dict.fromkeys(texts, "text")
    if not sum(count for _, count in rows):
        raise InputError(f"{name} gives no rows; its columns are {listed(list(kinds))}")
    select = f"SELECT {', '.join(f'{value} AS v{i}' for i, value in enumerate(values.values()))} FROM {source}{where}"
    batches = partial(batches_of, duck, select, failure)
    return Source(name, kinds, Origin(tuple(rows)), files, batches, duck.close, None, notes)


def batches_of(duck: Duck, select: str, failure: str, most: int) -> Generator[Any]:
    """The rows of a SELECT, its errors in one line that begins with `failure`."""
    with read_errors(failure):
        yield from duck.batches(select, most)


def _counted(duck: Duck, source: str, where: str, files: Files) -> list[tuple[str, int]]:
    """(file, rows) of each."""
    if len(files.paths) < 2:
        name = str(files.paths[0]) if files.paths else "the SELECT"
        return [(name, int(duck.row(f"SELECT count(*) FROM {source}{where}")[0]))]
    named = source.removesuffix(")") + f", filename={quoted(FILE)})"
    counts = dict(duck.rows(f"SELECT {identifier(FILE)}, count(*) FROM {named}{where} GROUP BY 1"))
    return [(str(path), int(counts.get(str(path), 0))) for path in files.paths]


def _finite(duck: Duck, source: str, kinds: dict[str, str], values: dict[str, str]) -> tuple[str, list[str]]:
    """(WHERE, notes): the rows without a NaN or an infinity, and how many others there are."""
    tests = [f"({v} IS NULL OR isfinite({v}))" for column, v in values.items() if kinds[column] == "number"]
    if not tests:
        return "", []
    where = f" WHERE {' AND '.join(tests)}"
    read, kept = duck.row(f"SELECT count(*), count(*) FILTER ({where.removeprefix(' ')}) FROM {source}")
    return where, skipped(read - kept, read, ["a number in them is not finite"])


def _times(duck: Duck, source: str, texts: list[str]) -> list[str]:
    """The columns of text of which each cell says a time."""
    if not texts:
        return []
    asks = (f"count({cell}), count({ISO.value.format(c=cell)})" for cell in map(identifier, texts))
    counts = duck.row(f"SELECT {', '.join(asks)} FROM {source}")
    found = zip(texts, counts[::2], counts[1::2], strict=True)
    return [column for column, there, times in found if there and there == times]


def _parquet_fields(duck: Duck, path: Path) -> Fields:
    with read_errors(f"{str(path)!r} can't be read as parquet"):
        return duck.fields(f"read_parquet({paths_in([path])}, hive_partitioning=false)")


def _check_same_kinds(file: str, fields: Fields, first: str, expected: Fields) -> None:
    own = dict(fields)
    check_same_columns(file, sorted(own), first, sorted(dict(expected)))
    for name, sql_type in expected:
        kinds = [SAME.get(kind_of(each), kind_of(each)) for each in (own[name], sql_type)]
        if kinds[0] != kinds[1]:
            raise InputError(f"{file}: its column {name!r} holds {own[name]:.60}, and in {first} {sql_type:.60}")
