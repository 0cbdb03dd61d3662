"""The linear layer, and Flatten."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import handgrad.checks as checks
import handgrad.ops as ops
from handgrad.errors import ShapeError, ValueRangeError
from handgrad.initializers import Initializer, he_normal, initializer, zeros
from handgrad.layers.base import Gradients, Layer, Shape, features
from handgrad.layers.parameters import Parameter
from handgrad.ops.arrays import Array
from handgrad.ops.base import Cache
from handgrad.ops.linear import LAYOUTS


@dataclass(frozen=True)
class Transposed:
    """An initializer of weights kept as (n_out, n_in): the values of another one, drawn as (n_in, n_out)."""

    draw: Initializer

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.draw(rng, shape[::-1]).T


@dataclass(frozen=True, init=False, repr=False)
class Linear(Layer):
    """Z = X W + b, from n_in features to n_out, over the last axis of x.

    layout="in_out" keeps "weight" as (n_in, n_out), "out_in" as (n_out, n_in), as PyTorch does; from one seed both
    draw the same map. flatten=True takes samples of shape (d1, ..., dk) with d1 * ... * dk = n_in. init is the weight's
    initializer, a function or a name, He's by default; "bias", (n_out,), starts at 0 and is absent with bias=False.
    """

    n_in: int
    n_out: int
    bias: bool
    layout: str
    flatten: bool
    initializer: Initializer

    op = ops.linear

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bias: bool = True,
        layout: str = "in_out",
        flatten: bool = False,
        init: str | Initializer = he_normal,
    ):
        if layout not in LAYOUTS:
            raise ValueRangeError(f'layout must be "in_out" or "out_in", got {layout!r}')
        fields = {
            "n_in": checks.whole("n_in", n_in),
            "n_out": checks.whole("n_out", n_out),
            "bias": bool(bias),
            "layout": layout,
            "flatten": bool(flatten),
        }
        for name, value in (*fields.items(), ("initializer", initializer(init))):
            object.__setattr__(self, name, value)

    def parameters(self) -> dict[str, Parameter]:
        shape = (self.n_in, self.n_out)
        outward = self.layout == "out_in"
        weight = Parameter(shape[::-1], Transposed(self.initializer)) if outward else Parameter(shape, self.initializer)
        bias = {"bias": Parameter((self.n_out,), zeros, decays=False)} if self.bias else {}
        return {"weight": weight, **bias}

    def hyper(self) -> dict[str, Any]:
        return {"layout": self.layout, "flatten": self.flatten}

    def output_shape(self, shape: Shape = None) -> Shape:
        if not self.flatten:
            return (*features(shape, self.n_in, "Linear"), self.n_out)
        if shape is not None and ... not in shape and math.prod(shape) != self.n_in:
            raise ShapeError(f"Linear takes {self.n_in} features after flattening, got samples of shape {shape}")
        return (self.n_out,)

    def parameter_gradients(self, dout: Array, cache: Cache) -> Gradients:
        _, *grads = self.op.backward(dout, cache, needs=(False, True, True))
        return dict(zip(("weight", "bias"), grads if self.bias else grads[:1], strict=False))


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """(m, d1, ..., dk) to (m, d1 * ... * dk). Its gradient takes x's own shape again."""

    op = ops.reshape

    def forward(self, params: Any, x: Array, *, train: bool = False, rng: Any = None) -> tuple[Array, Cache]:
        if x.ndim < 1:
            raise ShapeError("x must have a batch axis, got shape ()")
        return self.op.forward(x, shape=(x.shape[0], math.prod(x.shape[1:])))

    def output_shape(self, shape: Shape = None) -> Shape:
        return None if shape is None or ... in shape else (math.prod(shape),)
