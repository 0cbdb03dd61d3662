"""`handgrad train --preset tabular`, and `handgrad predict` with what it leaves."""

import csv
import io
import json

import numpy as np
import pytest

import handgrad as hg
from estimators.tabular.damage import damaged
from handgrad.cli.data.sources import read_table
from handgrad.cli.options import Tabular, options_of
from handgrad.cli.presets.ensemble import Frame
from handgrad.estimators.tabular.files import load

QUICK = ("--preset", "tabular", "--epochs", 4, "--hidden", "16", "--ensemble", 2)


def rows_of(text):
    return list(csv.reader(io.StringIO(text)))


def words(text):
    return " ".join(text.split())


@pytest.fixture
def houses(tmp_path):
    """A CSV of 200 rows: numbers with gaps, a date, truth values, text of 60 levels, and a price."""
    rng = np.random.default_rng(0)
    lines = ["area,sold,garden,agent,price"]
    for row in range(200):
        area = rng.lognormal(4.5, 0.4)
        shown = "" if row % 19 == 0 else f"{area:.2f}"
        day = np.datetime64(int(rng.integers(0, 20000)), "D")
        agent, garden = row % 60, rng.random() < 0.5
        lines.append(f"{shown},{day},{str(garden).lower()},agent {agent},{3 * area + agent + 40 * garden:.2f}")
    path = tmp_path / "houses.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_digits(handgrad, tmp_path):
    ran = handgrad("train", "--preset", "tabular", "--epochs", 12, "--ensemble", 2, "--no-progress")
    assert ran.code == 0, ran.err
    assert max(map(len, ran.out.splitlines())) <= 80
    shown = words(ran.out)
    assert (
        "1,438 rows to train on, of which each member holds out about 288 to choose its epoch by, 359 to test" in shown
    )
    assert "model 2 members of" in shown
    assert "trained 2 members, 12 epochs each, the best" in shown
    for said in ("constant guess", "logistic regression", "this model", "The first member's gradients", "compiled"):
        assert said in shown
    folder = tmp_path / "runs/digits-1"
    names = ["config.json", "history.jsonl", "model.safetensors", "test.csv"]
    assert sorted(path.name for path in folder.iterdir()) == names
    config = json.loads((folder / "config.json").read_text())
    assert config["test"]["this model"]["accuracy"] >= 0.96
    assert config["gradient_check"]["ok"]
    assert config["rows"] == {"train": 1438, "validation": 0, "test": 359}
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [(row["member"], row["epoch"]) for row in history] == [(m, e) for m in (1, 2) for e in range(1, 13)]

    predicted = handgrad("predict", "digits-1", "runs/digits-1/test.csv")
    truth = [row[-1] for row in rows_of((folder / "test.csv").read_text())[1:]]
    right = np.mean([answer == [label] for answer, label in zip(rows_of(predicted.out)[1:], truth, strict=True)])
    assert right == pytest.approx(config["test"]["this model"]["accuracy"])
    assert f"({100 * right:.1f} %)" in predicted.err


def test_the_same_rows_are_tested_as_by_the_plain_preset(handgrad, tmp_path, flowers):
    handgrad("train", flowers, "--target", "kind", "--ignore", "colour", *QUICK, "--quiet")
    handgrad("train", flowers, "--target", "kind", "--ignore", "colour", "--epochs", 2, "--quiet")
    tests = [json.loads((tmp_path / f"runs/flowers-{n}/config.json").read_text())["test"] for n in (1, 2)]
    rows = [json.loads((tmp_path / f"runs/flowers-{n}/config.json").read_text())["rows"]["test"] for n in (1, 2)]
    assert rows == [24, 24]
    assert [*tests[0]] == ["constant guess", "logistic regression", "this model"]
    assert tests[0]["constant guess"] == pytest.approx(tests[1]["constant guess"], abs=0.01)


def test_classes_with_text_and_gaps(handgrad, tmp_path, flowers):
    ran = handgrad("train", flowers, "--target", "kind", *QUICK, "--epochs", 20, "--no-progress")
    assert ran.code == 0, ran.err
    for note in ("one value in the training part: site", "text that names rows: id", "numbers the rows: row"):
        assert note in words(ran.out)
    config = json.loads((tmp_path / "runs/flowers-1/config.json").read_text())
    assert config["columns"] == ["length", "width", "colour"]
    assert config["test"]["this model"]["accuracy"] > 0.9
    predicted = handgrad("predict", "flowers-1", flowers, "--probabilities", "--output", "out.csv")
    assert predicted.code == 0, predicted.err
    header, *rows = rows_of((tmp_path / "out.csv").read_text())
    assert header == ["prediction", "probability of ash", "probability of bay", "probability of elm"]
    chances = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)

    estimator, metadata = load(tmp_path / "runs/flowers-1/model.safetensors")
    labels = metadata["preprocessing"]["target"]["labels"]
    assert [row[0] for row in rows] == [labels[place] for place in chances.argmax(axis=1)]
    table = read_table(flowers)
    columns = {name: np.where(c.missing, None, c.values) for name in config["columns"] for c in [table.columns[name]]}
    np.testing.assert_allclose(chances, estimator.predict_proba(Frame(columns)), atol=1e-6)


