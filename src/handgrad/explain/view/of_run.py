"""A run of a graph as places: its nodes, constants left out, as they stand in the expressions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from handgrad.explain.trace.tape import to_numpy
from handgrad.explain.view import equations
from handgrad.explain.view.calls import WIDEST, LayerCall, label, layer_places, units
from handgrad.explain.view.places import Link, Network, Place, Weight, role
from handgrad.models.graph import Node, Run
from handgrad.models.graph.expression import expression
from handgrad.models.graph.nodes import CONSTANT, LAYER, OP, PARAMETER
from handgrad.models.graph.run import shown
from handgrad.ops import Loss

SIGNS = {"add": "+", "subtract": "-", "multiply": "·", "divide": "/", "matmul": "@"}


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def network_of_run(run: Run) -> Network:
    """All that the run left, after `backward`."""
    ids: dict[str, str] = {}
    places: list[Place] = []
    for node in run.nodes:
        if node.kind == CONSTANT and not _is_data(run, node):
            continue
        places += _places(run, node, ids)
        ids[node.name] = places[-1].id
    value = _array(run.value)
    names = [name for name, gradient in run.gradients.items() if gradient is not None]
    return Network(
        f"{run.output.name} = {expression(run.output)}",
        tuple(places),
        {name: _array(run.params[name]) for name in names},
        {name: _array(run.gradients[name]) for name in names},
        None,
        float(value) if value.ndim == 0 else None,
    )


def _is_data(run: Run, constant: Node) -> bool:
    """Whether it is an array that is read: numbers stand in the labels."""
    value = np.asarray(run[constant].value)
    return value.ndim > 0 and value.dtype.kind in "biuf"


def _array(value: Any) -> np.ndarray:
    return np.asarray(to_numpy(value))


def _places(run: Run, node: Node, ids: dict[str, str]) -> Iterator[Place]:
    at = run[node]
    value = _array(at.value)
    gradient = None if at.gradient is None else _array(at.gradient)
    if node.kind == LAYER and gradient is not None:
        yield from _layer(run, node, ids, value, gradient)
    elif node.kind == LAYER:  # what it gives is read as data alone
        yield Place(node.name, label(node.function), "layer", "plain", value)
    elif node.kind == OP:
        yield _op(run, node, ids, value, gradient, at.patterns)
    else:
        own = (Weight(node.name, node.name, value.shape),) if node.kind == PARAMETER else ()
        kind = "weights" if own else "data"
        yield Place(node.name, node.name, node.kind, kind, value, gradient, patterns=at.patterns, weights=own)


def _layer(run: Run, node: Node, ids: dict[str, str], value: Any, gradient: Any) -> Iterator[Place]:
    source = run.reads(node)[0]
    names = run.graph._names[node.name]
    cache = run._caches[node.index]
    grads = node.function.backward(gradient, cache)[1]
    yield from layer_places(
        LayerCall(
            node.name,
            node.function,
            ids[source.name],
            _array(run[source].value),
            value,
            cache,
            gradient,
            run.edge(source, node).downstream,
            names,
            {own: run.params[name] for own, name in names.items()},
            grads,
            run._plan.readers[node.index],
            True,
        )
    )


def _op(run: Run, node: Node, ids: dict[str, str], value: Any, gradient: Any, found: tuple[str, ...]) -> Place:
    op, links = node.op, []
    moving = {run.graph.nodes[i].name for i in run._moving(node.index)}
    letters = _letters(run, node)
    for source in run.reads(node):
        if source.name not in ids:
            continue
        shape = np.shape(run[source].value)
        if source.name in moving:
            edge = run.edge(source, node)
            links.append(Link(ids[source.name], letters.get(source.name), shape, edge.jacobian, edge.downstream))
        else:
            links.append(Link(ids[source.name], letters.get(source.name), shape))
    shapes = [None if arg is None else np.shape(run[arg].value) for arg in node.args[: len(op.inputs)]]
    kind = "loss" if isinstance(op, Loss) else "op"
    return Place(
        node.name,
        expression(node, WIDEST)[: 2 * WIDEST],
        kind,
        role(op),
        value,
        gradient,
        formula=op.formula,
        local=op.derivative,
        patterns=found,
        subject=None if kind == "loss" else equations.of_op(op, shapes, node.hyper),
        links=tuple(links),
        cache=run._caches[node.index],
        numbers=_numbers(run, node) if not any(shapes) and value.ndim == 0 else None,
        units=units(op, value, closes=op.name == "relu"),
    )


def _letters(run: Run, node: Node) -> dict[str, str]:
    """What the op calls each node it reads; both letters where it reads one twice."""
    found: dict[str, str] = {}
    for letter, arg in zip((*node.op.inputs, "y"), node.args, strict=False):
        if arg is not None:
            name = "S" if letter == "scores" else letter.upper() if np.ndim(run[arg].value) else letter
            found[arg.name] = f"{found[arg.name]}, {name}" if arg.name in found else name
    return found


def _numbers(run: Run, node: Node) -> str | None:
    """The formula with numbers in it: -2 + 5 = 3."""
    given = [shown(run[arg].value) for arg in node.args if arg is not None]
    name = node.op.name
    if name in SIGNS:
        first, second = given
        text = f"{first} {SIGNS[name]} {f'({second})' if second.startswith('-') else second}"
    elif name == "negative":
        text = f"-({given[0]})"
    elif name == "power":
        text = f"({given[0]})^{given[1]}"
    else:
        text = f"{name}({', '.join(given)})"
    return f"{text} = {shown(run[node].value)}"
