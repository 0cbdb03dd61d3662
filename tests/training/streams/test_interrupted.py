"""Ctrl-C while the thread that trains reads by itself: prefetch=0."""

import os
import signal

import numpy as np
import pytest

import handgrad as hg
from training.trainings import rows

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 3))
Y = (X[:, 0] > 0).astype(int)
EPOCHS = 4


@pytest.fixture(autouse=True)
def default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


class Source:
    """The rows in three blocks; before the second of the pass with that number Ctrl-C comes, so many times."""

    def __init__(self, number=None, times=0):
        self.number, self.times, self.passes, self.ended = number, times, 0, 0

    def __call__(self):
        self.passes += 1
        ctrl_c = self.passes == self.number
        try:
            yield X[:40], Y[:40]
            for _ in range(self.times if ctrl_c else 0):
                signal.raise_signal(signal.SIGINT)
            yield X[40:80], Y[40:80]
            yield X[80:], Y[80:]
        finally:
            self.ended += 1


def train(source, engine, **how):
    stream = hg.Stream(source, rows=len(X), buffer=50, prefetch=0)
    return hg.fit(
        hg.mlp([3, 4, 2], dropout=0.2),
        stream,
        epochs=EPOCHS,
        batch_size=10,
        engine=engine,
        threads=1,
        progress=False,
        **how,
    )


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_it_ends_at_once_with_what_was_learnt(engine):
    source = Source(number=4, times=1)  # one pass looks at the first rows, before the epochs
    result = train(source, engine)
    assert (result.stopped, len(result.history)) == ("interrupted", 2)
    assert source.ended == source.passes == 4


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("times", [1, 2])
def test_with_checkpoints_it_goes_on_to_the_same_bits(tmp_path, engine, times):
    """The first Ctrl-C waits for the step, and the second ends what the source does."""
    source = Source(number=4, times=times)
    result = train(source, engine, checkpoint=tmp_path)
    assert (result.stopped, len(result.history)) == ("interrupted", 2)
    assert source.ended == source.passes == 4
    whole = train(Source(), engine)
    again = train(Source(), engine, checkpoint=tmp_path, resume=True)
    np.testing.assert_array_equal(again.params.flat, whole.params.flat)
    assert rows(again) == rows(whole)
