"""Rows that can't be read: each named by its file and line, or with --skip-bad-rows left out, counted and reported."""

import contextlib
import gzip
import json
import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handgrad.cli.data.sources import Data, open_source, read_table
from handgrad.cli.faults import InputError

QUICK = ("--epochs", 2, "--hidden", "4")
GOOD = [f"{i % 7},{i}.5,{'ab'[i % 2]},{'yn'[i % 3 > 0]}" for i in range(60)]
HEADER = "n,x,word,y"


def csv_with(**rows):
    """The table, with other text in the place of the rows of those numbers (the first is row0)."""
    lines = [rows.get(f"row{i}", good) for i, good in enumerate(GOOD)]
    return "\n".join([HEADER, *lines]) + "\n"


def write(path, content):
    content = content if isinstance(content, bytes) else content.encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


LATIN = csv_with(row5="1,2.5,caf\xe9,y").encode("latin-1")
CASES = [
    # what is wrong, the file, what the error says, how many rows are left out
    ("more cells", csv_with(row3="1,2,a,y,5"), r"{}, line 5: 5 cells where the header has 4 columns", 1),
    ("fewer cells", csv_with(row3="1,2", row50="1"), r"{}, line 5: 2 cells where the header has 4 columns", 2),
    ("an encoding", LATIN, r"{}, line 7: it can't be read as UTF-8 text, in column 3", 1),
    (
        "a type that changes",
        csv_with(row31="1,unknown,a,y"),
        r"{}, line 33: column 'x' holds 'unknown', and \d+ of its \d+ cells are numbers; correct the cell or leave it "
        r"empty, skip such rows with --skip-bad-rows, or take the column as text with --text x",
        1,
    ),
    ("an infinity", csv_with(row9="1,-inf,a,y"), r"column 'x' holds -inf in row 10 of {} \(the first below", 1),
]


