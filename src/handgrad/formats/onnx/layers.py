"""Each layer as ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import handgrad.layers as layers
from handgrad.formats.errors import FormatError
from handgrad.formats.onnx.writer import Writer
from handgrad.layers.base import Layer
from handgrad.layers.gated import GATED, Gated
from handgrad.models import Residual, Sequential

Names = Mapping[str, str]  # the layer's own names of its parameters -> the graph's
Shape = tuple[int, ...]  # of one sample
Emit = Callable[[Writer, Any, Names, str, Shape], str]


def emit(write: Writer, layer: Layer, own: Names, x: str, shape: Shape) -> tuple[str, Shape]:
    """Add the layer's nodes over the value x; returns the output's name and shape a sample.

    Raises FormatError, with its place, for a layer that has no nodes, ShapeError for one that cannot take this shape.
    """
    if type(layer) is Sequential:  # not a subclass, which may compute something else
        for place, child in layer.children().items():
            with write.at(place):
                x, shape = emit(write, child, layer._params_of(own, place), x, shape)
        return x, shape
    out = layer.output_shape(shape)
    if type(layer) is Residual:
        with write.at("layer"):
            y, _ = emit(write, layer.layer, layer._params_of(own, "layer"), x, shape)
        return write("Add", x, y), shape
    emitter = EMITTERS.get(type(layer))
    if emitter is None or out is None:
        raise unknown(layer)
    return emitter(write, layer, own, x, shape), out


def unknown(layer: Layer) -> FormatError:
    """The error on a layer that has no nodes."""
    known = ", ".join(kind.__name__ for kind in (*EMITTERS, *CONTAINERS))
    return FormatError(f"to_onnx has no operator for {type(layer).__name__}; it knows {known}")


def sample_shape(layer: Layer) -> Shape | None:
    """The shape of a sample that the layer takes, as far as its first layer with features says; None where none does.

    Features on the last axis are taken for the only axis.
    """
    if isinstance(layer, layers.Linear | Gated):
        return (layer.n_in,)
    if isinstance(layer, layers.LayerNorm):
        return (layer.n,)
    if isinstance(layer, Residual):
        return sample_shape(layer.layer)
    if isinstance(layer, Sequential):
        for child in layer.layers:
            if isinstance(child, layers.Flatten):
                return None
            if (shape := sample_shape(child)) is not None:
                return shape
    return None


def _product(write: Writer, x: str, weight: str, bias: str | None, rank: int, transposed: bool = False) -> str:
    if rank == 2:
        return write("Gemm", x, weight, *([bias] if bias else []), transB=int(transposed))
    z = write("MatMul", x, write("Transpose", weight, perm=[1, 0]) if transposed else weight)
    return write("Add", z, bias) if bias else z


def _linear(write: Writer, layer: layers.Linear, own: Names, x: str, shape: Shape) -> str:
    if layer.flatten and len(shape) != 1:
        x, shape = write("Flatten", x, axis=1), (layer.n_in,)
    return _product(write, x, own["weight"], own.get("bias"), 1 + len(shape), layer.layout == "out_in")


def _gated(write: Writer, layer: Gated, own: Names, x: str, shape: Shape) -> str:
    maps = (
        _product(write, x, own[f"{part}.weight"], own.get(f"{part}.bias"), 1 + len(shape))
        for part in ("content", "gate")
    )
    content, gate = maps
    return write("Mul", content, GATES[type(layer)](write, gate))


def _swish(write: Writer, x: str, beta: float = 1.0) -> str:
    scaled = x if beta == 1 else write("Mul", x, write.constant(beta))
    return write("Mul", x, write("Sigmoid", scaled))


def _leaky(write: Writer, layer: layers.LeakyReLU, own: Names, x: str, shape: Shape) -> str:
    if write.dtype == np.float32:
        return write("LeakyRelu", x, alpha=layer.alpha)
    # ONNX Runtime has LeakyRelu in float32 alone
    positive = write("Greater", x, write.constant(0))
    return write("Where", positive, x, write("Mul", x, write.constant(layer.alpha)))


def _softmax(write: Writer, layer: layers.Softmax, own: Names, x: str, shape: Shape) -> str:
    scaled = x if layer.temperature == 1 else write("Div", x, write.constant(layer.temperature))
    return write("Softmax", scaled, axis=layer.axis)


def _norm(write: Writer, layer: layers.LayerNorm, own: Names, x: str, shape: Shape) -> str:
    return write("LayerNormalization", x, own["weight"], own["bias"], axis=-1, epsilon=layer.epsilon)


def _unary(op: str) -> Emit:
    return lambda write, layer, own, x, shape: write(op, x)


def _nothing(write: Writer, layer: Layer, own: Names, x: str, shape: Shape) -> str:
    return x


GATES: dict[type[Layer], Callable[[Writer, str], str]] = {
    layers.GLU: lambda write, x: write("Sigmoid", x),
    layers.SwiGLU: _swish,
    layers.Bilinear: lambda write, x: x,
    layers.ReGLU: lambda write, x: write("Relu", x),
    layers.GEGLU: lambda write, x: write("Gelu", x),
}
EMITTERS: dict[type[Layer], Emit] = {
    layers.Linear: _linear,
    **dict.fromkeys(GATED.values(), _gated),
    layers.LayerNorm: _norm,
    layers.Identity: _nothing,
    layers.Dropout: _nothing,
    layers.Flatten: lambda write, layer, own, x, shape: x if len(shape) == 1 else write("Flatten", x, axis=1),
    layers.Sigmoid: _unary("Sigmoid"),
    layers.Tanh: _unary("Tanh"),
    layers.ReLU: _unary("Relu"),
    layers.LeakyReLU: _leaky,
    layers.Swish: lambda write, layer, own, x, shape: _swish(write, x, layer.beta),
    layers.GELU: lambda write, layer, own, x, shape: write("Gelu", x, approximate=layer.approximate),
    layers.Softmax: _softmax,
}
CONTAINERS = (Sequential, Residual)
