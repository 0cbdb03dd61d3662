"""Where tables come from: folders, patterns, SQLite and DuckDB files, SELECTs; and what a SELECT may not do."""

import contextlib
import gzip
import json
import shutil
import sqlite3

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handgrad.cli.data.sources import Data, is_there, name_of, open_source, read_table
from handgrad.cli.faults import InputError, UsageError

QUICK = ("--epochs", 2, "--hidden", "4", "--quiet")
ROWS = [{"x": i % 7 - 0.5, "n": i % 5, "word": "ab"[i % 2], "y": "no" if i % 7 > 3 else "yes"} for i in range(80)]
ARROW = pa.Table.from_pylist(ROWS)


def as_csv(rows, separator=","):
    return "\n".join(separator.join(map(str, row)) for row in [ROWS[0], *(row.values() for row in rows)]) + "\n"


def in_sqlite(path, rows=ROWS, table="t"):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {table} (x REAL, n INTEGER, word TEXT, y TEXT)")
        connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", [tuple(row.values()) for row in rows])
        connection.commit()


def in_duckdb(path, *statements):
    with duckdb.connect(str(path)) as connection:
        connection.register("rows_given", ARROW)
        connection.execute("CREATE TABLE t AS SELECT * FROM rows_given")
        for statement in statements:
            connection.execute(statement)


def folder_of(tmp_path, suffix):
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "README").write_text("what these are")
    (folder / "_SUCCESS").write_text("")
    (folder / ".hidden.csv").write_text("a\n1\n")
    for number, place in enumerate((folder / f"a.{suffix}", folder / "below" / f"b [1].{suffix}")):
        part = slice(40 * number, 40 * (number + 1))
        if suffix == "parquet":
            pq.write_table(ARROW[part], place)
        elif suffix == "jsonl":
            place.write_text("\n".join(map(json.dumps, ROWS[part])))
        elif suffix == "csv.gz":
            place.write_bytes(gzip.compress(as_csv(ROWS[part]).encode()))
        else:
            place.write_text(as_csv(ROWS[part]))
    return folder


def given_as(kind, tmp_path):
    """The arguments that name ROWS, kept as that."""
    if kind.startswith("folder of "):
        return [folder_of(tmp_path, kind.removeprefix("folder of "))]
    if kind == "pattern":
        return [f"{folder_of(tmp_path, 'csv')}/**/*.csv"]
    if kind in ("select", "--sql"):
        pq.write_table(ARROW, tmp_path / "it's.parquet")
        select = "SELECT * FROM 'it''s.parquet' WHERE x < 100 -- all of them;"
        return [select] if kind == "select" else ["--sql", select]
    if "sqlite" in kind:
        in_sqlite(tmp_path / "t.db")
        return [tmp_path / "t.db", *(["--sql", "SELECT * FROM t"] if "sql of" in kind else [])]
    in_duckdb(tmp_path / "t.duckdb", "CREATE TABLE other (a INTEGER)")
    return [tmp_path / "t.duckdb", *(["--sql", "FROM t;"] if "sql of" in kind else ["--table", "t"])]


KINDS = [f"folder of {suffix}" for suffix in ("csv", "csv.gz", "jsonl", "parquet")]


@pytest.mark.parametrize(
    "kind", [*KINDS, "pattern", "select", "--sql", "sqlite", "sql of sqlite", "duckdb", "sql of duckdb"]
)
def test_each_kind_of_source(handgrad, tmp_path, kind):
    arguments = given_as(kind, tmp_path)
    for more in ([], ["--stream"]):
        ran = handgrad("train", *arguments, "--target", "y", *QUICK, "--name", f"r{len(more)}", *more)
        assert ran.code == 0, ran.err
    config = json.loads((tmp_path / "runs/r0/config.json").read_text())
    assert config["columns"] == ["x", "n", "word"]
    assert sum(config["rows"].values()) == 80
    predicted = handgrad("predict", "r0", *arguments)
    assert len(predicted.out.splitlines()) == 81, predicted.err
    assert "of 80 are as the column y says" in predicted.err
    if kind not in ("pattern", "sql of sqlite"):  # the others are opened by the same function
        return
    for command in (["explain", "--out", tmp_path], ["view", "--html", "v.html", "--no-browser"]):
        assert handgrad(command[0], "r0", "--rows", 20, *command[1:]).code == 0
        assert handgrad(command[0], "r0", *arguments, "--rows", 20, *command[1:]).code == 0


