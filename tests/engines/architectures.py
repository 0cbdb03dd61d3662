"""Random models and tasks, drawn by hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from handgrad.layers import (
    GEGLU,
    GELU,
    GLU,
    Bilinear,
    BinaryCrossEntropy,
    CrossEntropy,
    Dropout,
    Flatten,
    Hinge,
    Huber,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    Loss,
    Poisson,
    Quantile,
    ReGLU,
    ReLU,
    Sigmoid,
    Softmax,
    SquaredError,
    SwiGLU,
    Swish,
    Tanh,
)
from handgrad.models import Residual, Sequential

ACTIVATIONS = [
    Identity(),
    Sigmoid(),
    Tanh(),
    ReLU(),
    LeakyReLU(0.1),
    Swish(1.5),
    GELU(),
    GELU("tanh"),
    Softmax(0.7),
    Dropout(0.3),
]
GATED = [GLU, SwiGLU, Bilinear, ReGLU, GEGLU]
LOSSES = [
    Hinge(),
    Hinge(0.5),
    CrossEntropy(),
    CrossEntropy(0.1),
    BinaryCrossEntropy(),
    SquaredError(),
    Huber(0.5),
    Poisson(),
    Quantile(0.3),
]


@st.composite
def models(draw: st.DrawFn) -> Sequential:
    """A Sequential for samples of shape (2, 2), which gives 3 scores; all layers occur, in any nesting and sharing."""
    layers: list[Layer] = [Flatten()] if draw(st.booleans()) else [Linear(4, 3, flatten=True)]
    n = 4 if isinstance(layers[0], Flatten) else 3
    used: list[Layer] = []  # layers that keep the width 3, to be placed again
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["linear", "gated", "activation", "norm", "residual", "again", "nested"]))
        if kind in ("linear", "gated"):
            width, bias = draw(st.integers(1, 4)), draw(st.booleans())
            if kind == "linear":
                layer: Layer = Linear(n, width, bias, draw(st.sampled_from(["in_out", "out_in"])))
            else:
                layer = draw(st.sampled_from(GATED))(n, width, bias)
        elif kind == "activation":
            layer, width = draw(st.sampled_from(ACTIVATIONS)), n
        elif kind == "norm":
            layer, width = LayerNorm(n, 0.01), n
        elif kind == "nested":
            layer, width = Sequential([Linear(n, 2), draw(st.sampled_from(ACTIVATIONS)), Linear(2, n)]), n
        elif kind == "residual":
            layer, width = Residual(Sequential([LayerNorm(n, 0.1), Linear(n, n), Tanh()])), n
        else:
            fitting = [old for old in used if old.output_shape((n,)) == (n,)] if n == 3 else []
            layer, width = (draw(st.sampled_from(fitting)) if fitting else Tanh()), n
        if n == width == 3:
            used.append(layer)
        layers.append(layer)
        n = width
    return Sequential([*layers, Linear(n, 3)])


def task(loss: Loss, seed: int, samples: int = 4) -> tuple[np.ndarray, Any, np.ndarray]:
    """Random x, y that suit the loss, and weights of samples."""
    rng = np.random.default_rng(seed)
    x, weights = rng.standard_normal((samples, 2, 2)), rng.random(samples)
    if isinstance(loss, Hinge | CrossEntropy):
        return x, rng.integers(3, size=samples), weights
    if isinstance(loss, Poisson):
        return x, rng.poisson(2.0, (samples, 3)), weights
    if isinstance(loss, BinaryCrossEntropy):
        return x, rng.random((samples, 3)), weights
    return x, rng.standard_normal((samples, 3)), weights
