"""JSON lines, and arrays of objects in JSON files.

With --skip-bad-rows each line is taken for itself: those that are no objects are left out, and those of which a cell is
of another type than most of its column.
"""

from __future__ import annotations

import gzip
import json
from functools import partial
from typing import NamedTuple

from handgrad.cli.data import Data
from handgrad.cli.faults import InputError
from handgrad.cli.sources.base import Source
from handgrad.cli.sources.cells import KINDS
from handgrad.cli.sources.delimited import skipped
from handgrad.cli.sources.duck import Duck, paths_in, quoted, read_errors
from handgrad.cli.sources.files import Files, suffix_of
from handgrad.cli.sources.json_types import GROUP
from handgrad.cli.sources.typed import batches_of, source_of
from handgrad.cli.tables import Origin

LINES = (".jsonl", ".ndjson")  # an object in each; .json may also be an array of them
KIND = {"text": "text", "truth value": "boolean", "number": "number", "record": "other", "list": "other"}
VALUE = {"boolean": "CAST({text} AS BOOLEAN)", "number": "CAST({text} AS DOUBLE)", "integer": "CAST({text} AS BIGINT)"}
TIME = next(kind for kind in KINDS if kind.kind == "time")


class Key(NamedTuple):
    """A column: the type of most of its cells, and SQL for the cell, its text and its value."""

    name: str
    group: str
    kind: str
    cell: str
    value: str


def open_json(files: Files, data: Data) -> Source:
    """The table in JSON lines, or in arrays of objects. Raises InputError where a column changes its type."""
    duck = Duck(files.paths)
    try:
        lines = all(suffix_of(path) in LINES for path in files.paths)
        source = (
            f"read_json({paths_in(files.paths)}, format='{'newline_delimited' if lines else 'auto'}', sample_size=-1, "
            "union_by_name=true, hive_partitioning=false)"
        )
        try:
            return source_of(duck, files.name, source, files, data, files.paths[0].suffix[1:])
        except InputError:
            if not data.skip_bad_rows:
                if lines and (malformed := _malformed(files)):
                    raise InputError(malformed) from None
                raise
            with read_errors(f"{files.name!r} can't be read as JSON lines"):
                return _skipping(duck, files, data)
    except BaseException:
        duck.close()
        raise


def _malformed(files: Files) -> str | None:
    """What is wrong with the first line that is no JSON; DuckDB's own count of the lines goes past it."""
    for path in files.paths:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    found = json.loads(line) if line.strip() else {}
                except (ValueError, RecursionError) as error:
                    return f"{path}, line {number}: it is no JSON: {error!s:.120}"
                if not isinstance(found, dict):
                    return f"{path}, line {number}: it holds {line.decode().strip():.40}, and no object"
    return None


def _skipping(duck: Duck, files: Files, data: Data) -> Source:
    lines = f"read_json_objects({paths_in(files.paths)}, format='newline_delimited', ignore_errors=true, filename=true)"
    objects = f"(SELECT json, filename FROM {lines} WHERE json_type(json) = 'OBJECT')"
    keys = _keys(duck, objects, data)
    tests = [
        f"coalesce({GROUP.format(cell=key.cell)}, {quoted(key.group)}) = {quoted(key.group)}"
        for key in keys
        if key.kind != "other" and key.name not in data.text
    ]
    source = f"(SELECT * FROM {objects} WHERE {' AND '.join(tests) or 'true'})"
    given = int(duck.row(f"SELECT count(*) FROM {lines}")[0])
    rows = dict(duck.rows(f"SELECT filename, count(*) FROM {source} GROUP BY filename"))
    if not rows:
        raise InputError(f"{files.name} has no rows that can be read")
    columns = ", ".join(f"{key.value} AS v{place}" for place, key in enumerate(keys))
    batches = partial(batches_of, duck, f"SELECT {columns} FROM {source}", f"{files.name!r} can't be read as JSON")
    reason = "a line that is no JSON object, or holds a cell of another type than its column"
    notes = skipped(given - sum(rows.values()), given, [reason])
    origin = Origin(tuple((str(path), rows.get(str(path), 0)) for path in files.paths))
    return Source(files.name, {key.name: key.kind for key in keys}, origin, files, batches, duck.close, None, notes)


def _keys(duck: Duck, objects: str, data: Data) -> list[Key]:
    """The columns, in the order in which they come first."""
    found = duck.rows(
        f"""SELECT key, {GROUP.format(cell="value")} AS kind, bool_and(json_type(value) IN ('BIGINT', 'UBIGINT'))
        FROM (SELECT row_number() OVER () AS nth, unnest(json_keys(json)) AS key, json FROM {objects}),
        LATERAL (SELECT json_extract(json, '/' || replace(replace(key, '~', '~0'), '/', '~1')) AS value)
        GROUP BY ALL ORDER BY count(*) DESC, kind"""
    )
    names = duck.rows(
        f"SELECT key FROM (SELECT row_number() OVER () AS nth, unnest(json_keys(json)) AS key FROM {objects}) "
        "GROUP BY key ORDER BY min(nth)"
    )
    keys = []
    for (name,) in names:
        group, whole = next(((kind, whole) for key, kind, whole in found if key == name and kind), ("text", False))
        pointer = quoted("/" + name.replace("~", "~0").replace("/", "~1"))
        cell, text = f"json_extract(json, {pointer})", f"json_extract_string(json, {pointer})"
        kind = "text" if name in data.text else "integer" if group == "number" and whole else KIND[group]
        if kind == "text" and name not in data.text:
            there, times = duck.row(f"SELECT count({text}), count({TIME.value.format(c=text)}) FROM {objects}")
            if there and there == times:
                kind = "time"
        value = f"({text} IS NULL)" if kind == "other" else VALUE.get(kind, "{text}").format(text=text)
        keys.append(Key(name, group, kind, cell, TIME.value.format(c=text) if kind == "time" else value))
    return keys
