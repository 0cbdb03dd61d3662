"""The gradient of each sample's own loss: its norm without forming it, clipped sums, or the whole of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from handgrad.checks import positive
from handgrad.engines.eager import as_parameters, check_parameters
from handgrad.errors import ParameterError, ShapeError, UnsupportedError
from handgrad.layers import Layer, Loss, Parameters
from handgrad.layers import loss as loss_of
from handgrad.ops.arrays import Array
from handgrad.ops.samples import Each, SampleGradients


@dataclass(frozen=True)
class PerSample:
    """The loss L_i of each sample of a batch, and its gradient by each parameter, kept as factors.

    losses: (m,). names: the parameters, in the model's order. What is asked of it is worked out then, so that norms and
    clipped sums need no more memory than a batch.
    """

    losses: Array
    _factors: Mapping[str, SampleGradients]
    _params: Parameters

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that the gradients are by."""
        return tuple(self._factors)

    def __getitem__(self, name: str) -> Array:
        """(m, *shape): the gradient of each sample's loss by that parameter."""
        if name not in self._factors:
            raise ParameterError(f"there are no gradients by {name!r}; there are those by {list(self.names)}")
        return self._factors[name].dense()

    def norms(self) -> Array:
        """(m,): the norm of each sample's gradient by all of `names` together."""
        return self._norms([factors.squares() for factors in self._factors.values()])

    def _norms(self, squares: list[Array]) -> Array:
        xp = array_api_compat.array_namespace(self.losses)
        total = sum(squares[1:], squares[0])
        return xp.sqrt(xp.where(total < 0, xp.zeros_like(total), total))  # a sum of products may round below 0

    def total(self, weights: Any = None) -> Parameters:
        """The sum over samples of weights_i times the gradient; 0 for the parameters that are not in `names`.

        weights: (m,), all 1 unless given; 1 / m for each gives the gradient of the mean loss.
        """
        xp = array_api_compat.array_namespace(self.losses)
        if weights is None:
            weights = xp.ones_like(self.losses)
        weights = xp.asarray(weights, dtype=self.losses.dtype)
        if weights.shape != self.losses.shape:
            raise ShapeError(f"weights must have shape {tuple(self.losses.shape)}, got {tuple(weights.shape)}")
        return self._params.pack({n: f.total(weights) if (f := self._factors.get(n)) else None for n in self._params})

    def clipped(self, max_norm: float) -> Parameters:
        """The sum over samples of the gradients, each made as long as max_norm where it was longer.

        g_i min(1, max_norm / |g_i|). The bound holds in spite of rounding: where a gradient is a sum of terms that
        cancel, its norm counts as large as rounding may have hidden. One whose norm overflows counts for nothing, and
        one of NaN makes the sum NaN. Abadi et al. (2016), "Deep learning with differential privacy".
        """
        max_norm = positive("max_norm", max_norm)
        norms = self._norms([factors.squares() + factors.uncertain() for factors in self._factors.values()])
        xp = array_api_compat.array_namespace(norms)
        limit = xp.full_like(norms, max_norm)
        return self.total(limit / xp.where(norms <= limit, limit, norms))


def per_sample_gradients(
    model: Layer,
    loss: str | Loss,
    params: Mapping[str, Array],
    x: Array,
    y: Any,
    *,
    names: Iterable[str] | None = None,
    sample_weight: Any = None,
    train: bool = False,
    rng: np.random.Generator | None = None,
) -> PerSample:
    """The gradient of each sample's own loss w_i L_i by the parameters, as `value_and_grad` has that of their mean.

    names: the parameters to take it by, all unless given. Where a sample has scores in several places, (m, ..., n), L_i
    is the mean over them. A backward pass gives the factors of all samples' gradients. Where a layer of your own has
    no `sample_gradients`, or anything in the model may mix samples, such as Softmax(axis=0) or a Graph's mean over
    them, the whole model runs for one sample after the other: a sample's own loss knows of no other.
    Raises as `value_and_grad` does, and ParameterError for a name that the model lacks.
    """
    loss, params = loss_of(loss), as_parameters(model, params)
    check_parameters(model, params)
    chosen = tuple(params) if names is None else tuple(names)
    for name in chosen:
        if name not in params:
            raise ParameterError(f"names hold {name!r}, the model has {list(params)}")
    if not chosen:
        raise ParameterError("names must hold a parameter or more, got none")
    scores, cache = model.forward(params, x, train=train, rng=rng)
    losses, dscores = _own_losses(loss, scores, y, sample_weight)
    xp = array_api_compat.array_namespace(losses)
    try:
        _, found = model.sample_gradients(dscores, cache, False)
    except UnsupportedError:
        losses, found = _one_by_one(model, loss, params, x, y, sample_weight, losses, train, rng)
    zero = xp.zeros_like(losses)
    wanted = frozenset(chosen)
    return PerSample(losses, {n: _or_zero(found.get(n), params[n], zero) for n in params if n in wanted}, params)


def _or_zero(found: SampleGradients | None, parameter: Array, zero: Array) -> SampleGradients:
    if found is not None:
        return found
    xp = array_api_compat.array_namespace(zero)
    return Each(xp.broadcast_to(xp.reshape(zero, (-1, *(1,) * parameter.ndim)), (zero.shape[0], *parameter.shape)))


def _own_losses(loss: Loss, scores: Array, y: Any, sample_weight: Any) -> tuple[Array, Array]:
    """(each sample's own loss, its gradient by the scores): where a sample has scores in several places, their mean."""
    each, cache = loss.forward(scores, y, sample_weight=sample_weight, reduction="none")
    xp = array_api_compat.array_namespace(each)
    places = max(1, math.prod(each.shape[1:]))
    dscores = loss.backward(xp.full_like(each, 1 / places), cache)
    return each if each.ndim == 1 else xp.sum(each, axis=tuple(range(1, each.ndim))) / places, dscores


def _one_by_one(
    model: Layer, loss: Loss, params: Parameters, x: Array, y: Any, sample_weight: Any, losses: Array, *how: Any
) -> tuple[Array, dict[str, SampleGradients]]:
    """(losses, gradients), the model run for each sample alone. losses: as the batch gave them; how: train, rng."""
    own, rows = [], []
    xp, (train, rng) = array_api_compat.array_namespace(x), how
    for i in range(x.shape[0]):
        one = slice(i, i + 1)
        scores, cache = model.forward(params, x[one], train=train, rng=rng)
        value, dscores = _own_losses(loss, scores, y[one], None if sample_weight is None else sample_weight[one])
        own.append(value)
        rows.append(params.pack(model.parameter_gradients(dscores, cache)))
    return xp.concat(own) if own else losses, {n: Each(xp.stack([row[n] for row in rows])) for n in params if rows}
