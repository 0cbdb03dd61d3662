"""A model as a list of steps on values, before anything is decided about memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import handgrad.layers as layers
import handgrad.models as models
import handgrad.ops as ops
from handgrad.engines.compiled.kernels.elementwise import (
    GELU,
    GELU_TANH,
    IDENTITY,
    LEAKY_RELU,
    RELU,
    SIGMOID,
    SWISH,
    TANH,
)
from handgrad.errors import UnsupportedError
from handgrad.layers import Layer
from handgrad.models import Container, Residual, Sequential

GATES = {
    layers.GLU: (SIGMOID, 0.0),
    layers.SwiGLU: (SWISH, 1.0),
    layers.Bilinear: (IDENTITY, 0.0),
    layers.ReGLU: (RELU, 0.0),
    layers.GEGLU: (GELU, 0.0),
}


def activation_of(layer: Layer) -> tuple[int, float] | None:
    """(code, its number) of an activation layer; None for any other."""
    match type(layer), layer:
        case layers.ReLU, _:
            return RELU, 0.0
        case layers.LeakyReLU, layers.LeakyReLU(alpha=alpha):
            return LEAKY_RELU, alpha
        case layers.Sigmoid, _:
            return SIGMOID, 0.0
        case layers.Tanh, _:
            return TANH, 0.0
        case layers.Swish, layers.Swish(beta=beta):
            return SWISH, beta
        case layers.GELU, layers.GELU(approximate=approximate):
            return (GELU if approximate == "none" else GELU_TANH), 0.0
    return None


@dataclass
class Step:
    """out = kind(inputs), with these parameters, by their names in the model, and numbers."""

    kind: str  # "linear", "activation", "gate", "plus", "dropout", "layer_norm", "softmax"
    inputs: tuple[int, ...]
    out: int
    weight: str = ""
    bias: str = ""
    outward: bool = False  # the weight is kept as (n_out, n_in)
    code: int = IDENTITY  # of the activation, also of one joined to a linear map
    numbers: tuple[float, ...] = ()


@dataclass
class Graph:
    """widths: features of each value; uses: how many steps read it. Value 0 is the input, `out` the scores."""

    widths: list[int]
    steps: list[Step] = field(default_factory=list)
    out: int = 0

    @property
    def uses(self) -> list[int]:
        counts = [0] * len(self.widths)
        for step in self.steps:
            for value in step.inputs:
                counts[value] += 1
        counts[self.out] += 1
        return counts

    def value(self, width: int) -> int:
        """A new value of that many features."""
        self.widths.append(width)
        return len(self.widths) - 1


def graph_of(model: Layer, shape: tuple[int, ...], train: bool) -> Graph:
    """The steps of a model for samples of that shape. train: with dropout.

    Raises UnsupportedError, with the layer's place, for what the compiled engine cannot run.
    """
    graph = Graph([math.prod(shape)])
    names = {name: name for name in model.parameters()}
    out, shape = _add(graph, model, names, 0, tuple(shape), train)
    if len(shape) != 1:
        raise UnsupportedError(f"the compiled engine needs scores of one axis a sample, got {shape}")
    graph.out = out
    return _joined(graph)


def _add(
    graph: Graph, layer: Layer, names: Mapping[str, str], x: int, shape: tuple[int, ...], train: bool
) -> tuple[int, tuple[int, ...]]:
    """Add the layer's steps on value x; returns its output and the shape of it. names: the layer's -> the model's."""

    def within(place: str, child: Layer, x: int, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        assert isinstance(layer, Container)
        own = {name: names[outer] for name, outer in layer._names[place].items()}
        try:
            return _add(graph, child, own, x, shape, train)
        except UnsupportedError as error:
            raise error.within(place) from None

    def step(kind: str, *inputs: int, width: int = 0, **how: Any) -> int:
        out = graph.value(width or graph.widths[x])
        graph.steps.append(Step(kind, inputs, out, **how))
        return out

    def one_axis() -> None:
        if len(shape) != 1:
            raise UnsupportedError(
                f"the compiled engine takes samples of one axis here, got shape {shape}; flatten them first"
            )

    kind = type(layer)
    activation = activation_of(layer)
    if kind is Sequential:
        assert isinstance(layer, Sequential)
        for place, child in layer.children().items():
            x, shape = within(place, child, x, shape)
        return x, shape
    if kind is Residual:
        assert isinstance(layer, Residual)
        y, _ = within("layer", layer.layer, x, shape)
        return step("plus", x, y), shape
    if kind is models.Graph:
        assert isinstance(layer, models.Graph)
        known: dict[int, tuple[int, tuple[int, ...]]] = {}
        for i in layer.order:
            node = layer.nodes[i]
            met = [known[source] for source in node.sources if source in known]  # constants are not
            if node.kind == "input":
                known[i] = x, shape
            elif node.kind == "layer" and met:
                known[i] = within(node.name, node.function, *met[0])
            elif isinstance(node.op, type(ops.add)) and len(met) == 2 and met[0][1] == met[1][1]:
                known[i] = step("plus", *(value for value, _ in met), width=graph.widths[met[0][0]]), met[0][1]
            elif node.kind in ("op", "layer") or node is layer.sink:
                raise UnsupportedError(f"the compiled engine runs layers and sums in a Graph, not {node!r}")
        return known[layer.sink.index]
    if kind is layers.Linear:
        assert isinstance(layer, layers.Linear)
        if not layer.flatten:
            one_axis()
        bias = names["bias"] if layer.bias else ""
        outward = layer.layout == "out_in"
        y = step("linear", x, width=layer.n_out, weight=names["weight"], bias=bias, outward=outward)
        return y, (layer.n_out,)
    if kind is layers.Flatten:
        return x, (math.prod(shape),)
    if kind is layers.Identity:
        return x, shape
    if activation:
        return step("activation", x, code=activation[0], numbers=activation[1:]), shape
    if kind in GATES:
        assert isinstance(layer, layers.GLU | layers.SwiGLU | layers.Bilinear | layers.ReGLU | layers.GEGLU)
        one_axis()
        content, gate = (
            step("linear", x, width=layer.n_out, weight=names[f"{part}.weight"], bias=names.get(f"{part}.bias", ""))
            for part in ("content", "gate")
        )
        code, number = GATES[kind]
        return step("gate", content, gate, width=layer.n_out, code=code, numbers=(number,)), (layer.n_out,)
    if kind is layers.Dropout:
        assert isinstance(layer, layers.Dropout)
        rate = layer.rate
        return (step("dropout", x, numbers=(rate, 1 / (1 - rate))) if train and rate else x), shape
    if kind is layers.LayerNorm:
        assert isinstance(layer, layers.LayerNorm)
        one_axis()
        return step("layer_norm", x, weight=names["weight"], bias=names["bias"], numbers=(layer.epsilon,)), shape
    if isinstance(layer, layers.Softmax) and kind is layers.Softmax and layer.axis in (-1, 1):
        one_axis()
        return step("softmax", x, numbers=(layer.temperature,)), shape
    raise UnsupportedError(f"the compiled engine cannot run {layer!r}")


def _joined(graph: Graph) -> Graph:
    """The graph with each activation joined to the linear map before it, where nothing else reads that one's output."""
    uses, makers = graph.uses, {step.out: step for step in graph.steps}
    steps = []
    for step in graph.steps:
        maker = makers.get(step.inputs[0])
        joins = maker and maker.kind == "linear" and maker.code == IDENTITY and uses[maker.out] == 1
        if step.kind == "activation" and maker and joins:
            maker.code, maker.numbers, maker.out = step.code, step.numbers, step.out
            makers[step.out] = maker
        else:
            steps.append(step)
    graph.steps = steps
    return graph
