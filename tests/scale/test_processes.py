"""Real processes, joined by torch.distributed: gradients summed over gloo, and what is said when a process is gone."""

import numpy as np
import pytest

from handgrad.scale.processes import CollectiveError, Processes
from scale import gloo

pytest.importorskip("torch", reason="torch.distributed joins the processes")


def test_three_are_as_one(tmp_path):
    processes = gloo.start(tmp_path, 3, "together")
    alone = gloo.train("together", 0)
    assert [process.wait(120) for process in processes] == [0] * 3
    results = [gloo.outcome(tmp_path, rank) for rank in range(3)]
    for result in results:
        np.testing.assert_allclose(result.params.flat, alone.params.flat, rtol=0, atol=1e-10)
        np.testing.assert_allclose(result.history.column("loss"), alone.history.column("loss"), rtol=1e-10)
        np.testing.assert_array_equal(result.params.flat, results[0].params.flat)
        assert result.history.column("validation_loss") == results[0].history.column("validation_loss")


@pytest.mark.parametrize(("how", "codes"), [("dies", [0, 9, 0]), ("fails", [0, 0, 0])])
def test_a_process_that_is_gone_is_missed_by_the_others(tmp_path, how, codes):
    """At once, not when their time is out, whether it ended or met a fault and left."""
    processes = gloo.start(tmp_path, 3, how)
    assert [process.wait(90) for process in processes] == codes
    for rank in (0, 2):
        error = gloo.outcome(tmp_path, rank)
        assert isinstance(error, CollectiveError)
        assert f"worker {rank} of 3" in str(error)
        assert "another worker has ended" in str(error)


@pytest.fixture
def alone(tmp_path):
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield Processes()
    dist.destroy_process_group()


def test_the_sum_is_in_the_very_buffer(alone, monkeypatch):
    """No copy is made of the gradient: what torch sums lies where the kernel put it."""
    seen = []
    monkeypatch.setattr(alone._dist, "all_reduce", lambda tensor: seen.append(tensor.data_ptr()))
    vector = np.arange(6.0)
    alone.sum(vector)
    assert seen == [vector.ctypes.data]


def test_what_the_first_raises_is_raised(alone):
    with pytest.raises(ZeroDivisionError):
        alone.first(lambda: 1 / 0)
    assert alone.first(lambda: "told") == "told"
    assert alone.gather(5) == [5]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("Timed out waiting 20000ms for recv operation to complete", "did not come in time"),
        ("Connection closed", "ended"),
    ],
)
def test_what_fails_is_explained(alone, monkeypatch, reason, said):
    def fail(tensor):
        raise RuntimeError(reason)

    monkeypatch.setattr(alone._dist, "all_reduce", fail)
    with pytest.raises(CollectiveError, match=said):
        alone.sum(np.zeros(3))
