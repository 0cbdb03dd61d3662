"""What all losses share: checks of scores, targets and weights, and the reduction to a weighted mean."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat
import numpy as np

from handgrad.errors import DTypeError, ShapeError, ValueRangeError
from handgrad.ops.arrays import Array, floating, namespace_of, operand, real
from handgrad.ops.base import Cache, Op, match_upstream, plain, spelled_out

REDUCTIONS = ("mean", "none")


class Loss(Op):
    """A loss of scores against targets: sum_i w_i L_i / sum_i w_i, or with reduction="none" the w_i L_i themselves.

    scores is (m, n), or any leading axes for samples with the last for outputs, or (m,) where each sample has one.
    A subclass gives `targets`, `value`, the L_i, and `local`, their gradient by the scores; weights and reduction
    are joined to them here, once. The one input with a gradient is `scores`; targets and weights are data.
    """

    inputs = ("scores",)
    value: Callable[..., tuple[Array, Any]]  # (scores, y, **hyper) -> (L_i, what `local` needs)
    local: Callable[..., Array]  # (saved, **hyper) -> dL_i/dscores, in the shape of scores

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "value" in vars(cls):
            cls.forward = spelled_out(Loss.forward, 3, cls.value)  # type: ignore[method-assign]

    @abstractmethod
    def targets(self, scores: Array, y: Array) -> Array:
        """y, checked against scores, in the form `value` takes."""

    def forward(
        self, scores: Array, y: Any, *, sample_weight: Any = None, reduction: str = "mean", **hyper: Any
    ) -> tuple[Array, Cache]:
        scores = operand(scores)
        floating(scores=scores)
        if reduction not in REDUCTIONS:
            raise ValueRangeError(f'reduction must be "mean" or "none", got {reduction!r}')
        hyper = plain(hyper, scores)
        if scores.ndim == 0:
            raise ShapeError("scores must have an axis of samples, got shape ()")
        xp = namespace_of(scores=scores)
        y = self.targets(scores, as_data(scores, y, "y"))
        losses, saved = self.value(scores, y, **hyper)
        count = math.prod(losses.shape)
        if reduction == "mean" and count == 0:
            raise ShapeError(f"scores in shape {tuple(scores.shape)} is an empty batch, which has no mean loss")
        weight = None if sample_weight is None else _weights(xp, scores, sample_weight, losses.shape, reduction)
        per_output = losses.ndim < scores.ndim
        if reduction == "mean" and weight is None:
            return xp.mean(losses), (saved, 1 / count, False, per_output, hyper)
        if weight is None:
            return losses, (saved, None, True, per_output, hyper)
        losses = losses * weight
        return xp.sum(losses) if reduction == "mean" else losses, (
            saved,
            weight,
            reduction == "none",
            per_output,
            hyper,
        )

    def backward(self, dout: Any, cache: Cache) -> tuple[Array, ...]:
        saved, weight, each, per_output, hyper = cache
        local = self.local(saved, **hyper)
        if each:
            dout = match_upstream(dout, local.shape[:-1] if per_output else local.shape, local)
        else:
            if math.prod(getattr(dout, "shape", ())) != 1:
                raise ShapeError(f"dout must be a number, as the mean loss is one, got shape {tuple(dout.shape)}")
            dout = match_upstream(dout, getattr(dout, "shape", ()), local)
        factor = dout if weight is None else dout * weight
        if per_output:
            factor = factor[..., None]
        return (local * factor,)

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        saved, weight, each, per_output, hyper = cache
        xp = namespace_of(tangent=tangents[0])
        tangent = self.local(saved, **hyper) * tangents[0]
        if per_output:
            tangent = xp.sum(tangent, axis=-1)
        if weight is not None:
            tangent = tangent * weight
        return tangent if each else xp.sum(tangent)


def as_data(scores: Array, values: Any, name: str) -> Array:
    """Targets or weights, perhaps a list, as an array of the scores' library."""
    if not array_api_compat.is_array_api_obj(values):
        values = array_api_compat.array_namespace(scores).asarray(values, device=array_api_compat.device(scores))
    namespace_of(scores=scores, **{name: values})
    return values


