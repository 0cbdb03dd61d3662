"""What columns of text cells are: numbers, truth values, times or text. All cells decide, not the first thousand."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handgrad.cli.data.given import Data
from handgrad.cli.data.sources.duck import Duck, quoted
from handgrad.cli.faults import InputError

SAMPLE = 10_000  # rows, for the first guess
NEARLY = 0.9  # of the cells are of one kind: the others are faults, or marks for "unknown"
MOSTLY = 0.99  # ... are true or false, to which a third word may well belong
FEW_CELLS = 20  # below, no column is said to have changed its kind
FEW_VALUES = 20  # a column of so few different values may well be of codes
WHOLE = 2**53  # up to here a float says every whole number


@dataclass(frozen=True)
class Kind:
    """A kind of cells. value: SQL for what the text {c} says, NULL where it is of another kind. called: its cells, in
    words. style: how they are written, where another file's might be written in another way; a model remembers it."""

    kind: str
    value: str
    called: str
    style: str | None = None


def _date(style: str) -> Kind:
    """DuckDB's own %Y takes 24 for the year 24, and every style the words epoch and infinity."""
    digits = quoted(r"\d\d\d\d\b" if "%Y" in style else r"^\s*\d")
    value = f"CASE WHEN regexp_matches({{c}}, {digits}) THEN epoch(try_strptime({{c}}, {quoted(style)})) / 86400.0 END"
    return Kind("time", value, f"times as {style}", style)


NUMBER = Kind("number", "TRY_CAST({c} AS DOUBLE)", "numbers", "decimal point")
COMMA = Kind(
    "number",
    r"CASE WHEN regexp_full_match({c}, '[+-]?\d+(,\d+)?([eE][+-]?\d+)?') "
    "THEN TRY_CAST(replace({c}, ',', '.') AS DOUBLE) END",
    "numbers with a decimal comma",
    "decimal comma",
)
BOOLEAN = Kind("boolean", "CASE lower({c}) WHEN 'true' THEN true WHEN 'false' THEN false END", "true or false")
ISO = Kind(  # a cast alone takes 31/12/24 for a day in the year 31
    "time",
    r"CASE WHEN regexp_matches(CAST({c} AS VARCHAR), '^\s*\d\d\d\d[-/]') "
    "THEN epoch(TRY_CAST({c} AS TIMESTAMPTZ)) / 86400.0 END",
    "times as 2024-12-31",
    "ISO 8601",
)
DAYS, CLOCK = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y"), " %H:%M:%S"
DATES = (*DAYS, *(day.replace("%Y", "%y") for day in DAYS), *(day + CLOCK for day in DAYS[:3]))
# the first of two styles that say one date where no day is above 12, and the other
EITHER = {style: style.replace("%m/%d", "%d/%m") for style in DATES if style.startswith("%m/%d")}
EITHER |= {style: style.replace("%d-%m", "%m-%d") for style in DATES if style.startswith("%d-%m")}
SPOKEN = {"%m/%d": "month/day/year", "%d/%m": "day/month/year", "%d-%m": "day-month-year", "%m-%d": "month-day-year"}
KINDS = (BOOLEAN, NUMBER, ISO, *map(_date, DATES))
INTEGER = Kind("integer", "CAST(TRY_CAST({c} AS DOUBLE) AS BIGINT)", "numbers")
TEXT = Kind("text", "{c}", "text")
STYLES = {kind.style: kind for kind in (*KINDS, COMMA) if kind.style}


@dataclass(frozen=True)
class Decided:
    """kinds: of each column, in order; "integer" is of numbers that are all whole. rows: of each file. notes: on what
    may be read in two ways."""

    kinds: list[Kind]
    rows: dict[str, int]
    notes: list[str]


@dataclass(frozen=True)
class Misfit:
    """A cell that is not of its column's kind, the first of them. fitting, cells: how many are, and how many there
    are. learnt: whether that is the kind it had in training."""

    place: int
    cell: str
    kind: Kind
    fitting: int
    cells: int
    learnt: bool = False

    def __str__(self) -> str:
        if self.learnt:
            return f"holds {self.cell!r:.60}, and the training read it as {self.kind.called}"
        return f"holds {self.cell!r:.60}, and {self.fitting:,} of its {self.cells:,} cells are {self.kind.called}"


def decide(
    duck: Duck,
    cells: str,
    names: list[str],
    *,
    text: set[str],
    commas: bool,
    strict: bool,
    refuse: Callable[[Misfit], InputError],
    styles: Mapping[str, str],
) -> Decided:
    """The kinds of the columns c0, c1, ... of what stands after FROM, whose rows have a `filename` too.

    text: names of columns that are text whatever they hold. strict: to take a column as what nearly all of its cells
    are. styles: of columns that were read before, which are read so again. Raises what `refuse` makes of a column that
    is of one kind, and then of another.
    """
    open_kinds = (*KINDS, COMMA) if commas else KINDS
    places = [place for place, name in enumerate(names) if name not in text]
    known = {place: STYLES[styles[names[place]]] for place in places if styles.get(names[place]) in STYLES}
    guesses = _fitting(duck, f"(SELECT * FROM {cells} LIMIT {SAMPLE})", places, open_kinds)
    chosen = {place: known.get(place) or guesses[place] or TEXT for place in places}
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
    for place in (place for place in wrong if place in known and not strict):
        there, fitting = (sum(part[i] for part in facts[place]) for i in (0, 1))
        cell, _ = _first_misfit(duck, cells, place, known[place])
        raise refuse(Misfit(place, cell, known[place], fitting, there, learnt=True))
    counts = _counts(duck, cells, [place for place in wrong if place not in known], open_kinds)
    for place in places:
        parts = facts[place]
        if place not in wrong:
            whole = asked[place] is NUMBER and all(part[2] is not False for part in parts)
            kinds[place] = INTEGER if whole else asked[place]
            if not any(part[0] for part in parts):
                kinds[place] = TEXT  # empty cells alone
        else:
            kinds[place] = known.get(place) or _mixed(
                duck, cells, place, asked[place], counts[place], parts, strict, refuse
            )
    either = {place: EITHER[kind.style or ""] for place, kind in kinds.items() if kind.style in EITHER}
    others = tuple(STYLES[style] for style in EITHER.values())
    notes = [
        f"{names[place]} is read as {SPOKEN[(kinds[place].style or '')[:5]]}, and may be {SPOKEN[either[place][:5]]}; "
        "if it is, write it as 2024-12-31"
        for place, found in _counts(duck, cells, sorted(either.keys() - known.keys()), others).items()
        if found.there == found.fits[STYLES[either[place]]]
    ]
    notes += [
        _looks_dated(duck, cells, place, names[place], *dates)
        for place, found in counts.items()
        if kinds[place] is TEXT and (dates := _mostly_dates(found))
    ]
    return Decided([kinds.get(place, TEXT) for place in range(len(names))], rows, notes)


