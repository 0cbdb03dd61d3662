"""Dropout, LayerNorm, and the L2 penalty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import handgrad.checks as checks
import handgrad.ops as ops
from handgrad.initializers import ones, zeros
from handgrad.layers.base import Gradients, Layer, Shape, features
from handgrad.layers.parameters import Parameter, Parameters
from handgrad.ops.arrays import Array
from handgrad.ops.base import Cache


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Inverted dropout at `rate` in training (train=True, with rng); the identity otherwise."""

    rate: float = 0.5
    op = ops.dropout

    def __post_init__(self) -> None:
        checks.decays(self, "rate")

    def forward(
        self, params: Mapping[str, Array], x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Cache]:
        if not train or self.rate == 0:
            return x, None
        return self.op.forward(x, rate=self.rate, rng=rng)

    def output_shape(self, shape: Shape = None) -> Shape:
        return shape

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, Gradients]:
        return (dout, {}) if cache is None else super().backward(dout, cache)

    def keeps_apart(self, cache: Cache) -> bool:
        return True

    def jvp(self, tangent: Array, tangents: Mapping[str, Array], cache: Cache) -> Array:
        return tangent if cache is None else super().jvp(tangent, tangents, cache)


@dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    """Each row of n features to mean 0 and variance 1, then times "weight" plus "bias", both (n,). Ba et al. (2016)."""

    n: int
    epsilon: float = 1e-5
    op = ops.layer_norm

    def __post_init__(self) -> None:
        checks.counts(self, "n")
        checks.positives(self, "epsilon")

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
        checks.rates(self, "strength")

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