@pytest.mark.parametrize("kind", [*KINDS, "pattern", "select", "sqlite", "duckdb"])
def test_the_rows_are_those_that_were_written(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    arguments = [str(argument) for argument in given_as(kind, tmp_path)]
    data = Data(arguments[0], table="t" if kind == "duckdb" else None)
    with open_source(data) as source:
        assert source.kinds == {"x": "number", "n": "integer", "word": "text", "y": "text"}
        assert source.rows == 80
        whole = source.read()
        blocks = list(source.blocks(7))
        assert [block.rows for block in blocks] == [7] * 11 + [3]
        for name, column in whole.columns.items():
            assert column.values.tolist() == [row[name] for row in ROWS]
            assert [v for block in blocks for v in block.columns[name].values.tolist()] == column.values.tolist()
            assert not column.missing.any()


def test_where_a_row_stands(tmp_path):
    folder = folder_of(tmp_path, "csv")
    column = read_table(folder).columns["x"]
    assert column.at(0) == f"row 1 of {folder}/a.csv (the first below the header is 1)"
    assert column.at(40) == f"row 1 of {folder}/below/b [1].csv (the first below the header is 1)"
    assert column.take(np.array([41, 3])).slice(1, 2).at(0).startswith(f"row 4 of {folder}/a.csv")


def test_names_of_runs():
    assert [name_of(Data(given)) for given in ("cars.csv.gz", "data/", "data/*.parquet", "SELECT 1", "d/x*.csv")] == [
        "cars",
        "data",
        "data",
        "select",
        "x",
    ]


@pytest.mark.parametrize(
    ("arguments", "saying", "code"),
    [
        (["empty"], "the folder 'empty' has no table in it, .csv, .*; it holds no files", 1),
        (["notes"], "the folder 'notes' has no table in it, .*; it holds README", 1),
        (["mixed"], r"'mixed' holds files of several kinds: a.csv is csv, b.parquet is parquet; name those of one", 1),
        (["no*.csv"], r"no file is called as the pattern 'no\*.csv' says", 1),
        (["t.db"], "'t.db' has 2 tables; name one with --table: t, u", 1),
        (["t.db", "--table", "tt"], "'t.db' has no table 'tt'; did you mean 't'.; its tables are t, u", 1),
        (["t.duckdb"], "'t.duckdb' has 3 tables; name one with --table: t, v, s.u", 1),
        (["t.duckdb", "--table", "v"], r"'t.duckdb, table v' can't be read .*file system operations are disabled", 1),
        (["t.duckdb", "--table", "t", "--sql", "SELECT 1"], "--table and --sql each say what to read", 2),
        (["t.csv", "--table", "t"], "--table is for SQLite and DuckDB files, and 't.csv' is csv", 2),
        (["t.csv", "--sql", "SELECT 1"], "--sql beside DATA is for SQLite .*: --sql \"SELECT ... FROM 't.csv'\"", 2),
        (["SELECT 1 a", "--sql", "SELECT 1"], "DATA is a SELECT already; leave out --sql", 2),
        (["SELECT 1 a", "--table", "t"], "--table 't' is of a SQLite or DuckDB file", 2),
        (["SELECT * FROM 't.parquet' WHERE x > 99"], "the SELECT gives no rows; its columns are x, n, word, y", 1),
        (["SELECT * FROM 'none.parquet'"], "the SELECT can't be run: No files found that match", 1),
        (["SELECT nope FROM 't.parquet'"], "the SELECT can't be run: .*nope", 1),
        (["SELECT * FROM"], "the SELECT can't be read: syntax error", 1),
        (["--sql", "SELECT y, y FROM 't.parquet'"], "the SELECT has more than one column called y", 1),
        (["junk.duckdb"], "'junk.duckdb' can't be read as a DuckDB file", 1),
        (["junk.sqlite"], "'junk.sqlite' can't be read as SQLite: file is not a database", 1),
        (["bare.db"], "'bare.db' has no tables", 1),
    ],
)
def test_what_is_no_source(refused, tmp_path, arguments, saying, code):
    for folder in ("empty", "notes", "mixed"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notes/README").write_text("x")
    for path in ("t.csv", "mixed/a.csv"):
        (tmp_path / path).write_text(as_csv(ROWS))
    for path in ("t.parquet", "mixed/b.parquet"):
        pq.write_table(ARROW, tmp_path / path)
    in_sqlite(tmp_path / "t.db")
    in_sqlite(tmp_path / "t.db", table="u")
    copied = f"SELECT * FROM '{tmp_path}/t.parquet'"
    in_duckdb(tmp_path / "t.duckdb", "CREATE SCHEMA s", "CREATE TABLE s.u AS SELECT 1 a", f"CREATE VIEW v AS {copied}")
    (tmp_path / "junk.duckdb").write_bytes(b"x" * 9000)
    (tmp_path / "junk.sqlite").write_bytes(b"x" * 9000)
    with contextlib.closing(sqlite3.connect(tmp_path / "bare.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("DROP TABLE t")
        connection.commit()
    refused("train", *arguments, "--target", "y", *QUICK, saying=saying, code=code)


HARM = [
    "COPY (SELECT 1) TO 'out.csv'",
    "SELECT 1; COPY (SELECT 1) TO 'out.csv'",
    "ATTACH 'out.db'",
    "CREATE TABLE x (a INTEGER)",
    "INSERT INTO t VALUES (1, 1, 'a', 'b')",
    "DELETE FROM t",
    "PRAGMA database_list",
    "SET threads = 1",
    "INSTALL httpfs",
    "LOAD 'x.duckdb_extension'",
    "EXPLAIN SELECT 1",
    "EXPORT DATABASE 'out'",
    "CALL pragma_version()",
    "",
]


@pytest.mark.parametrize("sql", HARM)
@pytest.mark.parametrize("kind", ["none", "duckdb", "sqlite"])
def test_a_select_alone_is_run(refused, tmp_path, kind, sql):
    in_sqlite(tmp_path / "t.db")
    in_duckdb(tmp_path / "t.duckdb")
    where = {"none": [], "duckdb": ["t.duckdb"], "sqlite": ["t.db"]}[kind]
    saying = "expected one SELECT, which is all that is run"
    if kind == "sqlite" and sql.startswith("SELECT"):
        saying = "syntax error"
    refused("train", *where, "--sql", sql, "--target", "y", *QUICK, saying=saying)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM 'https://127.0.0.1:9/t.parquet'",
        "SELECT * FROM 's3://bucket/t.parquet'",
        "SELECT * FROM sqlite_scan('t.db', 't')",
        "SELECT * FROM ARROW",  # a variable of this program
    ],
)
def test_a_select_reaches_no_network_and_loads_no_extension(refused, tmp_path, sql):
    in_sqlite(tmp_path / "t.db")
    refused("train", "--sql", sql, "--target", "y", *QUICK, saying="the SELECT can't be run: ")


def test_sqlite_runs_no_attach_by_a_back_door(tmp_path):
    in_sqlite(tmp_path / "t.db")
    for sql in ("SELECT load_extension('x')", "SELECT * FROM pragma_database_list"):
        with pytest.raises(InputError, match="can't be read as SQLite"):
            read_table(Data(str(tmp_path / "t.db"), sql=sql))


def test_types_in_sqlite(tmp_path):
    path = tmp_path / "t.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            'CREATE TABLE t (day DATE, flag BOOLEAN, odd BOOLEAN, "a b" BLOB, gap REAL, none TEXT, w INT)'
        )
        rows = [
            (f"2024-01-{i + 1:02}", i % 2, i, b"x", None if i % 3 else i / 2, None, i if i % 2 else i / 4)
            for i in range(9)
        ]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    table = read_table(path)
    kinds = {name: column.kind for name, column in table.columns.items()}
    assert kinds == {
        "day": "time",
        "flag": "boolean",
        "odd": "integer",
        "a b": "other",
        "gap": "number",
        "none": "text",
        "w": "number",
    }
    assert table.columns["day"].values.tolist() == [19723.0 + i for i in range(9)]
    assert table.columns["flag"].values.tolist() == [i % 2 == 1 for i in range(9)]
    assert table.columns["gap"].missing.tolist() == [i % 3 > 0 for i in range(9)]
    assert table.columns["none"].missing.all()


cell = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.dates().map(str),
    st.booleans().map(str),
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=6),
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=19))  # of more, a column of numbers and text may be refused
def test_cells_of_any_text_are_read_as_what_they_say(tmp_path, rows):
    import csv

    from handgrad.cli.data.sources.delimited import EMPTY

    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([("a", "b"), *rows])
    table = read_table(path)
    with open_source(Data(str(path))) as source:
        streamed = list(source.blocks(4))
    for place, name in enumerate("ab"):
        column = table.columns[name]
        assert {block.columns[name].kind for block in streamed} == {column.kind}
        cells = [row[place] for row in rows]
        assert column.missing.tolist() == [text in EMPTY for text in cells]
        for value, text, gone in zip(column.values, cells, column.missing, strict=True):
            if gone:
                continue
            if column.kind == "text":
                assert value == text
            elif column.kind == "boolean":
                assert value == (text.casefold() == "true")
            elif column.kind in ("integer", "number"):
                assert value == float(text)
            else:
                assert np.datetime64(text.strip(), "D").astype(int) == value


