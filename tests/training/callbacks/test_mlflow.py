"""What `MLflow` logs, read back by MLflow's own client from a store of files."""

import sys

import numpy as np
import pytest

import handgrad as hg

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 3))
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The URI of a store, in which nothing is."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return (tmp_path / "store").as_uri()


def train(*callbacks, epochs=6, **options):
    given = {"validation": 0.2, "engine": "eager", "progress": False} | options
    return hg.fit(hg.mlp([3, 4, 2]), (X, Y), epochs=epochs, callbacks=callbacks, **given)


def read(uri, experiment="handgrad"):
    """The client and the runs."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return client, client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def points(client, run, name):
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]


def test_every_column_is_a_metric(store):
    result = train(hg.MLflow(store, name="first", params={"rate": 0.5, "hidden": (4,)}))
    client, (run,) = read(store)
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"rate": "0.5", "hidden": "(4,)"}
    assert set(run.data.metrics) == set(result.history.rows[0]) - {"epoch"} | {"best_epoch"}
    for name in result.history.rows[0]:
        if name != "epoch":
            assert points(client, run, name) == list(enumerate(result.history.column(name), 1))
    assert points(client, run, "best_epoch") == [(6, result.best_epoch)]


def test_another_training_has_a_run_of_its_own(store, tmp_path):
    log = hg.MLflow(store, name="one")
    first = train(log)
    second = train(log, epochs=3, seed=1, checkpoint=tmp_path / "kept", every=1)
    client, runs = read(store)
    losses = sorted([value for _, value in points(client, run, "loss")] for run in runs)
    assert losses == sorted([first.history.column("loss"), second.history.column("loss")])
    assert {run.info.status for run in runs} == {"FINISHED"}
    train(log, epochs=5, seed=1, checkpoint=tmp_path / "kept", every=1, resume=True)
    _, runs = read(store)
    assert sorted(len(points(client, run, "loss")) for run in runs) == [5, 6]


class Cut(Exception):
    pass


def cut(end):
    if end.row["epoch"] == 4:
        raise Cut


def test_a_resumed_training_goes_on_in_its_run_each_point_once(store, tmp_path):
    with pytest.raises(Cut):
        train(hg.MLflow(store), cut, checkpoint=tmp_path / "kept", every=3)
    client, (run,) = read(store)
    assert run.info.status == "RUNNING"
    assert len(points(client, run, "loss")) == 4
    result = train(hg.MLflow(store), checkpoint=tmp_path / "kept", resume=True)
    client, (run,) = read(store)
    assert run.info.status == "FINISHED"
    assert points(client, run, "loss") == list(enumerate(result.history.column("loss"), 1))


@pytest.mark.parametrize(("ending", "status"), [("diverges", "FAILED"), ("interrupted", "KILLED")])
def test_how_it_ended(store, ending, status):
    def interrupt(end):
        raise KeyboardInterrupt

    if ending == "diverges":
        with pytest.raises(hg.errors.DivergenceError):
            train(hg.MLflow(store), optimizer=hg.SGD(1e30))
    else:
        train(hg.MLflow(store), interrupt)
    assert read(store)[1][0].info.status == status


def test_a_server_that_is_lost_ends_the_log_and_not_the_training(store, monkeypatch):
    log = hg.MLflow(store)

    def lose(end):
        if end.row["epoch"] == 2:

            def lost(*args, **kwargs):
                raise OSError("the server is gone\nTraceback")

            monkeypatch.setattr(log._client, "log_batch", lost)

    with pytest.warns(hg.errors.LogWarning) as caught:
        result = train(log, lose)
    said = "MLflow: the server is gone; training goes on without this log"
    assert [str(each.message) for each in caught] == [said]
    assert len(result.history) == 6


def test_an_experiment_of_ones_own_and_a_file(store, tmp_path):
    (tmp_path / "model.txt").write_text("weights")
    log = hg.MLflow(store, experiment="flowers")
    train(log, epochs=1)
    log.file(tmp_path / "model.txt")
    client, (run,) = read(store, "flowers")
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["model.txt"]


def test_what_it_does_not_take(monkeypatch):
    with pytest.raises(hg.errors.DTypeError, match="uri must be text, got 3"):
        hg.MLflow(3)
    with pytest.raises(hg.errors.DTypeError, match="experiment must be text, got None"):
        hg.MLflow("http://localhost:1", experiment=None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r"MLflow needs mlflow: pip install 'handgrad\[mlflow\]'"):
        hg.MLflow()
