"""A model with its training as one script of plain NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.checks import whole
from handgrad.errors import DTypeError, ParameterError, ShapeError, ValueRangeError
from handgrad.explain.derive.model import sample_shape, write
from handgrad.explain.derive.parse import parse
from handgrad.explain.derive.shapes import Shape
from handgrad.explain.source.optimizers import rule_of
from handgrad.explain.source.script import Plan, source
from handgrad.layers import L2, Layer, Loss
from handgrad.layers import loss as loss_of
from handgrad.optim import Optimizer
from handgrad.optim import by_name as optimizer_of

__all__ = ["write_source"]


def write_source(
    model: Layer,
    loss: str | Loss = "cross_entropy",
    *,
    optimizer: str | Optimizer = "adam",
    regularizer: L2 | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    sample: tuple[int, ...] | None = None,
    path: str | Path | None = None,
) -> str:
    """The model's forward, backward and update as one script of plain NumPy, with the shape of every line beside it.

    It trains as `fit(model, (X, y), loss=..., optimizer=..., regularizer=..., epochs=..., batch_size=..., seed=...,
    engine="eager")` does in float64, from the same first values, in the same batches, with the same elements dropped,
    to the same parameters but for rounding. Run it alone: python SCRIPT DATA.npz [PARAMETERS.npz].

    params: first values to write into the script instead of the initializers. sample: the shape of one sample, where
    it is not the width of the first layer, such as (28, 28) before Flatten. path: a file to write the script to.
    y holds labels for a loss of classes, otherwise numbers in the shape of the scores.
    Raises UnsupportedError for a layer, optimizer or initializer of the caller's own and for a changing learning rate.
    """
    if not isinstance(model, Layer):
        raise DTypeError(f"model must be a Layer, such as handgrad.mlp gives, got {type(model).__name__}")
    loss, optimizer = loss_of(loss), optimizer_of(optimizer)
    if regularizer is not None and not isinstance(regularizer, L2):
        raise DTypeError(f"regularizer must be L2(strength), got {regularizer!r}")
    specs = model.parameters()
    if not specs:
        raise ValueRangeError(f"{model!r} has no parameters to train")
    shape = _sample(model, sample)
    made = write(model, ("m", *shape))
    names = made.parameters
    program = parse(made.expression, made.shapes, {"X", *made.masks})
    if loss.classifies and len(program.shape(program.output)) != 2:
        raise ShapeError("write_source writes losses of classes for scores (m, n); put Flatten before the last layer")
    plan = Plan(
        title=repr(model),
        model=made,
        program=program,
        specs={names[name]: spec for name, spec in specs.items()},
        loss=loss,
        rule=rule_of(optimizer),
        strength=regularizer.strength if regularizer is not None else 0.0,
        epochs=whole("epochs", epochs),
        batch_size=whole("batch_size", batch_size),
        seed=whole("seed", seed, 0),
        values=None if params is None else _values(params, specs, names),
    )
    text = source(plan)
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def _sample(model: Layer, sample: tuple[int, ...] | None) -> Shape:
    if sample is not None:
        if not isinstance(sample, tuple | list):
            raise DTypeError(f"sample must be the shape of one sample, such as (28, 28), got {sample!r}")
        shape = tuple(whole("sample", n) for n in sample)
        model.output_shape(shape)
        return shape
    found = sample_shape(model)
    if not all(isinstance(n, int) for n in found):
        raise ShapeError(f"no layer of {model!r} tells the shape of a sample; give sample=, such as sample=(28, 28)")
    return found


def _values(params: Mapping[str, Any], specs: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not isinstance(params, Mapping):
        raise DTypeError(f"params must be parameters as model.init gives, got {type(params).__name__}")
    if params.keys() != specs.keys():
        missing, unknown = sorted(specs.keys() - params.keys()), sorted(params.keys() - specs.keys())
        raise ParameterError(f"params do not match the model's: missing {missing}, unknown {unknown}")
    values = {}
    for name, spec in specs.items():
        array = np.asarray(params[name], dtype=np.float64)
        if array.shape != spec.shape:
            raise ShapeError(f"{name!r} must have shape {spec.shape}, got {array.shape}")
        if not np.all(np.isfinite(array)):
            raise ValueRangeError(f"{name!r} must hold finite numbers to be written")
        values[names[name]] = array
    return values