@pytest.mark.parametrize(
    "sql",
    [
        "-- all\nSELECT * FROM t; -- of them; all",
        "/* a; b */ SELECT x, n, word, y FROM t WHERE word <> ';--' ; ; /* end */",
        f"SELECT * FROM t WHERE word <> '{'long' * 100}'",
    ],
)
@pytest.mark.parametrize("kind", ["DATA", "duckdb", "sqlite"])
def test_comments_and_semicolons_around_a_select(tmp_path, monkeypatch, kind, sql):
    monkeypatch.chdir(tmp_path)
    pq.write_table(ARROW, "t.parquet")
    in_sqlite("t.db")
    in_duckdb("t.duckdb")
    given = {"duckdb": Data("t.duckdb", sql=sql), "sqlite": Data("t.db", sql=sql)}
    data = given.get(kind, Data(sql.replace("FROM t", "FROM 't.parquet'")))
    assert is_there(data)
    assert read_table(data).columns["y"].values.tolist() == [row["y"] for row in ROWS]


def test_any_table_of_sqlite(tmp_path):
    path, wide, extremes = tmp_path / "t.db", [f"c{i}" for i in range(600)], [-(2**63), 2**63 - 1, 0]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE sqlitemetry (a INTEGER, b REAL)")  # a name that sqlite_ has no right to
        connection.executemany("INSERT INTO sqlitemetry VALUES (?, ?)", [(a, 1.79e308) for a in extremes])
        connection.execute(f"CREATE TABLE wide ({', '.join(wide)})")
        connection.execute(f"INSERT INTO wide VALUES ({', '.join(str(i) for i in range(600))})")
        connection.commit()
    table = read_table(Data(str(path), table="sqlitemetry", skip_bad_rows=True))
    assert table.columns["a"].values.tolist() == extremes
    assert table.columns["b"].values.tolist() == [1.79e308] * 3
    assert [column.values[0] for column in read_table(Data(str(path), table="wide")).columns.values()] == [*range(600)]


