"""One run of a graph: every node's value and gradient, and what flows along every edge."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from handgrad.errors import HandgradError, ShapeError, ValueRangeError
from handgrad.layers.base import Gradients
from handgrad.layers.jacobians import layer_jacobian
from handgrad.models.graph.expression import expression
from handgrad.models.graph.inputs import number_or_array
from handgrad.models.graph.nodes import CONSTANT, LAYER, OP, Node
from handgrad.models.graph.passes import backward_pass, layer_backward
from handgrad.models.graph.patterns import patterns, stretched
from handgrad.models.graph.plan import Plan
from handgrad.ops.arrays import Array, operand
from handgrad.ops.base import Cache
from handgrad.ops.jacobians import Call, Jacobian, local_jacobian, total

if TYPE_CHECKING:
    from handgrad.models.graph.graph import Graph

SMALL = 10_000  # numbers of a Jacobian up to which an edge forms it
SHOWN = 40  # nodes of a table


class Run:
    """What one forward pass left, and after `backward` the gradients of the output by everything.

    run[node].value, run[node].gradient     of a node, or by its name; .patterns names how gradients flow there
    run.edge(source, target)                .upstream, .local and .downstream
    run.gradients                           by the parameters, as the layers' names have them
    """

    def __init__(
        self, graph: Graph, plan: Plan, values: dict[int, Any], caches: dict[int, Cache], params: Mapping[str, Array]
    ):
        self.graph, self.params = graph, params
        self._plan, self._values, self._caches = plan, values, caches
        self._args = plan.args
        self._gradients: dict[int, Any] | None = None
        self._passed: dict[int, Sequence[Any]] = {}
        self._of_params: Gradients = {}

    @property
    def output(self) -> Node:
        """The node this run went to."""
        return self.graph.nodes[self._plan.output]

    @property
    def value(self) -> Any:
        """The output's value."""
        return _number(self._values[self._plan.output])

    def backward(self, dout: Any = None) -> Run:
        """Take the gradient of the output by every node, in reverse order; returns the run itself.

        dout: the upstream gradient of the output, in its shape, which a single number does not need. It may be called
        again, with another one. Raises ShapeError for one that is missing or does not fit.
        """
        value = operand(self.value)
        if dout is None:
            if value.shape != ():
                raise ShapeError(
                    f"the output {self.output.name!r} has shape {tuple(value.shape)}, no single number: "
                    "backward needs dout, an upstream gradient of that shape"
                )
            dout = 1.0
        dout = number_or_array(dout, "dout", value)
        if tuple(dout.shape) != tuple(value.shape):
            raise ShapeError(
                f"dout must have the shape of the output {self.output.name!r}, {tuple(value.shape)}, "
                f"got {tuple(dout.shape)}"
            )
        found = backward_pass(self.graph, self._plan, self._caches, dout, layer_backward)
        self._gradients, self._passed, self._of_params = found
        return self

    @property
    def gradients(self) -> Gradients:
        """The gradients by the parameters; zeros for those the output does not depend on."""
        self._after_backward()
        zeros = {
            name: array_api_compat.array_namespace(self.params[name]).zeros_like(self.params[name])
            for name, gradient in self._of_params.items()
            if gradient is None and name in self.params
        }
        return {**self._of_params, **zeros}

    def __getitem__(self, node: Node | str) -> At:
        """Value, gradient and patterns of a node, which is given itself or by its name."""
        return At(self, self._known(node))

    def edge(self, source: Node | str, target: Node | str) -> Edge:
        """The edge from one node to another that reads it. Raises ValueRangeError where there is none."""
        start, end = self._known(source), self._known(target)
        if start.index not in self._args[end.index]:
            reads = ", ".join(repr(self.graph.nodes[i].name) for i in self._args[end.index] if i is not None)
            raise ValueRangeError(
                f"there is no edge from {start.name!r} to {end.name!r}, which reads {reads or 'nothing'}"
            )
        return Edge(self, start, end)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that ran, each after what it reads; the output is the last."""
        return tuple(self.graph.nodes[i] for i in self._plan.order)

    @property
    def went_back(self) -> bool:
        """Whether `backward` was called, so that there are gradients."""
        return self._gradients is not None

    def reads(self, node: Node | str) -> tuple[Node, ...]:
        """The nodes that this one read in the run, each once, labels and other data among them."""
        found = self._known(node)
        sources = (*self._args[found.index], *found._keywords.values())
        return tuple(self.graph.nodes[i] for i in dict.fromkeys(sources) if i is not None)

    @functools.cached_property
    def _stretched(self) -> frozenset[int]:
        return stretched(self.graph.nodes, self._plan, self._values)

    @property
    def edges(self) -> Iterator[Edge]:
        """All edges along which a gradient flows, in the order of the run."""
        for i in self._plan.order:
            for source in dict.fromkeys(self._moving(i)):
                yield Edge(self, self.graph.nodes[source], self.graph.nodes[i])

    def _moving(self, target: int) -> list[int]:
        """The arguments of a node that have a gradient, one for each place."""
        node = self.graph.nodes[target]
        if node.kind not in (OP, LAYER):
            return []
        count = len(node.function.inputs) if node.kind == OP else 1
        return [source for source in self._args[target][:count] if source is not None]

    def _known(self, node: Node | str) -> Node:
        found = self.graph[node]
        if found.index not in self._values:
            raise ValueRangeError(f"{found!r} is not among what the output {self.output.name!r} was made of")
        return found

    def _after_backward(self) -> dict[int, Any]:
        if self._gradients is None:
            raise HandgradError("there are no gradients yet: call run.backward() first")
        return self._gradients

    def _local(self, source: Node, target: Node) -> Jacobian:
        places = [k for k, i in enumerate(self._moving(target.index)) if i == source.index]
        if not places:
            raise ValueRangeError(f"{source.name!r} is data to {target!r}, which has no derivative by it")
        cache, out = self._caches[target.index], operand(self._values[target.index])
        args = self._args[target.index]
        if target.kind == LAYER:
            own = self.graph._params_of(self.params, target.name)
            return layer_jacobian(target.function, own, self._values[source.index], out, cache)
        inputs = tuple(None if i is None else self._values[i] for i in args[: len(target.function.inputs)])
        inputs += (None,) * (len(target.function.inputs) - len(inputs))
        places = [k for k, i in enumerate(args[: len(inputs)]) if i == source.index]
        return total(*(local_jacobian(target.function, Call(inputs, out, cache), k) for k in places))

    def __repr__(self) -> str:
        """A table of the nodes: name, expression, value, gradient, pattern."""
        gradients = self._gradients or {}
        rows = [("node", "is", "value", "gradient", "pattern")]
        for i in self._plan.order[-SHOWN:]:
            node = self.graph.nodes[i]
            if node.kind == CONSTANT:
                continue
            text = node.kind if node.kind not in (OP, LAYER) else expression(node)
            rows.append(
                (node.name, text, shown(self._values[i]), shown(gradients.get(i)), ", ".join(self[node].patterns))
            )
        widths = [max(len(row[k]) for row in rows) for k in range(5)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        left_out = len(self._plan.order) - SHOWN
        return "\n".join(lines if left_out <= 0 else [lines[0], f"... {left_out} nodes before these", *lines[1:]])


@dataclass(frozen=True, repr=False)
class At:
    """What a run has at one node."""

    run: Run
    node: Node

    @property
    def value(self) -> Any:
        """What forward made there."""
        return _number(self.run._values[self.node.index])

    @property
    def gradient(self) -> Any:
        """Of the output by this node, in the node's shape: the sum over all edges out; None for labels."""
        return _number(self.run._after_backward().get(self.node.index))

    @property
    def patterns(self) -> tuple[str, ...]:
        """How gradients flow here: "add distributes", "multiply swaps", "copy adds", "max routes" and others."""
        index = self.node.index
        return patterns(self.node, self.run._plan.readers[index], index in self.run._stretched)

    def __repr__(self) -> str:
        gradients = self.run._gradients
        after = "" if gradients is None else f", gradient {shown(gradients.get(self.node.index))}"
        return f"{self.node.name}: value {shown(self.value)}{after}"


