"""One pass over a graph's nodes, in the order of a plan: forward, backward, and forward with tangents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from handgrad.errors import HandgradError, ParameterError
from handgrad.layers.base import Gradients, Visit
from handgrad.models.graph.expression import marked
from handgrad.models.graph.nodes import CONSTANT, INPUT, LAYER, OP, PARAMETER, Node
from handgrad.models.graph.plan import Plan
from handgrad.models.sequential import one_stream
from handgrad.ops.apart import keeps_apart
from handgrad.ops.arrays import Array, namespace_of, operand
from handgrad.ops.base import Cache

if TYPE_CHECKING:
    from handgrad.models.graph.graph import Graph

Values = dict[int, Any]  # by the number of a node
BackwardOf = Callable[
    [Node, Any, Cache, bool], tuple[Any, Gradients]
]  # (layer's node, dout, cache, whether dx is asked)


def forward_pass(
    graph: Graph,
    plan: Plan,
    params: Mapping[str, Array],
    given: Mapping[str, Any],
    train: bool = False,
    rng: np.random.Generator | None = None,
    visit: Visit | None = None,
    within: str = "",
) -> tuple[Values, dict[int, Cache]]:
    """The value of every node, and the cache of each that has one. given: the inputs by name."""
    rng = one_stream(rng)
    values: Values = {}
    caches: dict[int, Cache] = {}
    for i in plan.order:
        node = graph.nodes[i]
        try:
            if node.kind == INPUT:
                values[i] = given[node.name]
            elif node.kind == CONSTANT:
                values[i] = node.value
            elif node.kind == PARAMETER:
                values[i] = _parameter(params, node.name)
            elif node.kind == OP:
                args = [None if a is None else values[a] for a in plan.args[i]]
                keywords = {key: values[a] for key, a in node._keywords.items()}
                out, caches[i] = node.function.forward(*args, **keywords, **node.hyper)
                values[i] = _array(out)
                if visit is not None:
                    visit(f"{within}.{node.name}" if within else node.name, node.function, values[i])
            else:
                own, x = graph._params_of(params, node.name), values[plan.args[i][0]]
                if visit is not None:
                    name = f"{within}.{node.name}" if within else node.name
                    values[i] = node.function.visit(visit, own, x, train=train, rng=rng, name=name)
                else:
                    values[i], caches[i] = node.function.forward(own, x, train=train, rng=rng)
        except HandgradError as error:
            raise placed(error, graph.nodes[plan.output], node, values) from error.__cause__
        except Exception as error:  # of a layer or an op of one's own, or an overflow that NumPy was told to raise
            error.add_note(f"at node {node.name!r}\n{_where(graph.nodes[plan.output], node, values)}")
            raise
    return values, caches


def backward_pass(
    graph: Graph, plan: Plan, caches: Mapping[int, Cache], dout: Any, of_layer: BackwardOf, learning: bool = False
) -> tuple[Values, dict[int, Sequence[Any]], Gradients]:
    """(the gradient by each node, what each node passes on to its arguments, the parameters' gradients).

    Where a value forks, what comes back along each way adds. learning: only as far as the parameters need it.
    """
    gradients: Values = {plan.output: dout}
    passed: dict[int, Sequence[Any]] = {}
    of_params: Gradients = dict.fromkeys(graph.parameters())
    for i in reversed(plan.order):
        node, up = graph.nodes[i], gradients.get(i)
        if up is None or (learning and i not in plan.learns):
            continue
        if node.kind == PARAMETER:
            of_params[node.name] = up
        if i not in caches:
            continue
        try:
            if node.kind == OP:
                down: Sequence[Any] = node.function.backward(up, caches[i])
            else:
                dx, own = of_layer(node, up, caches[i], not learning or plan.args[i][0] in plan.learns)
                graph._add_gradients(of_params, node.name, own)
                down = (dx,)
        except HandgradError as error:
            raise placed(error, graph.nodes[plan.output], node, {}) from error.__cause__
        except Exception as error:
            error.add_note(f"at node {node.name!r}, on the way back\n{_where(graph.nodes[plan.output], node, {})}")
            raise
        passed[i] = down
        for source, part in zip(plan.args[i], down, strict=False):  # a loss's targets have no gradient
            if source is not None and part is not None:
                gradients[source] = _array(gradients[source] + part if source in gradients else part)
    return gradients, passed, of_params


def tangent_pass(
    graph: Graph,
    plan: Plan,
    caches: Mapping[int, Cache],
    tangents: Mapping[str, Array],
    of_params: Mapping[str, Array],
    like: Array,
) -> Array:
    """The derivative of the output along tangents of the inputs and of all parameters."""
    moved: Values = {}
    for i in plan.order:
        node = graph.nodes[i]
        if node.kind == INPUT:
            moved[i] = tangents[node.name]
        elif node.kind == PARAMETER:
            moved[i] = of_params[node.name]
        elif node.kind == CONSTANT:
            moved[i] = node.value  # 0 where an op asks for it; a constant may be no array
        elif node.kind == OP:
            parts = [None if a is None else _tangent(graph.nodes[a], moved[a], like) for a in plan.args[i]]
            moved[i] = node.function.jvp(tuple(parts[: len(node.function.inputs)]), caches[i])
        else:
            own = graph._params_of(of_params, node.name)
            moved[i] = node.function.jvp(moved[plan.args[i][0]], own, caches[i])
    return moved[plan.output]


def _tangent(node: Node, moved: Any, like: Array) -> Any:
    if node.kind != CONSTANT:
        return moved
    try:
        constant = operand(moved, like)
    except (TypeError, ValueError):  # an argument that is no array, such as an axis
        return None
    return namespace_of(constant=constant).zeros_like(constant)


def layer_backward(node: Node, dout: Any, cache: Cache, dx: bool) -> tuple[Any, Gradients]:
    """A layer's backward; without dx, the parameters' gradients alone."""
    return node.function.backward(dout, cache) if dx else (None, node.function.parameter_gradients(dout, cache))


def layer_sample_gradients(node: Node, dout: Any, cache: Cache, dx: bool) -> tuple[Any, Gradients]:
    """A layer's gradients for each sample alone."""
    return node.function.sample_gradients(dout, cache, dx)


def mixing(graph: Graph, plan: Plan, caches: Mapping[int, Cache]) -> str:
    """Why a graph has no rule for each sample's gradient, or "".

    That is for a parameter that ops read, and for a node that mixes samples, such as a mean over them: what then comes
    back along row i is no more of sample i's loss alone.
    """
    for node in graph.nodes:
        if node.kind == PARAMETER:
            return f"parameter {node.name!r} of a Graph has no rule for each sample's own gradients"
    for i in plan.order:
        node = graph.nodes[i]
        fixed = tuple(a is not None and graph.nodes[a].kind == CONSTANT for a in plan.args[i])
        apart = node.kind != OP or keeps_apart(node.function, caches[i], fixed)
        if node.kind == LAYER and not node.function.parameters():
            apart = node.function.keeps_apart(caches[i])
        if not apart:
            return f"{node.name!r} of a Graph is not known to keep samples apart"
    return ""


def placed(error: HandgradError, output: Node, node: Node, values: Mapping[int, Any]) -> HandgradError:
    """The error with the node's name, its expression with the place marked, and the shapes that met there."""
    error.args = (f"{error.args[0] if error.args else ''}\n{_where(output, node, values)}",)
    return error.within(node.name)


def _where(output: Node, node: Node, values: Mapping[int, Any]) -> str:
    shapes = [
        f"{node.graph.nodes[i].name} {tuple(np.shape(values[i]))}"
        for i in node.sources
        if i in values and node.graph.nodes[i].kind != CONSTANT
    ]
    where = "\n".join("    " + line for line in marked(output, node).splitlines())
    return where + (f"\n    with {', '.join(shapes)}" if shapes else "")


def _array(value: Any) -> Any:
    """A single number of NumPy as an array: ops take those by a much shorter way."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def _parameter(params: Mapping[str, Array], name: str) -> Array:
    if name not in params:
        raise ParameterError(f"params has no {name!r}; it has {sorted(params)}")
    return params[name]
