"""JSON lines, and arrays of objects in JSON files.

Text that says dates and times as ISO 8601 is that; no other way to write them is guessed, as another file's would be
guessed anew. With --skip-bad-rows each line is taken for itself: those that are no objects are left out, and those of
which a cell is of another type than most of its column.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from handgrad.cli.data.given import Data
from handgrad.cli.data.sources.base import Source
from handgrad.cli.data.sources.cells import ISO
from handgrad.cli.data.sources.delimited import SHOWN, skipped
from handgrad.cli.data.sources.duck import Duck, paths_in, quoted, read_errors
from handgrad.cli.data.sources.files import Files, suffix_of
from handgrad.cli.data.sources.json_types import GROUP
from handgrad.cli.data.sources.typed import batches_of, source_of
from handgrad.cli.data.tables import Origin
from handgrad.cli.faults import InputError

WHOLE = "json"  # what DuckDB calls the column of lines that are no objects
PYTHON = {str: "text", bool: "truth value", int: "number", float: "number", dict: "record", list: "list"}
LINES = (".jsonl", ".ndjson")  # an object in each; .json may also be an array of them
KIND = {"text": "text", "truth value": "boolean", "number": "number", "record": "other", "list": "other"}
VALUE = {"boolean": "CAST({text} AS BOOLEAN)", "number": "CAST({text} AS DOUBLE)", "integer": "CAST({text} AS BIGINT)"}


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
            "dateformat='iso', timestampformat='iso', union_by_name=true, hive_partitioning=false)"
        )
        try:
            found = source_of(duck, files.name, source, files, data, files.paths[0].suffix[1:], dated=True)
            fault = next(_faults(files), None) if lines and WHOLE in found.kinds else None
            if fault is None:
                return found
            raise InputError(fault)
        except InputError:
            if not data.skip_bad_rows:
                if lines and (fault := next(_faults(files), None)):
                    raise InputError(fault) from None
                raise
        with read_errors(f"{files.name!r} can't be read as JSON lines"):
            return _skipping(duck, files, data)
    except BaseException:
        duck.close()
        raise


def _faults(files: Files, groups: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """What is wrong with each line that is no JSON object, or holds a cell of another type than its column, which
    `groups` says; DuckDB's own count of the lines goes past the first."""
    for path in files.paths:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and (fault := _fault(line, groups)):
                    yield f"{path}, line {number}: {fault}"


def _fault(line: bytes, groups: Mapping[str, str]) -> str | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON: {error!s:.120}"
    if not isinstance(found, dict):
        hint = "; a file of one list is called .json" if isinstance(found, list) else ""
        return f"it holds {line.decode(errors='replace').strip():.40}, and no object{hint}"
    for name, group in groups.items():
        own = PYTHON.get(type(found.get(name)))
        if own not in (None, group):
            return f"column {name!r} holds {json.dumps(found[name]):.60}, a {own}, and most of its cells are a {group}"
    return None


def _skipping(duck: Duck, files: Files, data: Data) -> Source:
    lines = f"read_json_objects({paths_in(files.paths)}, format='newline_delimited', ignore_errors=true, filename=true)"
    objects = f"(SELECT json, filename FROM {lines} WHERE json_type(json) = 'OBJECT')"
    keys = _keys(duck, objects, data)
    held = [key for key in keys if key.kind != "other" and key.name not in data.text]
    tests = [f"coalesce({GROUP.format(cell=key.cell)}, {quoted(key.group)}) = {quoted(key.group)}" for key in held]
    source = f"(SELECT * FROM {objects} WHERE {' AND '.join(tests) or 'true'})"
    given = int(duck.row(f"SELECT count(*) FROM {lines}")[0])
    rows = dict(duck.rows(f"SELECT filename, count(*) FROM {source} GROUP BY filename"))
    if not rows:
        raise InputError(f"{files.name} has no rows that can be read")
    columns = ", ".join(f"{key.value} AS v{place}" for place, key in enumerate(keys))
    batches = partial(batches_of, duck, f"SELECT {columns} FROM {source}", f"{files.name!r} can't be read as JSON")
    left_out = given - sum(rows.values())
    faults = _faults(files, {key.name: key.group for key in held}) if left_out else iter(())
    notes = skipped(left_out, given, list(islice(faults, SHOWN)))
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
        "SELECT key FROM (SELECT nth, unnest(keys) AS key, unnest(range(len(keys))) AS place "
        f"FROM (SELECT row_number() OVER () AS nth, json_keys(json) AS keys FROM {objects})) "
        "GROUP BY key ORDER BY min((nth, place))"
    )
    keys = []
    for (name,) in names:
        group, whole = next(((kind, whole) for key, kind, whole in found if key == name and kind), ("text", False))
        pointer = quoted("/" + name.replace("~", "~0").replace("/", "~1"))
        cell, text = f"json_extract(json, {pointer})", f"json_extract_string(json, {pointer})"
        kind = "text" if name in data.text else "integer" if group == "number" and whole else KIND[group]
        if kind == "text" and name not in data.text:
            there, times = duck.row(f"SELECT count({text}), count({ISO.value.format(c=text)}) FROM {objects}")
            if there and there == times:
                kind = "time"
        value = f"({text} IS NULL)" if kind == "other" else VALUE.get(kind, "{text}").format(text=text)
        keys.append(Key(name, group, kind, cell, ISO.value.format(c=text) if kind == "time" else value))
    return keys
