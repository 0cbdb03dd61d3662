"""A traced batch as places: X, each layer in its order, the loss, and the penalty where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.explain.trace import Trace
from handgrad.explain.trace.steps import INPUT, Step
from handgrad.explain.trace.tape import Tape
from handgrad.explain.view import equations
from handgrad.explain.view.calls import LayerCall, layer_places, units
from handgrad.explain.view.names import formulas
from handgrad.explain.view.places import Link, Network, Place, Weight, Worked, patterns, role
from handgrad.layers import Layer
from handgrad.models import Graph
from handgrad.models.graph.patterns import COPY
from handgrad.ops.jacobians import Call, Jacobian, Reshaped, local_jacobian, total


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def network_of_trace(trace: Trace) -> Network:
    """All that the trace's batch left."""
    tape = trace.tape
    ids = _ids(tape)
    places = [_input(tape)]
    for number in range(len(tape.steps)):
        places += _step(tape, number, ids)
        ids[number] = places[-1].id
    places += _loss(tape, ids[tape.last])
    return Network(trace.title, tuple(places), tape.params, tape.gradients, trace.updates, tape.value)


def _ids(tape: Tape) -> dict[int, str]:
    """INPUT's; those of the steps are added as they are made, a gated layer's is that of its product."""
    return {INPUT: "X"}


def _place_name(tape: Tape, name: str, step: Step | None = None) -> str:
    """The id of a step's place, or of a Graph's. What is in a Graph that is the model itself lies in "model"."""
    if type(tape.model) is Graph:
        return f"model.{name}" if name else "model"
    return name or ("sum" if step is not None and step.is_sum else "model")


def _input(tape: Tape) -> Place:
    copied = (COPY,) if len(tape.consumers(INPUT)) > 1 else ()
    return Place("X", "X", "input", "data", tape.x, tape.dx, patterns=copied)


def _step(tape: Tape, number: int, ids: dict[int, str]) -> Iterator[Place]:
    step, readers = tape.steps[number], max(1, len(tape.consumers(number)))
    group = None if step.graph is None else _place_name(tape, step.graph)
    for place in _places(tape, step, ids, readers):
        yield replace(place, group=place.group or group)


def _places(tape: Tape, step: Step, ids: dict[int, str], readers: int) -> Iterator[Place]:
    if step.is_sum:
        yield _sum(tape, step, ids, readers)
        return
    if not isinstance(step.function, Layer):
        yield _op(tape, step, ids, readers)
        return
    (source,), (downstream,) = step.inputs, step.downstream or (np.zeros_like(step.operands[0]),)
    yield from layer_places(
        LayerCall(
            _place_name(tape, step.name, step),
            step.function,
            ids[source],
            step.operands[0],
            step.out,
            step.cache,
            step.dout,
            downstream,
            step.names,
            {own: tape.params[name] for own, name in step.names.items()},
            {own: step.gradients.get(name) for own, name in step.names.items()},
            readers,
            tape.train,
        )
    )


def _op(tape: Tape, step: Step, ids: dict[int, str], readers: int) -> Place:
    """An op of a Graph, with the parameters that it reads as its own."""
    op: Any = step.function
    call = Call(tuple(None if value is None else np.asarray(value) for value in step.operands), step.out, step.cache)
    shapes = [None if value is None else np.shape(value) for value in call.inputs]
    letters = [name.upper() if shape else name for name, shape in zip(op.inputs, shapes, strict=True)]

    def local(source: int | str) -> tuple[str, Jacobian]:
        places = [k for k, each in enumerate(step.sources) if each == source]
        return ", ".join(letters[k] for k in places), total(*(local_jacobian(op, call, k) for k in places))

    flows: dict[int, Any] = {}  # what is read at two places gets the sum
    for source, part in zip(step.inputs, step.downstream, strict=False):
        flows[source] = flows[source] + part if source in flows else part
    links = [
        Link(ids[source], letter, tape.output(source).shape, jacobian, flows.get(source))
        for source in dict.fromkeys(step.inputs)
        for letter, jacobian in [local(source)]
    ]
    links += [Link(ids[source], "y", tape.output(source).shape) for source in step.data if source not in step.inputs]
    weights = tuple(
        Weight(name, letter, tape.params[name].shape, jacobian, step.gradients.get(name))
        for name in step.parameters
        for letter, jacobian in [local(name)]
    )
    formula, derivative = formulas(op, letters, "Z" if np.ndim(step.out) and len(letters) > 1 else None)
    taken = [ids.get(source) if isinstance(source, int) else source for source in step.sources]
    options = {name: value for name, value in step.hyper.items() if not hasattr(value, "shape")}
    return Place(
        _place_name(tape, step.name),
        step.text,
        "loss" if isinstance(op, ops.Loss) else "op",
        role(op, bool(weights)),
        step.out,
        step.dout,
        formula=formula,
        local=derivative,
        patterns=patterns(op, readers),
        subject=None if isinstance(op, ops.Loss) else equations.of_op(op, shapes, options),
        links=tuple(links),
        weights=weights,
        cache=step.cache,
        units=units(op, step.out, closes=op.name == "relu"),
        worked=None if None in taken else Worked.elementwise(op, [name for name in taken if name]),
    )


