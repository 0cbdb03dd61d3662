"""Tables of another making, as the command reads them: CSV, JSON lines, Parquet and SQLite."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
from contextlib import suppress
from itertools import dropwhile
from operator import not_
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from formats.hostile import Target, attack
from formats.mutators import bytes_of, json_texts
from handgrad.cli.data.sources import read_table
from handgrad.cli.data.tables import Table
from handgrad.cli.faults import InputError
from soak import examples

EMPTY = ("", "NA", "N/A", "NULL", "null")
ROWS = 25
COLUMNS: dict[str, list[Any]] = {
    "whole": [row * 7 % 11 for row in range(ROWS)],
    "number": [None if row % 5 == 0 else row / 3 - 2 for row in range(ROWS)],
    "truth": [row % 3 == 0 for row in range(ROWS)],
    "text, quoted": [['a "word"', "two\nlines", "ä, ö", "", "plain"][row % 5] for row in range(ROWS)],
    "day": [f"2024-02-{row + 1:02d}" for row in range(ROWS)],
    "kind": ["ash" if row % 2 else "elm" for row in range(ROWS)],
}


def delimited(delimiter: str, **how: Any) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, **how)
    writer.writerow(COLUMNS)
    writer.writerows(zip(*COLUMNS.values(), strict=True))
    return out.getvalue().encode()


def texts() -> list[bytes]:
    return [
        delimited(","),
        delimited(";", lineterminator="\n"),
        delimited("\t", quoting=csv.QUOTE_ALL),
        b"\xef\xbb\xbf" + delimited(",", lineterminator="\n"),
        b"a,b\n" + b"".join(b"%d,%s\n" % (i, b"xy"[i % 2 : i % 2 + 1]) for i in range(12)),
        b"only\n1\n2\n3\n",
    ]


def compressed(draw: Random, seeds: list[bytes]) -> bytes:
    """Bytes of the compressed file damaged, or a damaged text compressed well."""
    if draw.random() < 0.6:
        return bytes_of(draw, seeds)
    return gzip.compress(bytes_of(draw, [gzip.decompress(seed) for seed in seeds]), 1)


def lines() -> list[bytes]:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
    listed = [{"a": i, "b": [1, 2] if i % 2 else None, "c": {"d": "x"}} for i in range(8)]
    return ["\n".join(map(json.dumps, each)).encode() for each in (rows, listed)]


def parquets() -> list[bytes]:
    table = pa.table({**COLUMNS, "list": [[1, 2]] * ROWS, "small": pa.array(COLUMNS["number"], pa.float32())})
    found = []
    for how in (
        {"compression": "none"},
        {"compression": "snappy"},
        {"compression": "zstd", "data_page_version": "2.0"},
    ):
        out = io.BytesIO()
        pq.write_table(table, out, **how)
        found.append(out.getvalue())
    return found


def databases() -> list[bytes]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.sqlite"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE t (whole INTEGER, number REAL, truth, text TEXT, day DATE, kind VARCHAR(9))")
        rows = zip(*COLUMNS.values(), strict=True)
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
        connection.close()
        return [path.read_bytes()]


def check(found: Table, data: bytes, path: Path) -> None:
    """Columns of equal length, with a value of its kind in each cell."""
    assert found.rows > 0
    assert found.columns
    for name, column in found.columns.items():
        assert column.name == name
        assert len(column.missing) == len(column.values) == found.rows
        kinds = {"integer": "iu", "number": "f", "time": "f", "boolean": "b", "text": "O", "other": "b"}
        assert column.values.dtype.kind in kinds[column.kind]
        if column.kind == "text":
            assert all(isinstance(value, str) for value in column.present)


def check_text(found: Table, data: bytes, path: Path) -> None:
    """Its cells are those that Python's csv finds between some separator, read as what they are."""
    check(found, data, path)
    text, limit = data.decode("utf-8-sig"), csv.field_size_limit(10**9)
    try:
        _check_cells(found, text)
    finally:
        csv.field_size_limit(limit)  # the library's own, when it reads the next


def _check_cells(found: Table, text: str) -> None:
    for delimiter in ",;\t|":
        header, *rows = dropwhile(not_, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
        names = [name.strip() or f"column {i + 1}" for i, name in enumerate(header)]
        if names == list(found.columns):
            break
    else:
        raise AssertionError(f"no separator gives {list(found.columns)}")
    if len(names) == 1 and "\r" in text:
        return  # how many empty lines there are, each reader says for itself where their ends are mixed
    rows = [row or [""] for row in rows if row or len(names) == 1]  # of one column, an empty line is an empty cell
    assert len(rows) == found.rows
    for i, column in enumerate(found.columns.values()):
        cells = [row[i] for row in rows]
        assert column.missing.tolist() == [cell in EMPTY for cell in cells]
        if column.kind == "text":
            assert [str(v) for v in column.present] == [cell for cell in cells if cell not in EMPTY]
        elif column.kind in ("integer", "number"):
            numbers = [
                float(cell.replace(",", ".") if delimiter == ";" else cell) for cell in cells if cell not in EMPTY
            ]
            np.testing.assert_array_equal(column.present.astype(float), numbers)


def check_compressed(found: Table, data: bytes, path: Path) -> None:
    check_text(found, gzip.decompress(data), path)


def check_lines(found: Table, data: bytes, path: Path) -> None:
    """It has a row for each line, where Python's json can read each."""
    check(found, data, path)
    with suppress(ValueError, RecursionError):  # DuckDB takes what is not on one line, too
        rows = [json.loads(line) for line in data.decode().split("\n") if line.strip()]
        assert found.rows == len(rows)


REFUSALS = (InputError,)
TARGETS = [
    Target("csv", texts, bytes_of, read_table, check_text, REFUSALS, ".csv", 4),
    Target(
        "csv gz",
        lambda: [gzip.compress(text, 1) for text in texts()],
        compressed,
        read_table,
        check_compressed,
        REFUSALS,
        ".csv.gz",
    ),
    Target("json lines", lines, json_texts, read_table, check_lines, REFUSALS, ".jsonl", 2),
    Target("parquet", parquets, bytes_of, read_table, check, REFUSALS, ".parquet", 2),
    Target("sqlite", databases, bytes_of, read_table, check, REFUSALS, ".sqlite"),
]


def test_hostile_tables_are_refused_or_read_as_they_are(tmp_path):
    """320 tables, and 6,400 in `make soak`, beside those of the other hostile tests."""
    for name, found in attack(__file__, examples(320), tmp_path).items():
        assert found["faults"] == [], name
        assert found["read"] >= 2, name  # the right ones, at least
        assert found["refused"] > 3, name


def test_sqlite_whose_schema_is_no_text(tmp_path):
    """The reader's own message, which quotes it, cannot be read as text then."""
    path = tmp_path / "t.sqlite"
    (data,) = databases()
    for wrong in (b"CREATE TABLE \xa0 (", b"CREATE \xa0\xa0\xa0\xa0\xa0 t ("):
        path.write_bytes(data.replace(b"CREATE TABLE t (", wrong))
        with pytest.raises(InputError, match=r"t\.sqlite' can't be read as SQLite: "):
            read_table(path)
