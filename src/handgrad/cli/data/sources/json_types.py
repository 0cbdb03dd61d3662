"""What a column of JSON holds where its cells are not all of one type: lists and records, or a fault that is named."""

from __future__ import annotations

from handgrad.cli.data.given import Data
from handgrad.cli.data.sources.cells import way_out
from handgrad.cli.data.sources.duck import Duck, identifier
from handgrad.cli.faults import InputError

GROUP = """CASE WHEN coalesce(json_type({cell}), 'NULL') = 'NULL' THEN NULL ELSE CASE json_type({cell})
WHEN 'VARCHAR' THEN 'text' WHEN 'BOOLEAN' THEN 'truth value' WHEN 'OBJECT' THEN 'record' WHEN 'ARRAY' THEN 'list'
ELSE 'number' END END"""


def of_one_type(duck: Duck, source: str, name: str, column: str, data: Data) -> tuple[str, str]:
    """(kind, its value in SQL). Raises InputError, with the row, where the type changes."""
    cell = identifier(column)
    found = duck.rows(
        f"""SELECT kind, min(nth), arg_min(cell, nth) FROM (SELECT row_number() OVER () AS nth,
        CAST({cell} AS VARCHAR) AS cell, {GROUP.format(cell=cell)} AS kind FROM {source})
        WHERE kind IS NOT NULL GROUP BY kind ORDER BY min(nth)"""
    )
    if {kind for kind, *_ in found} <= {"record", "list"}:
        return "other", f"{cell} IS NULL"
    if column in data.text or len(found) < 2:
        return "text", f"{cell} ->> '$'"
    (first, *_), (other, row, shown) = found[:2]
    raise InputError(
        f"{name}, row {row:,}: column {column!r} holds {shown:.60}, a {other}, and the rows before it a {first}; "
        f"{way_out(column, data)}"
    )
