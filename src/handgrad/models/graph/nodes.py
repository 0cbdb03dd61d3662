"""A node of a graph: an input, a constant, a parameter, or an op or layer called on other nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import handgrad.ops as ops

if TYPE_CHECKING:
    from handgrad.models.graph.graph import Graph

INPUT, CONSTANT, PARAMETER, OP, LAYER = "input", "constant", "parameter", "op", "layer"


class Node:
    """One value of a graph. Operators, ops and layers on nodes make new nodes: (x + y) * z, ops.sigmoid(x), layer(x).

    name: what the graph calls it, "x", "multiply1" or the name that `named` gave. kind: "input", "constant",
    "parameter", "op" or "layer". function: the op or layer, None for the others. args: the nodes it is called on, in
    the order of the function's arguments, None for one that was left out. hyper: its keyword arguments.
    value: of a constant, the number or array itself.
    """

    __slots__ = ("_args", "_keywords", "expressed", "function", "graph", "hyper", "index", "kind", "name", "value")
    __array_ufunc__ = None  # NumPy leaves array + node to the node

    def __init__(self, graph: Graph, index: int, kind: str, name: str, function: Any = None, value: Any = None):
        self.graph, self.index, self.kind, self.name = graph, index, kind, name
        self.function, self.value = function, value
        self.expressed = False  # whether an expression writes the node's name, not what it is made of
        # by number, not by reference: a graph of any depth can be copied and pickled without recursion
        self._args: tuple[int | None, ...] = ()
        self._keywords: dict[str, int] = {}  # nodes given by keyword: data without a gradient
        self.hyper: Mapping[str, Any] = {}

    @property
    def state(self) -> tuple[Any, ...]:
        """All but the graph and the number, by which copies and pickles of a graph hold their nodes."""
        function = (self.function, self._args, self._keywords, self.hyper)
        return (self.kind, self.name, self.value, self.expressed, *function)

    @classmethod
    def from_state(cls, graph: Graph, index: int, state: tuple[Any, ...]) -> Node:
        """The node that `state` is of."""
        kind, name, value, expressed, function, args, keywords, hyper = state
        node = cls(graph, index, kind, name, function, value)
        node.expressed, node.hyper = expressed, dict(hyper)
        node._args, node._keywords = tuple(args), dict(keywords)
        return node

    def __reduce__(self) -> tuple[Any, ...]:
        return _node_of, (self.graph, self.index)  # a copy is a node of the graph's copy

    @property
    def args(self) -> tuple[Node | None, ...]:
        """The nodes this one is called on."""
        return tuple(None if i is None else self.graph.nodes[i] for i in self._args)

    @property
    def sources(self) -> tuple[int, ...]:
        """The numbers of all nodes this one reads."""
        return (*(i for i in self._args if i is not None), *self._keywords.values())

    @property
    def op(self) -> Any:
        """The op that runs here: the function itself, or the one that the layer binds; None where there is none."""
        return self.function if self.kind == OP else getattr(self.function, "op", None)

    def named(self, name: str) -> Node:
        """Call the node so, in errors, in `run[name]` and in expressions. Returns the node itself."""
        return self.graph.rename(self, name)

    def __handgrad_call__(self, function: Any, *args: Any, **hyper: Any) -> Node:
        """What an op or a layer called on a node does."""
        return self.graph.apply(function, *args, **hyper)

    def __add__(self, other: Any) -> Node:
        return self.graph.apply(ops.add, self, other)

    def __radd__(self, other: Any) -> Node:
        return self.graph.apply(ops.add, other, self)

    def __sub__(self, other: Any) -> Node:
        return self.graph.apply(ops.subtract, self, other)

    def __rsub__(self, other: Any) -> Node:
        return self.graph.apply(ops.subtract, other, self)

    def __mul__(self, other: Any) -> Node:
        return self.graph.apply(ops.multiply, self, other)

    def __rmul__(self, other: Any) -> Node:
        return self.graph.apply(ops.multiply, other, self)

    def __truediv__(self, other: Any) -> Node:
        return self.graph.apply(ops.divide, self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return self.graph.apply(ops.divide, other, self)

    def __pow__(self, other: Any) -> Node:
        return self.graph.apply(ops.power, self, other)

    def __rpow__(self, other: Any) -> Node:
        return self.graph.apply(ops.power, other, self)

    def __matmul__(self, other: Any) -> Node:
        return self.graph.apply(ops.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Node:
        return self.graph.apply(ops.matmul, other, self)

    def __neg__(self) -> Node:
        return self.graph.apply(ops.negative, self)

    def __str__(self) -> str:
        from handgrad.models.graph.expression import expression

        return expression(self)

    def __repr__(self) -> str:
        text = str(self)
        return f"<{self.kind} {self.name!r}{'' if text == self.name else ': ' + text}>"


def _node_of(graph: Graph, index: int) -> Node:
    return graph.nodes[index]