@dataclass(frozen=True)
class Counts:
    """How many cells of a column there are, and how many are of each kind."""

    there: int
    fits: dict[Kind, int]


def _counts(duck: Duck, cells: str, places: list[int], kinds: tuple[Kind, ...]) -> dict[int, Counts]:
    if not places:
        return {}
    asks = ", ".join(
        f"count(c{place}), {', '.join(f'count({_of(kind, place)})' for kind in kinds)}" for place in places
    )
    counts, width = duck.row(f"SELECT {asks} FROM {cells}"), 1 + len(kinds)
    parts = (counts[i * width : (i + 1) * width] for i in range(len(places)))
    return {
        place: Counts(there, dict(zip(kinds, fits, strict=True)))
        for place, (there, *fits) in zip(places, parts, strict=True)
    }


def _fitting(duck: Duck, cells: str, places: list[int], kinds: tuple[Kind, ...]) -> Mapping[int, Kind | None]:
    """The first kind that all cells of a column are of; a column of empty cells is of numbers."""
    found = _counts(duck, cells, places, kinds)
    return {place: _first(counts) if counts.there else NUMBER for place, counts in found.items()}


def _first(counts: Counts) -> Kind | None:
    return next((kind for kind, many in counts.fits.items() if many == counts.there), None)


def _mostly_dates(counts: Counts) -> tuple[Kind, int, int] | None:
    """(the kind, how many cells are of another, of how many) of a column of which most cells are dates."""
    kind = max(counts.fits, key=lambda kind: counts.fits[kind])
    mostly = kind.kind == "time" and 2 * counts.fits[kind] >= counts.there
    return (kind, counts.there - counts.fits[kind], counts.there) if mostly else None


def _looks_dated(duck: Duck, cells: str, place: int, name: str, kind: Kind, odd: int, there: int) -> str:
    """The note on a column of dates and others, likely a mark for "unknown", that is text."""
    word, count = duck.row(
        f"""SELECT c{place}, count(*) FROM {cells} WHERE c{place} IS NOT NULL AND {_of(kind, place)} IS NULL
        GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"""
    )
    return (
        f"{name} is taken as text: {there - odd:,} of its {there:,} cells are {kind.called}, and {odd:,} not, such as "
        f"{word!r:.60} ({count:,}); leave those empty, and it is read as times"
    )


def _first_misfit(duck: Duck, cells: str, place: int, kind: Kind) -> tuple[str, int]:
    """(the first cell that is not of that kind, how many cells come before it)."""
    cell, before = duck.row(
        f"""SELECT arg_min(cell, nth), min(before) FROM
        (SELECT row_number() OVER () AS nth, count(c{place}) OVER (ROWS UNBOUNDED PRECEDING) AS before, c{place} AS cell
        FROM {cells}) WHERE cell IS NOT NULL AND {kind.value.format(c="cell")} IS NULL"""
    )
    return cell, before - 1


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
    counts: Counts,
    parts: list[Any],
    strict: bool,
    refuse: Callable[[Misfit], InputError],
) -> Kind:
    """What a column is of which not all cells are as `asked`. parts: of each file, its cells, and those that are."""
    if kind := _first(counts):
        return kind
    there, kind = counts.there, max(counts.fits, key=lambda kind: counts.fits[kind])
    fitting, different = counts.fits[kind], max(part[3] for part in parts)
    if not fitting or there < FEW_CELLS:
        return TEXT
    nearly = fitting >= (MOSTLY if kind is BOOLEAN else NEARLY) * there or there - fitting == 1
    if strict and nearly:
        return kind
    cell, before = _first_misfit(duck, cells, place, kind)
    whole_file = kind is asked and any(part[0] and part[0] == part[1] for part in parts)  # ... and not of another
    changes = nearly or (kind is not BOOLEAN and before >= max(FEW_CELLS, there / 2))
    codes = kind.kind == "number" and different <= FEW_VALUES
    if whole_file or (changes and not codes):
        raise refuse(Misfit(place, cell, kind, fitting, there))
    return TEXT


def way_out(name: str, data: Data, learnt: bool = False) -> str:
    """What to do about a column that is not of one kind. learnt: where a model has learnt which."""
    skip = "" if data.skip_bad_rows else "skip such rows with --skip-bad-rows, "
    if learnt:
        return f"correct the cell, leave it empty, or {skip.removesuffix(', ')}"
    return f"correct the cell or leave it empty, {skip}or take the column as text with --text {shlex.quote(name)}"
