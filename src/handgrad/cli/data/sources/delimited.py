"""CSV and TSV: rows of cells between commas, semicolons, tabs or bars.

DuckDB parses them and lists the rows it has to refuse, with their lines. A first pass over them finds what the columns
hold; later ones read them as that.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from handgrad.cli.data.given import Data
from handgrad.cli.data.sources.base import Source
from handgrad.cli.data.sources.cells import INTEGER, NUMBER, Misfit, decide, way_out
from handgrad.cli.data.sources.duck import Duck, paths_in, quoted, read_errors
from handgrad.cli.data.sources.files import Files
from handgrad.cli.data.tables import Origin
from handgrad.cli.faults import InputError, listed

EMPTY = ("", "NA", "N/A", "NULL", "null")  # cells that say "no value"
SHOWN = 3  # of the rows that were skipped, those that a note tells of
LONGEST = 16_000_000  # bytes of a row
LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Shape:
    """How the files are written. blank: empty lines before the header. mixed: lines end in one way here, in another
    there."""

    delimiter: str
    names: list[str]
    blank: int
    mixed: bool


def open_delimited(files: Files, data: Data) -> Source:
    """The table in CSV files. Raises InputError, with the file and the line, for what is no table."""
    import duckdb

    shape = _shape_of(files)
    duck = Duck(files.paths)
    try:
        with read_errors(f"{files.name!r} can't be read as CSV"):
            try:
                return _surveyed(duck, files, shape, data)
            except duckdb.Error as error:
                if shape.mixed or "invalid state" not in str(error):
                    raise
            for path in files.paths:  # lines that end in another way, far below the header
                _check_widths(path, shape)
            return _surveyed(duck, files, replace(shape, mixed=True), data)
    except BaseException:
        duck.close()
        raise


def _surveyed(duck: Duck, files: Files, shape: Shape, data: Data) -> Source:
    def refuse(misfit: Misfit) -> InputError:
        name = shape.names[misfit.place]
        ragged = _rejects(duck, files, "survey")
        if ragged.count and not data.skip_bad_rows:
            return InputError(ragged.first[0].reason)
        where = _where(files, shape, misfit.place, misfit.cell)
        return InputError(f"{where}: column {name!r} {misfit}; {way_out(name, data, misfit.learnt)}")

    cells = _reading(files, shape, set(), "survey")
    decided = decide(
        duck,
        cells,
        shape.names,
        text=set(data.text),
        commas=shape.delimiter == ";",
        strict=data.skip_bad_rows,
        refuse=refuse,
        styles=data.styles,
    )
    rejects = _rejects(duck, files, "survey")
    if rejects.count and not data.skip_bad_rows:
        raise InputError(rejects.first[0].reason)
    kinds, rows = dict(zip(shape.names, decided.kinds, strict=True)), decided.rows
    # DuckDB reads plain numbers fastest itself; the spelling of a column it reads so would be lost
    plain = {i for i, name in enumerate(shape.names) if kinds[name] in (NUMBER, INTEGER) and name != data.spelled}
    typed = _reading(files, shape, plain, "reading")
    values = []
    for i, kind in enumerate(decided.kinds):
        read = "CAST(c{} AS BIGINT)" if kind is INTEGER else "c{}"
        values.append(read.format(i) if i in plain else kind.value.format(c=f"c{i}"))
    notes: list[str] = []
    where = ""
    if data.skip_bad_rows:
        tests = {"number": "isfinite({})", "time": "({}) IS NOT NULL", "boolean": "({}) IS NOT NULL"}
        some = [(i, tests[kind.kind].format(values[i])) for i, kind in enumerate(decided.kinds) if kind.kind in tests]
        where = " WHERE " * bool(some) + " AND ".join(f"(c{i} IS NULL OR {test})" for i, test in some)
        asks = ", ".join(f"count({value})" for value in values)
        counts = duck.rows(f"SELECT filename, count(*), {asks} FROM {typed}{where} GROUP BY filename")
        given = sum(decided.rows.values()) + rejects.count
        rejects = _rejects(duck, files, "reading")
        rows = {str(row[0]): int(row[1]) for row in counts}
        notes = skipped(given - sum(rows.values()), given, [each.reason for each in rejects.first])
    spelled = data.spelled if data.spelled in shape.names else None
    extra = [] if spelled is None else [f"c{shape.names.index(spelled)}"]
    select = f"SELECT {', '.join(f'{value} AS v{i}' for i, value in enumerate(values + extra))} FROM {typed}{where}"
    origin = Origin(tuple((str(path), rows.get(str(path), 0)) for path in files.paths), headed=True)
    if not any(rows.values()):
        raise InputError(
            f"{files.name} has a header ({listed(shape.names)}) but no rows" + " that can be read" * bool(rejects.count)
        )
    return Source(
        files.name,
        {name: kind.kind for name, kind in kinds.items()},
        origin,
        files,
        partial(_batches, duck, select, files.name),
        duck.close,
        spelled,
        [*decided.notes, *notes],
        {name: kind.style for name, kind in kinds.items() if kind.style},
    )


def _batches(duck: Duck, select: str, name: str, most: int) -> Generator[Any]:
    with read_errors(f"{name!r} can't be read as CSV"):
        yield from duck.batches(select, most)


def skipped(count: int, read: int, reasons: list[str]) -> list[str]:
    """The note on rows that were skipped: how many, and why the first of them were."""
    if not count:
        return []
    shown = "; ".join(reasons[:SHOWN])
    more = f"; and {count - len(reasons[:SHOWN]):,} more" if count > len(reasons[:SHOWN]) and shown else ""
    return [f"{count:,} of {read:,} rows skipped, as --skip-bad-rows says" + (f": {shown}{more}" if shown else "")]


def _reading(files: Files, shape: Shape, numbers: set[int], rejects: str) -> str:
    """The files after FROM: the columns in `numbers` as floats, the others as text; what is refused into a table."""
    types = [f"'c{i}': {quoted('DOUBLE' if i in numbers else 'VARCHAR')}" for i in range(len(shape.names))]
    options = {
        "auto_detect": "false",
        "header": "true",
        "skip": str(shape.blank),
        "delim": quoted(shape.delimiter),
        "quote": "'\"'",
        "escape": "'\"'",
        "comment": "''",
        "strict_mode": str(not shape.mixed).lower(),
        "nullstr": f"[{', '.join(map(quoted, EMPTY))}]",
        "columns": f"{{{', '.join(types)}}}",
        "max_line_size": str(LONGEST),
        "filename": "true",
        "store_rejects": "true",
        "rejects_limit": "0",
        "rejects_table": quoted(f"{rejects}_errors"),
        "rejects_scan": quoted(f"{rejects}_scans"),
    }
    if shape.mixed:  # where DuckDB took \r\n for the end of each, it would lose the character after a \r alone
        options["new_line"] = quoted("\\n")
    return f"read_csv({paths_in(files.paths)}, {', '.join(f'{name}={value}' for name, value in options.items())})"


@dataclass(frozen=True)
class Reject:
    """A row that could not be read."""

    where: str
    reason: str


@dataclass(frozen=True)
class Rejects:
    """The rows that could not be read: how many, and the first SHOWN of them, by files and lines."""

    count: int
    first: list[Reject]


def _rejects(duck: Duck, files: Files, table: str, only: str = "") -> Rejects:
    """The rows that were refused. only: for that reason. Raises InputError for a quote left open, which swallows the
    rows below it."""
    # a short row has a fault for each cell it lacks, whose first says how many there are; of a long row the last does
    nth = "coalesce(column_idx::INTEGER * if(error_type = 'TOO MANY COLUMNS', -1, 1), 0)"
    found = duck.rows(
        f"""SELECT file_path, line, arg_min(error_type, {nth}) AS kind, arg_min(error_message, {nth}), min(column_idx),
        any_value(csv_line), count(*) OVER () FROM {table}_errors JOIN {table}_scans USING (scan_id, file_id)
        WHERE {quoted(only)} IN ('', error_type) GROUP BY file_path, line
        ORDER BY kind <> 'UNQUOTED VALUE', list_position({_list(files)}, file_path), line LIMIT {SHOWN}"""
    )
    rejects = []
    for path, line, kind, message, column, text, _ in found:
        where = f"{path}, line {line}"
        if kind == "UNQUOTED VALUE":
            raise InputError(f"{where}: a cell's quotes do not end where the cell ends; is a quote left open?")
        rejects.append(Reject(where, f"{where}: {_reason(kind, message, column, text)}"))
    return Rejects(found[0][-1] if found else 0, rejects)


def _reason(kind: str, message: str, column: int | None, text: str) -> str:
    if "COLUMNS" in kind and (counts := re.search(r"Columns: (\d+) Found: (\d+)", message)):
        return f"{counts[2]} cells where the header has {counts[1]} columns"
    if kind == "INVALID ENCODING":
        return f"it can't be read as UTF-8 text, in column {column}"
    if kind == "LINE SIZE OVER MAXIMUM":
        return f"it is longer than {LONGEST // 1_000_000} MB"
    if kind == "CAST" and (cell := re.search(r'Could not convert string "(.*)" to', message)):
        return f"column {column} holds {cell[1]!r:.60}, which is no number"
    return f"{message.splitlines()[0]} {text[:60]!r}"


def _list(files: Files) -> str:
    return f"[{', '.join(quoted(str(path)) for path in files.paths)}]"


def _shape_of(files: Files) -> Shape:
    """That of all files, by their headers. Raises InputError where one differs, with its column."""
    first, *others = files.paths
    shape = _header(first)
    repeated = [name for name, count in Counter(shape.names).items() if count > 1]
    if repeated:
        raise InputError(f"{first} has more than one column called {listed(repeated)}; give each a name of its own")
    for path in others:
        own = _header(path)
        shape = replace(shape, mixed=shape.mixed or own.mixed)
        check_same_columns(str(path), own.names, str(first), shape.names)
        if (own.delimiter, own.blank) != (shape.delimiter, shape.blank):
            raise InputError(
                f"{path} separates its cells by {own.delimiter!r} below {own.blank} empty lines, and {first} by "
                f"{shape.delimiter!r} below {shape.blank}"
            )
    if shape.mixed:
        for path in files.paths:
            _check_widths(path, shape)
    return shape


def check_same_columns(file: str, names: list[str], first: str, expected: list[str]) -> None:
    """Raise InputError, with the file and the column, where a file's columns are not those of the first, in order."""
    if missing := [name for name in expected if name not in names]:
        raise InputError(f"{file} lacks the column {missing[0]!r}, which {first} has; files read together are alike")
    if more := [name for name in names if name not in expected]:
        raise InputError(f"{file} has the column {more[0]!r}, which {first} lacks; files read together are alike")
    if names != expected:
        wrong = next(name for name, other in zip(names, expected, strict=True) if name != other)
        raise InputError(f"{file} has the column {wrong!r} in another place than {first}; put them in the same order")


