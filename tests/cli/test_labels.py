"""Labels are called what the table calls them, in training, in predictions and where the two are compared."""

import csv
import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handgrad.cli.data.splits import split

FORMS = [
    ("no", "yes"),
    ("n", "y"),
    ("F", "T"),
    ("f", "t"),
    ("false", "true"),
    ("False", "True"),
    ("FALSE", "TRUE"),
    ("0", "1"),
    ("0.0", "1.0"),
    ("-1", "1"),
    ("01", "02"),
    ("0.5", "1.5"),
    ("1e0", "2e0"),
    ("1", "x"),
    ("2020-01-01", "2020-01-02"),
    ("ham", "spam, or worse"),
    ("9007199254740992", "9007199254740993"),
]


def lines_of(labels):
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, 2, 200)
    x = chosen + rng.normal(0, 0.5, 200)
    return ["x,y\n", *(f'{x[row]:.4f},"{labels[chosen[row]]}"\n' for row in range(200))], chosen


@pytest.mark.parametrize("labels", FORMS)
def test_labels_keep_their_form(handgrad, tmp_path, labels):
    lines, chosen = lines_of(labels)
    (tmp_path / "t.csv").write_text("".join(lines))
    ran = handgrad("train", "t.csv", "--target", "y", "--task", "classification", "--epochs", 5, "--quiet")
    assert ran.code == 0, ran.err
    accuracy = json.loads((tmp_path / "runs/t-1/config.json").read_text())["test"]["this MLP"]["accuracy"]
    assert accuracy > 0.7
    test = split(200, chosen, 0.2, 0.1, seed=0).test
    (tmp_path / "test.csv").write_text("".join([lines[0], *(lines[row + 1] for row in test)]))
    ran = handgrad("predict", "t-1", "test.csv")
    assert {row[0] for row in list(csv.reader(io.StringIO(ran.out)))[1:]} == set(labels)
    right, rows = map(int, re.search(r"^(\d+) of (\d+) are as", ran.err, re.MULTILINE).groups())
    assert (rows, right / rows) == (40, pytest.approx(accuracy))


def agreement(handgrad, path):
    ran = handgrad("predict", "t-1", path)
    assert ran.code == 0, ran.err
    return re.search(r"\(([\d.]+) %\)", ran.err)[1]


@pytest.mark.parametrize(
    ("labels", "others"),
    [(("0", "1"), ("0.0", "1.00")), (("0.0", "1.0"), ("0", "1")), (("False", "True"), ("FALSE", "true"))],
)
def test_the_same_labels_in_other_spellings(handgrad, tmp_path, labels, others):
    (tmp_path / "t.csv").write_text("".join(lines_of(labels)[0]))
    (tmp_path / "other.csv").write_text("".join(lines_of(others)[0]))
    handgrad("train", "t.csv", "--target", "y", "--epochs", 5, "--quiet")
    assert agreement(handgrad, "t.csv") == agreement(handgrad, "other.csv")


def test_truth_values_of_other_formats(handgrad, tmp_path):
    lines, chosen = lines_of(("False", "True"))
    x = [float(line.split(",")[0]) for line in lines[1:]]
    (tmp_path / "t.csv").write_text("".join(lines))
    pq.write_table(pa.table({"x": x, "y": chosen == 1}), tmp_path / "t.parquet")
    handgrad("train", "t.csv", "--target", "y", "--epochs", 5, "--quiet")
    assert agreement(handgrad, "t.csv") == agreement(handgrad, "t.parquet")


def test_one_number_in_two_spellings_is_one_class(handgrad, tmp_path):
    lines = [f"{i % 7},{['0', '1', '1', '1.0'][i % 4]}\n" for i in range(200)]
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(lines))
    ran = handgrad("train", "t.csv", "--target", "y", "--epochs", 2, "--no-progress")
    assert re.search(r"2 classes: 0, 1\s*$", ran.out, re.MULTILINE)


def test_yes_and_no_in_a_feature(handgrad, tmp_path):
    rows = [f"{'yes' if i % 3 else 'no'},{str(i % 2 == 0).upper()},{i % 3 > 0}\n" for i in range(90)]
    (tmp_path / "t.csv").write_text("a,b,y\n" + "".join(rows))
    assert handgrad("train", "t.csv", "--target", "y", "--epochs", 30, "--quiet").code == 0
    (tmp_path / "new.csv").write_text("a,b\nno,TRUE\nyes,true\n")
    assert handgrad("predict", "t-1", "new.csv").out.split() == ["prediction", "False", "True"]
    (tmp_path / "new.csv").write_text("a,b\nno,TRUE\nyes,maybe\n")
    assert "column 'b' holds 'maybe' in row 2" in handgrad("predict", "t-1", "new.csv").err
