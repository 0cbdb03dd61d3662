"""`trace`: one batch followed through a model, as numbers: shapes, spreads, gradients, updates, caches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from handgrad.explain.trace_tape import INPUT, Step, Tape, record
from handgrad.explain.trace_units import dead_units, saturation, unit_count
from handgrad.layers import L2, Layer, Loss
from handgrad.optim import Optimizer, State, global_norm
from handgrad.optim import by_name as optimizer_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Plain:
    """A frozen dataclass that gives itself as JSON's own types."""

    def to_dict(self) -> dict[str, Any]:
        """Dicts, lists, strings, numbers and None; None too for a number that is not finite, which JSON has no word
        for. The keys are the fields' names."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """`value` in JSON's types."""
    if isinstance(value, Plain):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Spread(Plain):
    """How an array's numbers lie. quantiles: at QUANTILES. norm: the root of the sum of squares. zeros: the share of
    exact zeros. bad: how many are NaN or infinite; all else is of the others."""

    mean: float
    std: float
    min: float
    max: float
    quantiles: np.ndarray
    norm: float
    zeros: float
    bad: int

    @classmethod
    def of(cls, array: np.ndarray) -> Self:
        """Of any array; NaN throughout where it holds no finite number."""
        flat = np.asarray(array, dtype=float).reshape(-1)
        good = flat[np.isfinite(flat)]
        if not good.size:
            nothing = np.full(len(QUANTILES), math.nan)
            return cls(math.nan, math.nan, math.nan, math.nan, nothing, math.nan, math.nan, flat.size)
        return cls(
            float(good.mean()),
            float(good.std()),
            float(good.min()),
            float(good.max()),
            np.quantile(good, QUANTILES),
            global_norm(good),
            float(np.mean(good == 0)),
            flat.size - good.size,
        )


@dataclass(frozen=True)
class LayerTrace(Plain):
    """One layer's part of the batch, containers aside; a Residual is its addition.

    name: its place, "2.layer.0". kind: its class. text: as it is written. inputs: the names of the layers whose outputs
    it takes, "X" for the input. input_shape, output_shape: with the batch. values: of its output. gradient: of the loss
    by its output, the upstream gradient. parameters: the model's names of its parameters; parameter_gradient_norms: of
    the part of their gradient that arises here, which is all of it unless they are shared. saturation: the share of
    outputs where a sigmoid or tanh is flat (less than 5 % of its steepest slope), None for other layers. dead: the
    units of a ReLU that are 0 for every sample, None for other layers; units: out of how many. cache_bytes: the arrays
    its cache holds, parameters left out.
    """

    name: str
    kind: str
    text: str
    inputs: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    values: Spread
    gradient: Spread
    parameters: tuple[str, ...]
    parameter_gradient_norms: tuple[float, ...]
    saturation: float | None
    dead: np.ndarray | None
    units: int
    cache_bytes: int


@dataclass(frozen=True)
class ParameterTrace(Plain):
    """One parameter, all its places together: `layers` names them.

    gradient: of the loss, with the penalty. update_norm: of the optimizer's step. update_ratio: that over the norm of
    the values, NaN where they are all 0.
    """

    name: str
    layers: tuple[str, ...]
    shape: tuple[int, ...]
    decays: bool
    values: Spread
    gradient: Spread
    update_norm: float
    update_ratio: float


@dataclass(frozen=True)
class Trace(Plain):
    """One batch followed through a model: `layers` in the order they run, `parameters` in the model's.

    title: the model, in short. rows: samples. dtype: of the parameters. inputs: the spread of X. loss, loss_value: its
    name, and its value with the penalty. optimizer, learning_rate: what the updates are by. gradient_norm: of all
    parameters together. cache_bytes: all caches, each array counted once. parameter_count: numbers in all.
    `print` shows it as a table, `rich.print` in colour, `.plot()` as a figure, `.to_dict()` gives it as JSON's types.
    """

    title: str
    rows: int
    dtype: str
    inputs: Spread
    input_shape: tuple[int, ...]
    loss: str
    loss_value: float
    optimizer: str
    learning_rate: float
    gradient_norm: float
    parameter_count: int
    cache_bytes: int
    layers: tuple[LayerTrace, ...]
    parameters: tuple[ParameterTrace, ...]

    def __getitem__(self, name: str) -> LayerTrace | ParameterTrace:
        known: dict[str, LayerTrace | ParameterTrace] = {each.name: each for each in self.layers}
        known |= {each.name: each for each in self.parameters}
        if name not in known:
            raise KeyError(f"{name!r} is neither a layer nor a parameter of this trace; they are {list(known)}")
        return known[name]

    def __str__(self) -> str:
        from handgrad.explain.trace_table import text

        return text(self)

    def __rich__(self) -> Any:
        from handgrad.explain.trace_table import rendered

        return rendered(self)

    def plot(self) -> Figure:
        """A matplotlib figure: the spread of values, the norms of gradients, update-to-weight ratios, by layer."""
        from handgrad.explain.plots import plot_trace

        return plot_trace(self)

    def to_svg(self) -> str:
        """A picture of the model as SVG text: a box for each layer, edges with the shapes that flow on them."""
        from handgrad.explain.svg import trace_svg

        return trace_svg(self)


