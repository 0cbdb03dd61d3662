"""A view of a training: a trace at the end of its epochs."""

import numpy as np
import pytest

import handgrad as hg
from explain.view.batches import array


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_each_epoch_has_its_own_parameters(engine):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 4))
    y = (x @ rng.standard_normal((4, 3))).argmax(axis=1)
    frames = hg.TraceFrames(x[:8], y[:8], every=2, optimizer="sgd")
    model = hg.mlp([4, 6, 3])
    weights = []

    def keep(event):
        weights.append(event.params["0.weight"].copy())

    hg.fit(model, (x, y), epochs=5, engine=engine, callbacks=(frames, keep), progress=False)
    view = hg.view(frames, checks=False, title="training")
    moments = view.document["variants"][0]["frames"]
    assert [moment["label"] for moment in moments] == ["epoch 1", "epoch 3", "epoch 5"]
    for moment, expected in zip(moments, weights[::2], strict=True):
        np.testing.assert_array_equal(array(moment["parameters"]["0.weight"]["value"]), expected)
    assert moments[0]["loss"] > moments[-1]["loss"]
    after = hg.view(frames.last, frames=frames.frames[:-1], checks=False, title="training")
    assert [moment["label"] for moment in after.document["variants"][0]["frames"]] == ["epoch 1", "epoch 3", "now"]


def test_without_a_training_there_is_nothing_to_show():
    with pytest.raises(hg.errors.ValueRangeError, match="no frames yet"):
        hg.view(hg.TraceFrames(np.ones((2, 3)), [0, 1]))
    with pytest.raises(hg.errors.ValueRangeError, match="every"):
        hg.TraceFrames(np.ones((2, 3)), [0, 1], every=0)