def test_numbers_with_dates_and_many_levels(handgrad, tmp_path, houses, refused):
    ran = handgrad("train", houses, "--target", "price", *QUICK, "--epochs", 48, "--quiet")
    assert ran.out == "runs/houses-1\n"
    config = json.loads((tmp_path / "runs/houses-1/config.json").read_text())
    scores = config["test"]
    assert scores["this model"]["RMSE"] < 0.8 * scores["constant guess"]["RMSE"]
    columns = load(tmp_path / "runs/houses-1/model.safetensors")[0].columns_
    expected = {"area": "number", "sold": "date", "garden": "number", "agent": "category"}
    assert {column.name: column.role for column in columns} == expected
    predicted = handgrad("predict", "houses-1", houses)
    assert "RMSE" in predicted.err
    assert "note" not in predicted.err  # each of the 60 agents is known, though baselines know 50 of them
    prices = np.array([float(row[0]) for row in rows_of(predicted.out)[1:]])
    assert prices.min() > 0
    refused("predict", "houses-1", houses, "--probabilities", saying="--probabilities is for classes")
    assert "squared_error" in handgrad("explain", "houses-1", houses).out


def test_what_is_new_to_the_model_is_counted(handgrad, tmp_path, houses):
    handgrad("train", houses, "--target", "price", *QUICK, "--quiet")
    new = "garden,extra,agent,area,sold\ntrue,1,agent 3,,2001-02-03\nfalse,2,agent 99,70,\n,3,,80,2001-02-03\n"
    (tmp_path / "new.csv").write_text(new)
    ran = handgrad("predict", "houses-1", "new.csv")
    assert ran.code == 0, ran.err
    assert len(ran.out.splitlines()) == 4
    assert ran.err.splitlines() == [
        "note: sold: 1 of 3 cells are empty, none was in training; taken as the median",
        "note: garden: 1 of 3 cells are empty, none was in training; taken as the median",
        "note: agent: 1 of 3 cells hold a value not seen in training, such as 'agent 99'",
        "note: agent: 1 of 3 cells are empty, none was in training; taken as no category",
    ]


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        ("area,sold,agent\n1,2001-02-03,x\n", "lacks 1 of the 4 columns the model needs: garden"),
        (
            "area,sold,garden,agent\nmany,2001-02-03,true,x\n",
            "new.csv, line 2: column 'area' holds 'many', and the training read it as numbers",
        ),
        ("area,sold,garden,agent\nnan,2001-02-03,true,x\n1.5,2001-02-03,true,x\n", "column 'area' holds nan in row 1"),
        ("area,sold,garden,agent\n1,7,true,x\n", "line 2: column 'sold' holds '7', and the training read it as times"),
        ("area,sold,garden,agent\n1,2001-02-03,perhaps,x\n", "column 'garden' holds 'perhaps' in row 1"),
    ],
)
def test_tables_that_can_not_be_predicted(handgrad, refused, tmp_path, houses, content, saying):
    handgrad("train", houses, "--target", "price", *QUICK, "--epochs", 1, "--quiet")
    (tmp_path / "new.csv").write_text(content)
    refused("predict", "houses-1", "new.csv", saying=saying)


@pytest.mark.parametrize(
    ("options", "saying", "code"),
    [
        (("--activation", "relu"), "--preset tabular does not take --activation; what it can be told is --validat", 2),
        (("--optimizer", "sgd", "--l2", 0), "does not take --optimizer and --l2", 2),
        (("--label-smoothing", 0.1), "does not take --label-smoothing", 2),
        (("--patience", 3), "does not take --patience", 2),
        (("--dtype", "float32"), "does not take --dtype", 2),
        (("--validation", 0.6), "--validation must be above 0 and at most 0.5 with --preset tabular, got 0.6", 2),
        (("--validation", 0), "--validation must be above 0", 2),
        (("--test", 1), "--test must be above 0 and below 1", 2),
        (("--dropout", 1), "--dropout must be at least 0 and below 1", 2),
        (("--learning-rate", "nan"), "--learning-rate must be a finite number above 0", 2),
        (("--hidden", "x"), "--hidden must be widths", 2),
        (("--hidden", 10**7), r"2? ?networks? .*need.* of memory to train", 1),
        (
            ("--learning-rate", 1e30),
            r"diverged by epoch \d in every member; give a lower --learning-rate than 1e\+30",
            1,
        ),
    ],
)
def test_options_that_are_refused(refused, flowers, options, saying, code):
    refused("train", flowers, "--target", "kind", *QUICK, *options, "--quiet", saying=saying, code=code)


