"""A traced batch as places: X, each layer in its order, the loss, and the penalty where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.explain.trace import Trace
from handgrad.explain.trace.tape import INPUT, Step, Tape
from handgrad.explain.view import equations
from handgrad.explain.view.calls import LayerCall, layer_places
from handgrad.explain.view.of_run import places_of_run
from handgrad.explain.view.places import Link, Network, Place, Weight, patterns
from handgrad.layers import Dropout
from handgrad.models import Graph
from handgrad.models.graph.nodes import INPUT as NODE_INPUT
from handgrad.models.graph.patterns import COPY
from handgrad.ops.jacobians import Call, Reshaped, local_jacobian


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def network_of_trace(trace: Trace) -> Network:
    """All that the trace's batch left."""
    tape = trace.tape
    ids = _ids(tape)
    places = [_input(tape)]
    for number in range(len(tape.steps)):
        places += _step(tape, number, ids)
        ids[number] = places[-1].id
    places += _loss(tape, ids.get(len(tape.steps) - 1, "X"))
    return Network(trace.title, tuple(places), tape.params, tape.gradients, trace.updates, tape.value)


def _ids(tape: Tape) -> dict[int, str]:
    """INPUT's; those of the steps are added as they are made, a gated layer's is that of its product."""
    return {INPUT: "X"}


def _place_name(step: Step) -> str:
    return step.name or ("sum" if step.is_sum else "model")


def _input(tape: Tape) -> Place:
    copied = (COPY,) if len(tape.consumers(INPUT)) > 1 else ()
    return Place("X", "X", "input", "data", tape.x, tape.dx, patterns=copied)


def _step(tape: Tape, number: int, ids: dict[int, str]) -> Iterator[Place]:
    step, readers = tape.steps[number], max(1, len(tape.consumers(number)))
    if step.is_sum:
        yield _sum(tape, step, ids, readers)
        return
    source = step.inputs[0]
    if isinstance(step.layer, Graph) and not (tape.train and _draws(step.layer)):
        yield from _graph(tape, step, ids[source])
        return
    if len(tape.consumers(source)) == 1:
        downstream = tape.dx if source == INPUT else tape.steps[source].dout
    else:
        downstream = step.layer.backward(step.dout, step.cache)[0]
    yield from layer_places(
        LayerCall(
            _place_name(step),
            step.layer,
            ids[source],
            tape.output(source),
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


def _graph(tape: Tape, step: Step, source: str) -> Iterator[Place]:
    """A Graph within the model, opened: run once more, which gives the same, since nothing in it is drawn."""
    graph: Any = step.layer
    (entry,) = (node.name for node in graph.nodes if node.kind == NODE_INPUT)
    params = {own: tape.params[name] for own, name in step.names.items()}
    run = graph.run(graph.sink, params, **{entry: tape.output(step.inputs[0])}).backward(step.dout)
    place = _place_name(step)

    def new(name: str) -> str:
        return source if name == entry else f"{place}.{name}"

    for each in places_of_run(run):
        if each.id != entry:
            yield replace(
                each,
                id=new(each.id),
                group=new(each.group) if each.group else place,
                links=tuple(replace(link, source=new(link.source)) for link in each.links),
                weights=tuple(replace(weight, name=step.names[weight.name]) for weight in each.weights),
            )


def _draws(graph: Graph) -> bool:
    """Whether a Dropout may stand in the graph, which draws anew each time it runs in training."""
    return any(isinstance(layer, Dropout) or hasattr(layer, "children") for layer in graph.children().values())


def _sum(tape: Tape, step: Step, ids: dict[int, str], readers: int) -> Place:
    """The addition of a Residual."""
    shape = step.out.shape
    same = Reshaped(shape, shape, step.out)
    names = equations.AXES[len(shape) - 1] if len(shape) <= len(equations.AXES) else "n"
    return Place(
        _place_name(step),
        "x + f(x)",
        "op",
        "sum",
        step.out,
        step.dout,
        formula="Y = X + F",
        local=ops.add.derivative,
        patterns=patterns(ops.add, readers),
        subject=equations.Subject.of("Y = X + F", X=names, F=names),
        links=tuple(
            Link(ids[source], letter, shape, same, step.dout)
            for source, letter in zip(step.inputs, ("X", "F"), strict=True)
        ),
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
    yield Place(
        "total",
        "loss + penalty",
        "op",
        "sum",
        np.asarray(tape.value, loss.dtype),
        one,
        formula=ops.add.formula,
        local=ops.add.derivative,
        patterns=patterns(ops.add, 1),
        links=(Link("loss", "x", (), same, one), Link("penalty", "y", (), same, one)),
    )


def _l2_jacobian(tape: Tape, name: str, penalty: np.ndarray) -> Any:
    assert tape.regularizer is not None
    _, cache = ops.l2.forward(tape.params[name], strength=tape.regularizer.strength)
    return local_jacobian(ops.l2, Call((tape.params[name],), penalty, cache))
