"""What columns of text cells are: numbers, truth values, times or text. All cells decide, not the first thousand."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handgrad.cli.data import Data
from handgrad.cli.faults import InputError
from handgrad.cli.sources.duck import Duck, quoted

SAMPLE = 10_000  # rows, for the first guess
NEARLY = 0.9  # of the cells are numbers: the others are faults, or marks for "unknown"
FEW_CELLS = 20  # below, no column is said to have changed its kind
FEW_VALUES = 20  # a column of so few different values may well be of codes
WHOLE = 2**53  # up to here a float says every whole number


@dataclass(frozen=True)
class Kind:
    """A kind of cells. value: SQL for what the text {c} says, NULL where it is of another kind."""

    kind: str
    value: str


def _date(style: str) -> Kind:
    return Kind("time", f"epoch(try_strptime({{c}}, {quoted(style)})) / 86400.0")


NUMBER = Kind("number", "TRY_CAST({c} AS DOUBLE)")
COMMA = Kind(
    "number",
    r"CASE WHEN regexp_full_match({c}, '[+-]?\d+(,\d+)?([eE][+-]?\d+)?') "
    "THEN TRY_CAST(replace({c}, ',', '.') AS DOUBLE) END",
)
KINDS = (
    Kind("boolean", "CASE lower({c}) WHEN 'true' THEN true WHEN 'false' THEN false END"),
    NUMBER,
    Kind("time", "epoch(TRY_CAST({c} AS TIMESTAMPTZ)) / 86400.0"),
    *map(_date, ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S")),
)
INTEGER = Kind("integer", "CAST(TRY_CAST({c} AS DOUBLE) AS BIGINT)")
TEXT = Kind("text", "{c}")


@dataclass(frozen=True)
class Decided:
    """kinds: of each column, in order; "integer" is of numbers that are all whole. rows: of each file."""

    kinds: list[Kind]
    rows: dict[str, int]


@dataclass(frozen=True)
class Misfit:
    """A cell that is no number in a column of numbers, the first of them. row: counted from 0 over all files."""

    place: int
    row: int
    cell: str
    numbers: int
    cells: int


def decide(
    duck: Duck,
    cells: str,
    names: list[str],
    *,
    text: set[str],
    commas: bool,
    strict: bool,
    refuse: Callable[[Misfit], InputError],
) -> Decided:
    """The kinds of the columns c0, c1, ... of what stands after FROM, whose rows have a `filename` too.

    text: names of columns that are text whatever they hold. strict: to take a column as numbers where nearly all of
    its cells are. Raises what `refuse` makes of a column that is numbers, and then something else.
    """
    open_kinds = (*KINDS, COMMA) if commas else KINDS
    places = [place for place, name in enumerate(names) if name not in text]
    guesses = _fitting(duck, f"(SELECT * FROM {cells} LIMIT {SAMPLE})", places, open_kinds)
    chosen = {place: guesses[place] or TEXT for place in places}
    asked = {place: kind if kind is not TEXT else NUMBER for place, kind in chosen.items()}
    asks = ", ".join(
        f"count(c{place}), count({_of(kind, place)}), {_whole(kind, place)}, approx_count_distinct(c{place})"
        for place, kind in asked.items()
    )
    found = duck.rows(f"SELECT filename, count(*){', ' * bool(asks)}{asks} FROM {cells} GROUP BY filename")
    rows = {str(row[0]): int(row[1]) for row in found}
    facts = {place: [row[2 + 4 * i : 6 + 4 * i] for row in found] for i, place in enumerate(asked)}
    kinds = {}
    wrong = [place for place in places if not _all_fit(facts[place])]
    again = _fitting(duck, cells, wrong, open_kinds)
    for place in places:
        parts = facts[place]
        if place not in wrong:
            whole = asked[place] is NUMBER and all(part[2] is not False for part in parts)
            kinds[place] = INTEGER if whole else asked[place]
            if not any(part[0] for part in parts):
                kinds[place] = TEXT  # empty cells alone
        else:
            kinds[place] = again[place] or _mixed(duck, cells, place, asked[place], parts, strict, refuse)
    return Decided([kinds.get(place, TEXT) for place in range(len(names))], rows)


def _fitting(duck: Duck, cells: str, places: list[int], kinds: tuple[Kind, ...]) -> Mapping[int, Kind | None]:
    """The first kind that all cells of a column are of; a column of empty cells is of the first."""
    if not places:
        return {}
    asks = ", ".join(
        f"count(c{place}), {', '.join(f'count({_of(kind, place)})' for kind in kinds)}" for place in places
    )
    counts, width = duck.row(f"SELECT {asks} FROM {cells}"), 1 + len(kinds)
    found = {}
    for i, place in enumerate(places):
        there, *fits = counts[i * width : (i + 1) * width]
        found[place] = next((kind for kind, many in zip(kinds, fits, strict=True) if there and many == there), None)
        if not there:
            found[place] = NUMBER
    return found


def _of(kind: Kind, place: int) -> str:
    return kind.value.format(c=f"c{place}")


def _whole(kind: Kind, place: int) -> str:
    if kind is not NUMBER:
        return "false"
    value = _of(kind, place)
    return f"bool_and({value} = trunc({value}) AND abs({value}) < {WHOLE} AND NOT contains(c{place}, '.'))"


def _all_fit(parts: list[Any]) -> bool:
    return all(part[0] == part[1] for part in parts)


def _mixed(
    duck: Duck,
    cells: str,
    place: int,
    asked: Kind,
    parts: list[Any],
    strict: bool,
    refuse: Callable[[Misfit], InputError],
) -> Kind:
    """What a column is of which some cells are numbers and some are not."""
    if asked is not NUMBER:
        return TEXT
    there, numbers = (sum(part[i] for part in parts) for i in (0, 1))
    different = max(part[3] for part in parts)
    if not numbers or there < FEW_CELLS:
        return TEXT
    if strict and numbers >= NEARLY * there:
        return NUMBER
    whole_file = any(part[0] and part[0] == part[1] for part in parts)  # ... of numbers, beside one that is not
    row, cell, before = duck.row(
        f"""SELECT min(nth), arg_min(cell, nth), min(before) FROM
        (SELECT row_number() OVER () AS nth, count(c{place}) OVER (ROWS UNBOUNDED PRECEDING) AS before, c{place} AS cell
        FROM {cells}) WHERE cell IS NOT NULL AND {NUMBER.value.format(c="cell")} IS NULL"""
    )
    changes = numbers >= NEARLY * there or before - 1 >= max(FEW_CELLS, there / 2)
    if whole_file or (changes and different > FEW_VALUES):
        raise refuse(Misfit(place, row - 1, cell, numbers, there))
    return TEXT


def way_out(name: str, data: Data) -> str:
    """What to do about a column that is not of one kind."""
    skip = "" if data.skip_bad_rows else "skip such rows with --skip-bad-rows, "
    return f"correct the cell or leave it empty, {skip}or take the column as text with --text {shlex.quote(name)}"
