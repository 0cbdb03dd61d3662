"""One forward call of an op, a loss, a layer or a model, and its derivatives by named inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad.errors import DTypeError, ParameterError, ValueRangeError
from handgrad.explain.jacobians.models import model_jacobian
from handgrad.layers import Layer, Loss
from handgrad.models.sequential import one_stream
from handgrad.ops import Op
from handgrad.ops.arrays import Array, operand, operands
from handgrad.ops.base import Cache
from handgrad.ops.jacobians import Call, Jacobian, local_jacobian


@dataclass(frozen=True)
class Target(ABC):
    """inputs: the arrays that derivatives are taken by, in order. out: what forward gave."""

    inputs: dict[str, Array]
    out: Array
    cache: Cache

    def name(self, wrt: Any) -> str:
        """An input's name from its name or number. Raises ValueRangeError for one there is not."""
        names = list(self.inputs)
        if isinstance(wrt, int | np.integer) and not isinstance(wrt, bool) and 0 <= wrt < len(names):
            return names[int(wrt)]
        if isinstance(wrt, str) and wrt in names:
            return str(wrt)
        raise ValueRangeError(f"wrt must be one of {names} or its number, got {wrt!r}")

    @abstractmethod
    def jacobian(self, name: str) -> Jacobian: ...

    @abstractmethod
    def backward(self, dout: Array) -> dict[str, Array]: ...

    @abstractmethod
    def jvp(self, tangents: Mapping[str, Array]) -> Array: ...


@dataclass(frozen=True)
class OpTarget(Target):
    """An op, or the op of a loss."""

    op: Op
    call: Call

    def jacobian(self, name: str) -> Jacobian:
        return local_jacobian(self.op, self.call, self.op.inputs.index(name))

    def backward(self, dout: Array) -> dict[str, Array]:
        named = zip(self.op.inputs, self.op.backward(dout, self.cache), strict=True)
        return {name: gradient for name, gradient in named if gradient is not None}

    def jvp(self, tangents: Mapping[str, Array]) -> Array:
        return self.op.jvp(tuple(tangents.get(name) for name in self.op.inputs), self.cache)


@dataclass(frozen=True)
class ModelTarget(Target):
    """A layer or model. Its input x is named "x", or "input x" beside a parameter of that name."""

    model: Layer
    params: Mapping[str, Array]
    keywords: dict[str, Any]

    @property
    def entry(self) -> str:
        return next(iter(self.inputs))

    def jacobian(self, name: str) -> Jacobian:
        wrt = None if name == self.entry else name
        return model_jacobian(self.model, self.params, self.inputs[self.entry], wrt, **_fresh(self.keywords))

    def backward(self, dout: Array) -> dict[str, Array]:
        dx, grads = self.model.backward(dout, self.cache)
        return {self.entry: dx, **{name: grads[name] for name in self.params if grads[name] is not None}}

    def jvp(self, tangents: Mapping[str, Array]) -> Array:
        return self.model.jvp(tangents[self.entry], {name: tangents[name] for name in self.params}, self.cache)


def target_of(target: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> Target:
    """Call forward once. Raises DTypeError for what has no gradient written out, and what forward raises."""
    if isinstance(target, Layer):
        return _of_model(target, args, dict(keywords))
    if isinstance(target, Loss):
        keywords = {**vars(target), **keywords}
        target = target.op
    if isinstance(target, Op):
        return _of_op(target, args, dict(keywords))
    hint = f"; write {target.__name__}(...)" if isinstance(target, type) else ""
    raise DTypeError(f"target must be an op, a loss, a layer or a model, got {type(target).__name__}{hint}")


def _of_op(op: Op, args: Sequence[Any], keywords: dict[str, Any]) -> Target:
    names = op.inputs
    given = list(args[: len(names)])
    while any(name in keywords for name in names[len(given) :]):  # inputs may be given by name
        given.append(keywords.pop(names[len(given)], None))
    if not given or given[0] is None:
        raise ValueRangeError(f"{op!r} needs its inputs {names}, got none")
    arrays = iter(operands(*(value for value in given if value is not None)))
    values = tuple(None if value is None else next(arrays) for value in given)
    out, cache = op.forward(*values, *args[len(names) :], **keywords)
    values += (None,) * (len(names) - len(values))
    inputs = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return OpTarget(inputs, out, cache, op, Call(values, operand(out), cache))


def _of_model(model: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Target:
    if len(args) != 2:
        raise ValueRangeError(f"{type(model).__name__} takes params and x, got {len(args)} inputs")
    if unknown := sorted(keywords.keys() - {"train", "rng"}):
        raise ValueRangeError(f"{unknown[0]} is no option for a layer or model; those are 'train' and 'rng'")
    params, x = args[0], operand(args[1])
    if not isinstance(params, Mapping):
        raise DTypeError(f"params must map names to arrays, as layer.init gives them, got {type(params).__name__}")
    names = model.parameters()
    if missing := sorted(names.keys() - params.keys()):
        raise ParameterError(f"params has no {missing[0]!r}; it has {sorted(params)}")
    own = {name: params[name] for name in names}
    out, cache = model.forward(own, x, **_fresh(keywords))
    entry = "x" if "x" not in own else "input x"
    return ModelTarget({entry: x, **own}, out, cache, model, own, keywords)


def _fresh(keywords: dict[str, Any]) -> dict[str, Any]:
    """The keywords with a generator that starts where the given one did, so that dropout draws the same again."""
    return {**keywords, "rng": one_stream(deepcopy(keywords.get("rng")))}
