"""`handgrad train` and `handgrad predict` from end to end."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_diabetes

import handgrad as hg
from handgrad.cli.data import targets
from handgrad.cli.data.columns import Features
from handgrad.cli.data.sources import read_table
from handgrad.formats import load

QUICK = ("--epochs", 6, "--hidden", "16", "--quiet")


def rows_of(text):
    return list(csv.reader(io.StringIO(text)))


def test_digits(handgrad, tmp_path):
    ran = handgrad("train", "--no-progress")
    assert ran.code == 0, ran.err
    assert max(map(len, ran.out.splitlines())) <= 80
    for words in ("digits", "constant guess", "logistic regression", "this MLP", "0.weight", "worst relative error"):
        assert words in ran.out
    command = "handgrad predict digits-1 runs/digits-1/test.csv"
    assert command in ran.out
    config = json.loads((tmp_path / "runs/digits-1/config.json").read_text())
    test = config["test"]
    assert test["this MLP"]["accuracy"] >= 0.97
    assert test["this MLP"]["cross-entropy"] < test["logistic regression"]["cross-entropy"]
    assert test["constant guess"]["accuracy"] < 0.15
    assert config["gradient_check"]["ok"]
    assert config["gradient_check"]["worst_error"] < 1e-7

    predicted = handgrad(*command.split()[1:])
    assert predicted.code == 0
    table = rows_of((tmp_path / "runs/digits-1/test.csv").read_text())
    truth = [row[table[0].index("digit")] for row in table[1:]]
    header, *answers = rows_of(predicted.out)
    assert header == ["prediction"]
    right = np.mean([answer == [label] for answer, label in zip(answers, truth, strict=True)])
    assert right == pytest.approx(test["this MLP"]["accuracy"])
    assert f"({100 * right:.1f} %)" in predicted.err


def test_a_run_folder_is_complete(handgrad, tmp_path, flowers):
    ran = handgrad("train", flowers, "--target", "kind", *QUICK, "--seed", 3)
    assert ran.out == "runs/flowers-1\n"
    folder = tmp_path / "runs/flowers-1"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "history.jsonl", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    assert config["options"]["hidden"] == [16]
    assert config["seed"] == 3
    assert config["columns"] == ["length", "width", "colour"]
    assert config["rows"] == {"train": 86, "validation": 10, "test": 24}
    assert {"handgrad", "python", "numpy"} <= config["versions"].keys()
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in history] == list(range(1, config["epochs"] + 1))
    assert {"loss", "validation_loss", "validation_accuracy", "learning_rate"} <= history[0].keys()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["flowers-1"]


def test_names_are_numbered_or_given(handgrad, tmp_path, flowers, refused):
    for expected in ("flowers-1", "flowers-2"):
        assert handgrad("train", flowers, "--target", "kind", *QUICK).out == f"runs/{expected}\n"
    assert handgrad("train", flowers, "--target", "kind", *QUICK, "--name", "best").out == "runs/best\n"
    refused("train", flowers, "--target", "kind", *QUICK, "--name", "best", saying="a run 'runs/best' already")
    for name in ("../best", ".best", "a/b", ""):
        refused("train", flowers, "--target", "kind", *QUICK, "--name", name, saying="--name must")


def test_the_same_seed_gives_the_same_run(handgrad, tmp_path, flowers):
    for _ in range(2):
        handgrad("train", flowers, "--target", "kind", *QUICK)
    first, second = ((tmp_path / f"runs/flowers-{n}/model.safetensors").read_bytes() for n in (1, 2))
    assert first == second


def test_classes_from_a_csv(handgrad, tmp_path, flowers):
    ran = handgrad("train", flowers, "--target", "kind", "--epochs", 30, "--no-progress")
    assert ran.code == 0, ran.err
    assert "3 classes: ash, bay, elm" in ran.out
    for note in ("one value in the training part: site", "text that names rows: id", "numbers the rows: row"):
        assert note in ran.out
    config = json.loads((tmp_path / "runs/flowers-1/config.json").read_text())
    assert config["test"]["this MLP"]["accuracy"] > 0.9

    predicted = handgrad("predict", "flowers-1", flowers, "--probabilities", "--output", "out.csv")
    assert predicted.out == ""
    assert "120 predictions of kind in out.csv" in predicted.err
    header, *rows = rows_of((tmp_path / "out.csv").read_text())
    assert header == ["prediction", "probability of ash", "probability of bay", "probability of elm"]

    model, params, metadata = load(tmp_path / "runs/flowers-1/model.safetensors")
    features = Features.from_json(metadata["preprocessing"]["features"])
    target = targets.from_json(metadata["preprocessing"]["target"])
    scores = hg.predict(model, params, features.encode(read_table(flowers), params.flat.dtype))
    assert [row[0] for row in rows] == target.decode(scores).tolist()
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], np.float32), hg.ops.softmax(scores))


def test_numbers_from_a_parquet(handgrad, tmp_path):
    data = load_diabetes()
    columns = {**dict(zip(data.feature_names, data.data.T, strict=True)), "progression": data.target}
    pq.write_table(pa.table(columns), tmp_path / "diabetes.parquet")
    ran = handgrad("train", "diabetes.parquet", "--target", "progression", "--runs", "out", "--dtype", "float64")
    assert ran.code == 0, ran.err
    assert "ridge regression" in ran.out
    assert "handgrad predict out/diabetes-1 diabetes.parquet" in ran.out
    config = json.loads((tmp_path / "out/diabetes-1/config.json").read_text())
    assert config["task"] == "regression"
    assert config["test"]["this MLP"]["R2"] > 0.25
    assert config["test"]["this MLP"]["RMSE"] < 0.9 * config["test"]["constant guess"]["RMSE"]

    predicted = handgrad("predict", "out/diabetes-1", "diabetes.parquet")
    model, params, metadata = load(tmp_path / "out/diabetes-1/model.safetensors")
    assert params.flat.dtype == np.float64
    features = Features.from_json(metadata["preprocessing"]["features"])
    target = targets.from_json(metadata["preprocessing"]["target"])
    table = read_table(tmp_path / "diabetes.parquet")
    expected = target.decode(hg.predict(model, params, features.encode(table, np.float64)))
    np.testing.assert_array_equal([float(row[0]) for row in rows_of(predicted.out)[1:]], expected)
    assert "RMSE" in predicted.err


@pytest.mark.parametrize(
    "options",
    [
        ("--hidden", "0"),
        ("--activation", "swiglu"),
        ("--optimizer", "sgd"),
        ("--optimizer", "rmsprop", "--learning-rate", "0.002"),
        ("--l2", "0.001", "--label-smoothing", "0.1", "--dropout", "0", "--dtype", "float64"),
        ("--ignore", "length", "--ignore", "row", "--test", "0.4", "--validation", "0.3", "--batch-size", "7"),
    ],
)
def test_options(handgrad, flowers, options):
    ran = handgrad("train", flowers, "--target", "kind", *QUICK, *options)
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "csv.gz"])
def test_other_kinds_of_file(handgrad, tmp_path, suffix):
    import gzip

    rows = [{"x": i % 7, "word": "ab"[i % 2], "y": "yn"[i % 7 > 3]} for i in range(60)]
    if suffix == "jsonl":
        content = "\n".join(map(json.dumps, rows)).encode()
    else:
        comma = "\t" if suffix == "tsv" else ","
        lines = [rows[0].keys(), *(map(str, row.values()) for row in rows)]
        content = "\n".join(comma.join(line) for line in lines).encode()
    path = tmp_path / f"table.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == "csv.gz" else content)
    assert handgrad("train", path, "--target", "y", *QUICK).code == 0
    assert rows_of(handgrad("predict", "table-1", path).out)[0] == ["prediction"]


def test_integers_are_classes_or_numbers(handgrad, tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i * i % 50},{i % 3}\n" for i in range(90)))
    handgrad("train", "t.csv", "--target", "y", *QUICK)
    handgrad("train", "t.csv", "--target", "y", "--task", "regression", *QUICK)
    tasks = [json.loads((tmp_path / f"runs/t-{n}/config.json").read_text())["task"] for n in (1, 2)]
    assert tasks == ["classification", "regression"]


def test_help_and_version(handgrad):
    for arguments in (["--help"], ["train", "--help"], ["predict", "--help"]):
        ran = handgrad(*arguments)
        assert ran.code == 0
        assert "Usage" in ran.out
    assert handgrad("--version").out.startswith("handgrad 0.")