def test_a_member_that_diverges_is_noted(handgrad, tmp_path, flowers, monkeypatch):
    fit = hg.TabularClassifier.fit

    def cut_short(self, X, y):
        fit(self, X, y)
        del self.members_[1].history.rows[2:]
        return self

    monkeypatch.setattr("handgrad.TabularClassifier.fit", cut_short)
    ran = handgrad("train", flowers, "--target", "kind", *QUICK, "--learning-rate", 0.02, "--no-progress")
    assert ran.code == 0
    note = "member 2 diverged in epoch 3, and is as it was before; a lower --learning-rate than 0.02 may help"
    assert note in words(ran.out)
    assert "2 members, at most 4 epochs each" in words(ran.out)
    assert note in json.loads((tmp_path / "runs/flowers-1/config.json").read_text())["notes"]


def test_ensembles_are_for_the_tabular_preset_alone(refused, handgrad, flowers):
    refused("train", flowers, "--target", "kind", "--ensemble", 3, saying="plain does not take --ensemble", code=2)
    assert handgrad("train", flowers, "--preset", "deep").code == 2
    assert handgrad("train", flowers, "--preset", "tabular", "--ensemble", 0).code == 2


def test_options_that_are_given_override_the_recipe(handgrad, tmp_path, flowers):
    options = ("--batch-size", 7, "--learning-rate", 0.01, "--dropout", 0, "--validation", 0.5, "--hidden", "8,4")
    assert handgrad("train", flowers, "--target", "kind", *QUICK, *options, "--quiet").code == 0
    config = json.loads((tmp_path / "runs/flowers-1/config.json").read_text())
    given = {"hidden": [8, 4], "epochs": 4, "batch_size": 7, "learning_rate": 0.01, "dropout": 0}
    assert given.items() <= config["recipe"].items()
    assert config["validation_fraction"] == 0.5
    assert [member["epochs"] for member in config["members"]] == [4, 4]
    handgrad("train", flowers, "--target", "kind", *QUICK, "--ensemble", 1, "--hidden", 0, "--quiet")
    estimator, _ = load(tmp_path / "runs/flowers-2/model.safetensors")
    assert (len(estimator.members_), len(estimator.model_.layers)) == (1, 1)


def test_what_is_not_given_is_the_recipes():
    assert options_of("tabular", data="t.csv", epochs=None) == Tabular(data="t.csv")


def test_the_plan_says_what_is_trained(handgrad, tmp_path, houses):
    ran = handgrad("train", houses, "--target", "price", *QUICK, "--no-progress")
    estimator, _ = load(tmp_path / "runs/houses-1/model.safetensors")
    width = estimator.encoder_.width
    assert f"as {width} features" in ran.out
    assert f"2 members of {width} -> 16 -> 1, swish, {2 * estimator.members_[0].flat.size:,} parameters" in words(
        ran.out
    )


def test_the_same_seed_gives_the_same_run(handgrad, tmp_path, flowers):
    for seed in (0, 0, 1):
        handgrad("train", flowers, "--target", "kind", *QUICK, "--quiet", "--seed", seed)
    first, second, third = ((tmp_path / f"runs/flowers-{n}/model.safetensors").read_bytes() for n in (1, 2, 3))
    assert first == second != third


def test_a_failure_while_writing_leaves_what_can_be_resumed(handgrad, flowers, monkeypatch, tmp_path):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "runs/x")

    with monkeypatch.context() as patch:
        patch.setattr("handgrad.cli.presets.ensemble.files.save", full)
        ran = handgrad("train", flowers, "--target", "kind", *QUICK, "--quiet")
    assert ran.code == 1
    assert ran.err == "error: runs/x: no space left on device; to go on: handgrad train --resume flowers-1\n"
    assert handgrad("train", "--resume", "flowers-1", "--quiet").code == 0
    handgrad("train", flowers, "--target", "kind", *QUICK, "--quiet")
    first, second = (tmp_path / f"runs/flowers-{n}" for n in (1, 2))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert sorted(path.name for path in first.iterdir()) == ["config.json", "history.jsonl", "model.safetensors"]


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (lambda a, c: c["metadata"].pop("preprocessing"), "without preprocessing"),
        (lambda a, c: c["metadata"]["preprocessing"]["features"].pop(), "columns or its target are not those of"),
        (lambda a, c: c["metadata"]["preprocessing"]["target"]["labels"].pop(), "columns or its target are not"),
        (lambda a, c: c["metadata"]["preprocessing"]["features"][0].update(mean="x"), "preprocessing can't be read"),
        (lambda a, c: c["metadata"]["preprocessing"]["features"][0].update(kind="odd"), "preprocessing can't be read"),
        (lambda a, c: c["metadata"]["preprocessing"]["features"][2].update(levels=[1]), "preprocessing can't be read"),
        (lambda a, c: c.update(levels=[]), "levels must be 1 lists"),
    ],
)
def test_damaged_runs(handgrad, refused, tmp_path, flowers, change, saying):
    handgrad("train", flowers, "--target", "kind", *QUICK, "--epochs", 1, "--quiet")
    damaged(tmp_path / "runs/flowers-1/model.safetensors", change)
    refused("predict", "flowers-1", flowers, saying=saying)
