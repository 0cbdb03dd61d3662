"""One batch through a model, forward and back, with every layer's part kept: what trace and diagnose look at.

The tape is a flat list of steps in the order they ran, whatever the nesting: each names the steps whose outputs it
took, so that backward is one loop over the list in reverse, and gradients add where a value forks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import array_api_compat
import numpy as np

from handgrad.errors import DTypeError, HandgradError, ParameterError, ShapeError, ValueRangeError
from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.layers import loss as loss_of
from handgrad.models import Residual, Sequential
from handgrad.models.sequential import one_stream
from handgrad.ops.base import Cache

INPUT = -1  # stands for X among the inputs of a step


@dataclass
class Step:
    """One layer's part of the pass. A Residual is a step after those of its layer, with two inputs: x and f(x).

    name: its place in the model, "2.layer.0". inputs: numbers of steps, INPUT for X. names: the layer's own name of
    each parameter -> the model's. out, cache: as forward gave them. dout: the gradient of the loss by `out`, summed
    over all that take it, empty until it is known. gradients: this place's own part of each parameter's gradient, under
    the model's names.
    """

    name: str
    layer: Layer
    inputs: tuple[int, ...]
    names: dict[str, str]
    out: np.ndarray
    cache: Cache = None
    dout: np.ndarray = field(default_factory=lambda: np.zeros(0))
    gradients: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_sum(self) -> bool:
        """Whether it is a Residual's addition."""
        return isinstance(self.layer, Residual)


@dataclass
class Tape:
    """A whole pass. value: the loss, with the penalty. dscores: its gradient by the scores. dx: by X. gradients: by the
    parameters, all their places and the penalty added up. rng: as it was before the pass."""

    model: Layer
    params: Parameters
    x: np.ndarray
    y: Any
    loss: Loss
    steps: list[Step]
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
        """The steps that take the output of step `number`."""
        return [i for i, step in enumerate(self.steps) if number in step.inputs]

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
    steps: list[Step] = []
    stream = one_stream(rng)
    before = copy.deepcopy(stream)
    last = _forward(model, own, x, INPUT, {name: name for name in own}, "", steps, train, stream)
    scores = x if last == INPUT else steps[last].out
    value, cache = loss.forward(scores, y, sample_weight=sample_weight)
    dscores = loss.backward(1.0, cache)
    dx, total = _backward(steps, last, dscores, x)
    if regularizer is not None:
        penalty, pulls = regularizer.value_and_grad(own)
        value = value + penalty
        for name, gradient in pulls.items():
            total[name] = total[name] + gradient if name in total else gradient
    gradients = own.pack({name: total.get(name) for name in own})
    return Tape(
        model, own, x, y, loss, steps, scores, float(value), dscores, dx, gradients, sample_weight, regularizer, train,
        before,
    )  # fmt: skip


def _forward(
    layer: Layer,
    params: Parameters,
    x: np.ndarray,
    at: int,
    names: dict[str, str],
    place: str,
    steps: list[Step],
    train: bool,
    rng: np.random.Generator | None,
) -> int:
    """Run `layer` on the output of step `at`, append its steps, and return the number of its last."""

    def value(number: int) -> np.ndarray:
        return x if number == INPUT else steps[number].out

    if isinstance(layer, Sequential | Residual) and type(layer) in (Sequential, Residual):
        start = at
        for child_place, child in layer.children().items():
            inner = {name: names[own] for name, own in layer._names[child_place].items()}
            inner_place = f"{place}.{child_place}" if place else child_place
            at = _forward(child, params, x, at, inner, inner_place, steps, train, rng)
        if isinstance(layer, Residual):
            if value(start).shape != value(at).shape:
                raise ShapeError(
                    f"the layer of a Residual must keep its input's shape {value(start).shape}, got {value(at).shape}"
                ).within(place)
            steps.append(Step(place, layer, (start, at), {}, value(start) + value(at)))
            at = len(steps) - 1
        return at
    own = {name: params[outer] for name, outer in names.items()}
    try:
        out, cache = layer.forward(own, value(at), train=train, rng=rng)
    except HandgradError as error:
        raise (error.within(place) if place else error) from error.__cause__
    steps.append(Step(place, layer, (at,), names, out, cache))
    return len(steps) - 1


def _backward(
    steps: list[Step], last: int, dscores: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(dX, the parameters' gradients, added over all places), and each step's own written to it."""
    arrived: dict[int, np.ndarray] = {last: dscores}
    total: dict[str, np.ndarray] = {}
    for number in reversed(range(len(steps))):
        step = steps[number]
        step.dout = arrived[number]
        if step.is_sum:
            downstream = [step.dout, step.dout]
        else:
            dx, grads = step.layer.backward(step.dout, step.cache)
            downstream = [dx]
            step.gradients = {step.names[name]: g for name, g in grads.items() if g is not None and name in step.names}
        for name, gradient in step.gradients.items():
            total[name] = total[name] + gradient if name in total else gradient
        for source, dx in zip(step.inputs, downstream, strict=True):
            arrived[source] = arrived[source] + dx if source in arrived else dx
    return arrived.get(INPUT, np.zeros_like(x)), total


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
