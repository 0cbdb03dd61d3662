"""A training may end at any moment: by SIGKILL, SIGTERM or Ctrl-C. None is lost, and no file is ever half a one."""

import json
import os
import random
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handgrad as hg
from handgrad.engines.compiled import engine as compiled
from handgrad.errors import Terminated
from handgrad.formats import FormatError
from handgrad.formats.checkpoint import read_checkpoint, write_checkpoint
from soak import FACTOR, examples
from training.trainings import newest, rows, train

posix = pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
SCHEDULED = "dropout, schedule, early stopping"


@posix
def test_killed_at_random_moments_it_comes_to_the_same_bits(tmp_path):
    """10 kills, and 200 in `make soak`."""
    kills = 10 * FACTOR
    ran = subprocess.run(
        [sys.executable, Path(__file__).with_name("kills.py"), str(kills), str(random.randrange(10**6)), tmp_path],
        capture_output=True,
        text=True,
        timeout=300 + 5 * kills,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["faults"] == []
    assert found["kills"] == kills


def send(number, epoch):
    """A callback that sends this process the signal after that epoch."""

    def callback(end):
        if end.row["epoch"] == epoch:
            signal.raise_signal(number)

    return callback


@pytest.fixture
def handlers():
    """Those of SIGINT and SIGTERM, which must be the same at the end.

    A job in the background may ignore SIGINT; Ray, once used in this process, has a handler of its own for SIGTERM.
    """
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    found_of_end = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    yield
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    signal.signal(signal.SIGINT, found)
    signal.signal(signal.SIGTERM, found_of_end)


@posix
@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("every", [1, "1 hour"])
def test_sigterm_keeps_the_training_and_leaves(tmp_path, handlers, capsys, engine, every):
    whole = train(SCHEDULED, engine=engine)
    capsys.readouterr()  # of kernels that are compiled for the first time
    with pytest.raises(Terminated) as caught:
        train(SCHEDULED, engine=engine, checkpoint=tmp_path, every=every, callbacks=send(signal.SIGTERM, 2))
    assert caught.value.code == 143
    assert str(caught.value) == (
        f"SIGTERM: training stopped in epoch 2, step 10; the checkpoint {str(newest(tmp_path))!r} holds it"
    )
    assert capsys.readouterr().err == f"{caught.value}\n"
    assert len(caught.value.result.history) == 2
    assert caught.value.result.stopped == "terminated"
    result = train(SCHEDULED, engine=engine, checkpoint=tmp_path, resume=True)
    np.testing.assert_array_equal(result.params.flat, whole.params.flat)
    assert rows(result) == rows(whole)


@posix
def test_sigterm_at_the_last_epoch_is_not_lost(tmp_path, handlers):
    with pytest.raises(Terminated):
        train(SCHEDULED, checkpoint=tmp_path, callbacks=send(signal.SIGTERM, 4))
    assert len(train(SCHEDULED, checkpoint=tmp_path, resume=True).history) == 4


@posix
def test_a_program_s_own_handler_of_sigterm_has_its_own_words(tmp_path, capsys):
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        with pytest.raises(Terminated):
            train(SCHEDULED, checkpoint=tmp_path, callbacks=send(signal.SIGTERM, 1))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == ""


@posix
def test_sigterm_that_is_ignored_stays_so(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert len(train(SCHEDULED, checkpoint=tmp_path, callbacks=send(signal.SIGTERM, 1)).history) == 4
    finally:
        signal.signal(signal.SIGTERM, before)


@posix
def test_sigterm_that_training_did_not_come_to_is_sent_again(tmp_path):
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))

    def fails(end):
        signal.raise_signal(signal.SIGTERM)
        assert not came
        raise RuntimeError

    try:
        with pytest.raises(RuntimeError):
            train(SCHEDULED, checkpoint=tmp_path, callbacks=fails)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]


@posix
def test_without_checkpoints_signals_are_not_touched(handlers):
    before = signal.getsignal(signal.SIGTERM)
    seen = []
    train(SCHEDULED, epochs=1, callbacks=lambda end: seen.append(signal.getsignal(signal.SIGTERM)))
    assert seen == [before]


