"""A pass forward and back in which all parameters move by an imaginary hair: the derivative of every gradient.

Each op or layer is stepped by itself, from real values and real tangents: through a whole model, the products of two
imaginary parts, of 1e-60, would decide on which side of a kink a value of 0 stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.layers.base import Gradients
from handgrad.models.graph import Graph, Node
from handgrad.models.graph.nodes import CONSTANT, INPUT, OP, PARAMETER
from handgrad.models.graph.passes import backward_pass, forward_pass, layer_backward
from handgrad.models.graph.plan import Plan
from handgrad.ops.arrays import Array, operand
from handgrad.ops.base import Cache
from handgrad.ops.gated import Gated

STEP = 1e-30
# Their second derivative is 0 wherever there is one; at a kink a complex step could take the slope of the other side.
PIECEWISE_LINEAR = tuple(type(op) for op in (ops.relu, ops.leaky_relu, ops.maximum, ops.max, ops.hinge, ops.quantile))


@dataclass(frozen=True)
class Tape:
    """What the way back needs of the way forward: caches, complex but for what is piecewise linear."""

    plan: Plan
    caches: dict[int, Cache]


@dataclass(frozen=True)
class Moving:
    """A value and its tangent, None for one that stands still."""

    value: Any
    tangent: Any = None

    @property
    def complex(self) -> Any:
        """The value, moved by a step along its tangent; a number that is no array is left to the arrays beside it."""
        if self.tangent is None:
            return self.value + 0j if isinstance(self.value, np.ndarray) else self.value
        return self.value + 1j * STEP * self.tangent

    @property
    def along(self) -> Array:
        """The tangent, of zeros where it stands still."""
        return np.zeros_like(operand(self.value)) if self.tangent is None else self.tangent


def moving_forward(
    graph: Graph, params: Mapping[str, Array], tangents: Mapping[str, Array], x: Array
) -> tuple[Array, Array, Tape]:
    """(the output, its derivative along the tangents of the parameters, the tape)."""
    plan = graph._plan(graph.sink.index)
    values, still = forward_pass(graph, plan, params, {node.name: x for node in graph.nodes if node.kind == INPUT})
    moved: dict[int, Moving] = {}
    caches: dict[int, Cache] = {}
    for i in plan.order:
        node = graph.nodes[i]
        if node.kind in (INPUT, CONSTANT):
            moved[i] = Moving(values[i])
        elif node.kind == PARAMETER:
            moved[i] = Moving(values[i], tangents[node.name])
        else:
            inputs = [None if a is None else moved[a] for a in plan.args[i]]
            inputs += [Moving(params[name], tangents[name]) for name in graph._names.get(node.name, {}).values()]
            keywords = {key: values[a] for key, a in node._keywords.items()}
            tangent, caches[i] = _step(node, inputs, keywords, still[i])
            moved[i] = Moving(values[i], tangent)
    return values[plan.output], moved[plan.output].along, Tape(plan, caches)


def moving_backward(graph: Graph, tape: Tape, dout: Array) -> Gradients:
    """The parameters' gradients for a complex upstream gradient: their imaginary parts are STEP times their change."""
    return backward_pass(graph, tape.plan, tape.caches, dout, layer_backward, learning=True)[2]


def _step(node: Node, inputs: list[Moving | None], keywords: dict[str, Any], still: Cache) -> tuple[Array, Cache]:
    """(the tangent of the output of one op or layer, its cache for complex gradients). still: the real cache."""
    op = node.op
    if isinstance(op, PIECEWISE_LINEAR):
        tangents = [None if each is None else each.along for each in inputs[: len(op.inputs)]]
        return op.jvp(tuple(tangents), still), still
    out, cache = _forward(node, inputs, keywords)
    if isinstance(op, Gated) and op.kinks:
        # a gate that stands on its kink, at 0, does not move: the slope taken there is 0
        x, c, g, *rest = cache
        g = np.where(still[2] == 0, 0, g)
        out, cache = c * op.gate.value(g)[0], (x, c, g, *rest)
    return np.imag(out) / STEP, cache


def _forward(node: Node, inputs: list[Moving | None], keywords: dict[str, Any]) -> tuple[Array, Cache]:
    if node.kind == OP:
        count = len(node.function.inputs)
        args = [None if each is None else each.complex if k < count else each.value for k, each in enumerate(inputs)]
        return node.function.forward(*args, **keywords, **node.hyper)
    x, *own = (each.complex for each in inputs if each is not None)
    return node.function.forward(dict(zip(node.function.parameters(), own, strict=True)), x)