def _header(path: Path) -> Shape:
    try:
        with _open(path) as file:
            start = file.read(65_536)
            if not start.strip():
                raise InputError(f"{str(path)!r} is empty; expected a table with a header")
            lines = start.lstrip("\r\n").splitlines()
            blank = len(start[: len(start) - len(start.lstrip("\r\n"))].splitlines())
            if "\0" in lines[0]:
                raise InputError(
                    f"{str(path)!r} is not a text file; if it is Parquet, name it .parquet, and if it is UTF-16 text, "
                    "save it as UTF-8"
                )
            delimiter = "\t" if ".tsv" in path.suffixes else _delimiter(lines[0])
            file.seek(0)
            names = next(cells for cells in csv.reader(file, delimiter=delimiter, strict=True) if cells)
    except csv.Error as error:
        raise InputError(f"{path}, line {1 + blank}: {error}; is a quote left open?") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{str(path)!r} can't be read as UTF-8 text: {error}") from None
    if any("\ufffd" in name for name in names):
        raise InputError(f"{path}, line {1 + blank}: the header can't be read as UTF-8 text; save the file as UTF-8")
    ends = LINE_END.findall(_bare(start.removesuffix("\r")))  # of which the last may be half of one
    mixed = len(set(ends)) > 1
    return Shape(delimiter, [name.strip() or f"column {i + 1}" for i, name in enumerate(names)], blank, mixed)