def _sum(tape: Tape, step: Step, ids: dict[int, str], readers: int) -> Place:
    """The addition of a Residual."""
    shape = step.out.shape
    same = Reshaped(shape, shape, step.out)
    names = equations.AXES[len(shape) - 1] if len(shape) <= len(equations.AXES) else "n"
    formula, local = formulas(ops.add, ("X", "F"), "Y")
    sources = [ids[source] for source in step.inputs]
    return Place(
        _place_name(tape, step.name, step),
        "x + f(x)",
        "op",
        "sum",
        step.out,
        step.dout,
        formula=formula,
        local=local,
        patterns=patterns(ops.add, readers),
        subject=equations.Subject.of("Y = X + F", X=names, F=names),
        links=tuple(
            Link(source, letter, shape, same, step.dout) for source, letter in zip(sources, ("X", "F"), strict=True)
        ),
        worked=Worked.elementwise(ops.add, sources),
    )


def _loss(tape: Tape, scores: str) -> Iterator[Place]:
    """Targets, the loss, and the penalty with the sum of both."""
    loss: Any = tape.loss
    out, cache = loss.forward(tape.scores, tape.y, sample_weight=tape.sample_weight)
    op = getattr(loss, "op", None)
    out, y = np.asarray(out), np.asarray(tape.y)
    targets = y.dtype.kind in "biuf"  # a loss of one's own may take none, or others
    if targets:
        yield Place("y", "y", "constant", "data", y)
    jacobian = local_jacobian(op, Call((tape.scores,), out, cache)) if op is not None else None
    yield Place(
        "loss",
        type(loss).__name__,
        "loss",
        "loss",
        out,
        np.ones((), out.dtype),
        formula=getattr(op, "formula", None),
        local=getattr(op, "derivative", None),
        subject=equations.of_loss(loss) if op is not None and type(loss).__module__.startswith("handgrad.") else None,
        links=(
            Link(scores, "S", tape.scores.shape, jacobian, tape.dscores),
            *([Link("y", "y", y.shape)] if targets else []),
        ),
        cache=cache,
    )
    if tape.regularizer is not None:
        yield from _penalty(tape, out)


def _penalty(tape: Tape, loss: np.ndarray) -> Iterator[Place]:
    assert tape.regularizer is not None
    value, pulls = tape.regularizer.value_and_grad(tape.params)
    penalty, one = np.asarray(value, loss.dtype), np.ones((), loss.dtype)
    yield Place(
        "penalty",
        f"L2 {tape.regularizer.strength:g}",
        "loss",
        "loss",
        penalty,
        one,
        formula=ops.l2.formula,
        local=ops.l2.derivative,
        subject=equations.Subject.of(f"R = l2(W, strength={tape.regularizer.strength!r})", W="n_in n_out"),
        weights=tuple(
            Weight(name, "W", np.shape(pull), _l2_jacobian(tape, name, penalty), pull) for name, pull in pulls.items()
        ),
    )
    same = Reshaped((), (), loss)
    formula, local = formulas(ops.add, ("L", "R"), "J")
    yield Place(
        "total",
        "loss + penalty",
        "op",
        "sum",
        np.asarray(tape.value, loss.dtype),
        one,
        formula=formula,
        local=local,
        patterns=patterns(ops.add, 1),
        subject=equations.Subject.of("J = L + R", L="", R=""),
        links=(Link("loss", "L", (), same, one), Link("penalty", "R", (), same, one)),
        worked=Worked.elementwise(ops.add, ("loss", "penalty")),
    )


def _l2_jacobian(tape: Tape, name: str, penalty: np.ndarray) -> Any:
    assert tape.regularizer is not None
    _, cache = ops.l2.forward(tape.params[name], strength=tape.regularizer.strength)
    return local_jacobian(ops.l2, Call((tape.params[name],), penalty, cache))
