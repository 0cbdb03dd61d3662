"""The bar draws a few times a second at most, and at the end what is true then."""

import time

import numpy as np
import pytest

import handgrad as hg
from handgrad.training import progress

X = np.random.default_rng(0).standard_normal((40, 3))


class Bar:
    """What the bar is told, in place of a terminal."""

    def __init__(self):
        self.drawn, self.running = [], False

    def start(self):
        self.running = True

    def stop(self):
        self.running = False

    def add_task(self, description, **shown):
        return len(self.drawn)

    def update(self, task, **shown):
        assert self.running
        self.drawn.append(shown)


@pytest.fixture
def bar(monkeypatch):
    bar = Bar()
    monkeypatch.setattr(progress, "_rich_bar", lambda: bar)
    return bar


def test_short_epochs_are_not_each_drawn_but_the_last_is(bar):
    result = hg.fit(hg.mlp([3, 4, 1]), (X, X[:, 0]), loss="squared_error", epochs=300, batch_size=20, validation=0.5)
    assert 0 < len(bar.drawn) < 100
    assert not bar.running
    last, row = {}, result.history.rows[-1]
    for shown in bar.drawn:
        last |= shown
    assert (last["description"], last["completed"], last["total"]) == ("epoch 300/300", 300, 300)
    assert last["losses"] == f"loss {row['loss']:.3g}  val. loss {row['validation_loss']:.3g}"
    done = [shown["completed"] for shown in bar.drawn]
    assert done == sorted(done)


def test_each_long_epoch_is_drawn(bar, monkeypatch):
    def slowly(end):
        time.sleep(2 * progress.REFRESH)

    result = hg.fit(hg.mlp([3, 4, 1]), (X, X[:, 0]), loss="squared_error", epochs=3, callbacks=slowly)
    losses = [shown["losses"] for shown in bar.drawn if "losses" in shown]
    assert losses == [f"loss {row['loss']:.3g}" for row in result.history.rows]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: 0.0)  # a step has just been drawn
    with progress.ProgressBar(2, 1, True) as shown:
        shown.step(0, 0)
        before = len(bar.drawn)
        shown.epoch({"epoch": 1, "loss": 1.5, "seconds": 60.0})
        assert bar.drawn[before]["losses"] == "loss 1.5"


def test_nothing_is_drawn_where_nothing_was_done(bar):
    with progress.ProgressBar(2, 1, True):
        pass
    assert bar.drawn == []


def test_nobody_is_told_where_it_is_not_wanted(bar):
    hg.fit(hg.mlp([3, 1]), (X, X[:, 0]), loss="squared_error", epochs=2, progress=False)
    assert bar.drawn == []
