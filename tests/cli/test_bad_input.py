"""Each thing a user can get wrong is answered in one line, and nothing half-written stays."""

import json

import numpy as np
import pytest

import handgrad as hg
from handgrad.cli.app import app
from handgrad.formats import save

QUICK = ("--epochs", 2, "--hidden", "4", "--quiet")
ROWS = "".join(f"{i % 7},{'ab'[i % 2]},{'yn'[i % 3 > 0]}\n" for i in range(30))


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        ("", "'t.csv' is empty; expected a table with a header"),
        ("\n\n", "'t.csv' is empty"),
        ("a,y\n", r"has a header \(a, y\) but no rows"),
        ("a,y\n1,x\n", "t.csv has 1 row to learn from; expected 4 or more"),
        ("a,y\n1,x\n2,y\n3,x\n", "t.csv has 3 rows"),
        ("a,a,y\n1,2,x\n", "more than one column called a"),
        ("a,y\n" + "1,x\n" * 9, "target 'y' holds one class, 'x', in all 9 rows"),
        ("a,y\n" + "".join(f"{i},4.5\n" for i in range(40)), "target 'y' holds one value, 4.5"),
        ("a,y\n" + "".join(f"{i},\n" for i in range(9)), "target 'y' is empty in all 9 rows"),
        (
            "a,y\n" + "5,x\n5,y\n" * 9,
            r"no column of t.csv is left to learn from: left out, one value in the training part: a",
        ),
        ("y\n" + "x\nz\n" * 9, "no column of t.csv is left to learn from; it has the target alone"),
        ("a,y\n1.5,x\nnan,z\n" + "1,x\n2,z\n" * 9, "column 'a' holds nan in row 2"),
        ("a,y\n1.5,x\n2,z\n-inf,z\n" + "1,x\n2,z\n" * 9, "column 'a' holds -inf in row 3"),
        ("a,y\n1,0.5\n2,inf\n" + "1,2.5\n2,3.5\n" * 9, "column 'y' holds inf in row 2"),
        ("a,y\n" + "".join(f"{i % 4},word {i}\n" for i in range(30)), "classes must come more than once"),
        ("a,y\n1,2\n3,4,5\n", "t.csv, line 3: 3 cells where the header has 2 columns"),
        ("a,y\n1,2\n3\n", "t.csv, line 3: 1 cells where the header has 2 columns"),
        ('a,y\n1,2\n"3,4\n', "t.csv, line 3: .*is a quote left open"),
        (b"a,y\n\xff\xfe,1\n", "can't be read as UTF-8 text"),
        (b"PAR1\x00\x00\x00", "not a text file; if it is Parquet"),
        ("a,b\n1,2\n", "--target 'y' is not a column of t.csv; its columns are a, b"),
        ("a,Yy\n1,2\n", "--target 'y' is not a column of t.csv; did you mean 'Yy'"),
    ],
)
def test_tables(refused, tmp_path, content, saying):
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused("train", "t.csv", "--target", "y", *QUICK, saying=saying)


@pytest.mark.parametrize(
    ("name", "content", "saying"),
    [
        ("t.parquet", b"junk, and some more of it", "can't be read as parquet"),
        ("t.parquet", b"", "is empty"),
        ("t.jsonl", b"{junk", "t.jsonl, line 1: it is no JSON: Expecting property name"),
        ("t.xlsx", b"PK", "can't tell what 't.xlsx' is by its name; known are .csv"),
        ("t.csv.gz", b"junk", "can't be read as UTF-8 text"),
    ],
)
def test_files(refused, tmp_path, name, content, saying):
    (tmp_path / name).write_bytes(content)
    refused("train", name, "--target", "y", saying=saying)


def test_no_file(refused, tmp_path, flowers):
    refused(
        "train", "flower.csv", "--target", "kind", saying="there is no file 'flower.csv'; did you mean 'flowers.csv'"
    )
    (tmp_path / "none").mkdir()
    refused("train", "none", "--target", "kind", saying="the folder 'none' has no table in it")


