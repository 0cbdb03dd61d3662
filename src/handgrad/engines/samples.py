"""The gradient of each sample's own loss: its norm without forming it, clipped sums, or the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from handgrad.checks import positive
from handgrad.engines.eager import as_parameters, check_parameters, value_and_grad
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
        squares = [factors.squares() for factors in self._factors.values()]
        xp = array_api_compat.array_namespace(self.losses)
        total = sum(squares[1:], squares[0])
        return xp.sqrt(xp.where(total > 0, total, xp.zeros_like(total)))  # a sum of products may round below 0

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

        g_i min(1, max_norm / |g_i|). Abadi et al. (2016), "Deep learning with differential privacy".
        """
        max_norm = positive("max_norm", max_norm)
        norms = self.norms()
        xp = array_api_compat.array_namespace(norms)
        return self.total(xp.where(norms > max_norm, max_norm / xp.where(norms > 0, norms, 1), xp.ones_like(norms)))


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

    names: the parameters to take it by, all unless given. A backward pass gives the factors of all samples' gradients;
    a layer of your own without a `sample_gradients` has the whole model run for one sample after the other.
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
    each, loss_cache = loss.forward(scores, y, sample_weight=sample_weight, reduction="none")
    xp = array_api_compat.array_namespace(each)
    dscores = loss.backward(xp.ones_like(each), loss_cache)
    losses = each if each.ndim == 1 else xp.sum(each, axis=tuple(range(1, each.ndim)))
    try:
        _, found = model.sample_gradients(dscores, cache, False)
    except UnsupportedError:
        found = _one_by_one(model, loss, params, x, y, sample_weight, train, rng)
    zero = xp.zeros_like(losses)
    return PerSample(
        losses, {n: _or_zero(found.get(n), params[n], zero) for n in sorted(chosen, key=list(params).index)}, params
    )


def _or_zero(found: SampleGradients | None, parameter: Array, zero: Array) -> SampleGradients:
    if found is not None:
        return found
    xp = array_api_compat.array_namespace(zero)
    return Each(xp.broadcast_to(xp.reshape(zero, (-1, *(1,) * parameter.ndim)), (zero.shape[0], *parameter.shape)))


def _one_by_one(
    model: Layer, loss: Loss, params: Parameters, x: Array, y: Any, sample_weight: Any, train: bool, rng: Any
) -> dict[str, SampleGradients]:
    rows: list[Parameters] = []
    xp = array_api_compat.array_namespace(x)
    for i in range(x.shape[0]):
        one = slice(i, i + 1)
        _, gradient = value_and_grad(model, loss, params, x[one], y[one], train=train, rng=rng)
        rows.append(gradient if sample_weight is None else gradient.like(gradient.flat * float(sample_weight[i])))
    return {name: Each(xp.stack([row[name] for row in rows])) for name in params if rows}
