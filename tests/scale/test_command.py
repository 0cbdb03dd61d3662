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


def test_a_streamed_table_is_of_one_worker(handgrad, table):  # noqa: F811
    refused = handgrad("train", table, "--target", "sign", "--workers", 2, "--stream")
    assert refused.code == 1
    assert "--workers needs a table that memory holds" in refused.err


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