@pytest.mark.parametrize(("content", "saying", "count"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("file", ["t.csv", "t.csv.gz", "t/b.csv"])
def test_a_bad_row_is_named_or_skipped(handgrad, refused, tmp_path, file, content, saying, count):
    write(tmp_path / file, content)
    data, rows = file, 60 - count
    if file.startswith("t/"):
        write(tmp_path / "t/a.csv", csv_with())
        data, rows = "t", 120 - count
    refused("train", data, "--target", "y", *QUICK, "--quiet", saying=saying.format(file.replace(".", r"\.")))
    for stream in ("--no-stream", "--stream")[: 2 if file == "t.csv" else 1]:
        ran = handgrad("train", data, "--target", "y", *QUICK, "--skip-bad-rows", "--name", stream[2:], stream)
        assert ran.code == 0, ran.err
        assert f"{count} of {rows + count} rows skipped, as --skip-bad-rows says" in " ".join(ran.out.split())
        config = json.loads((tmp_path / "runs" / stream[2:] / "config.json").read_text())
        assert config["options"]["skip_bad_rows"] is True
        assert sum(config["rows"].values()) == rows
        assert "x" in config["columns"]
        assert any(note.startswith(f"{count} of {rows + count} rows skipped") for note in config["notes"])


def test_the_note_names_the_first_of_them(handgrad, tmp_path):
    write(tmp_path / "t.csv", csv_with(**{f"row{i}": "1" for i in (3, 7, 20, 41, 50)}))
    ran = handgrad("train", "t.csv", "--target", "y", *QUICK, "--skip-bad-rows")
    note = "5 of 60 rows skipped, as --skip-bad-rows says: " + "; ".join(
        f"t.csv, line {line}: 1 cells where the header has 4 columns" for line in (5, 9, 22)
    )
    assert f"{note}; and 2 more" in " ".join(ran.out.split())


def test_of_a_row_and_a_cell_that_are_wrong_the_row_is_named(refused, tmp_path):
    write(tmp_path / "t.csv", csv_with(row3="1", row31="1,unknown,a,y"))
    saying = r"t\.csv, line 5: 1 cells where the header has 4 columns"
    refused("train", "t.csv", "--target", "y", *QUICK, "--quiet", saying=saying)
    half = {f"row{i}": f"1,word {i},a,y" for i in range(35, 60)}
    write(tmp_path / "t.csv", csv_with(row3="1,2,3,4,5,6,7", **half))
    saying = r"t\.csv, line 5: 7 cells where the header has 4 columns"
    refused("train", "t.csv", "--target", "y", *QUICK, "--quiet", saying=saying)
    saying = r"t\.csv, line 37: column 'x' holds 'word 35', and 34 of its 59 cells are numbers"
    refused("train", "t.csv", "--target", "y", *QUICK, "--quiet", "--skip-bad-rows", saying=saying)


def test_a_target_that_is_no_number_is_a_bad_row(handgrad, tmp_path):
    write(tmp_path / "t.csv", csv_with(row3="1,2", row31="1,unknown,a,y", row40="1,inf,a,y", row50="1,,a,y"))
    ran = handgrad("train", "t.csv", "--target", "x", *QUICK, "--skip-bad-rows")
    said = " ".join(ran.out.split())
    assert "3 of 60 rows skipped, as --skip-bad-rows says: t.csv, line 5: 2 cells" in said
    assert "1 of 57 rows dropped: their x is empty" in said


@pytest.mark.parametrize("wrong", [None, "1,2"])
def test_lines_that_end_in_another_way_far_below(tmp_path, wrong):
    write(tmp_path / "t/a.csv", csv_with())
    far = "".join(f"{i},{i}.5,{'long' * 20},y\n" for i in range(1000))
    end = "1,2.5,a,y\r\n3,4.5,b,n\n" + (f"{wrong}\r\n" if wrong else "")
    for content in (csv_with() + "1,2.5,a,y\r\n1,2.5,a,y\n", csv_with()):  # in the second file, or far below
        write(tmp_path / "t/b.csv", content)
        write(tmp_path / "t/c.csv", csv_with() + far + end)
        if wrong is None:
            assert read_table(tmp_path / "t").rows == 60 + content.count("\n") - 1 + 1062
        else:
            with pytest.raises(InputError, match=r"t/c\.csv, line 1064: 2 cells where the header has 4 columns"):
                read_table(tmp_path / "t")


def test_very_many_bad_rows_are_counted_and_not_held(tmp_path):
    write(tmp_path / "t.csv", csv_with() + "1\n" * 50_000)
    with open_source(Data(str(tmp_path / "t.csv"), skip_bad_rows=True)) as source:
        assert source.rows == 60
        (note,) = source.notes
    assert note.startswith("50,000 of 50,060 rows skipped")
    assert note.endswith("; and 49,997 more")
    assert len(note) < 1000


def test_a_quote_left_open_is_no_row_to_skip(refused, tmp_path):
    write(tmp_path / "t.csv", csv_with(row20='1,2,"a,y'))
    for more in ([], ["--skip-bad-rows"]):
        saying = r"t\.csv, line 22: .*is a quote left open"
        refused("train", "t.csv", "--target", "y", *QUICK, "--quiet", *more, saying=saying)


def test_a_column_that_is_text_half_way(handgrad, refused, tmp_path):
    half = {f"row{i}": f"1,word {i},a,{'yn'[i % 2]}" for i in range(35, 60)}
    write(tmp_path / "t.csv", csv_with(**half))
    saying = r"t\.csv, line 37: column 'x' holds 'word 35', and 35 of its 60 cells are numbers"
    refused("train", "t.csv", "--target", "y", *QUICK, "--quiet", saying=saying)
    for way_out in (["--text", "x"], ["--ignore", "x", "--text", "x"]):
        assert handgrad("train", "t.csv", "--target", "y", *QUICK, "--quiet", *way_out).code == 0


def test_one_file_of_numbers_and_one_of_text(refused, tmp_path):
    write(tmp_path / "t/a.csv", csv_with())
    write(tmp_path / "t/b.csv", csv_with(**{f"row{i}": f"1,w{i % 3},a,y" for i in range(60)}))
    saying = r"t/b\.csv, line 2: column 'x' holds 'w0', and 60 of its 120 cells are numbers"
    refused("train", "t", "--target", "y", *QUICK, "--quiet", saying=saying)


@pytest.mark.parametrize(
    ("header", "saying"),
    [
        ("n,x,word", r"t/b\.csv lacks the column 'y', which t/a\.csv has"),
        ("n,x,word,y,z", r"t/b\.csv has the column 'z', which t/a\.csv lacks"),
        ("x,n,word,y", r"t/b\.csv has the column 'x' in another place than t/a\.csv"),
        ("n;x;word;y", r"t/b\.csv separates its cells by ';' below 0 empty lines, and t/a\.csv by ',' below 0"),
    ],
)
def test_files_of_other_columns(refused, tmp_path, header, saying):
    write(tmp_path / "t/a.csv", csv_with())
    write(tmp_path / "t/b.csv", csv_with().replace(HEADER, header))
    refused("train", "t", "--target", "y", *QUICK, "--quiet", saying=saying)


def test_parquet_files_of_other_types(refused, tmp_path):
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"x": [1, 2], "y": ["a", "b"]}), tmp_path / "t/a.parquet")
    pq.write_table(pa.table({"x": ["1", "2"], "y": ["a", "b"]}), tmp_path / "t/b.parquet")
    saying = r"t/b\.parquet: its column 'x' holds VARCHAR, and in t/a\.parquet BIGINT"
    refused("train", "t", "--target", "y", *QUICK, "--quiet", saying=saying)