def test_a_view_gives_its_rows_in_the_same_order_each_time(tmp_path):
    in_duckdb(
        tmp_path / "t.duckdb",
        "CREATE TABLE numbers AS SELECT range AS n FROM range(300000)",
        "CREATE VIEW v AS SELECT n % 150000 AS k, sum(n) AS s FROM numbers GROUP BY k",
    )
    with open_source(Data(str(tmp_path / "t.duckdb"), table="v")) as source:
        passes = [np.concatenate([block.columns["k"].values for block in source.blocks()]) for _ in range(5)]
    assert len(passes[0]) == 150_000
    assert all((each == passes[0]).all() for each in passes)


def test_a_column_called_filename(tmp_path):
    for folder, write in (("parquet", pq.write_table), ("jsonl", None)):
        (tmp_path / folder).mkdir()
        for file in "ab":
            rows, path = [{"filename": file, "x": i} for i in range(3)], tmp_path / folder / f"{file}.{folder}"
            if write is None:
                path.write_text("\n".join(map(json.dumps, rows)))
            else:
                write(pa.Table.from_pylist(rows), path)
        with open_source(Data(str(tmp_path / folder))) as source:
            assert [rows for _, rows in source.origin.files] == [3, 3]
            assert source.read().columns["filename"].values.tolist() == ["a"] * 3 + ["b"] * 3


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_times_of_parquet(tmp_path, unit, zone):
    day = pa.array([0, 86400, None]).cast(pa.timestamp("s")).cast(pa.timestamp(unit)).cast(pa.int64())
    pq.write_table(pa.table({"t": day.cast(pa.timestamp(unit, zone))}), tmp_path / "t.parquet")
    column = read_table(tmp_path / "t.parquet").columns["t"]
    assert column.kind == "time"
    assert column.values.tolist()[:2] == [0.0, 1.0]
    assert column.missing.tolist() == [False, False, True]


def test_options_that_do_not_fit_are_usage_errors():
    with pytest.raises(UsageError, match="leave out --sql"):
        open_source(Data("SELECT 1", sql="SELECT 2"))


def test_a_file_called_as_a_select_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(given_as("folder of csv", tmp_path)[0] / "a.csv", "select me.csv")
    assert read_table("select me.csv").rows == 40