@pytest.mark.parametrize(
    ("options", "saying", "code"),
    [
        ((), "--target is missing.*columns are row, id, length, width, colour, site, kind", 2),
        (("--target", "kind", "--ignore", "colr"), "--ignore 'colr' is not a column.*did you mean 'colour'", 1),
        (("--target", "kind", "--task", "regression"), "target 'kind' holds text, such as 'ash'; regression", 1),
        (("--target", "length", "--task", "classification"), "classes must come more than once", 1),
        (("--target", "kind", "--test", "1"), "--test must be above 0 and below 1", 2),
        (("--target", "kind", "--validation", "0"), "--validation must be above 0 and below 1", 2),
        (("--target", "kind", "--hidden", "12,x"), "--hidden must be widths.*got '12,x'", 2),
        (("--target", "kind", "--hidden", "12,-1"), "--hidden must be widths", 2),
        (("--target", "kind", "--activation", "rleu"), "--activation must be one of .*did you mean 'relu'", 2),
        (("--target", "kind", "--optimizer", "adm"), "--optimizer must be .*did you mean 'adam'", 2),
        (("--target", "kind", "--dropout", "1"), "--dropout must be at least 0 and below 1, got 1$", 2),
        (("--target", "kind", "--dropout", "nan"), "--dropout must be", 2),
        (("--target", "kind", "--learning-rate", "0"), "--learning-rate must be a finite number above 0, got 0", 2),
        (("--target", "kind", "--learning-rate", "nan"), "--learning-rate must be .*got nan", 2),
        (("--target", "kind", "--learning-rate", "inf"), "--learning-rate must be .*got inf", 2),
        (("--target", "kind", "--learning-rate", "-1"), "--learning-rate must be", 2),
        (("--target", "kind", "--l2", "-1"), "--l2 must be a finite number of at least 0, got -1", 2),
        (("--target", "kind", "--label-smoothing", "2"), "--label-smoothing must be from 0 to 1, got 2", 2),
        (
            ("--target", "kind", "--learning-rate", "1e30", "--optimizer", "sgd"),
            r"diverged at step \d+: .*give a lower --learning-rate than 1e\+30$",
            1,
        ),
    ],
)
def test_options(refused, flowers, options, saying, code):
    refused("train", flowers, *options, "--quiet", "--epochs", 2, saying=saying, code=code)


def test_target_without_a_file(refused):
    refused("train", "--target", "x", saying="--target 'x' is given without a file", code=2)


def test_usage(handgrad):
    for arguments in (["train", "--colour"], ["predict"], ["train", "--epochs", "none"], ["train", "--epochs", "0"]):
        assert handgrad(*arguments).code == 2


def test_a_runs_folder_that_is_a_file(refused, tmp_path, flowers):
    (tmp_path / "runs").write_text("")
    refused("train", flowers, "--target", "kind", saying="runs: file exists|runs")


def test_rows_without_a_target_are_dropped_and_counted(handgrad, tmp_path):
    (tmp_path / "t.csv").write_text("a,b,y\n" + ROWS + "1,a,\n2,b,\n")
    ran = handgrad("train", "t.csv", "--target", "y", "--epochs", 2, "--no-progress")
    assert ran.code == 0
    assert "2 of 32 rows dropped: their y is empty" in ran.out


def test_a_class_seen_once_stays_in_the_training_part(handgrad, tmp_path):
    (tmp_path / "t.csv").write_text("a,b,y\n" + ROWS + "1,a,rare\n")
    ran = handgrad("train", "t.csv", "--target", "y", "--epochs", 2, "--no-progress")
    assert ran.code == 0
    assert "1 class comes once only" in ran.out


def test_a_column_that_is_numbers_but_for_a_mark_is_noted(handgrad, tmp_path):
    (tmp_path / "t.csv").write_text("a,b,y\n" + ROWS + "?,a,y\n")
    ran = handgrad("train", "t.csv", "--target", "y", "--epochs", 2, "--no-progress")
    assert "a is taken as text: 1 of its cells is no number, such as '?'" in " ".join(ran.out.split())


@pytest.fixture
def trained(handgrad, tmp_path):
    (tmp_path / "t.csv").write_text("a,b,y\n" + ROWS)
    assert handgrad("train", "t.csv", "--target", "y", *QUICK).code == 0
    return handgrad


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        ("a,c\n1,2\n", "lacks 1 of the 2 columns the model needs: b"),
        ("a,b\n1,a\nmany,b\n", "column 'a' holds 'many' in row 2 .*the model learnt it as numbers"),
        ("a,b\n1,a\nnan,b\n2.5,a\n", "column 'a' holds nan in row 2"),
        ("a,b\n2020-01-02,a\n", "column 'a' holds dates or times, and the model learnt it as numbers"),
        ("a,b\n", "but no rows"),
        ("", "is empty"),
    ],
)
def test_predict_tables(trained, refused, tmp_path, content, saying):
    (tmp_path / "new.csv").write_text(content)
    refused("predict", "t-1", "new.csv", saying=saying)


