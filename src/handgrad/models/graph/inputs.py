"""The inputs of one run: each given that the output needs, none that is unknown, and all of them arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from handgrad.errors import DTypeError, ValueRangeError
from handgrad.models.graph.expression import marked, shortened
from handgrad.models.graph.nodes import INPUT, LAYER, Node
from handgrad.models.graph.plan import Plan
from handgrad.ops.arrays import Array, namespace_of, operand

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
        if node.index not in moved and (value is None or isinstance(value, list | tuple)):
            given[node.name] = None if value is None else np.asarray(value)  # such as weights that are left out
        else:
            whole = isinstance(value, np.integer | np.bool_)  # a number, as Python's 3 is
            given[node.name] = number_or_array(value.item() if whole else value, f"input {node.name!r}")
    return given


def number_or_array(value: Any, what: str, like: Array | None = None) -> Array:
    """A number or a list as a float64 array, or one of the kind of `like`; an array as it is.

    Raises DTypeError, which says `what` it is, for anything that is neither.
    """
    try:
        if like is not None and isinstance(value, list | tuple):
            device = array_api_compat.device(like)
            found = namespace_of(like=like).asarray(value, dtype=like.dtype, device=device)
        else:
            found = np.asarray(value) if isinstance(value, complex) and like is None else operand(value, like)
    except (TypeError, ValueError, OverflowError):
        found = None
    if (
        value is None
        or isinstance(value, str | bytes)
        or found is None
        or getattr(found.dtype, "kind", "f") not in "biufcV"
    ):
        given = f"the node {value!r}" if isinstance(value, Node) else shortened(repr(value))
        raise DTypeError(f"{what} must be given as a number or an array, got {given}")
    return found


def _moving(node: Node) -> int:
    """How many of a node's arguments have a gradient; those after them are data."""
    return 1 if node.kind == LAYER else len(getattr(node.function, "inputs", ()))


def listed(names: Iterable[str]) -> str:
    """The names, the first ten of many."""
    names = list(names)
    shown = ", ".join(map(repr, names[:10]))
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown or "none"
