"""Activations as layers without parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import handgrad.checks as checks
import handgrad.ops as ops
from handgrad.checks import by_name
from handgrad.errors import DTypeError, ValueRangeError
from handgrad.layers.base import Layer, Shape
from handgrad.ops.arrays import unit_axis


@dataclass(frozen=True, repr=False)
class Identity(Layer):
    """y = x."""

    op = ops.identity


@dataclass(frozen=True, repr=False)
class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)), in (0, 1)."""

    op = ops.sigmoid


@dataclass(frozen=True, repr=False)
class Tanh(Layer):
    """y = tanh(x), in (-1, 1)."""

    op = ops.tanh


@dataclass(frozen=True, repr=False)
class ReLU(Layer):
    """y = max(x, 0); at 0 the slope is 0."""

    op = ops.relu


@dataclass(frozen=True, repr=False)
class LeakyReLU(Layer):
    """y = x where x > 0, otherwise alpha x; at 0 the slope is alpha."""

    alpha: float = 0.01
    op = ops.leaky_relu

    def __post_init__(self) -> None:
        checks.finites(self, "alpha")

    def hyper(self) -> dict[str, Any]:
        return {"alpha": self.alpha}


@dataclass(frozen=True, repr=False)
class Swish(Layer):
    """y = x sigmoid(beta x); beta = 1 is SiLU."""

    beta: float = 1.0
    op = ops.swish

    def __post_init__(self) -> None:
        checks.finites(self, "beta")

    def hyper(self) -> dict[str, Any]:
        return {"beta": self.beta}


@dataclass(frozen=True, repr=False)
class GELU(Layer):
    """y = x Phi(x); approximate="tanh" takes the usual approximation of Phi."""

    approximate: str = "none"
    op = ops.gelu

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise ValueRangeError(f'approximate must be "none" or "tanh", got {self.approximate!r}')

    def hyper(self) -> dict[str, Any]:
        return {"approximate": self.approximate}


@dataclass(frozen=True, repr=False)
class Softmax(Layer):
    """p = softmax(x / temperature) over one axis. Losses take scores: do not put it before cross-entropy."""

    temperature: float = 1.0
    axis: int = -1
    op = ops.softmax

    def __post_init__(self) -> None:
        checks.positives(self, "temperature")
        checks.integers(self, "axis")

    def hyper(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "axis": self.axis}

    def output_shape(self, shape: Shape = None) -> Shape:
        if shape is not None and ... not in shape:
            unit_axis(self.axis, len(shape) + 1)
        return shape


ACTIVATIONS: dict[str, type[Layer]] = {
    "identity": Identity,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "swish": Swish,
    "silu": Swish,
    "gelu": GELU,
    "softmax": Softmax,
}


OTHERS = "a layer or "


def activation(name_or_layer: str | Layer | Callable[[], Layer]) -> Layer:
    """An activation layer from its name ("relu"), its class or itself."""
    if isinstance(name_or_layer, Layer):
        return name_or_layer
    made = name_or_layer() if callable(name_or_layer) else by_name("activation", name_or_layer, ACTIVATIONS, OTHERS)()
    if not isinstance(made, Layer):
        raise DTypeError(f"activation must be a layer, or make one, got {made!r} from {name_or_layer!r}")
    return made
