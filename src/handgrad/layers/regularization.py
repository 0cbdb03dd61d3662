"""Dropout, LayerNorm, and the L2 penalty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.errors import ValueRangeError
from handgrad.initializers import ones, zeros
from handgrad.layers.base import Gradients, Layer, Shape, features
from handgrad.layers.linear import width
from handgrad.layers.parameters import Parameter, Parameters
from handgrad.ops.arrays import Array, positive
from handgrad.ops.base import Cache


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Inverted dropout at `rate` in training (train=True, with rng); the identity otherwise."""

    rate: float = 0.5
    op = ops.dropout

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueRangeError(f"rate must be at least 0 and below 1, got {self.rate}")

    def forward(
        self, params: Mapping[str, Array], x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Cache]:
        if not train or self.rate == 0:
            return x, None
        return self.op.forward(x, rate=self.rate, rng=rng)

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, Gradients]:
        return (dout, {}) if cache is None else super().backward(dout, cache)


@dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    """Each row of n features to mean 0 and variance 1, then times "weight" plus "bias", both (n,). Ba et al. (2016)."""

    n: int
    epsilon: float = 1e-5
    op = ops.layer_norm

    def __post_init__(self) -> None:
        width(n=self.n)
        positive(epsilon=self.epsilon)

    def parameters(self) -> dict[str, Parameter]:
        shape = (self.n,)
        return {"weight": Parameter(shape, ones, decays=False), "bias": Parameter(shape, zeros, decays=False)}

    def hyper(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon}

    def output_shape(self, shape: Shape = None) -> Shape:
        return (*features(shape, self.n, "LayerNorm"), self.n)


@dataclass(frozen=True)
class L2:
    """The penalty strength * sum of W^2 over all weights; biases and normalization's parameters are left free."""

    strength: float

    def __post_init__(self) -> None:
        ops.l2.forward(np.zeros(0), strength=self.strength)  # refuses what the op refuses

    def value_and_grad(self, params: Parameters) -> tuple[Array, Gradients]:
        """The penalty, and its gradient for each parameter that it acts on."""
        total: Any = 0.0
        grads = {}
        for name, spec in params.specs.items():
            if spec.decays:
                value, cache = ops.l2.forward(params[name], strength=self.strength)
                (grads[name],) = ops.l2.backward(1.0, cache)
                total = total + value
        return total, grads
