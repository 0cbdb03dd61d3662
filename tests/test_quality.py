"""What `python -m benchmarks.quality` computes from the fits, on tables made by hand, and that a cut run goes on."""

import json
import math

import numpy as np
import pytest
from benchmarks import results
from benchmarks.quality import page, scores
from benchmarks.quality.fits import Plan, left, run
from benchmarks.quality.models import MODELS, Model
from benchmarks.quality.record import Records
from benchmarks.quality.scores import HITS, LOSSES

# By set, then model. On "two", b and c are equally accurate; no model beats the constant guess's AUC of "two".
MEANS = {
    "two": {
        "constant": {"accuracy": 0.6, "auc": 0.5, "log_loss": 0.7},
        "a": {"accuracy": 0.9, "auc": 0.5, "log_loss": 0.5},
        "b": {"accuracy": 0.7, "auc": 0.4, "log_loss": 0.3},
        "c": {"accuracy": 0.7, "auc": 0.3, "log_loss": 0.9},
    },
    "line": {
        "constant": {"r2": -0.01, "rmse": 10.0},
        "a": {"r2": 0.39, "rmse": 8.0},
        "b": {"r2": 0.79, "rmse": 6.0},
        "c": {"r2": -1.0, "rmse": 14.0},
    },
}


def test_ranks_and_ties():
    assert scores.ranks([0.2, 0.9, 0.5]) == [3, 1, 2]
    assert scores.ranks([0.5, 0.9, 0.5, 0.1]) == [2.5, 1, 2.5, 4]


def test_normalised():
    assert scores.normalised([0.9, 0.7, 0.5], 0.6) == pytest.approx([1, 1 / 3, 0])
    assert scores.normalised([0.4, 0.5], 0.5) == [0, 0]
    assert scores.normalised([-6.0, -8.0, -14.0], -10.0) == [1, 0.5, 0]  # a loss, its sign turned


def test_each_set_weighs_the_same():
    found = scores.summary(MEANS, ["a", "b", "c"], "constant")
    # two: accuracy 1, 2.5, 2.5 and AUC 1, 2, 3, of which the means are 1, 2.25, 2.75; line: R2 2, 1, 3
    assert {model: of["rank"] for model, of in found[HITS].items()} == {"a": 1.5, "b": 1.625, "c": 2.875}
    # two: log-loss 2, 1, 3; line: RMSE 2, 1, 3
    assert {model: of["rank"] for model, of in found[LOSSES].items()} == {"a": 2, "b": 1, "c": 3}
    # two: accuracy 1, 1/3, 1/3 and AUC 0, 0, 0; line: 0.5, 1, 0
    shares = [of["normalised"] for of in found[HITS].values()]
    assert shares == pytest.approx([(1 / 2 + 1 / 2) / 2, (1 / 6 + 1) / 2, (1 / 6 + 0) / 2])
    # two: 0.2 and 0.4 of 0.4; line: 2 and 4 of 4
    assert [of["normalised"] for of in found[LOSSES].values()] == pytest.approx([0.5, 1, 0])


def test_scores_of_classes():
    y = np.array([0, 1, 1, 0])
    p = np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3], [0.9, 0.1]])
    found = scores.of_classes(y, p)
    assert found["accuracy"] == 0.75
    assert found["auc"] == 1
    assert found["log_loss"] == pytest.approx(-np.log([0.8, 0.6, 0.3, 0.9]).mean())


def test_a_certain_mistake_costs_as_much_in_any_precision():
    y = np.array([0, 1, 1, 0])
    p = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    cost = -math.log(scores.SMALLEST) / 4
    for dtype in (np.float32, np.float64):
        assert scores.of_classes(y, p.astype(dtype))["log_loss"] == pytest.approx(cost, abs=1e-6)


def test_scores_of_three_classes():
    y = np.array([0, 1, 2, 2])
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    found = scores.of_classes(y, p)
    # 0 against the rest: 3 of 3 pairs; 1: 2 1/2 + 1/2 of 3; 2: 3 of 4
    assert found["auc"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found["log_loss"] == pytest.approx(-np.log([0.6, 0.5, 0.2, 0.7]).mean())


def test_scores_of_numbers():
    found = scores.of_numbers(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 6.0]))
    assert found == {"r2": pytest.approx(1 - 9 / 2), "rmse": pytest.approx(math.sqrt(3))}


def timed(means, **fit):
    """The table above as if measured."""
    models = {"constant": "constant", "a": "linear", "b": "realmlp", "c": "sklearn"}
    return {
        name: {models[model]: {**row, "fit": fit.get(model, 0.0), "predict": 0.01} for model, row in of.items()}
        for name, of in means.items()
    }


