"""The contract of an op: forward returns its output and a cache, backward turns upstream into downstream gradients."""

from __future__ import annotations

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Number, Real
from typing import Any, ClassVar

import array_api_compat
import numpy as np

import handgrad.ops.arrays as arrays
from handgrad.errors import DTypeError, ShapeError
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
    may be a Python number. An output may be the very array that the cache holds, or an input: do not write to it before
    backward has run. Calling the op gives forward's output alone; an argument with a method `__handgrad_call__`, such
    as a graph's node, takes the call over.
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

    def __call__(self, *inputs: Any, **hyper: Any) -> Any:
        for each in (*inputs, *hyper.values()):
            if hasattr(each, "__handgrad_call__"):
                return each.__handgrad_call__(self, *inputs, **hyper)
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

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "value" in vars(cls):
            cls.forward = spelled_out(Elementwise.forward, 2, cls.value)  # type: ignore[method-assign]

    def forward(self, x: Array, **hyper: Any) -> tuple[Array, Cache]:
        x = arrays.operand(x)
        arrays.floating(x=x)
        hyper = plain(hyper, x)
        y, saved = self.value(x, **hyper)
        return y, (saved, hyper)

    def backward(self, dout: Array, cache: Cache) -> tuple[Array | None, ...]:
        saved, hyper = cache
        local = self.local(saved, **hyper)
        dout = match_upstream(dout, local.shape, local)
        return (dout * local,)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        saved, hyper = cache
        return tangents[0] * self.local(saved, **hyper)


def spelled_out(forward: Callable[..., Any], count: int, value: Callable[..., Any]) -> Callable[..., Any]:
    """`forward` as a subclass shows it: `value` tells its hyperparameters, which it also takes by position.

    count: how many arguments, self among them, come before the hyperparameters.
    """
    first = list(inspect.signature(forward).parameters.values())
    hypers = list(inspect.signature(value).parameters.values())[count:]
    options = [p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in first[count:] if p.kind is p.KEYWORD_ONLY]
    signature = inspect.Signature([*first[:count], *hypers, *options], return_annotation="tuple[Array, Cache]")

    @functools.wraps(forward)
    def spelled(*inputs: Any, **hyper: Any) -> Any:
        if len(inputs) > count:
            given = signature.bind(*inputs, **hyper).arguments
            inputs, hyper = inputs[:count], {name: given[name] for name in list(given)[count:]}
        return forward(*inputs, **hyper)

    spelled.__signature__ = signature  # type: ignore[attr-defined]
    return spelled


def plain(hyper: dict[str, Any], x: Array) -> dict[str, Any]:
    """Hyperparameters with numbers, such as NumPy's, as Python floats, which leave the dtype of x as it is."""
    return {k: held(float(v), x) if isinstance(v, Real) and type(v) is not bool else v for k, v in hyper.items()}


def held(number: float, x: Array) -> float:
    """A finite number held within the range of x's dtype, in which it would be infinite otherwise."""
    if not 6e4 < abs(number) < math.inf:  # in the range of every dtype, float16 too
        return number
    largest = float(array_api_compat.array_namespace(x).finfo(x.dtype).max)
    return max(-largest, min(largest, number))


def single(out: Array) -> Array:
    """The output if it is one number, else an empty array of its kind: for `match_upstream`, where nothing is saved."""
    if out.ndim == 0:
        return out
    return arrays.namespace_of(out=out).empty(0, dtype=out.dtype, device=array_api_compat.device(out))


def match_upstream(dout: Any, shape: tuple[int, ...], like: Array) -> Array:
    """dout as an array, checked to belong to an output of that shape, of the library, device and dtype of `like`.

    Raises ShapeError, DTypeError and DeviceError. A number serves where the output is one.
    """
    if type(dout) is not np.ndarray or type(like) is not np.ndarray:
        if isinstance(dout, np.generic):
            dout = dout.item()
        if isinstance(dout, Number):
            dout = arrays.operand(dout, like)
        arrays.namespace_of(output=like, dout=dout)
    if dout.dtype != like.dtype and not (_complex(dout) or _complex(like)):  # in a complex step one of them is real
        raise DTypeError(f"dout has dtype {dout.dtype} and the output has {like.dtype}; they must have one dtype")
    if tuple(dout.shape) != tuple(shape):
        raise ShapeError(f"dout must have the shape of the output, {tuple(shape)}, got {tuple(dout.shape)}")
    return dout


def _complex(x: Array) -> bool:
    return bool(array_api_compat.array_namespace(x).isdtype(x.dtype, "complex floating"))