def trace(
    model: Layer,
    params: Mapping[str, Any],
    X: Any,
    y: Any,
    *,
    loss: str | Loss = "cross_entropy",
    optimizer: str | Optimizer = "adam",
    state: State | None = None,
    sample_weight: Any = None,
    regularizer: L2 | None = None,
    train: bool = False,
    rng: np.random.Generator | int | None = None,
) -> Trace:
    """Follow one batch through a model: what each layer gives, what flows back, what the optimizer would change.

    X: (m, ...), samples as rows; y as the loss takes it. loss, optimizer, regularizer: as `fit` takes them, with its
    defaults. state: the optimizer's, from training so far; None is its first step. train, rng: for Dropout, which is
    off unless asked for. Sequential and Residual are followed inside, however nested; any other layer, a container
    of your own too, is one step. Nothing given is changed. Raises ShapeError, DTypeError, ValueRangeError or
    ParameterError, with the layer's place.
    """
    tape = record(
        model, params, X, y, loss=loss, sample_weight=sample_weight, regularizer=regularizer, train=train, rng=rng
    )
    return trace_of(tape, optimizer, state)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def trace_of(tape: Tape, optimizer: str | Optimizer = "adam", state: State | None = None) -> Trace:
    """The trace of a batch that was run."""
    optimizer = optimizer_of(optimizer)
    params, gradients = tape.params, tape.gradients
    state = optimizer.init(params.flat) if state is None else state
    rate = optimizer.rate(state["step"])
    _, update = optimizer.update(state, gradients.flat, params.flat, decayed=params.decays)
    updates = params.like(update)
    held: dict[tuple[int, int], int] = {}
    layers = tuple(_layer(tape, number, held) for number in range(len(tape.steps)))
    places: dict[str, list[str]] = {name: [] for name in params}
    for step in tape.steps:
        for name in step.names.values():
            places[name].append(step.name)
    return Trace(
        title=_title(tape.model, len(tape.steps)),
        rows=tape.x.shape[0],
        dtype=str(params.flat.dtype),
        inputs=Spread.of(tape.x),
        input_shape=tape.x.shape,
        loss=tape.loss.op.name if hasattr(tape.loss, "op") else type(tape.loss).__name__,
        loss_value=tape.value,
        optimizer=type(optimizer).__name__,
        learning_rate=rate,
        gradient_norm=global_norm(gradients.flat),
        parameter_count=params.flat.size,
        cache_bytes=sum(held.values()),
        layers=layers,
        parameters=tuple(
            _parameter(name, places[name], params[name], gradients[name], updates[name], params.specs[name].decays)
            for name in params
        ),
    )


def _layer(tape: Tape, number: int, held: dict[tuple[int, int], int]) -> LayerTrace:
    step = tape.steps[number]
    assert step.dout is not None
    arrays = {} if step.is_sum else _cached(step, tape)
    held.update(arrays)
    return LayerTrace(
        name=step.name,
        kind=type(step.layer).__name__,
        text="x + f(x)" if step.is_sum else repr(step.layer),
        inputs=tuple("X" if i == INPUT else tape.steps[i].name for i in step.inputs),
        input_shape=tuple(tape.output(step.inputs[0]).shape),
        output_shape=tuple(step.out.shape),
        values=Spread.of(step.out),
        gradient=Spread.of(step.dout),
        parameters=tuple(step.names.values()),
        parameter_gradient_norms=tuple(
            global_norm(step.gradients[name].reshape(-1)) if name in step.gradients else 0.0
            for name in step.names.values()
        ),
        saturation=saturation(step),
        dead=dead_units(step),
        units=unit_count(step),
        cache_bytes=sum(arrays.values()),
    )


def _parameter(
    name: str, places: list[str], values: np.ndarray, gradient: np.ndarray, update: np.ndarray, decays: bool
) -> ParameterTrace:
    norm, moved = global_norm(values.reshape(-1)), global_norm(update.reshape(-1))
    ratio = moved / norm if norm else math.nan
    return ParameterTrace(
        name, tuple(places), values.shape, decays, Spread.of(values), Spread.of(gradient), moved, ratio
    )


def _cached(step: Step, tape: Tape) -> dict[tuple[int, int], int]:
    """The bytes of each array that a step's cache holds, by where in memory it lies; parameters left out."""
    start, size = tape.params.flat.__array_interface__["data"][0], tape.params.flat.nbytes
    found: dict[tuple[int, int], int] = {}
    pending = [step.cache]
    while pending:
        each = pending.pop()
        if isinstance(each, np.ndarray):
            where = each.__array_interface__["data"][0]
            if each.nbytes and not start <= where < start + size:
                found[where, each.nbytes] = each.nbytes
        elif isinstance(each, Mapping):
            pending.extend(each.values())
        elif isinstance(each, tuple | list):
            pending.extend(each)
    return found


def _title(model: Layer, steps: int) -> str:
    return f"{type(model).__name__} of {steps} layer{'s' * (steps != 1)}"