def json_with(**rows):
    lines = [json.dumps({"x": i / 2, "word": "ab"[i % 2], "y": "yn"[i % 3 > 0]}) for i in range(60)]
    return "\n".join(rows.get(f"row{i}", line) for i, line in enumerate(lines)) + "\n"


@pytest.mark.parametrize(
    ("content", "saying", "skipped"),
    [
        (
            json_with(row4='{"x": 1, "y":'),
            r"t\.jsonl, line 5: it is no JSON: Expecting value",
            "it is no JSON: Expecting value",
        ),
        (
            json_with(row4='{"x": "one", "word": "a", "y": "n"}'),
            r"t\.jsonl, row 5: column 'x' holds .one., a text, and",
            "column 'x' holds \"one\", a text, and most of its cells are a number",
        ),
        (
            json_with(row4='{"x": 1, "word": "a", "y": true}'),
            r"row 5: column 'y' holds true, a truth value, and the rows",
            "column 'y' holds true, a truth value, and most of its cells are a text",
        ),
    ],
)
def test_json_lines(handgrad, refused, tmp_path, content, saying, skipped):
    write(tmp_path / "t.jsonl", content)
    refused("train", "t.jsonl", "--target", "y", *QUICK, "--quiet", saying=saying)
    ran = handgrad("train", "t.jsonl", "--target", "y", *QUICK, "--skip-bad-rows")
    assert ran.code == 0, ran.err
    assert f"1 of 60 rows skipped, as --skip-bad-rows says: t.jsonl, line 5: {skipped}" in " ".join(ran.out.split())
    config = json.loads((tmp_path / "runs/t-1/config.json").read_text())
    assert sum(config["rows"].values()) == 59
    assert config["columns"] == ["x", "word"]


