"""The patterns of gradient flow: what each op does to the gradient that passes it, in a word."""

from __future__ import annotations

from handgrad.models.graph.nodes import Node

COPY = "copy adds"  # a value read in several places: the gradients of all of them add
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


def patterns(node: Node, readers: int) -> tuple[str, ...]:
    """What happens to the gradient at a node that so many places read: by its own op, and by the copying."""
    own = PATTERNS.get(getattr(node.op, "name", ""))
    return (*((own,) if own else ()), *((COPY,) if readers > 1 else ()))