def test_predict_places(trained, refused, tmp_path):
    refused("predict", "t-2", "t.csv", saying="there is no run 't-2'; did you mean 't-1'.*the runs in 'runs' are t-1")
    refused("predict", "t-1", "none.csv", saying="there is no file 'none.csv'")
    refused("predict", "t-1", "t.csv", "--output", "none/out.csv", saying="there is no folder 'none'")
    refused("predict", "t-1", "t.csv", "--output", "runs", saying="--output 'runs' is a folder")
    refused("predict", "t-1", "t.csv", "--output", "./t.csv", saying="--output './t.csv' is a file that is read")
    refused("predict", "t-1", "*.csv", "--output", "t.csv", saying="--output 't.csv' is a file that is read")
    (tmp_path / "runs/empty").mkdir()
    refused("predict", "empty", "t.csv", saying="is no run: it has no model.safetensors")
    (tmp_path / "runs/broken").mkdir()
    (tmp_path / "runs/broken/model.safetensors").write_bytes(b"junk")
    refused("predict", "broken", "t.csv", saying="not a readable safetensors file")
    model = hg.Linear(2, 1)
    save(model, model.init(0), tmp_path / "bare.safetensors")
    refused("predict", "bare.safetensors", "t.csv", saying="without preprocessing")
    save(model, model.init(0), tmp_path / "odd.safetensors", preprocessing={"features": [{"type": "x"}], "target": {}})
    refused("predict", "odd.safetensors", "t.csv", saying="preprocessing can't be read")


def test_no_probabilities_of_numbers(handgrad, refused, tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{i % 7},{i / 3}\n" for i in range(40)))
    handgrad("train", "t.csv", "--target", "y", *QUICK)
    refused("predict", "t-1", "t.csv", "--probabilities", saying="--probabilities is for classes")


def test_what_is_new_to_the_model_is_counted(trained, tmp_path):
    (tmp_path / "new.csv").write_text("extra,b,a\n9,a,1\n9,zebra,2\n9,,3\n9,b,\n")
    ran = trained("predict", "t-1", "new.csv")
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 5
    assert "b: 1 of 4 cells hold a value not seen in training" in ran.err
    assert "b: 1 of 4 cells are empty, none was in training; taken as no category" in ran.err
    assert "a: 1 of 4 cells are empty, none was in training; taken as the mean" in ran.err


def test_text_that_looks_like_numbers_stays_text(handgrad, tmp_path):
    (tmp_path / "t.csv").write_text(
        "code,y\n" + "".join(f"{['01', '1', 'x'][i % 3]},{'yn'[i % 3 == 0]}\n" for i in range(60))
    )
    handgrad("train", "t.csv", "--target", "y", "--epochs", 60, "--quiet", "--dropout", 0)
    (tmp_path / "new.csv").write_text("code\n01\n1\n")
    assert handgrad("predict", "t-1", "new.csv").out.split() == ["prediction", "n", "y"]


def test_debug_shows_the_traceback(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["train", "none.csv", "--debug"])
    assert type(result.exception).__name__ == "InputError"


def test_history_holds_no_nan(handgrad, tmp_path, flowers):
    handgrad("train", flowers, "--target", "kind", *QUICK)
    for name in ("config.json", "history.jsonl"):
        for line in (
            [(tmp_path / "runs/flowers-1" / name).read_text()]
            if name == "config.json"
            else ((tmp_path / "runs/flowers-1" / name).read_text().splitlines())
        ):
            json.loads(line, parse_constant=pytest.fail)


def test_splits_share_out_rows_by_class():
    from handgrad.cli.data.splits import split

    labels = np.repeat([0, 1, 2, 3], [50, 30, 19, 1])
    parts = split(100, labels, 0.2, 0.1, seed=0)
    everything = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(everything) == list(range(100))
    assert np.bincount(labels[parts.test], minlength=4).tolist() == [10, 6, 4, 0]
    assert set(labels[parts.train]) == {0, 1, 2, 3}
