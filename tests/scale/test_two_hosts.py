"""Two machines, as far as the network goes: a training from Parquet, a worker that is killed in the middle, and, in
`make soak`, a machine that is lost."""

import os
import signal
import sys
import time

import numpy as np
import pytest

import handgrad as hg
from scale.table_training import IN_MEMORY, in_memory
from soak import FACTOR

pa = pytest.importorskip("pyarrow")
SECONDS = 280
PAUSE = 1.0  # seconds after each epoch, in which what is to end is found and ended


def table(folder):
    """Four files of 400 rows."""
    import pyarrow.parquet as pq

    rng = np.random.default_rng(5)
    for number in range(4):
        x = rng.standard_normal((400, 6))
        y = np.sin(x[:, 0]) + x[:, 1] * x[:, 2]
        columns = {f"x{j}": x[:, j] for j in range(6)} | {"y": y[:, None].ravel()}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=100)
    return str(folder / "*.parquet")


def training(hosts, files, folder, pause, **more):
    folder.mkdir()
    script = [sys.executable, "-m", "scale.table_training", hosts.address, files, str(folder), str(pause)]
    return hosts.begin(0, script, **more)


def result(process, folder):
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    return np.load(folder / "result.npz")


def middle(folder, process):
    """Wait for a checkpoint of the second epoch or later; its step."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0]
        steps = [int(path.stem.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*.safetensors")]
        if steps and max(steps) > 60:
            return max(steps)
        time.sleep(0.05)
    raise AssertionError("no checkpoint came in time")


def test_a_killed_worker_changes_nothing(hosts, tmp_path):
    files = table(tmp_path)
    undisturbed = result(training(hosts, files, tmp_path / "whole", 0), tmp_path / "whole")

    process = training(hosts, files, tmp_path / "cut", PAUSE)
    killed_at = middle(tmp_path / "cut", process)
    (worker,) = hosts.workers(1)
    os.kill(worker, signal.SIGKILL)
    cut = result(process, tmp_path / "cut")
    assert 60 < killed_at < 200  # of 4 epochs of 50 steps
    assert len(cut["loss"]) == 4
    np.testing.assert_allclose(cut["flat"], undisturbed["flat"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(cut["loss"], undisturbed["loss"], rtol=1e-6)


@pytest.mark.skipif(FACTOR == 1, reason="it waits until Ray knows of the loss: `make soak` does")
def test_without_the_machine_that_is_lost_one_worker_goes_on(hosts, tmp_path):
    # Ray may begin anew with two before it knows, and then waits for so long, in vain
    soon = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20"}
    process = training(hosts, IN_MEMORY, tmp_path / "lost", PAUSE, **soon)
    middle(tmp_path / "lost", process)
    assert [len(hosts.workers(host)) for host in (0, 1)] == [1, 1]
    hosts.lose(1)
    lost = result(process, tmp_path / "lost")
    alone = in_memory(lambda *given, **options: hg.fit(*given, progress=False, **options))
    np.testing.assert_allclose(lost["flat"], alone.params.flat, rtol=0, atol=1e-10)
    np.testing.assert_allclose(lost["loss"], alone.history.column("loss"), rtol=1e-10)