def _weights(xp: Any, scores: Array, sample_weight: Any, shape: tuple[int, ...], reduction: str) -> Array:
    """The factor of each L_i: w_i, over the sum of all when a mean is taken."""
    weight = as_data(scores, sample_weight, "sample_weight")
    if tuple(weight.shape) != tuple(shape):
        raise ShapeError(
            f"sample_weight must have one number a sample, shape {tuple(shape)}, got {tuple(weight.shape)}"
        )
    if not (xp.isdtype(weight.dtype, ("real floating", "integral"))):
        raise DTypeError(f"sample_weight must hold numbers, got dtype {weight.dtype}")
    weight = xp.astype(weight, real(xp, scores).dtype, copy=False)
    _refuse_no_weight(xp, weight)
    if reduction == "none":
        return weight
    # by the largest first: sums of huge or tiny weights neither overflow nor vanish
    largest = xp.max(weight)
    if not bool(largest != 0):
        raise ValueRangeError("sample_weight is 0 for every sample; a weighted mean needs one above 0")
    weight = weight / largest
    return weight / xp.sum(weight)


def _refuse_no_weight(xp: Any, weight: Array) -> None:
    refuse_first(~(xp.isfinite(weight) & (weight >= 0)), weight, "sample_weight must be finite and at least 0")


def class_labels(scores: Array, y: Array) -> Array:
    """y checked to be one integer label a sample, 0 to the number of classes less 1."""
    xp = array_api_compat.array_namespace(scores)
    if scores.ndim < 2:
        raise ShapeError(f"scores must be (samples, classes), got shape {tuple(scores.shape)}")
    if not xp.isdtype(y.dtype, "integral"):
        raise DTypeError(f"y must hold integer class labels, got dtype {y.dtype}")
    if tuple(y.shape) != tuple(scores.shape[:-1]):
        column = tuple(y.shape) == (*scores.shape[:-1], 1)
        raise ShapeError(
            f"y must have one label a sample, shape {tuple(scores.shape[:-1])} for scores in shape "
            f"{tuple(scores.shape)}, got {tuple(y.shape)}"
            + ("; give y[..., 0], without the last axis" if column else "")
        )
    classes = scores.shape[-1]
    if math.prod(y.shape) and (int(xp.min(y)) < 0 or int(xp.max(y)) >= classes):
        wide = xp.astype(y, xp.int64)
        refuse_first((wide < 0) | (wide >= classes), wide, f"y must hold labels from 0 to {classes - 1}")
    return y


def refuse_first(bad: Array, values: Array, expected: str) -> None:
    """Raise ValueRangeError where `bad` holds for one of the values: with the first of them, and its place."""
    xp = array_api_compat.array_namespace(values)
    if not bool(xp.any(bad)):
        return
    at = int(xp.argmax(xp.astype(xp.reshape(bad, (-1,)), xp.int8)))
    value = xp.reshape(values, (-1,))[at]
    place = tuple(map(int, np.unravel_index(at, tuple(values.shape))))
    where = f"sample {place[0]}" if len(place) == 1 else f"index {place}"
    raise ValueRangeError(f"{expected}, got {value} at {where}")


def same_shape(scores: Array, y: Array) -> Array:
    """y as floating-point numbers in the shape of scores; (m,) serves scores of (m, 1)."""
    xp = array_api_compat.array_namespace(scores)
    if not xp.isdtype(y.dtype, ("real floating", "integral", "bool")):
        raise DTypeError(f"y must hold numbers, got dtype {y.dtype}")
    if tuple(y.shape) != tuple(scores.shape):
        if scores.ndim == 0 or scores.shape[-1] != 1 or tuple(y.shape) != tuple(scores.shape[:-1]):
            raise ShapeError(f"y must have the shape of scores, {tuple(scores.shape)}, got {tuple(y.shape)}")
        y = y[..., None]
    # real, whatever scores are: a complex step moves the scores alone
    return xp.astype(y, real(xp, scores).dtype, copy=False)


def mean_over_outputs(losses: Array) -> Array:
    """L_i from the losses of a sample's outputs: their mean over the last axis, where there is one."""
    if losses.ndim < 2:
        return losses
    if losses.shape[-1] == 0:
        raise ShapeError(f"scores must have one output or more, got shape {tuple(losses.shape)}")
    return array_api_compat.array_namespace(losses).mean(losses, axis=-1)


def share_of_outputs(gradient: Array) -> Array:
    """The gradient of `mean_over_outputs`: each output's own, over the number of outputs."""
    return gradient if gradient.ndim < 2 else gradient / gradient.shape[-1]
