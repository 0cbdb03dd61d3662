"""Gated linear units: two linear maps of the same input, one the content, one the gate."""

from __future__ import annotations

from dataclasses import dataclass

import handgrad.checks as checks
import handgrad.ops as ops
from handgrad.initializers import Initializer, he_normal, initializer, zeros
from handgrad.layers.base import Gradients, Layer, Shape, features
from handgrad.layers.parameters import Parameter
from handgrad.ops.arrays import Array
from handgrad.ops.base import Cache


@dataclass(frozen=True, init=False, repr=False)
class Gated(Layer):
    """(x W1 + b1) * f(x W2 + b2), from n_in features to n_out; subclasses choose f.

    Parameters: "content.weight", "gate.weight", (n_in, n_out), and "content.bias", "gate.bias", (n_out,), the latter
    absent with bias=False. init is the weights' initializer, a function or a name.
    """

    n_in: int
    n_out: int
    bias: bool
    initializer: Initializer

    def __init__(self, n_in: int, n_out: int, bias: bool = True, init: str | Initializer = he_normal):
        widths = {"n_in": checks.whole("n_in", n_in), "n_out": checks.whole("n_out", n_out)}
        fields = {**widths, "bias": bool(bias), "initializer": initializer(init)}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def parameters(self) -> dict[str, Parameter]:
        weight = Parameter((self.n_in, self.n_out), self.initializer)
        bias = Parameter((self.n_out,), zeros, decays=False)
        named = {"content.weight": weight, "gate.weight": weight}
        return named | {"content.bias": bias, "gate.bias": bias} if self.bias else named

    def output_shape(self, shape: Shape = None) -> Shape:
        return (*features(shape, self.n_in, type(self).__name__), self.n_out)

    def parameter_gradients(self, dout: Array, cache: Cache) -> Gradients:
        _, *grads = self.op.backward(dout, cache, needs=(False, True, True, True, True))  # type: ignore[call-arg]
        return dict(zip(self.parameters(), grads, strict=False))


@dataclass(frozen=True, init=False, repr=False)
class GLU(Gated):
    """(x W1 + b1) * sigmoid(x W2 + b2). Dauphin et al. (2017)."""

    op = ops.glu


@dataclass(frozen=True, init=False, repr=False)
class SwiGLU(Gated):
    """(x W1 + b1) * swish(x W2 + b2). Shazeer (2020)."""

    op = ops.swiglu


@dataclass(frozen=True, init=False, repr=False)
class Bilinear(Gated):
    """(x W1 + b1) * (x W2 + b2). Shazeer (2020)."""

    op = ops.bilinear


@dataclass(frozen=True, init=False, repr=False)
class ReGLU(Gated):
    """(x W1 + b1) * max(x W2 + b2, 0). Shazeer (2020)."""

    op = ops.reglu


@dataclass(frozen=True, init=False, repr=False)
class GEGLU(Gated):
    """(x W1 + b1) * gelu(x W2 + b2). Shazeer (2020)."""

    op = ops.geglu


GATED: dict[str, type[Gated]] = {"glu": GLU, "swiglu": SwiGLU, "bilinear": Bilinear, "reglu": ReGLU, "geglu": GEGLU}
