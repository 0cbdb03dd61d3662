"""`handgrad.scale.fit` on a Ray cluster: the result of one process, from memory and from Parquet; what goes wrong."""

import os
import warnings

import numpy as np
import pytest

import handgrad as hg
from handgrad.errors import CheckpointWarning, DivergenceError, ValueRangeError
from handgrad.scale import fit
from handgrad.scale.cluster import ClusterError

rng = np.random.default_rng(11)
X = rng.standard_normal((203, 5))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)
OPTIONS = {"batch_size": 30, "epochs": 7, "progress": False, "optimizer": hg.SGD(0.2, momentum=0.9)}


def model(outputs=2):
    return hg.mlp([5, 16, 8, outputs], dropout=0.2)


def test_three_workers_are_as_one_process(cluster, capfd):
    heard = []
    given = OPTIONS | {"validation": 0.2, "metrics": "accuracy", "progress": True}
    result = fit(model(), (X, Y), workers=3, address=cluster, heard=heard.append, **given)
    said = capfd.readouterr().err
    alone = hg.fit(model(), (X, Y), **(given | {"progress": False}))
    np.testing.assert_allclose(result.params.flat, alone.params.flat, rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.history.column("loss"), alone.history.column("loss"), rtol=1e-10)
    assert result.history.column("validation_accuracy") == alone.history.column("validation_accuracy")
    assert result.engine == "compiled"
    assert heard == result.history.rows
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("epoch")] == [
        f"epoch {number}" for number in range(1, 8)
    ]


class Warns:
    """A callback that warns as checkpoints do, and tells how many workers there are."""

    def __call__(self, end):
        from ray.train import get_context

        size = get_context().get_world_size()
        warnings.warn(f"no room for a checkpoint of {size} workers", CheckpointWarning, stacklevel=1)


def test_as_many_workers_as_there_are_processors_for(cluster):
    """From two to six, on four processors; what the first of them is warned of reaches the caller, once."""
    with pytest.warns(CheckpointWarning) as warned:
        result = fit(model(), (X, Y), workers=(2, 6), address=cluster, callbacks=[Warns()], **OPTIONS)
    assert [str(each.message) for each in warned] == ["no room for a checkpoint of 4 workers"]
    alone = hg.fit(model(), (X, Y), **OPTIONS)
    np.testing.assert_allclose(result.params.flat, alone.params.flat, rtol=0, atol=1e-10)


class Stumbles:
    """A callback that ends its process in the third epoch, the first time it comes there."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __call__(self, end):
        if end.row["epoch"] == 3 and not os.path.exists(self.mark):
            open(self.mark, "w").close()
            os._exit(7)


def test_a_worker_that_dies_changes_nothing(cluster, tmp_path):
    """It goes on from the last checkpoint; each epoch is heard of once."""
    heard = []
    result = fit(
        model(),
        (X, Y),
        workers=2,
        address=cluster,
        checkpoint=tmp_path / "checkpoints",
        every="5 steps",
        callbacks=[Stumbles(tmp_path / "mark")],
        heard=heard.append,
        **OPTIONS,
    )
    assert (tmp_path / "mark").exists()
    alone = hg.fit(model(), (X, Y), **OPTIONS)
    np.testing.assert_allclose(result.params.flat, alone.params.flat, rtol=0, atol=1e-10)
    assert [row["epoch"] for row in heard] == list(range(1, 8))


def test_deaths_beyond_max_failures_are_told(cluster, tmp_path):
    with pytest.raises(ClusterError, match="max_failures") as found:
        fit(
            model(),
            (X, Y),
            workers=2,
            address=cluster,
            callbacks=[Stumbles(tmp_path / "mark")],
            max_failures=0,
            **OPTIONS,
        )
    assert "worker 0" in str(found.value) or "worker 1" in str(found.value)


def test_divergence_comes_through_at_once(cluster):
    y = np.sin(X[:, :1])
    options = OPTIONS | {"optimizer": hg.SGD(1e6), "loss": "squared_error"}
    with pytest.raises(DivergenceError) as alone:
        hg.fit(model(1), (X, y), **options)
    with pytest.raises(DivergenceError) as found:
        fit(model(1), (X, y), workers=2, address=cluster, **options)
    assert (found.value.step, found.value.place) == (alone.value.step, alone.value.place)
    assert "of 2, on " in found.value.__notes__[0]
    assert np.isfinite(found.value.result.params.flat).all()


def test_nan_in_the_share_of_one(cluster):
    """The error names the column, and the worker that met it."""
    pa = pytest.importorskip("pyarrow")
    import ray

    ray.init(address=cluster, log_to_driver=False, logging_level="ERROR")
    try:
        x = X[:200, 0].copy()
        x[170] = np.nan
        parts = [pa.table({"a": x[part], "y": Y[:200][part]}) for part in (slice(100), slice(100, None))]
        with pytest.raises(ValueRangeError, match="finite, got nan at row 70, column 'a'") as found:
            fit(hg.mlp([1, 4, 2]), (ray.data.from_arrow(parts), "y"), workers=2, batch_size=20, progress=False)
    finally:
        ray.shutdown()
    assert any(note.startswith("in worker 1 of 2") for note in found.value.__notes__)


def test_from_parquet(cluster, tmp_path):
    """Streamed to two workers, shuffled by each, and learnt from."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for number in range(2):
        x = np.random.default_rng(number).standard_normal((500, 5))
        table = {f"x{j}": x[:, j] for j in range(5)} | {"y": (x[:, 0] > 0).astype(np.int64)}
        pq.write_table(pa.table(table), tmp_path / f"{number}.parquet", row_group_size=100)
    result = fit(
        model(),
        (tmp_path / "*.parquet", "y"),
        workers=2,
        address=cluster,
        batch_size=64,
        epochs=3,
        buffer=200,
        validation=(X, (X[:, 0] > 0).astype(int)),
        metrics="accuracy",
        progress=False,
        optimizer=hg.Adam(0.02),
    )
    assert result.history.column("validation_accuracy")[-1] > 0.9
    assert result.engine == "compiled"
