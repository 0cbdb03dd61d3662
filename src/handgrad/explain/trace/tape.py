"""One batch through a model, forward and back, with every layer's part kept: what trace and diagnose look at.

The tape is a flat list of steps in the order they ran, whatever the nesting: each names the steps whose outputs it
took, so that backward is one loop over the list in reverse, and gradients add where a value forks. What a step is, is
in steps.py; how a model becomes steps, in follow.py.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import array_api_compat
import numpy as np

from handgrad.errors import DTypeError, ParameterError, ShapeError, ValueRangeError
from handgrad.explain.trace.follow import Follower, Place
from handgrad.explain.trace.steps import INPUT, Step, flow_back
from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.layers import loss as loss_of
from handgrad.models.sequential import one_stream

__all__ = ["INPUT", "Step", "Tape", "as_numpy_parameters", "record", "to_numpy"]


@dataclass
class Tape:
    """A whole pass. last: the number of the step whose output the scores are, INPUT for a model of no steps. value: the
    loss, with the penalty. dscores: its gradient by the scores. dx: by X. gradients: by the parameters, all their
    places and the penalty added up. rng: as it was before the pass."""

    model: Layer
    params: Parameters
    x: np.ndarray
    y: Any
    loss: Loss
    steps: list[Step]
    last: int
    scores: np.ndarray
    value: float
    dscores: np.ndarray
    dx: np.ndarray
    gradients: Parameters
    sample_weight: Any = None
    regularizer: L2 | None = None
    train: bool = False
    rng: np.random.Generator | None = None

    def output(self, number: int) -> np.ndarray:
        """What step `number` gave; X for INPUT."""
        return self.x if number == INPUT else self.steps[number].out

    def consumers(self, number: int) -> list[int]:
        """The steps that take the output of step `number` and give a gradient back, each once, in order."""
        return self._takers[0].get(number, [])

    def readers(self, number: int) -> list[int]:
        """The same, with those that take it as data alone, such as labels."""
        return self._takers[1].get(number, [])

    @cached_property
    def _takers(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        consumers: dict[int, list[int]] = {}
        readers: dict[int, list[int]] = {}
        for i, step in enumerate(self.steps):
            for found, numbers in ((consumers, step.inputs), (readers, (*step.inputs, *step.data))):
                for number in dict.fromkeys(numbers):
                    found.setdefault(number, []).append(i)
        return consumers, readers

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def loss_of(self, scores: np.ndarray) -> float:
        """The loss that these scores would have had, without the penalty."""
        return float(self.loss.forward(scores, self.y, sample_weight=self.sample_weight)[0])

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def value_at(self, params: Parameters) -> float:
        """The loss of the same batch at other parameters, with the penalty; Dropout drops the same units again."""
        rng = copy.deepcopy(self.rng)
        scores, _ = self.model.forward(params, self.x, train=self.train, rng=rng)
        penalty = 0.0 if self.regularizer is None else float(self.regularizer.value_and_grad(params)[0])
        return self.loss_of(scores) + penalty


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # what is not finite is shown, not warned of
def record(
    model: Layer,
    params: Mapping[str, Any],
    x: Any,
    y: Any,
    *,
    loss: str | Loss = "cross_entropy",
    sample_weight: Any = None,
    regularizer: L2 | None = None,
    train: bool = False,
    rng: np.random.Generator | int | None = None,
) -> Tape:
    """Run one batch forward and back. Arrays of any library are taken, and become NumPy's.

    Raises DTypeError, ShapeError, ValueRangeError or ParameterError for what does not fit, with the layer's place.
    """
    if not isinstance(model, Layer):
        raise DTypeError(f"model must be a Layer, such as handgrad.mlp gives, got {type(model).__name__}")
    loss = loss_of(loss)
    own = as_numpy_parameters(model, params)
    own = own.like(own.flat.copy())  # the tape is kept, and a training may go on writing to what it was given
    x = _inputs(x, own).copy()
    y, sample_weight = to_numpy(y), to_numpy(sample_weight)
    stream = one_stream(rng)
    before = copy.deepcopy(stream)
    pass_ = Follower(own, x, train, stream)
    last = pass_.follow(model, INPUT, Place("", {name: name for name in own}))
    scores = pass_.value(last)
    value, cache = loss.forward(scores, y, sample_weight=sample_weight)
    dscores = loss.backward(1.0, cache)
    total = flow_back(pass_.steps, last, dscores)
    dx = total.pop(INPUT, np.zeros_like(x))
    if regularizer is not None:
        penalty, pulls = regularizer.value_and_grad(own)
        value = value + penalty
        for name, gradient in pulls.items():
            total[name] = total[name] + gradient if name in total else gradient
    gradients = own.pack({name: total.get(name) for name in own})
    return Tape(
        model, own, x, y, loss, pass_.steps, last, scores, float(value), dscores, dx, gradients, sample_weight,
        regularizer, train, before,
    )  # fmt: skip


def as_numpy_parameters(model: Layer, params: Mapping[str, Any]) -> Parameters:
    """The model's parameters as NumPy's over one vector: `params` itself where it is that already."""
    specs = model.parameters()
    if isinstance(params, Parameters):
        params.check_names(specs)
        own = params if isinstance(params.flat, np.ndarray) else params.like(to_numpy(params.flat))
    elif isinstance(params, Mapping):
        arrays = {name: to_numpy(array) for name, array in params.items()}
        size = sum(math.prod(spec.shape) for spec in specs.values())
        dtype = np.result_type(*arrays.values()) if arrays else np.dtype(float)
        own = Parameters(specs, np.zeros(size, dtype)).pack(arrays)
    else:
        raise DTypeError(
            f"params must be a mapping of names to arrays, as model.init gives, got {type(params).__name__}"
        )
    for name, spec in specs.items():
        if own[name].shape != spec.shape:
            raise ParameterError(f"params hold {name!r} in shape {own[name].shape}, the model has {spec.shape}")
    if own.flat.dtype.kind != "f":
        raise DTypeError(f"params must hold floating-point numbers, got dtype {own.flat.dtype}")
    return own


@np.errstate(over="ignore")
def _inputs(x: Any, params: Parameters) -> np.ndarray:
    """X as floating-point rows in the dtype of the parameters, all finite."""
    x = to_numpy(x)
    if x is None or x.dtype.kind not in "fiub":
        raise DTypeError(f"X must hold numbers, got {'None' if x is None else f'dtype {x.dtype}'}")
    if x.ndim == 0 or x.shape[0] == 0:
        raise ShapeError(f"X must have samples as rows, one or more, got shape {x.shape}")
    if not np.isfinite(x).all():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmin(np.isfinite(x))), x.shape))
        raise ValueRangeError(f"X must be finite, got {x[place]} at index {place}")
    dtype = params.flat.dtype if len(params) else x.dtype if x.dtype.kind == "f" else np.dtype(float)
    out = x.astype(dtype, copy=False)
    if not np.isfinite(out).all():
        raise ValueRangeError(f"X must be within what {dtype} holds, as the parameters do, got {np.abs(x).max():.3g}")
    return out


def to_numpy(values: Any) -> Any:
    """An array of any library, or a list, as NumPy's; None stays."""
    if values is None or isinstance(values, np.ndarray):
        return values
    if array_api_compat.is_torch_array(values):
        return values.detach().cpu().numpy()
    if array_api_compat.is_cupy_array(values):
        return values.get()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"rows must be of one length: {error}") from None