@dataclass(frozen=True, repr=False)
class Edge:
    """One edge of a run. Where the target reads the source in several places, it stands for all of them."""

    run: Run
    source: Node
    target: Node

    @property
    def upstream(self) -> Any:
        """The gradient of the output by the target."""
        return _number(self.run._after_backward().get(self.target.index))

    @property
    def local(self) -> Any:
        """The derivative of the target by the source: (*target, *source), a Jacobian past 10,000 numbers."""
        jacobian = self.jacobian
        return _number(jacobian.dense()) if jacobian.size <= SMALL else jacobian

    @property
    def jacobian(self) -> Jacobian:
        """The local derivative as its structure, whatever its size."""
        return self.run._local(self.source, self.target)

    @property
    def downstream(self) -> Any:
        """What flows on to the source: the product of upstream and local."""
        self.run._after_backward()
        passed = self.run._passed.get(self.target.index, ())
        args = self.run._args[self.target.index]
        parts = [part for i, part in zip(args, passed, strict=False) if i == self.source.index and part is not None]
        if not parts:
            return None
        first, *rest = parts
        for part in rest:
            first = first + part
        return _number(first)

    def __repr__(self) -> str:
        return f"{self.source.name} -> {self.target.name}: {self.jacobian.text}"


def _number(value: Any) -> Any:
    """A NumPy array without axes as its number."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def shown(value: Any, digits: int = 6) -> str:
    """A number in so many digits, an array as its shape, None as nothing."""
    if value is None:
        return ""
    shape = tuple(np.shape(value))
    if shape:
        return f"{shape}"
    number = value.item() if hasattr(value, "item") else value
    return f"{number + 0.0:.{digits}g}"  # + 0.0: no -0
