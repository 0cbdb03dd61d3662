"""What `TensorBoard` writes, read back by TensorBoard itself."""

import os
import signal
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import handgrad as hg
import warm

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 3))
Y = (X[:, 0] > 0).astype(int)


def train(*callbacks, epochs=6, **options):
    given = {"validation": 0.2, "engine": "eager", "progress": False} | options
    return hg.fit(hg.mlp([3, 4, 2]), (X, Y), epochs=epochs, callbacks=callbacks, **given)


def read(folder):
    """(the curves by name, as (epoch, value), and the histograms)"""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0}).Reload()
    tags = found.Tags()
    curves = {name: [(e.step, e.value) for e in found.Scalars(name)] for name in tags["scalars"]}
    return curves, {name: found.Histograms(name) for name in tags["histograms"]}


def test_every_column_is_a_curve(tmp_path):
    result = train(hg.TensorBoard(tmp_path / "log"))
    curves, histograms = read(tmp_path / "log")
    assert set(curves) == set(result.history.rows[0]) - {"epoch"}
    for name, points in curves.items():
        assert [epoch for epoch, _ in points] == [1, 2, 3, 4, 5, 6]
        assert np.allclose([value for _, value in points], result.history.column(name), rtol=1e-6)
    assert set(histograms) == {f"parameters/{name}" for name in result.params}
    for name, events in histograms.items():
        array = result.params[name.removeprefix("parameters/")]
        ((step, found),) = [(event.step, event.histogram_value) for event in events]
        assert (step, found.num) == (6, array.size)
        assert found.sum == pytest.approx(float(array.sum()))
        assert (found.min, found.max) == pytest.approx((float(array.min()), float(array.max())))


def test_another_training_takes_the_place_of_the_first(tmp_path):
    log = hg.TensorBoard(tmp_path)
    train(log, epochs=6)
    second = train(log, epochs=3, seed=1)
    curves, histograms = read(tmp_path)
    assert [epoch for epoch, _ in curves["loss"]] == [1, 2, 3]
    assert np.allclose([value for _, value in curves["loss"]], second.history.column("loss"), rtol=1e-6)
    assert [event.step for event in histograms["parameters/0.weight"]] == [3]


def test_histograms_every_so_many_epochs(tmp_path):
    train(hg.TensorBoard(tmp_path, histograms=2), epochs=5)
    steps = [event.step for event in read(tmp_path)[1]["parameters/0.weight"]]
    assert steps == [2, 4, 5]


class Cut(Exception):
    pass


def cut(end):
    if end.row["epoch"] == 4:
        raise Cut


def test_a_resumed_training_has_each_point_once(tmp_path):
    """Cut off after the log has an epoch that the checkpoint does not."""
    with pytest.raises(Cut):
        train(hg.TensorBoard(tmp_path / "log"), cut, checkpoint=tmp_path / "kept", every=2)
    assert [epoch for epoch, _ in read(tmp_path / "log")[0]["loss"]] == [1, 2, 3, 4]
    train(hg.TensorBoard(tmp_path / "log"), cut, checkpoint=tmp_path / "kept", every=2, resume=True, epochs=3)
    result = train(hg.TensorBoard(tmp_path / "log"), checkpoint=tmp_path / "kept", resume=True)
    curves, _ = read(tmp_path / "log")
    assert [epoch for epoch, _ in curves["loss"]] == [1, 2, 3, 4, 5, 6]
    assert np.allclose([value for _, value in curves["loss"]], result.history.column("loss"), rtol=1e-6)
    again = train(hg.TensorBoard(tmp_path / "log"), checkpoint=tmp_path / "kept", resume=True)
    assert len(again.history) == 6
    assert read(tmp_path / "log")[0]["loss"] == curves["loss"]


def test_another_training_in_the_folder_takes_its_place(tmp_path):
    train(hg.TensorBoard(tmp_path), seed=1)
    result = train(hg.TensorBoard(tmp_path), epochs=4)
    curves, _ = read(tmp_path)
    assert np.allclose([value for _, value in curves["loss"]], result.history.column("loss"), rtol=1e-6)


def test_scores_stand_at_the_last_epoch(tmp_path):
    log = hg.TensorBoard(tmp_path)
    train(log)
    log.scores({"test_accuracy": 0.5})
    assert read(tmp_path)[0]["test_accuracy"] == [(6, 0.5)]


KILLED = """
import os, signal, sys, numpy as np, handgrad as hg
def kill(end):
    if end.row["epoch"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
X = np.random.default_rng(0).standard_normal((60, 3))
hg.fit(hg.mlp([3, 4, 2]), (X, (X[:, 0] > 0).astype(int)), epochs=5, progress=False, engine="eager",
       callbacks=[hg.TensorBoard(sys.argv[1]), kill])
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_kill_loses_no_epoch(tmp_path):
    killed = warm.run(tmp_path, code=KILLED, cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert [epoch for epoch, _ in read(tmp_path)[0]["loss"]] == [1, 2, 3]


FULL = """
import resource, sys, warnings, numpy as np, handgrad as hg
resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
X = np.random.default_rng(0).standard_normal((60, 3))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = hg.fit(hg.mlp([3, 4, 2]), (X, (X[:, 0] > 0).astype(int)), epochs=50, progress=False, engine="eager",
                    callbacks=[hg.TensorBoard(sys.argv[1])])
print(len(result.history), [str(each.message) for each in caught])
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_ends_the_log_and_not_the_training(tmp_path):
    run = warm.run(tmp_path, code=FULL, cwd=tmp_path)
    said = "TensorBoard: [Errno 27] File too large; training goes on without this log"
    assert (run.stdout, run.stderr) == (f"50 {[said]}\n", "")


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    log = hg.TensorBoard(tmp_path)
    log(hg.EpochEnd({"epoch": 1, "loss": float("nan"), "seconds": 1.0, "note": "text"}, None, None))
    assert set(read(tmp_path)[0]) == {"seconds"}


def test_what_it_does_not_take(tmp_path, monkeypatch):
    with pytest.raises(hg.errors.DTypeError, match="folder must be the name of a folder, got 3"):
        hg.TensorBoard(3)
    with pytest.raises(hg.errors.ValueRangeError, match="histograms must be a whole number of at least 0, got -1"):
        hg.TensorBoard(tmp_path, histograms=-1)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"TensorBoard needs tensorboardX: pip install 'handgrad\[tensorboard\]'"):
        hg.TensorBoard(tmp_path)
