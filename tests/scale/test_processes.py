"""Real processes, joined by torch.distributed: gradients summed over gloo, and what is said when a process is gone."""

import numpy as np
import pytest

from handgrad.scale.processes import CollectiveError, Processes
from scale import gloo

pytest.importorskip("torch", reason="torch.distributed joins the processes")


def test_many_are_as_one(tmp_path):
    alone = gloo.train()
    for group, results in gloo.run(tmp_path, "together 2", "together 3", "together 4").items():
        for result in results:
            np.testing.assert_allclose(result.params.flat, alone.params.flat, rtol=0, atol=1e-10, err_msg=group)
            np.testing.assert_allclose(result.history.column("loss"), alone.history.column("loss"), rtol=1e-10)
            np.testing.assert_array_equal(result.params.flat, results[0].params.flat)  # none drifts
            assert result.history.column("validation_loss") == results[0].history.column("validation_loss")


def test_a_process_that_is_gone_is_missed_by_the_others(tmp_path):
    """Whether it ended between two sums or in the middle of one, met a fault and left, or is there and does nothing."""
    ways = {"dies": None, "fails": ZeroDivisionError, "killed": None, "stopped": None}
    for group, outcomes in gloo.run(tmp_path, *(f"{how} {size}" for how in ways for size in (2, 3))).items():
        how, size = group.split()
        second = outcomes.pop(1)
        assert second is None if ways[how] is None else isinstance(second, ways[how]), (group, second)
        for rank, error in zip((0, 2), outcomes, strict=False):
            assert isinstance(error, CollectiveError), (group, error)
            assert f"worker {rank} of {size}" in str(error)
        said = [str(error) for error in outcomes]
        if how == "stopped":  # the first of them that gives up has ended for the others
            assert any("another worker did not come in time" in each for each in said), said
        else:
            assert all("another worker has ended" in each for each in said), said


@pytest.fixture
def alone(tmp_path):
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield Processes()
    dist.destroy_process_group()


def test_the_sum_is_in_the_very_buffer(alone, monkeypatch):
    """No copy is made of the gradient: what torch sums lies where the kernel put it."""
    reduce, seen = alone._dist.all_reduce, []

    def watched(tensor, **how):
        seen.append(tensor.data_ptr())
        return reduce(tensor, **how)

    monkeypatch.setattr(alone._dist, "all_reduce", watched)
    vector = np.arange(6.0)
    alone.sum(vector)
    assert seen == [vector.ctypes.data]
    np.testing.assert_array_equal(vector, np.arange(6.0))


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
    def fail(*given, **how):
        raise RuntimeError(reason)

    monkeypatch.setattr(alone._dist, "all_reduce", fail)
    with pytest.raises(CollectiveError, match=said):
        alone.sum(np.zeros(3))