def test_the_page():
    found = timed(MEANS, a=0.5, b=10.0, c=2.0)
    models = ["constant", "linear", "sklearn", "realmlp"]
    lines = page.overall(found, models).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| RealMLP-TD",
        "| logistic or ridge regression",
        "| scikit-learn MLP",
    ]
    assert lines[2] == "| RealMLP-TD | 1.62 | 1.00 | 0.583 | 1.000 | 20.0 | 1.000 | 0.02 |"
    assert lines[3] == "| logistic or ridge regression | 1.50 | 2.00 | 0.500 | 0.500 | 1.00 | 0.050 | 0.02 |"
    each = page.each(found, models).splitlines()
    assert each[2] == "| two | accuracy | 0.6000 | **0.9000** | 0.7000 | 0.7000 |"
    assert "| line | RMSE | 10.00 | 8.0000 | 14.00 | **6.0000** |" in each
    assert "| line | fit, s | 0.00 | 0.50 | 2.00 | 10.0 |" in each


def test_only_sets_that_all_models_have_are_summed_up():
    found = timed(MEANS, a=0.5, b=10.0, c=2.0)
    del found["two"]["sklearn"]
    models = ["constant", "linear", "sklearn", "realmlp"]
    assert page.overall(found, models).startswith("| 1 sets |")
    assert "| two | accuracy | 0.6000 | **0.9000** | - | 0.7000 |" in page.each(found, models)
    del found["line"]
    assert page.overall(found, models) == "No set has been run whole by all models."


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("", ""),
        ("--done --write", " --done --write"),
        ("--models linear,mlp --models linear --write", " --models linear --write"),
        ("--write --cache a.jsonl --splits 3", " --write --splits 3"),
        ("--cache=a.jsonl --splits=3 --splits 4 --cache b", " --splits 4"),
        ("--sets a;b", " --sets 'a;b'"),
    ],
)
def test_the_command_that_a_page_names(monkeypatch, given, shown):
    monkeypatch.setattr("sys.argv", ["benchmarks/quality/__main__.py", *given.split()])
    assert results.command("benchmarks.quality") == f"`python -m benchmarks.quality{shown}`"


def test_records_outlive_a_cut(tmp_path):
    path = tmp_path / "folder" / "results.jsonl"
    first, second = {"set": "wine", "split": 0}, {"set": "wine", "split": 1}
    records = Records(path)
    assert records.get(first) is None
    records.add(first, {"scores": {"r2": 0.25}})
    records.add(second, {"scores": {"r2": 0.5}})
    whole = path.read_text()
    path.write_text(whole[:-9])  # in the middle of the second line
    records = Records(path)
    assert records.get({"split": 0, "set": "wine"}) == {"of": first, "scores": {"r2": 0.25}}
    assert records.get(second) is None
    records.add(second, {"scores": {"r2": 0.75}})
    records.add(first, {"scores": {"r2": 1.0}})
    records = Records(path)
    assert records.get(second)["scores"] == {"r2": 0.75}
    assert records.get(first)["scores"] == {"r2": 1.0}


def test_a_run_fits_what_is_missing_and_no_more(tmp_path):
    plan = Plan(("constant", "linear"), ("wine", "diabetes"), splits=2, max_rows=60, threads=1)
    path = tmp_path / "results.jsonl"
    said: list[str] = []
    assert run(plan, Records(path), said.append) == []
    assert len(said) == 8
    assert said[0].startswith("8 fits, at least ")
    lines = path.read_text().splitlines()
    assert {tuple(json.loads(line)["rows"]) for line in lines} == {(60, 44), (60, 110)}
    path.write_text("".join(f"{line}\n" for line in lines[:-1]))  # the last is ridge regression on diabetes, split 2
    assert left(plan, Records(path))[0] == 1
    said.clear()
    run(plan, Records(path), said.append)
    assert len(said) == 1
    assert said[0].endswith("logistic or ridge regression on diabetes, split 2")
    again = path.read_text().splitlines()
    assert json.loads(again[-1])["scores"] == json.loads(lines[-1])["scores"]  # a split is the same in every run
    found = page.means(plan, Records(path))
    assert found["wine"]["linear"]["accuracy"] > 0.9 > found["wine"]["constant"]["accuracy"]
    assert found["diabetes"]["linear"]["r2"] > 0.2 > found["diabetes"]["constant"]["r2"]


def test_a_model_that_fails_does_not_end_the_run(tmp_path, monkeypatch):
    def broken(table, seed, threads):
        raise ValueError("no such\nluck")

    monkeypatch.setitem(MODELS, "linear", Model("broken", broken))
    plan = Plan(("linear", "constant"), ("wine",), splits=1, max_rows=60, threads=1)
    records = Records(tmp_path / "results.jsonl")
    assert run(plan, records, lambda text: None) == ["broken on wine, split 1: ValueError: no such luck"]
    assert list(page.means(plan, records)["wine"]) == ["constant"]
