"""`handgrad explain`: what it prints and writes for a run, and what it refuses."""

import json
import re

import numpy as np
import pytest

from handgrad.estimators.tabular import files

QUICK = ("--epochs", 3, "--hidden", "8", "--quiet")
FILES = {"trace.png", "diagnosis.png", "model.svg", "trace.json"}


@pytest.fixture
def run(handgrad, flowers):
    ran = handgrad("train", "flowers.csv", "--target", "kind", "--name", "first", *QUICK)
    assert ran.code == 0
    return "first"


def test_a_run_and_the_table_it_was_trained_on(handgrad, run, tmp_path):
    ran = handgrad("explain", run)
    assert ran.code == 0
    assert "120 rows of flowers.csv" in ran.out
    assert "update/norm" in ran.out
    assert "one step of AdamW at rate 0.005 makes it" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "Diagnosis" in ran.out
    folder = tmp_path / "runs" / "first"
    assert {path.name for path in folder.iterdir()} >= FILES
    assert (folder / "trace.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "model.svg").read_text()
    data = json.loads((folder / "trace.json").read_text())
    assert data["trace"]["rows"] == 120
    assert [layer["kind"] for layer in data["trace"]["layers"]] == ["Linear", "ReLU", "Dropout", "Linear"]


def test_fewer_rows_and_another_folder(handgrad, run, tmp_path):
    (tmp_path / "figures").mkdir()
    ran = handgrad("explain", run, "flowers.csv", "--rows", 40, "--out", "figures")
    assert ran.code == 0
    assert "40 rows of flowers.csv" in ran.out
    assert {path.name for path in (tmp_path / "figures").iterdir()} == FILES
    assert not (tmp_path / "runs" / "first" / "trace.png").exists()


def test_digits_and_a_regression(handgrad, tmp_path, flowers):
    handgrad("train", *QUICK)
    ran = handgrad("explain", "digits-1")
    assert ran.code == 0
    assert "359 rows of test.csv" in ran.out
    handgrad("train", "flowers.csv", "--target", "width", "--optimizer", "sgd", "--learning-rate", 0.02, *QUICK)
    ran = handgrad("explain", "flowers-1")
    assert ran.code == 0
    assert "squared_error" in ran.out
    assert "SGD at rate 0.02" in ran.out


@pytest.mark.parametrize("target", ["kind", "width"])
def test_an_ensemble(handgrad, flowers, tmp_path, target):
    handgrad(
        "train", "flowers.csv", "--target", target, "--preset", "tabular", "--ensemble", 3, "--epochs", 3, "--quiet"
    )
    ran = handgrad("explain", "flowers-1")
    assert ran.code == 0
    assert "an ensemble of 3 networks; this is the first" in ran.out
    assert "member 2  " in ran.out
    assert "member 3  " in ran.out
    data = json.loads((tmp_path / "runs" / "flowers-1" / "trace.json").read_text())
    assert data["trace"]["optimizer"] == "AdamW"
    assert data["trace"]["learning_rate"] == (0.0035 if target == "kind" else 0.005)
    chance = np.log(3) if target == "kind" else 1.0
    assert 0 < data["trace"]["loss_value"] < 2 * chance  # in the units that it was trained in
    (tmp_path / "runs" / "flowers-1" / "history.jsonl").unlink()
    (tmp_path / "runs" / "flowers-1" / "config.json").unlink()
    assert handgrad("explain", "flowers-1", "flowers.csv").code == 0


def test_the_loss_of_a_member_is_that_of_its_predictions(handgrad, flowers, tmp_path):
    options = ("--preset", "tabular", "--ensemble", 1, "--epochs", 8, "--hidden", "8", "--quiet")
    handgrad("train", "flowers.csv", "--target", "width", *options)
    assert "an ensemble" not in handgrad("explain", "flowers-1").out
    loss = json.loads((tmp_path / "runs" / "flowers-1" / "trace.json").read_text())["trace"]["loss_value"]
    rmse = float(re.search(r"RMSE (\S+) against", handgrad("predict", "flowers-1", "flowers.csv").err)[1])
    _, metadata = files.load(tmp_path / "runs" / "flowers-1" / "model.safetensors")
    assert loss == pytest.approx(
        (rmse / metadata["preprocessing"]["target"]["std"]) ** 2, rel=0.02
    )  # clipped in predict


def test_the_members_of_an_ensemble_are_told_apart(handgrad, flowers, tmp_path):
    handgrad(
        "train", "flowers.csv", "--target", "kind", "--preset", "tabular", "--ensemble", 2, "--epochs", 2, "--quiet"
    )
    history = tmp_path / "runs" / "flowers-1" / "history.jsonl"
    rows = [json.loads(line) for line in history.read_text().splitlines()]
    for row, loss in zip(rows, [0.9, 0.8, 0.9, 9.0], strict=True):
        row["loss"] = loss  # the second's rises
    history.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = handgrad("explain", "flowers-1").out
    assert "nothing found wrong in" in out
    assert "member 2  a learning rate that is too large" in out


def test_a_model_file_alone(handgrad, run, tmp_path):
    (tmp_path / "runs" / "first" / "model.safetensors").rename(tmp_path / "m.safetensors")
    ran = handgrad("explain", "m.safetensors", "flowers.csv")
    assert ran.code == 0
    assert "Adam at rate 0.001" in ran.out
    assert (tmp_path / "model.svg").exists()


def test_without_matplotlib(handgrad, run, tmp_path, monkeypatch):
    monkeypatch.setattr("handgrad.cli.explain.find_spec", lambda name: None)
    ran = handgrad("explain", run)
    assert ran.code == 0
    assert "pip install 'handgrad[plot]'" in ran.out
    assert not (tmp_path / "runs" / "first" / "trace.png").exists()
    assert (tmp_path / "runs" / "first" / "model.svg").exists()


def test_refused(refused, handgrad, run, tmp_path, flowers):
    refused("explain", "frist", saying="there is no run 'frist'; did you mean 'first'")
    refused("explain", run, "flower.csv", saying="there is no file 'flower.csv'; did you mean 'flowers.csv'")
    refused("explain", run, "--out", "nowhere", saying="there is no folder 'nowhere' to write the figures to")
    (tmp_path / "bare.csv").write_text("length,width,colour\n1,2,red\n")
    refused("explain", run, "bare.csv", saying="bare.csv has no column 'kind', the target")
    (tmp_path / "empty.csv").write_text("length,width,colour,kind\n1,2,red,\n2,3,blue,\n")
    refused("explain", run, "empty.csv", saying="target 'kind' is empty in all 2 rows of empty.csv")
    (tmp_path / "other.csv").write_text("length,width,colour,kind\n1,2,red,oak\n")
    refused("explain", run, "other.csv", saying="holds 'oak', which is none of its classes")
    handgrad("train", "flowers.csv", "--target", "width", "--name", "numbers", *QUICK)
    (tmp_path / "words.csv").write_text("length,colour,kind,width\n1,red,ash,wide\n")
    refused(
        "explain", "numbers", "words.csv", saying="words.csv, line 2: column 'width' holds 'wide', and the training"
    )
    (tmp_path / "inf.csv").write_text("length,colour,kind,width\n1,red,ash,1e999\n2,red,ash,inf\n")
    refused("explain", "numbers", "inf.csv", saying="'width' of inf.csv holds a number that is not finite")
    flowers.unlink()
    refused("explain", run, saying="DATA is missing: .*'flowers.csv', which it was trained on, is not there")
    (tmp_path / "runs" / "first" / "config.json").write_text("{junk")
    refused("explain", run, "other.csv", saying="the run 'runs/first' can't be read")
    (tmp_path / "runs" / "first" / "config.json").write_text('{"options": 3}')
    refused("explain", run, "other.csv", saying="config.json' can't be read: it holds no options")
