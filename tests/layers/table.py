"""Every layer once or more, with what is known of it: this one table drives all general tests of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handgrad.layers import (
    GEGLU,
    GELU,
    GLU,
    Bilinear,
    Dropout,
    Flatten,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    Parameters,
    ReGLU,
    ReLU,
    Sigmoid,
    Softmax,
    SwiGLU,
    Swish,
    Tanh,
)
from handgrad.models import Residual, Sequential, mlp

BATCH = 5
STEP = 1e-30


@dataclass(frozen=True)
class Case:
    """A layer, the shape of one sample, of its output, of the output while nothing is known of the input, of params."""

    layer: Layer
    sample: tuple[int, ...]
    out: tuple[int, ...]
    unknown: Any = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    train: bool = False

    def params(self, dtype: Any = np.float64) -> Parameters:
        """Random values for every parameter: at their first values a bias of 0 or a scale of 1 would hide mistakes."""
        params = self.layer.init(0, dtype)
        params.flat[...] = np.random.default_rng(1).normal(0, 0.7, params.flat.shape)
        return params

    def x(self, dtype: Any = np.float64) -> np.ndarray:
        return np.random.default_rng(2).standard_normal((BATCH, *self.sample)).astype(dtype)

    def upstream(self, dtype: Any = np.float64) -> np.ndarray:
        return np.random.default_rng(3).standard_normal((BATCH, *self.out)).astype(dtype)

    def forward(self, params: Any, x: Any) -> tuple[Any, Any]:
        """The layer's forward, with the same randomness each time."""
        return self.layer.forward(params, x, train=self.train, rng=np.random.default_rng(4))


def gated(kind: Any) -> Case:
    w, b = (3, 4), (4,)
    shapes = {"content.weight": w, "gate.weight": w, "content.bias": b, "gate.bias": b}
    return Case(kind(3, 4), (3,), (4,), (..., 4), shapes)


SAME = Linear(3, 3)
W34 = {"weight": (3, 4), "bias": (4,)}

LAYERS: dict[str, Case] = {
    "identity": Case(Identity(), (3,), (3,)),
    "sigmoid": Case(Sigmoid(), (3,), (3,)),
    "tanh": Case(Tanh(), (2, 3), (2, 3)),
    "relu": Case(ReLU(), (3,), (3,)),
    "leaky relu": Case(LeakyReLU(0.2), (3,), (3,)),
    "swish": Case(Swish(), (3,), (3,)),
    "swish, beta 2": Case(Swish(2.0), (3,), (3,)),
    "gelu": Case(GELU(), (3,), (3,)),
    "gelu by tanh": Case(GELU("tanh"), (3,), (3,)),
    "softmax": Case(Softmax(), (3,), (3,)),
    "cool softmax": Case(Softmax(0.3), (3,), (3,)),
    "softmax over axis 1": Case(Softmax(2.0, axis=1), (2, 3), (2, 3)),
    "flatten": Case(Flatten(), (2, 3), (6,)),
    "linear": Case(Linear(3, 4), (3,), (4,), (..., 4), W34),
    "linear, out_in": Case(Linear(3, 4, layout="out_in"), (3,), (4,), (..., 4), {"weight": (4, 3), "bias": (4,)}),
    "linear without bias": Case(Linear(3, 4, bias=False), (3,), (4,), (..., 4), {"weight": (3, 4)}),
    "linear, leading axes": Case(Linear(3, 4), (2, 3), (2, 4), (..., 4), W34),
    "linear, flatten": Case(Linear(6, 4, flatten=True), (2, 3), (4,), (4,), {"weight": (6, 4), "bias": (4,)}),
    "linear, flatten, out_in": Case(
        Linear(6, 4, bias=False, layout="out_in", flatten=True), (2, 3), (4,), (4,), {"weight": (4, 6)}
    ),
    "glu": gated(GLU),
    "swiglu": gated(SwiGLU),
    "bilinear": gated(Bilinear),
    "reglu": gated(ReGLU),
    "geglu": gated(GEGLU),
    "glu without biases": Case(
        GLU(3, 4, bias=False), (2, 3), (2, 4), (..., 4), {"content.weight": (3, 4), "gate.weight": (3, 4)}
    ),
    "dropout in training": Case(Dropout(0.4), (3,), (3,), train=True),
    "dropout at rest": Case(Dropout(0.4), (3,), (3,)),
    "layer norm": Case(LayerNorm(3), (3,), (3,), (..., 3), {"weight": (3,), "bias": (3,)}),
    "layer norm, leading axes": Case(
        LayerNorm(3, epsilon=0.1), (2, 3), (2, 3), (..., 3), {"weight": (3,), "bias": (3,)}
    ),
    "nothing": Case(Sequential([]), (3,), (3,)),
    "sequential": Case(
        Sequential([Linear(3, 4), Tanh(), Linear(4, 2, layout="out_in")]),
        (3,),
        (2,),
        (..., 2),
        {"0.weight": (3, 4), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)},
    ),
    "sequential that begins without parameters": Case(
        Sequential([Flatten(), Tanh(), Linear(6, 2)]), (2, 3), (2,), (..., 2), {"2.weight": (6, 2), "2.bias": (2,)}
    ),
    "residual": Case(Residual(SAME), (3,), (3,), (..., 3), {"layer.weight": (3, 3), "layer.bias": (3,)}),
    "residual without parameters": Case(Residual(Tanh()), (3,), (3,)),
    "one layer twice": Case(
        Sequential([SAME, Swish(), SAME]), (3,), (3,), (..., 3), {"0.weight": (3, 3), "0.bias": (3,)}
    ),
    "one layer in two depths": Case(
        Sequential([Residual(Sequential([SAME, Tanh()])), LayerNorm(3), Sequential([Sequential([SAME])])]),
        (3,),
        (3,),
        (..., 3),
        {"0.layer.0.weight": (3, 3), "0.layer.0.bias": (3,), "1.weight": (3,), "1.bias": (3,)},
    ),
    "mlp": Case(
        mlp([3, 4, 2], "gelu", layer_norm=True, dropout=0.3),
        (3,),
        (2,),
        (..., 2),
        {"0.weight": (3, 4), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,), "4.weight": (4, 2), "4.bias": (2,)},
        train=True,
    ),
}


def complex_step(f: Callable[[np.ndarray], Any], at: np.ndarray) -> np.ndarray:
    """The gradient of f, a number, at a float64 array: Im f(at + ih e_k) / h, exact to rounding where f is smooth."""
    z = at.astype(np.complex128)
    gradient = np.empty(at.shape)
    for k in np.ndindex(at.shape):
        z[k] += 1j * STEP
        gradient[k] = f(z).imag / STEP
        z[k] = at[k]
    return gradient
