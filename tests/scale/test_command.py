"""`handgrad train --workers` and `handgrad tune`, on a Ray cluster."""

import json

import numpy as np
import pytest

from cli.conftest import handgrad  # noqa: F401

TABLE = 160


@pytest.fixture
def table(tmp_path):
    """A CSV of two numbers and the class that their product has the sign of."""
    rng = np.random.default_rng(1)
    lines = ["a,b,sign"]
    for a, b in rng.standard_normal((TABLE, 2)):
        lines.append(f"{a},{b},{'plus' if a * b > 0 else 'minus'}")
    path = tmp_path / "signs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_train_by_two_workers(cluster, handgrad, table, tmp_path):  # noqa: F811
    """The run is that of one process, in float64 to rounding, and its epochs are kept as they come."""
    options = ("train", table, "--target", "sign", "--epochs", 3, "--hidden", "8", "--dtype", "float64")
    by_two = handgrad(*options, "--name", "two", "--workers", 2, "--address", cluster)
    assert by_two.code == 0, by_two.err
    assert handgrad(*options, "--name", "one").code == 0
    two, one = (rows_of(tmp_path / "runs" / name / "history.jsonl") for name in ("two", "one"))
    assert [row["epoch"] for row in two] == [1, 2, 3]
    np.testing.assert_allclose([row["loss"] for row in two], [row["loss"] for row in one], rtol=1e-9)


def test_a_streamed_table_by_two_workers(cluster, handgrad, table, tmp_path):  # noqa: F811
    """Its rows are encoded once, into the cluster's store, and shared from there."""
    options = ("--target", "sign", "--epochs", 2, "--hidden", "8", "--batch-size", 16, "--name", "streamed")
    ran = handgrad("train", table, *options, "--stream", "--workers", 2, "--address", cluster)
    assert ran.code == 0, ran.err
    rows = rows_of(tmp_path / "runs" / "streamed" / "history.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["loss"] < rows[0]["loss"]


def test_tune(cluster, handgrad, table, tmp_path):  # noqa: F811
    options = ("tune", table, "--target", "sign", "--epochs", 4, "--address", cluster, "--at-once", 2)
    ran = handgrad(*options, "--trials", 3)
    assert ran.code == 0, ran.err
    best = json.loads((tmp_path / "runs" / "tune-signs" / "best.json").read_text())
    assert best["trials"] == 3
    assert np.isfinite(best["validation_loss"])
    assert f"--batch-size {best['options']['batch_size']}" in best["command"] or best["options"]["batch_size"] == 64
    assert best["command"].startswith("handgrad train ")
    again = handgrad(*options)
    assert again.code == 1
    assert "holds a search; give --resume" in again.err
    assert handgrad(*options, "--resume").code == 0


def test_a_search_cut_off_before_its_first_trial_is_begun_anew(tmp_path):
    """Ray has written down nothing yet that a search could go on from."""
    pytest.importorskip("ray", reason="searches need Ray")
    from handgrad.cli.tune.search import TRIALS, _can_go_on

    assert not _can_go_on(tmp_path)
    (tmp_path / TRIALS).mkdir()
    assert not _can_go_on(tmp_path)
    (tmp_path / TRIALS / "tuner.pkl").touch()
    assert _can_go_on(tmp_path)
