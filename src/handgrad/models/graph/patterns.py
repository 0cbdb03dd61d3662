"""The patterns of gradient flow: what each op does to the gradient that passes it, in a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handgrad.models.graph.nodes import Node
from handgrad.models.graph.plan import Plan
from handgrad.ops.arithmetic import Binary

COPY = "copy adds"  # a value read in several places: the gradients of all of them add
STRETCH = "broadcast adds"  # a value stretched to a larger shape, such as a bias over a batch: it is a copy, too
PATTERNS = {
    "add": "add distributes",  # both inputs receive the upstream gradient
    "subtract": "subtract distributes, the second turned",
    "multiply": "multiply swaps",  # each input receives the upstream gradient times the other
    "divide": "divide swaps",
    "matmul": "matmul swaps",  # the other factor, transposed, on its own side
    "linear": "matmul swaps",
    "maximum": "max routes",  # the upstream gradient goes to the larger alone
    "max": "max routes",
    "relu": "max routes",
    "sum": "sum copies",  # each element receives the upstream gradient
    "mean": "mean shares",
    "reshape": "reshape turns back",
    "negative": "negative turns",
    "dropout": "dropout routes",
}


def patterns(node: Node, readers: int, stretched: bool) -> tuple[str, ...]:
    """What happens to the gradient at a node that so many places read: by its op, by copying and by broadcasting."""
    own = PATTERNS.get(getattr(node.op, "name", ""))
    named = {own: own is not None, COPY: readers > 1, STRETCH: stretched}
    return tuple(pattern for pattern, here in named.items() if pattern and here)


def stretched(nodes: Sequence[Node], plan: Plan, values: Mapping[int, Any]) -> frozenset[int]:
    """The numbers of the nodes that an op on pairs of elements broadcasts to a larger shape."""
    return frozenset(
        source
        for i in plan.order
        if isinstance(nodes[i].function, Binary)
        for source in plan.args[i]
        if np.shape(values[source]) != np.shape(values[i])
    )
