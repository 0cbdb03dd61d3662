"""The contract of an op: forward returns its output and a cache, backward turns upstream into downstream gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import handgrad.ops.arrays as arrays
from handgrad.errors import ShapeError
from handgrad.ops.arrays import Array

Cache = Any


@dataclass(frozen=True)
class Kink:
    """Where an op has no derivative, and which subgradient it takes there."""

    where: str  # LaTeX, such as "x = 0"
    subgradient: str  # LaTeX, such as "0"


class Op(ABC):
    """A differentiable function of arrays, with its gradient written out by hand. Holds no state.

    forward(*inputs, **hyper) -> (out, cache)    inputs: arrays; hyper: keyword-only numbers and options
    backward(dout, cache)     -> tuple           one downstream gradient for each input, shaped as that input
    jvp(tangents, cache)      -> tangent         the directional derivative J v along one tangent for each input

    backward and jvp change neither their arguments nor the cache, which may be used any number of times. An optional
    input that was None has the gradient None, and its tangent is ignored. Where the output is a single number, dout
    may be a Python number. Calling the op gives forward's output alone.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]  # the names of the array inputs
    formula: ClassVar[str]  # LaTeX
    derivative: ClassVar[str]  # the local gradient, in LaTeX
    saves: ClassVar[str]  # what the cache holds
    kinks: ClassVar[tuple[Kink, ...]] = ()

    forward: Callable[..., tuple[Array, Cache]]  # each op spells out its inputs and hyperparameters

    @abstractmethod
    def backward(self, dout: Array, cache: Cache) -> tuple[Array | None, ...]:
        """The downstream gradients, one for each input, from the upstream gradient `dout`."""

    @abstractmethod
    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        """The derivative of the output along the tangents, one for each input."""

    def __call__(self, *inputs: Any, **hyper: Any) -> Array:
        return self.forward(*inputs, **hyper)[0]

    def __repr__(self) -> str:
        return f"ops.{self.name}"


class Elementwise(Op):
    """An op on each element alone: y_i = f(x_i). A subclass gives `value` and the local derivative `local`.

    The rest follows: downstream = upstream * local, J v = local * v, and the Jacobian is diag(local).
    """

    inputs = ("x",)
    value: Callable[..., tuple[Array, Any]]  # (x, **hyper) -> f(x), and what `local` needs of it
    local: Callable[..., Array]  # (saved, **hyper) -> dy_i/dx_i for each element

    def forward(self, x: Array, **hyper: Any) -> tuple[Array, Cache]:
        x = arrays.operand(x)
        arrays.floating(x=x)
        y, saved = self.value(x, **hyper)
        return y, (saved, hyper)

    def backward(self, dout: Array, cache: Cache) -> tuple[Array | None, ...]:
        saved, hyper = cache
        local = self.local(saved, **hyper)
        dout = arrays.operand(dout, local)
        match_upstream(dout, local.shape)
        return (dout * local,)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        saved, hyper = cache
        return tangents[0] * self.local(saved, **hyper)


def single(out: Array) -> Array | None:
    """The output, where it is a single number, for the dtype and library of a dout given as a Python number."""
    return out if out.ndim == 0 else None


def match_upstream(dout: Array, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless the upstream gradient has the shape of the output it belongs to."""
    if tuple(dout.shape) != tuple(shape):
        raise ShapeError(f"dout must have the shape of the output, {tuple(shape)}, got {tuple(dout.shape)}")