def _open(path: Path) -> IO[str]:
    """The file for its header; what is no UTF-8 is found, with its line, when the rows are read."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _bare(text: str) -> str:
    """What is not in quotes."""
    return "".join(part for place, part in enumerate(text.split('"')) if place % 2 == 0)


def _check_widths(path: Path, shape: Shape) -> None:
    """Raise InputError for a row of more or fewer cells than the header, where lines end in different ways: DuckDB then
    cuts such rows to size, or leaves them out, without a word; and for a table of one column."""
    line, width = 1, len(shape.names)
    if width == 1:  # in which DuckDB takes the second half of an end for an empty cell
        raise InputError(
            f"{path}: its lines end in different ways, which a table of one column can't have; save it with one of them"
        )
    try:
        with _open(path) as file:
            rows = csv.reader(file, delimiter=shape.delimiter, strict=True)
            for cells in rows:
                if cells and len(cells) != width:
                    raise InputError(f"{path}, line {line}: {len(cells)} cells where the header has {width} columns")
                line = rows.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: {error}; is a quote left open?") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{str(path)!r} can't be read as UTF-8 text: {error}") from None


def _where(files: Files, shape: Shape, place: int, cell: str) -> str:
    """The file and the line of the first row that holds this cell in that place; the files, where none is found."""
    for path in files.paths:
        with _open(path) as file, suppress(csv.Error):
            line = 1
            rows = csv.reader(file, delimiter=shape.delimiter)
            for cells in rows:
                if line > 1 and len(cells) > place and cells[place] == cell:
                    return f"{path}, line {line}"
                line = rows.line_num + 1
    return files.name


def _delimiter(header: str) -> str:
    bare = _bare(header)
    return max(",;\t|", key=bare.count)  # the first of equals: a single column has none of them
