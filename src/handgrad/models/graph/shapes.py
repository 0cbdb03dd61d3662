"""The shape of a graph's output from that of its input, before any data: layers say theirs, ops are asked by zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from handgrad.errors import HandgradError, ShapeError
from handgrad.layers.base import Shape
from handgrad.models.graph.nodes import CONSTANT, INPUT, OP, PARAMETER, Node
from handgrad.models.graph.passes import placed
from handgrad.models.graph.plan import Plan
from handgrad.ops.base import Elementwise

if TYPE_CHECKING:
    from handgrad.models.graph.graph import Graph

BATCHES = (2, 3)  # an axis that has these lengths in two runs is the batch


def output_shape(graph: Graph, plan: Plan, shape: Shape) -> Shape:
    """As Layer.output_shape. What ops do is found by running them on zeros, two rows and three."""
    if shape is None or ... in shape:
        return _symbolic(graph, plan, shape)
    known: dict[int, Any] = {}  # the shapes of the node's value for each size of batch; None where not known
    for i in plan.order:
        node = graph.nodes[i]
        if node.kind == INPUT:
            known[i] = [(m, *shape) for m in BATCHES]
        elif node.kind == PARAMETER:
            known[i] = [node.value.shape] * 2
        elif node.kind == CONSTANT:
            known[i] = [None, None]  # its value itself
        elif any(known[source] is None for source in node.sources):
            known[i] = None
        else:
            try:
                known[i] = _of_op(node, known) if node.kind == OP else _of_layer(node, known)
            except ShapeError as error:
                zeros = {
                    s: np.broadcast_to(0.0, known[s][0]) for s in node.sources if known[s] and known[s][0] is not None
                }
                raise placed(error, graph.nodes[plan.output], node, zeros) from error.__cause__
            except HandgradError:  # zeros are no data that this op takes
                known[i] = None
    found = known[plan.output]
    if found is None:
        return None
    if any(len(each) == 0 or each[0] != m for each, m in zip(found, BATCHES, strict=True)):
        raise ShapeError(
            f"a Graph that serves as a layer gives one row a sample, but {graph.nodes[plan.output].name!r} has shape "
            f"{found[0]} for {BATCHES[0]} samples"
        )
    return tuple(found[0][1:])


def _of_layer(node: Node, known: dict[int, Any]) -> Any:
    inside = known[node.sources[0]]
    if any(each is None or len(each) == 0 for each in inside):
        return None
    outs = [node.function.output_shape(tuple(each[1:])) for each in inside]
    if any(out is None or ... in out for out in outs):
        return None
    return [(each[0], *out) for each, out in zip(inside, outs, strict=True)]


def _of_op(node: Node, known: dict[int, Any]) -> Any:
    if isinstance(node.function, Elementwise) and known[node.sources[0]][0] is not None:
        return known[node.sources[0]]
    outs = []
    for k in range(len(BATCHES)):

        def zeros(source: int, k: int = k) -> Any:
            given = node.graph.nodes[source]
            return given.value if given.kind == CONSTANT else np.zeros(known[source][k])

        keywords = {key: zeros(source) for key, source in node._keywords.items()}
        args = [None if source is None else zeros(source) for source in node._args]
        with np.errstate(all="ignore"):
            outs.append(np.shape(node.function.forward(*args, **keywords, **node.hyper)[0]))
    return outs


def _symbolic(graph: Graph, plan: Plan, shape: Shape) -> Shape:
    """While the input's shape is not known, or not whole: what layers and elementwise ops can tell."""
    known: dict[int, Shape] = {}
    for i in plan.order:
        node = graph.nodes[i]
        if node.kind == INPUT:
            known[i] = shape
        elif node.kind == OP and isinstance(node.function, Elementwise):
            known[i] = known[node.sources[0]]
        elif node.kind in (OP, CONSTANT, PARAMETER):
            known[i] = None
        else:
            try:
                known[i] = node.function.output_shape(known[node.sources[0]])
            except HandgradError as error:
                raise placed(error, graph.nodes[plan.output], node, {}) from error.__cause__
    return known[plan.output]
