"""Two machines, as far as the network goes: a training from Parquet, and a worker that is killed in the middle."""

import os
import signal
import sys
import time

import numpy as np
import pytest

from scale.hosts import possible, two_hosts

pa = pytest.importorskip("pyarrow")
pytest.importorskip("ray", reason="workers need Ray")
pytest.importorskip("torch", reason="workers are joined by torch.distributed")
pytestmark = [
    pytest.mark.skipif(bool(possible()), reason=possible() or "there is a reason"),
]
SECONDS = 280


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


def training(hosts, files, folder, pause):
    folder.mkdir()
    script = [sys.executable, "-m", "scale.table_training", hosts.address, files, str(folder), str(pause)]
    return hosts.begin(0, script)


def result(process, folder):
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    return np.load(folder / "result.npz")


def kill_in_the_middle(hosts, folder, process):
    """The second host's worker, once there is a checkpoint of the second epoch or later."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0]
        steps = [int(path.stem.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*.safetensors")]
        if steps and max(steps) > 60:
            workers = hosts.workers(1)
            assert len(workers) == 1
            os.kill(workers[0], signal.SIGKILL)
            return max(steps)
        time.sleep(0.05)
    raise AssertionError("no checkpoint came in time")


def test_a_killed_worker_changes_nothing(tmp_path):
    files = table(tmp_path)
    with two_hosts(tmp_path) as hosts:
        undisturbed = result(training(hosts, files, tmp_path / "whole", 0), tmp_path / "whole")
        process = training(hosts, files, tmp_path / "cut", 0.4)
        killed_at = kill_in_the_middle(hosts, tmp_path / "cut", process)
        cut = result(process, tmp_path / "cut")
    assert 60 < killed_at < 200  # of 4 epochs of 50 steps
    assert len(cut["loss"]) == 4
    np.testing.assert_allclose(cut["flat"], undisturbed["flat"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(cut["loss"], undisturbed["loss"], rtol=1e-6)
