"""Small trainings that checkpoints are tried on, each with more that must be kept."""

from itertools import pairwise

import numpy as np

import handgrad as hg
from handgrad.formats.checkpoint import read_checkpoint

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 4))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)
WEIGHT = RNG.uniform(0.5, 2, 90)


def streamed(x, y, *weight):
    """The rows in batches of uneven sizes, through a buffer that holds a third of them."""

    def blocks():
        for start, stop in pairwise([0, 1, 20, 57, 58, len(x)]):
            yield tuple(array[start:stop] for array in (x, y, *weight))

    return hg.Stream(blocks, buffer=30)


COMMON = {"epochs": 4, "batch_size": 16, "progress": False, "threads": 1}

TRAININGS = {
    "dropout, schedule, early stopping": {
        "data": (X, Y),
        "model": hg.mlp([4, 8, 2], dropout=0.3),
        "optimizer": hg.AdamW(hg.OneCycle(0.02)),
        "validation": 0.2,
        "metrics": ["accuracy"],
        "patience": 3,
    },
    "weights, momentum, clipping": {
        "data": (X, Y, WEIGHT),
        "model": hg.mlp([4, 8, 2], "tanh"),
        "optimizer": hg.SGD(hg.WarmUp(5, hg.Cosine(0.1)), momentum=0.9),
        "regularizer": hg.L2(0.01),
        "clip_norm": 0.5,
        "monitor": "loss",
        "patience": 2,
    },
    "regression": {
        "data": (X, X[:, :1] ** 2),
        "model": hg.mlp([4, 9, 1], "swish", layer_norm=True, dropout=0.1),
        "loss": "huber",
        "optimizer": "rmsprop",
    },
    "stream, weights, early stopping": {
        "data": (X, Y, WEIGHT),
        "as": streamed,
        "model": hg.mlp([4, 8, 2], dropout=0.3),
        "optimizer": "adam",
        "validation": streamed(X[:40], Y[:40]),
        "metrics": ["accuracy"],
        "patience": 2,
    },
    "private": {
        "data": (X, Y),
        "model": hg.mlp([4, 8, 2], dropout=0.2),
        "optimizer": "adam",
        "per_sample_clip": 0.5,
        "noise_multiplier": 1.1,
    },
}


def options_of(name, dtype="float64", **more):
    """(model, data, the options) of a training."""
    options = {**COMMON, **TRAININGS[name], **more}
    first, *rest = options.pop("data")
    data, form = (first.astype(dtype), *rest), options.pop("as", None)
    return options.pop("model"), data if form is None else form(*data), options


def train(name, dtype="float64", **more):
    """The result of a training by its name."""
    model, data, options = options_of(name, dtype, **more)
    return hg.fit(model, data, **options)


def rows(result):
    """The history without what a clock gives."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in result.history]


def same(result, whole):
    """Assert that two results are the same to the bit."""
    assert result.params.flat.dtype == whole.params.flat.dtype
    np.testing.assert_array_equal(result.params.flat, whole.params.flat)
    assert rows(result) == rows(whole)
    assert (result.stopped, result.best_epoch, result.engine) == (whole.stopped, whole.best_epoch, whole.engine)
    assert result.privacy == whole.privacy


def newest(folder):
    """The path of the newest checkpoint."""
    return max(folder.glob("step-*.safetensors"))


def kept(folder):
    """All that the newest checkpoint holds, without what a clock gives: bytes by name, and the rest."""
    arrays, content = read_checkpoint(newest(folder))
    seconds = content["columns"].index("seconds")
    arrays["history"][:, seconds] = 0
    return {name: (array.dtype.str, array.tobytes()) for name, array in arrays.items()}, content
