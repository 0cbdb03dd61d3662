"""Tables at the edges: few rows, few of a class, decimal commas, zones of time, numbers near the largest."""

import json
import warnings

import numpy as np
import pytest

import handgrad.cli.data.memory as memory
from handgrad.cli.data.columns import CLIP, Features, Number
from handgrad.cli.data.sources import read_table
from handgrad.cli.data.splits import split
from handgrad.cli.data.summaries import Moments
from handgrad.cli.data.tables import Column, Table

QUICK = ("--epochs", 2, "--hidden", "4", "--quiet")


@pytest.mark.parametrize(
    ("rows", "positives"), [(200, 5), (200, 2), (200, 1), (12, 6), (12, 2), (5, 2), (5, 1), (4, 2), (4, 1)]
)
@pytest.mark.parametrize("seed", range(3))
def test_few_rows_of_classes(handgrad, tmp_path, rows, positives, seed):
    labels = np.repeat([0, 1], [rows - positives, positives])
    parts = split(rows, labels, 0.2, 0.1, seed)
    assert sorted(np.concatenate([parts.train, parts.validation, parts.test])) == list(range(rows))
    assert set(labels[parts.train]) == {0, 1}
    assert min(len(parts.train), len(parts.validation), len(parts.test)) >= 1
    lines = [f"{(row * 7) % 10},{'np'[labels[row]]}\n" for row in range(rows)]
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(lines))
    ran = handgrad("train", "t.csv", "--target", "y", "--seed", seed, *QUICK)
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("rows", [200, 12, 5])
def test_few_rows_of_numbers(handgrad, tmp_path, rows):
    lines = [f"{(row * 7) % 10},{row * row / 7}\n" for row in range(rows)]
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(lines))
    ran = handgrad("train", "t.csv", "--target", "y", *QUICK)
    assert ran.code == 0, ran.err


def test_decimal_commas(handgrad, tmp_path):
    lines = [f"{row % 7},{row % 9};{'' if row % 11 == 0 else f'-{row},5'};{row},{row};word\n" for row in range(60)]
    (tmp_path / "t.csv").write_text("a;b;y;w\n" + "".join(lines))
    table = read_table(tmp_path / "t.csv")
    assert [table.columns[name].kind for name in "abyw"] == ["number", "number", "number", "text"]
    assert table.columns["a"].values[:3].tolist() == [0.0, 1.1, 2.2]
    assert table.columns["b"].values[1] == -1.5
    assert table.columns["b"].missing[:2].tolist() == [True, False]
    assert handgrad("train", "t.csv", "--target", "y", *QUICK).code == 0
    assert json.loads((tmp_path / "runs/t-1/config.json").read_text())["task"] == "regression"
    assert "RMSE" in handgrad("predict", "t-1", "t.csv").err


def test_a_comma_in_quotes_is_no_decimal_comma_where_commas_separate(tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n"1,5",2\n"2,5",3\n')
    assert read_table(tmp_path / "t.csv").columns["a"].kind == "text"


@pytest.mark.parametrize(("zone", "shift"), [("Z", 0), ("+00:00", 0), ("+02:00", -2 / 24), ("", 0)])
def test_times_with_a_zone(tmp_path, zone, shift):
    (tmp_path / "t.csv").write_text(f"a,b\n2024-01-02T06:00:00{zone},1\n,2\n2024-01-03T06:00:00{zone},1\n")
    column = read_table(tmp_path / "t.csv").columns["a"]
    assert column.kind == "time"
    assert column.present == pytest.approx(19724.25 + shift + np.arange(2))


def test_times_with_a_zone_are_features(handgrad, tmp_path):
    lines = [f"2024-01-{1 + i % 28:02}T{i % 24:02}:30:00.25+01:00,{i % 28 / 3}\n" for i in range(90)]
    (tmp_path / "t.csv").write_text("when,y\n" + "".join(lines))
    assert handgrad("train", "t.csv", "--target", "y", *QUICK).code == 0
    assert json.loads((tmp_path / "runs/t-1/config.json").read_text())["columns"] == ["when"]


def test_numbers_near_the_largest(handgrad, tmp_path):
    lines = [f"{(-1) ** i * (i % 7)}e307,{i % 7 * (-1) ** i}\n" for i in range(90)]
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(lines))
    ran = handgrad("train", "t.csv", "--target", "y", "--task", "regression", "--epochs", 30, "--quiet")
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "runs/t-1/config.json").read_text())["test"]["this MLP"]["R2"] > 0.5
    assert handgrad("predict", "t-1", "t.csv").code == 0


def test_scaling_holds_everything_within_its_bounds():
    values = np.array([-1.7e308, 1.7e308, 0.0, 1e308])
    moments = Moments()
    moments.add(values)
    assert moments.mean == pytest.approx(0.25e308)
    assert moments.std == pytest.approx(np.std(values / 1e308) * 1e308)
    number = Number("x", "number", 0.0, 0.1, False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        column = Column("x", "number", values, np.zeros(4, bool))
        z = Features((number,)).encode(Table("t", {"x": column}, 4), np.float64)
    np.testing.assert_allclose(z[:, 0], [-CLIP, CLIP, 0, CLIP])


@pytest.mark.parametrize("value", ["1e300", "-1e38"])
def test_a_target_too_large_is_refused_before_training(refused, tmp_path, value):
    lines = [f"{i % 7},{i}.5\n{i},{value}\n" for i in range(30)]
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(lines))
    saying = r"target 'y' holds -?1e\+\d+; expected numbers within \+-1e\+37"
    refused("train", "t.csv", "--target", "y", *QUICK, saying=saying)


def test_nan_says_how_to_get_round_it(refused, tmp_path):
    lines = "".join(f"{i % 7},{i % 5}.5,{i % 3}\n" for i in range(30))
    (tmp_path / "t.csv").write_text("a b,x,y\nnan,1,2\n" + lines)
    way = "write it as an empty cell, or leave the column out with --ignore 'a b'$"
    refused("train", "t.csv", "--target", "y", *QUICK, saying=way)
    refused("train", "t.csv", "--target", "a b", *QUICK, saying="empty cell, and its row is left out$")


def test_a_network_larger_than_memory_is_refused(refused, flowers, monkeypatch):
    saying = r"a network of \d+ -> 10000000 -> 10000000 -> 3 needs about [\d,.]+ GB of memory .* and [\d,.]+ GB are"
    refused("train", flowers, "--target", "kind", "--hidden", "10000000,10000000", "--quiet", saying=saying)
    monkeypatch.setattr(memory, "available", lambda: 2_000_000_000)
    refused("train", flowers, "--target", "kind", "--hidden", "10000000", "--quiet", saying="and 2.0 GB are available")


def test_memory_that_the_system_does_not_tell_is_no_bound(monkeypatch):
    assert memory.available() > 1e6
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check_memory([10, 10**9, 10], 64, "float32")
