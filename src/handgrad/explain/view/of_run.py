"""A run of a graph as places: its nodes, constants left out, as they stand in the expressions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import array_api_compat
import numpy as np

from handgrad.errors import DTypeError
from handgrad.explain.view import equations
from handgrad.explain.view.calls import WIDEST, LayerCall, label, layer_places, units
from handgrad.explain.view.names import of_node
from handgrad.explain.view.places import SIGNS, Link, Network, Place, Weight, Worked, role
from handgrad.models.graph import Node, Run
from handgrad.models.graph.expression import expression
from handgrad.models.graph.nodes import CONSTANT, LAYER, OP, PARAMETER
from handgrad.models.graph.run import shown
from handgrad.ops import Loss


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def network_of_run(run: Run) -> Network:
    """All that the run left, after `backward`."""
    foreign = [node for node in run.nodes if array_api_compat.is_array_api_obj(run[node].value)]
    foreign = [node for node in foreign if not isinstance(run[node].value, np.ndarray | np.generic)]
    if foreign:
        given = type(run[foreign[0]].value).__name__
        raise DTypeError(f"what must be a run on NumPy arrays, got {given} at node {foreign[0].name!r}")
    value = np.asarray(run.value)
    places = tuple(places_of_run(run))
    names = dict.fromkeys(weight.name for place in places for weight in place.weights)  # the graph may have others
    return Network(
        f"{run.output.name} = {expression(run.output)}",
        places,
        {name: np.asarray(run.params[name]) for name in names},
        {name: np.asarray(run.gradients[name]) for name in names},
        None,
        float(value) if value.ndim == 0 else None,
    )


def places_of_run(run: Run) -> Iterator[Place]:
    """Of each node; numbers that stand in the expressions are left out."""
    ids: dict[str, str] = {}
    for node in run.nodes:
        if node.kind != CONSTANT or _is_data(run, node):
            for place in _places(run, node, ids):
                yield place
            ids[node.name] = place.id


def _is_data(run: Run, constant: Node) -> bool:
    """Whether it is an array that is read: numbers, and shapes and axes, stand in the labels."""
    value = run[constant].value
    return not isinstance(value, tuple) and np.ndim(value) > 0 and np.asarray(value).dtype.kind in "biuf"


def _places(run: Run, node: Node, ids: dict[str, str]) -> Iterator[Place]:
    at = run[node]
    value = np.asarray(at.value)
    gradient = None if at.gradient is None else np.asarray(at.gradient)
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
            np.asarray(run[source].value),
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
    op, text = node.op, expression(node, WIDEST)[: 2 * WIDEST]
    links: list[Link] = []  # without letters: the op's x and y may be the names of other nodes
    moving = {run.graph.nodes[i].name for i in run._moving(node.index)}
    for source in run.reads(node):
        if source.name not in ids:
            continue
        shape = np.shape(run[source].value)
        if source.name in moving:
            edge = run.edge(source, node)
            links.append(Link(ids[source.name], None, shape, edge.jacobian, edge.downstream))
        else:
            links.append(Link(ids[source.name], None, shape))
    shapes = [None if arg is None else np.shape(run[arg].value) for arg in node.args[: len(op.inputs)]]
    kind = "loss" if isinstance(op, Loss) else "op"
    formula, local = of_node(node)
    taken = [None if arg is None else ids.get(arg.name) for arg in node.args]
    return Place(
        node.name,
        f"{node.name} = {text}" if node.expressed else text,
        kind,
        role(op),
        value,
        gradient,
        formula=formula,
        local=local,
        patterns=found,
        subject=None if kind == "loss" else equations.of_op(op, shapes, node.hyper),
        links=tuple(links),
        cache=run._caches[node.index],
        numbers=_numbers(run, node) if not any(shapes) and value.ndim == 0 else None,
        units=units(op, value, closes=op.name == "relu"),
        worked=None if None in taken else Worked.elementwise(op, [name for name in taken if name]),
    )


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
