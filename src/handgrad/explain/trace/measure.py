"""The numbers of a trace, taken from a batch that was run."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from handgrad.explain.trace.records import LayerTrace, ParameterTrace, Trace
from handgrad.explain.trace.spread import Spread
from handgrad.explain.trace.steps import INPUT, Step
from handgrad.explain.trace.tape import Tape
from handgrad.explain.trace.units import dead_units, saturation, unit_count
from handgrad.ops.base import Op
from handgrad.optim import Optimizer, State, global_norm
from handgrad.optim import by_name as optimizer_of


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
        for name in step.parameters:
            places[name].append(step.name)
    return Trace(
        title=_title(tape),
        rows=tape.x.shape[0],
        dtype=str(params.flat.dtype),
        inputs=Spread.of(tape.x),
        input_shape=tape.x.shape,
        loss=tape.loss.op.name if hasattr(tape.loss, "op") else type(tape.loss).__name__,
        loss_value=tape.value,
        loss_after_step=tape.value_at(params.like(params.flat + update)),
        loss_predicted=tape.value + float(gradients.flat @ update),
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
        tape=tape,
        updates=updates,
    )


def _layer(tape: Tape, number: int, held: dict[tuple[int, int], int]) -> LayerTrace:
    step = tape.steps[number]
    arrays = _cached(step, tape)
    held.update(arrays)
    each_row = step.of_x and step.out.shape[:1] == tape.x.shape[:1]  # what is not has no units that could be dead
    return LayerTrace(
        name=step.name,
        kind=step.kind,
        text=step.text,
        inputs=tuple("X" if i == INPUT else tape.steps[i].name for i in (*step.inputs, *step.data)),
        input_shape=tuple(np.shape(step.operands[0])),
        output_shape=tuple(step.out.shape),
        values=Spread.of(step.out),
        gradient=Spread.of(step.dout),
        parameters=step.parameters,
        parameter_gradient_norms=tuple(
            global_norm(step.gradients[name].reshape(-1)) if name in step.gradients else 0.0 for name in step.parameters
        ),
        saturation=saturation(step) if each_row else None,
        dead=dead_units(step) if each_row else None,
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


def _title(tape: Tape) -> str:
    count, ops = len(tape.steps), any(isinstance(step.function, Op) and not step.is_sum for step in tape.steps)
    return f"{type(tape.model).__name__} of {count} {'step' if ops else 'layer'}{'s' * (count != 1)}"
