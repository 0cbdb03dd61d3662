"""`handgrad train --tensorboard DIR --mlflow URI`: what the other tools are told of a run."""

import json
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

QUICK = ("--epochs", 3, "--hidden", "8", "--quiet")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return (tmp_path / "store").as_uri()


def curve(folder, name):
    found = EventAccumulator(str(folder)).Reload()
    return [(event.step, pytest.approx(event.value, rel=1e-5)) for event in found.Scalars(name)]


def mlflow_runs(uri):
    """The client and the runs by their names."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("handgrad").experiment_id])
    return client, {run.info.run_name: run for run in found}


def history_of(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_a_network(handgrad, flowers, store, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "x")

    logs = ("--tensorboard", "logs", "--mlflow", store)
    with monkeypatch.context() as patch:  # cut off once, and resumed
        patch.setattr("handgrad.cli.presets.plain.save", full)
        assert handgrad("train", flowers, "--target", "kind", *QUICK, *logs).code == 1
    ran = handgrad("train", "--resume", "flowers-1", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "runs/flowers-1\n", "")
    folder = tmp_path / "runs/flowers-1"
    losses = [(row["epoch"], row["loss"]) for row in history_of(folder)]
    accuracy = json.loads((folder / "config.json").read_text())["test"]["this MLP"]["accuracy"]
    assert curve(tmp_path / "logs/flowers-1", "loss") == losses
    assert curve(tmp_path / "logs/flowers-1", "test_accuracy") == [(3, accuracy)]
    client, runs = mlflow_runs(store)
    (run,) = runs.values()
    assert (run.info.run_name, run.info.status) == ("flowers-1", "FINISHED")
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == losses
    assert run.data.metrics["test_accuracy"] == accuracy
    assert run.data.params["hidden"] == "(8,)"
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["model.safetensors"]


def test_an_ensemble(handgrad, flowers, store, tmp_path):
    preset = ("--preset", "tabular", "--ensemble", 2, "--tensorboard", tmp_path / "logs", "--mlflow", store)
    assert handgrad("train", flowers, "--target", "kind", *QUICK, *preset).code == 0
    history = history_of(tmp_path / "runs/flowers-1")
    client, runs = mlflow_runs(store)
    assert set(runs) == {"flowers-1", "flowers-1/member-1", "flowers-1/member-2"}
    assert "test_accuracy" in runs["flowers-1"].data.metrics
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for member in (1, 2):
        losses = [(row["epoch"], row["loss"]) for row in history if row["member"] == member]
        assert curve(tmp_path / f"logs/flowers-1/member-{member}", "loss") == losses
        run = runs[f"flowers-1/member-{member}"].info.run_id
        assert [(m.step, m.value) for m in client.get_metric_history(run, "loss")] == losses


def test_what_they_need_is_looked_for_first(refused, flowers, monkeypatch):
    refused("train", flowers, "--target", "kind", "--mlflow", "odd://x", saying="^error: --mlflow odd://x: ")
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    said = r"TensorBoard needs tensorboardX: pip install 'handgrad\[tensorboard\]'"
    refused("train", flowers, "--target", "kind", "--tensorboard", "logs", saying=said)
