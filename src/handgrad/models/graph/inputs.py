"""The inputs of one run: each given that the output needs, none that is unknown, and all of them arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from handgrad.errors import DTypeError, ValueRangeError
from handgrad.models.graph.expression import marked
from handgrad.models.graph.nodes import INPUT, LAYER, Node
from handgrad.models.graph.plan import Plan
from handgrad.ops.arrays import operand

if TYPE_CHECKING:
    from handgrad.models.graph.graph import Graph


def given_inputs(graph: Graph, plan: Plan, inputs: dict[str, Any]) -> dict[str, Any]:
    """Numbers and lists as float64 arrays, but lists that are data alone, such as labels, as they are."""
    names = [node.name for node in graph.nodes if node.kind == INPUT]
    for name in inputs:
        if name not in names:
            raise ValueRangeError(f"run was given {name!r}, which is no input; the graph has {listed(names)}")
    moved = {source for i in plan.order for source in plan.args[i][: _moving(graph.nodes[i])]}
    given = {}
    for node in (graph.nodes[i] for i in plan.order if graph.nodes[i].kind == INPUT):
        if node.name not in inputs:
            where = marked(graph.nodes[plan.output], node).replace("\n", "\n    ")
            raise ValueRangeError(f"run needs a value for input {node.name!r}; given: {listed(inputs)}\n    {where}")
        value = inputs[node.name]
        if isinstance(value, Node):
            raise DTypeError(f"input {node.name!r} must be given as a number or an array, got the node {value!r}")
        data = node.index not in moved and isinstance(value, list | tuple)
        given[node.name] = np.asarray(value) if data else operand(value)
    return given


def _moving(node: Node) -> int:
    """How many of a node's arguments have a gradient; those after them are data."""
    return 1 if node.kind == LAYER else len(getattr(node.function, "inputs", ()))


def listed(names: Iterable[str]) -> str:
    """The names, the first ten of many."""
    names = list(names)
    shown = ", ".join(map(repr, names[:10]))
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown or "none"
