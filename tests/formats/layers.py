"""Every layer that other formats can have, with parameters and samples, from the rows of the table of ops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import handgrad as hg
from handgrad.formats.packing import empty
from handgrad.layers.gated import GATED
from table import ROWS, Case

# An op's layer, from its inputs' shapes and its hyperparameters.
LAYERS: dict[str, Any] = {
    "identity": lambda shapes, **hyper: hg.Identity(),
    "sigmoid": lambda shapes, **hyper: hg.Sigmoid(),
    "tanh": lambda shapes, **hyper: hg.Tanh(),
    "relu": lambda shapes, **hyper: hg.ReLU(),
    "leaky_relu": lambda shapes, **hyper: hg.LeakyReLU(**hyper),
    "swish": lambda shapes, **hyper: hg.Swish(**hyper),
    "gelu": lambda shapes, **hyper: hg.GELU(**hyper),
    "softmax": lambda shapes, **hyper: hg.Softmax(**hyper),
    "dropout": lambda shapes, rate, **hyper: hg.Dropout(rate),
    "layer_norm": lambda shapes, **hyper: hg.LayerNorm(shapes[1][0], **hyper),
    "linear": lambda shapes, layout="in_out", **hyper: hg.Linear(
        *(shapes[1] if layout == "in_out" else shapes[1][::-1]), bias=shapes[2] is not None, layout=layout, **hyper
    ),
    **{
        name: lambda shapes, kind=kind, **hyper: kind(*shapes[1], bias=shapes[3] is not None)
        for name, kind in GATED.items()
    },
}


@dataclass(frozen=True)
class Sample:
    """A layer, its parameters and a batch."""

    name: str
    layer: hg.Layer
    params: Any
    x: np.ndarray

    def __str__(self) -> str:
        return self.name


def of_case(case: Case, dtype: Any) -> Sample:
    inputs = case.draw(dtype=dtype)
    shapes = [None if array is None else array.shape for array in inputs]
    layer = LAYERS[case.op.name](shapes, **case.hyper)
    params = empty(layer.parameters(), dtype)
    given = [array for array in inputs[1:] if array is not None]
    for view, array in zip(params.values(), given, strict=True):
        view[...] = array
    return Sample(str(case), layer, params, inputs[0])


def fits(case: Case) -> bool:
    """Whether a layer can have these inputs: a batch axis, both biases or none."""
    shapes = [None if each is None else each.shape for each in case.inputs]
    return len(shapes[0]) > 1 and (case.op.name not in GATED or (shapes[3] is None) == (shapes[4] is None))


def nested(dtype: Any) -> list[Sample]:
    """Containers, shared layers, and Flatten."""
    shared, unit = hg.Linear(4, 4), hg.SwiGLU(4, 4)
    models = {
        "flatten": (hg.Sequential([hg.Flatten(), hg.Linear(6, 2)]), (2, 3)),
        "nothing": (hg.Sequential([]), (3,)),
        "one layer": (hg.Linear(3, 2), (3,)),
        "mlp": (hg.mlp([4, 8, 8, 3], "gelu", dropout=0.2, layer_norm=True), (4,)),
        "out_in": (hg.mlp([4, 8, 3], "tanh", layout="out_in"), (4,)),
        "shared": (hg.Sequential([shared, hg.ReLU(), shared, hg.Residual(shared)]), (4,)),
        "shared unit": (hg.Sequential([unit, hg.Residual(hg.Sequential([unit, hg.Tanh()])), unit]), (4,)),
        "residual": (hg.Residual(hg.Residual(hg.Sequential([hg.LayerNorm(4), hg.GLU(4, 5), hg.Linear(5, 4)]))), (4,)),
        "nested": (
            hg.Sequential([hg.Sequential([hg.Linear(4, 5)]), hg.Sequential([hg.ReLU(), hg.Linear(5, 2)])]),
            (4,),
        ),
        "more axes": (hg.mlp([4, 6, 3], "swiglu", layout="out_in"), (2, 3, 4)),
    }
    rng = np.random.default_rng(0)
    return [
        Sample(name, model, model.init(rng, dtype), rng.normal(size=(5, *shape)).astype(dtype))
        for name, (model, shape) in models.items()
    ]


def samples(dtype: Any) -> list[Sample]:
    rows = [of_case(case, dtype) for name in LAYERS for case in ROWS[name] if fits(case)]
    return rows + nested(dtype)


def covered() -> set[type]:
    """The kinds of layers in the table."""
    kinds = {type(sample.layer) for sample in samples(np.float32)}
    return kinds | {hg.Flatten}


EVERY = {kind for name in dir(hg) if isinstance(kind := getattr(hg, name), type) and issubclass(kind, hg.Layer)}


def close(found: Any, expected: Any, tolerance: float) -> float:
    """The largest difference, in units of 1 or of the expected number where that is larger; asserts the tolerance."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    if not found.size:
        return 0.0
    difference = float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())
    assert difference <= tolerance, difference
    return difference