def test_sqlite_of_numbers_and_a_word(handgrad, refused, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db")) as connection:
        connection.execute("CREATE TABLE t (x, y)")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?)", [(i if i != 7 else "oops", "yn"[i % 2]) for i in range(40)]
        )
        connection.commit()
    refused("train", "t.db", "--target", "y", *QUICK, "--quiet", saying="t.db, table t, row 8: column 'x' holds 'oops'")
    ran = handgrad("train", "t.db", "--target", "y", "--ignore", "none", *QUICK, "--skip-bad-rows")
    assert "--ignore 'none' is not a column of t.db, table t" in ran.err
    ran = handgrad("train", "t.db", "--target", "x", *QUICK, "--skip-bad-rows", "--task", "regression")
    assert ran.code == 0, ran.err
    assert "1 of 40 rows skipped" in " ".join(ran.out.split())


def test_parquet_with_nan(handgrad, refused, tmp_path):
    x = [float("nan") if i == 11 else i / 2 for i in range(60)]
    pq.write_table(pa.table({"x": x, "y": ["yn"[i % 2] for i in range(60)]}), tmp_path / "t.parquet")
    refused("train", "t.parquet", "--target", "y", *QUICK, "--quiet", saying=r"'x' holds nan in row 12 of t\.parquet;")
    ran = handgrad("train", "t.parquet", "--target", "y", *QUICK, "--skip-bad-rows")
    assert "1 of 60 rows skipped" in " ".join(ran.out.split())


def test_nothing_is_left_when_all_rows_are_bad(refused, tmp_path):
    write(tmp_path / "t.csv", HEADER + "\n1\n2\n")
    saying = r"t\.csv has a header \(n, x, word, y\) but no rows that can be read"
    refused("train", "t.csv", "--target", "y", *QUICK, "--quiet", "--skip-bad-rows", saying=saying)


@pytest.fixture
def trained(handgrad, tmp_path):
    write(tmp_path / "t.csv", csv_with())
    assert handgrad("train", "t.csv", "--target", "y", *QUICK, "--quiet").code == 0
    return handgrad


def test_predict_names_or_skips_them(trained, refused, tmp_path):
    write(tmp_path / "new.csv", csv_with(row3="1", row20="oops,2.5,a,y"))
    refused("predict", "t-1", "new.csv", saying=r"new\.csv, line 5: 1 cells where the header has 4 columns")
    write(tmp_path / "new.csv", csv_with(row20="oops,2.5,a,y"))
    refused("predict", "t-1", "new.csv", saying=r"column 'n' holds 'oops' in row 21 of new\.csv .*learnt it as numbers")
    ran = trained("predict", "t-1", "new.csv", "--skip-bad-rows")
    assert len(ran.out.splitlines()) == 60
    assert "note: 1 of 60 rows skipped, as --skip-bad-rows says: new.csv, line 22: " in ran.err


def test_predict_says_which_value_is_new(trained, tmp_path):
    write(tmp_path / "new.csv", csv_with(row3="1,2.5,zebra,y"))
    ran = trained("predict", "t-1", "new.csv")
    assert "word: 1 of 60 cells hold a value not seen in training, such as 'zebra'" in ran.err
    many = [f"1,2.5,zebra {i},y" for i in range(40_000)]  # in several blocks
    write(tmp_path / "new.csv", "\n".join([HEADER, *many]) + "\n")
    ran = trained("predict", "t-1", "new.csv", "--output", "out.csv")
    assert "word: 40000 of 40000 cells hold a value not seen in training, such as 'zebra 0'" in ran.err


def test_rows_without_a_target(handgrad, refused, tmp_path):
    write(tmp_path / "t.csv", csv_with(row5="1,2.5,a,", row6="1,2.5,a,NA"))
    ran = handgrad("train", "t.csv", "--target", "y", *QUICK, "--stream")
    assert "2 of 60 rows dropped: their y is empty" in " ".join(ran.out.split())
    write(tmp_path / "t.csv", csv_with(**{f"row{i}": "1,2.5,a," for i in range(60)}))
    for stream in ("--stream", "--no-stream"):
        refused(
            "train", "t.csv", "--target", "y", stream, "--quiet", saying=r"target 'y' is empty in all 60 rows of t\.c"
        )
