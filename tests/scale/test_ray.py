"""`handgrad.scale.fit` on a Ray cluster: the result of one process, from memory and from Parquet; what goes wrong."""

import os
import pickle
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


class Warns:
    """A callback that warns as checkpoints do, and tells how many workers there are."""

    def __call__(self, end):
        from ray.train import get_context

        size = get_context().get_world_size()
        warnings.warn(f"no room for a checkpoint of {size} workers", CheckpointWarning, stacklevel=1)


class Stumbles:
    """A callback that ends its process in the third epoch, the first time it comes there."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __call__(self, end):
        if end.row["epoch"] == 3 and not os.path.exists(self.mark):
            open(self.mark, "w").close()
            os._exit(7)


def test_workers_one_of_which_dies_are_as_one_process(cluster, tmp_path, capfd):
    """From one to four workers, on two processors. They go on from the last checkpoint; each epoch is heard of once,
    and so is what the first of them is warned of."""
    heard = []
    given = OPTIONS | {"validation": 0.2, "metrics": "accuracy"}
    with pytest.warns(CheckpointWarning) as warned:
        result = fit(
            model(),
            (X, Y),
            workers=(1, 4),
            address=cluster,
            checkpoint=tmp_path / "checkpoints",
            every="5 steps",
            callbacks=[Stumbles(tmp_path / "mark"), Warns()],
            heard=heard.append,
            **(given | {"progress": True}),
        )
    said = capfd.readouterr().err
    assert (tmp_path / "mark").exists()
    assert [str(each.message) for each in warned] == ["no room for a checkpoint of 2 workers"]
    alone = hg.fit(model(), (X, Y), **given)
    np.testing.assert_allclose(result.params.flat, alone.params.flat, rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.history.column("loss"), alone.history.column("loss"), rtol=1e-10)
    assert result.history.column("validation_accuracy") == alone.history.column("validation_accuracy")
    assert result.engine == "compiled"
    assert [row["epoch"] for row in heard] == list(range(1, 8))
    np.testing.assert_allclose([row["loss"] for row in heard], alone.history.column("loss"), rtol=1e-10)
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("epoch")] == [
        f"epoch {number}" for number in range(1, 8)
    ]


def test_divergence_comes_through_from_a_process():
    """Ray pickles what a worker met: what there is to go on with comes along, and who it was."""
    with pytest.raises(DivergenceError) as found:
        hg.fit(model(1), (X, np.sin(X[:, :1])), **(OPTIONS | {"optimizer": hg.SGD(1e6), "loss": "squared_error"}))
    found.value.add_note("in worker 1 of 2, on a-machine")
    error = pickle.loads(pickle.dumps(found.value))
    assert (error.step, error.place) == (found.value.step, found.value.place)
    assert error.__notes__ == ["in worker 1 of 2, on a-machine"]
    np.testing.assert_array_equal(error.result.params.flat, found.value.result.params.flat)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # within Ray
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


def test_from_parquet_until_one_dies_for_good(cluster, tmp_path):
    """Streamed to two workers, shuffled by each, and learnt from. A death is told, as none is allowed."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for number in range(2):
        x = np.random.default_rng(number).standard_normal((500, 5))
        table = {f"x{j}": x[:, j] for j in range(5)} | {"y": (x[:, 0] > 0).astype(np.int64)}
        pq.write_table(pa.table(table), tmp_path / f"{number}.parquet", row_group_size=100)
    heard = []
    with pytest.raises(ClusterError, match=r"max_failures allows no more: worker [01]: "):
        fit(
            model(),
            (tmp_path / "*.parquet", "y"),
            workers=2,
            address=cluster,
            batch_size=64,
            epochs=7,
            buffer=200,
            validation=(X, (X[:, 0] > 0).astype(int)),
            metrics="accuracy",
            progress=False,
            optimizer=hg.Adam(0.02),
            callbacks=[Stumbles(tmp_path / "mark")],
            heard=heard.append,
            max_failures=0,
        )
    assert [row["epoch"] for row in heard] == [1, 2]
    assert heard[-1]["validation_accuracy"] > 0.9