class Slow(hg.Layer):
    """Sends this process a signal at its third batch."""

    batches = 0

    def __init__(self, number):
        self.number = number

    def forward(self, params, x, *, train=False, rng=None):
        if train:
            Slow.batches += 1
            if Slow.batches == 3:
                signal.raise_signal(self.number)
        return x, None

    def backward(self, dout, cache):
        return dout, {}

    def __repr__(self):
        return "Slow()"


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_within_an_epoch_the_step_is_finished(tmp_path, handlers, number):
    def run(**how):
        return hg.fit(
            hg.Sequential([hg.Linear(4, 3), hg.Dropout(0.2), Slow(number)]),
            (np.arange(160.0).reshape(40, 4) / 160, np.arange(40) % 3),
            batch_size=8,
            epochs=3,
            progress=False,
            **how,
        )

    Slow.batches = 10
    whole = run()
    Slow.batches = 0
    if number == signal.SIGINT:
        stopped = run(checkpoint=tmp_path)
        assert stopped.stopped == "interrupted"
        assert len(stopped.history) == 0
    else:
        with pytest.raises(Terminated, match="in epoch 1, step 3; the checkpoint"):
            run(checkpoint=tmp_path)
    assert newest(tmp_path).name == "step-0000000003.safetensors"
    result = run(checkpoint=tmp_path, resume=True)
    np.testing.assert_array_equal(result.params.flat, whole.params.flat)
    assert rows(result) == rows(whole)


@posix
def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path, handlers):
    def twice(end):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it waited")

    assert train(SCHEDULED, checkpoint=tmp_path, callbacks=twice).stopped == "interrupted"


PROCESS = """
import sys, time
import numpy as np
import handgrad as hg
X = np.random.default_rng(0).normal(size=(400, 4))
def callback(end):
    print(end.row["epoch"], flush=True)
hg.fit(hg.mlp([4, 8, 1]), (X, X[:, 0]), loss="squared_error", epochs=10**6, progress=False, callbacks=[callback],
       checkpoint=sys.argv[1], every=100)
"""


@posix
def test_a_process_that_is_told_to_end_says_where_it_can_go_on(tmp_path):
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 143
    step = read_checkpoint(newest(tmp_path))[1]["step"]
    epoch = -(-step // 13)  # 400 rows, 32 a step
    said = f"SIGTERM: training stopped in epoch {epoch}, step {step}; the checkpoint {str(newest(tmp_path))!r} holds it"
    assert err == said + "\n"


# Damage


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The bytes of a checkpoint within an epoch."""
    folder = tmp_path_factory.mktemp("checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "PART_SECONDS", 1e-9)
        train(SCHEDULED, checkpoint=folder, every="1 step", keep=100)
    path = folder / "step-0000000013.safetensors"
    assert read_checkpoint(path)[1]["begun"]["steps"] == 3
    return path.read_bytes()


def reads(path, data):
    """What is in those bytes as a checkpoint, as bytes itself; None for a FormatError."""
    path.write_bytes(data)
    try:
        arrays, content = read_checkpoint(path)
    except FormatError:
        return None
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}, content


def test_half_a_file_is_refused_at_every_length(tmp_path, checkpoint):
    size = len(checkpoint)
    header = 8 + int.from_bytes(checkpoint[:8], "little")
    lengths = {*range(64), *range(header - 20, header + 20), *range(size - 20, size), *range(0, size, 97)}
    for length in sorted(lengths):
        assert reads(tmp_path / "c", checkpoint[:length]) is None, length
    assert reads(tmp_path / "c", checkpoint + b"\0") is None
    assert reads(tmp_path / "c", b"\0" * size) is None


@settings(max_examples=examples(200))
@given(data=st.data())
def test_flipped_bytes_never_pass_for_what_was_written(tmp_path_factory, checkpoint, data):
    damaged = bytearray(checkpoint)
    places = data.draw(st.lists(st.integers(0, len(checkpoint) - 1), min_size=1, max_size=4))
    for place in places:
        damaged[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("flipped") / "c"
    found = reads(path, bytes(damaged))
    assert found is None or found == reads(path, checkpoint)


def test_each_single_bit_of_the_arrays_counts(tmp_path, checkpoint):
    header = 8 + int.from_bytes(checkpoint[:8], "little")
    draw = random.Random(0)
    for place in draw.sample(range(header, len(checkpoint)), 200):
        damaged = bytearray(checkpoint)
        damaged[place] ^= 1 << draw.randrange(8)
        assert reads(tmp_path / "c", bytes(damaged)) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**130), 2**130) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
arrays = st.dictionaries(
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1),
    st.sampled_from([np.zeros((0, 3)), np.arange(5.0), np.float32([[1, np.nan], [np.inf, -0.0]]), np.arange(3)]),
    max_size=4,
)


@settings(max_examples=examples(50))
@given(arrays, st.dictionaries(st.text(), json_values, max_size=4))
def test_what_is_written_is_read(tmp_path_factory, arrays, content):
    path = tmp_path_factory.mktemp("round") / "c"
    write_checkpoint(path, arrays, content)
    found, again = read_checkpoint(path)
    assert again == content
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_a_checkpoint_is_no_model_and_says_what_it_is(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(SCHEDULED, checkpoint=tmp_path)
    with pytest.raises(FormatError, match=r"holds a checkpoint of a training, which .*; expected a model"):
        hg.load(newest(tmp_path))
