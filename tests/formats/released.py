"""What the files of released versions hold: the same models, trainings and table in each version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import handgrad as hg
from handgrad import ops

MODELS: dict[str, tuple[hg.Layer, tuple[int, ...]]] = {
    "mlp": (hg.mlp([4, 6, 3], "relu", dropout=0.2, layer_norm=True), (4,)),
    "activations": (
        hg.Sequential(
            [hg.Identity(), hg.Sigmoid(), hg.Tanh(), hg.ReLU(), hg.LeakyReLU(0.2), hg.Swish(1.5), hg.GELU("tanh")]
        ),
        (4,),
    ),
    "gates": (
        hg.Sequential([hg.GLU(4, 4), hg.SwiGLU(4, 4, bias=False), hg.Bilinear(4, 4), hg.ReGLU(4, 4), hg.GEGLU(4, 3)]),
        (4,),
    ),
    "layouts": (
        hg.Sequential([hg.Flatten(), hg.Linear(6, 4, layout="out_in"), hg.Linear(4, 3, bias=False), hg.Softmax(2.0)]),
        (2, 3),
    ),
    "shared": ((lambda unit: hg.Sequential([unit, hg.ReLU(), unit, hg.Residual(unit)]))(hg.Linear(4, 4)), (4,)),
}
TORCH = "layouts"


def _highway() -> hg.Graph:
    """y = t f(x) + (1 - t) x, with parameters, constants and options of its own."""
    g = hg.Graph()
    x = g.input("x")
    v, c = g.parameter("v", (3, 3), "glorot_uniform"), g.parameter("c", (3,), "zeros", decays=False)
    t = ops.sigmoid(x @ v + c).named("t")
    h = t * ops.tanh(hg.Linear(3, 3)(x)) + (1 - t) * x
    h = ops.softmax(h * np.array([1.0, 2.0, 3.0]), temperature=2.0) + ops.sum(h, axis=-1, keepdims=True)
    g.output(hg.Linear(3, 2)(h).named("head"))
    return g


GRAPHS = {"graph": (_highway(), (3,)), "graph-within": (hg.Sequential([hg.Linear(3, 3), _highway()]), (3,))}

_X = np.random.default_rng(0).normal(size=(40, 4))
DATA = (_X, (_X[:, 0] * _X[:, 1] > 0).astype(int))
EPOCHS, STOPPED = 4, 13  # an epoch has 5 steps
OPTIONS: dict[str, Any] = {
    "optimizer": hg.AdamW(hg.OneCycle(0.02)),
    "batch_size": 8,
    "epochs": EPOCHS,
    "clip_norm": 1.0,
    "regularizer": hg.L2(0.001),
    "validation": DATA,
    "metrics": ["accuracy"],
    "patience": 10,
    "threads": 1,
    "progress": False,
}


def train(engine: str, checkpoint: Path | None, **how: Any) -> Any:
    """The training whose checkpoints are kept."""
    return hg.fit(hg.mlp([4, 6, 2], "tanh", dropout=0.3), DATA, engine=engine, checkpoint=checkpoint, **OPTIONS, **how)


def rows() -> str:
    """The table that runs are trained on: numbers with gaps, text, dates, truth values."""
    colours = ["red", "blue", "", "green"]
    lines = []
    for i in range(60):
        cells = ["" if i % 9 == 0 else i % 7, colours[i % 4], f"2024-01-{i % 28 + 1:02d}", str(i % 3 == 0).lower()]
        lines.append(",".join(map(str, [*cells, "ab"[i % 7 > 3]])))
    return "\n".join(["size,colour,day,flag,kind", *lines]) + "\n"
