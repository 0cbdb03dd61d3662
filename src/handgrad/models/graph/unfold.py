"""A model of containers as one graph: a node for each layer within, parameters under the names they have."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import handgrad.ops as ops
from handgrad.errors import DTypeError
from handgrad.layers.base import Layer
from handgrad.models.graph.nodes import CONSTANT, INPUT, PARAMETER, Node
from handgrad.models.residual import Residual
from handgrad.models.sequential import Sequential

if TYPE_CHECKING:
    from handgrad.models.graph.graph import Graph


def unfold(graph: Graph, model: Layer) -> Graph:
    """Put the model's layers into an empty graph, after an input "x", and make the last its output."""
    if not isinstance(model, Layer):
        raise DTypeError(f"model must be a Layer, such as Sequential([...]), got {type(model).__name__}")
    made: dict[Hashable, Node] = {}  # parameters that ops read, by their key: a graph placed twice has one set
    name = "x"
    if isinstance(model, type(graph)):  # its nodes keep their names
        others = {node.name for node in model.nodes if node.kind != INPUT}
        name = model._only_input().name if name in others else name
    elif not isinstance(model, Sequential | Residual):
        kind = type(model).__name__
        graph._bare = kind if kind.lower() == name else kind.lower()
    out = _add(graph, model, graph.input(name), graph._bare or "", made)
    graph.output(out)
    return graph


def _add(graph: Graph, model: Layer, x: Node, place: str, made: dict[Hashable, Node]) -> Node:
    def at(name: str) -> str:
        return f"{place}.{name}" if place else name

    if type(model) is Sequential:
        for name, layer in model.children().items():
            x = _add(graph, layer, x, at(name), made)
        return x
    if type(model) is Residual:
        return graph.apply(ops.add, x, _add(graph, model.layer, x, at("layer"), made), name=place or "sum")
    if isinstance(model, type(graph)):
        return _copied(graph, model, x, at, made)
    node = graph.apply(model, x, name=place)
    node.expressed = False
    return node


def _copied(graph: Graph, inner: Graph, x: Node, at: Any, made: dict[Hashable, Node]) -> Node:
    """The nodes of a graph within, read from x on."""
    copies: dict[int, Node] = {}
    keys = inner.parameter_keys()
    for i in inner._plan(inner.sink.index).order:
        node = inner.nodes[i]
        if node.kind == INPUT:
            copies[i] = x
        elif node.kind == CONSTANT:
            copies[i] = graph._add(CONSTANT, at(node.name), value=node.value)
        elif node.kind == PARAMETER:
            key, spec = keys[node.name], node.value
            if key not in made:
                made[key] = graph.parameter(at(node.name), spec.shape, spec.init, spec.decays)
            copies[i] = made[key]
        else:
            args = [None if a is None else copies[a] for a in node._args]
            keywords = {key: copies[a] for key, a in node._keywords.items()}
            copies[i] = graph.apply(node.function, *args, name=at(node.name), **keywords, **node.hyper)
            copies[i].expressed = False
    return copies[inner.sink.index]
