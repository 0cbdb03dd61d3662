"""Checkpoints that are damaged, and disks and folders that take none: nothing is lost, and nothing passes for whole."""

import errno
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import handgrad as hg
from handgrad.errors import CheckpointError, CheckpointWarning
from handgrad.formats import atomic
from handgrad.formats.checkpoint import read_checkpoint, write_checkpoint
from training.trainings import newest, same, train


def damaged(path, how):
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[-9] ^= 1
    path.write_bytes({"cut": bytes(data[: len(data) // 2]), "empty": b"", "flipped": bytes(data)}[how])


@pytest.mark.parametrize("how", ["cut", "empty", "flipped"])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path, how):
    train("regression", checkpoint=tmp_path, epochs=3)
    damaged(newest(tmp_path), how)
    with pytest.warns(CheckpointWarning, match=r"step-0000000018.*goes on from step-0000000012.safetensors"):
        result = train("regression", checkpoint=tmp_path, resume=True)
    same(result, train("regression"))
    for path in tmp_path.glob("step-*"):
        read_checkpoint(path)


def test_a_damaged_one_of_a_later_step_goes_when_it_is_of_no_use(tmp_path):
    train("regression", checkpoint=tmp_path, epochs=3)
    damaged(newest(tmp_path), "cut")
    with pytest.warns(CheckpointWarning):
        train("regression", checkpoint=tmp_path, resume=True, every="1 step")
    assert [path.name for path in sorted(tmp_path.glob("step-*"))][-1] == "step-0000000024.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train("regression", checkpoint=tmp_path, resume=True)


def test_where_all_are_damaged_nothing_begins_anew_unasked(tmp_path):
    train("regression", checkpoint=tmp_path)
    for path in tmp_path.glob("step-*"):
        damaged(path, "cut")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read: .*To begin anew, remove them"):
        train("regression", checkpoint=tmp_path, resume=True)


def test_a_model_file_in_its_place_is_passed_over(tmp_path):
    train("regression", checkpoint=tmp_path, epochs=2)
    model = hg.mlp([2, 1])
    hg.save(model, model.init(0), tmp_path / "step-0000000099.safetensors")
    with pytest.warns(CheckpointWarning, match=r"it holds a model, .*expected a checkpoint of a training"):
        train("regression", checkpoint=tmp_path, resume=True)


def crafted(change):
    def write(folder):
        arrays, content = read_checkpoint(newest(folder))
        change(arrays, content)
        write_checkpoint(newest(folder), arrays, content)

    return write


CRAFTED = {
    "no arrays": crafted(lambda arrays, content: arrays.clear()),
    "wrong shape": crafted(lambda arrays, content: arrays.update(params=np.zeros(3))),
    "wrong dtype": crafted(lambda arrays, content: arrays.update(params=arrays["params"].astype(np.float32))),
    "a history that is none": crafted(lambda arrays, content: arrays.update(history=np.zeros(7))),
    "a row too many": crafted(lambda arrays, content: arrays.update(history=arrays["history"][[0, 1, 2, 0]])),
    "no columns": crafted(lambda arrays, content: content.pop("columns")),
    "columns of no text": crafted(lambda arrays, content: content.update(columns=[[]] * 5)),
    "an impossible step": crafted(lambda arrays, content: content.update(step=17)),
    "an epoch begun that is none": crafted(lambda arrays, content: content.update(begun={"steps": "x"})),
    "a watch that is none": crafted(lambda arrays, content: content.update(watch=[1])),
    "other steps": crafted(lambda arrays, content: content.update(steps=7)),
    "a setup that is none": crafted(lambda arrays, content: content.update(setup=[])),
    "callbacks that are none": crafted(lambda arrays, content: content.update(callbacks=3)),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_a_file_whole_but_of_no_training_is_passed_over(tmp_path, what):
    train("regression", checkpoint=tmp_path, epochs=3)
    CRAFTED[what](tmp_path)
    with pytest.warns(CheckpointWarning, match="goes on from step-0000000012"):
        result = train("regression", checkpoint=tmp_path, resume=True)
    same(result, train("regression"))


# Faults


def test_a_second_training_in_the_folder_is_refused(tmp_path):
    said = []

    def second(end):
        with pytest.raises(CheckpointError) as caught:
            train("regression", checkpoint=tmp_path, resume=True)
        said.append(str(caught.value))

    train("regression", checkpoint=tmp_path, epochs=1, callbacks=second)
    assert said == [
        f"{str(tmp_path)!r} is in use by another training, of process {os.getpid()}; wait for it to end, or give "
        "another folder"
    ]
    train("regression", checkpoint=tmp_path, resume=True, epochs=2)  # its own lock is gone


def test_the_lock_of_a_dead_process_does_not_block(tmp_path):
    (tmp_path / ".lock").write_text("1")  # a process that lives, and has no lock
    train("regression", checkpoint=tmp_path)


def fails(monkeypatch, number, after):
    """Flushing to the disk fails from the call after so many on."""
    calls = []

    def fsync(handle):
        calls.append(handle)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.os, "fsync", fsync)


def test_a_full_disk_stops_a_training_before_it_begins(tmp_path, monkeypatch):
    fails(monkeypatch, errno.ENOSPC, 0)
    calls = []
    with pytest.raises(OSError, match=r"cannot be written: no space left on device; free some space, or give ano") as e:
        train("regression", checkpoint=tmp_path, callbacks=calls.append)
    assert e.value.filename == str(tmp_path / "step-0000000000.safetensors")
    assert e.value.errno == errno.ENOSPC
    assert not calls
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_full_disk_later_does_not_end_the_training(tmp_path, monkeypatch):
    whole = train("regression")
    with monkeypatch.context() as patch:
        fails(patch, errno.ENOSPC, 4)  # a file and its folder a checkpoint: the third fails
        with pytest.warns(
            CheckpointWarning,
            match=r"step-0000000\d+.safetensors: .*no space left.*the last checkpoint is step-0000000006",
        ):
            same(train("regression", checkpoint=tmp_path), whole)
    assert [path.name for path in sorted(tmp_path.glob("*step*"))] == [
        "step-0000000000.safetensors",
        "step-0000000006.safetensors",
    ]
    same(train("regression", checkpoint=tmp_path, resume=True), whole)


LIMITED = """
import resource, signal, sys, warnings
import numpy as np
import handgrad as hg
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(end):
    if end.row["epoch"] == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
X = np.random.default_rng(0).normal(size=(50, 4))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = hg.fit(hg.mlp([4, 8, 1]), (X, X[:, 0]), loss="squared_error", epochs=4, engine="eager", progress=False,
                    checkpoint=sys.argv[1], callbacks=[limit])
print(len(result.history), [str(w.message) for w in caught])
"""


@pytest.mark.skipif(os.name != "posix", reason="the limit on a file's size is of POSIX")
def test_a_file_that_the_system_will_not_let_grow(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert ran.stdout.startswith("4 [")
    assert "file too large; free some space" in ran.stdout
    assert [path.name for path in sorted(tmp_path.glob("*step*"))] == [
        "step-0000000000.safetensors",
        "step-0000000002.safetensors",
    ]
    for path in tmp_path.glob("step-*"):
        read_checkpoint(path)


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that not even root may write to")
def test_a_folder_that_cannot_be_written_to():
    folder = Path("/sys/kernel/handgrad")
    with pytest.raises(OSError, match=r"cannot serve as a folder of checkpoints: .*") as caught:
        train("regression", checkpoint=folder)
    assert caught.value.filename == str(folder)
    assert caught.value.errno in (errno.EPERM, errno.EROFS, errno.EACCES)
    assert "give a folder that can be written to" in str(caught.value)


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="checkpoint must be a folder, got a file"):
        train("regression", checkpoint=tmp_path / "file")


def test_in_another_thread(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(train("regression", checkpoint=tmp_path)))
    thread.start()
    thread.join()
    same(found[0], train("regression"))
