"""The eager engine: plain calls of the layers, on any array library, for any layer a user writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.layers import loss as loss_of
from handgrad.ops.arrays import Array


def value_and_grad(
    model: Layer,
    loss: str | Loss,
    params: Mapping[str, Array],
    x: Array,
    y: Any,
    *,
    sample_weight: Any = None,
    regularizer: L2 | None = None,
    train: bool = False,
    rng: np.random.Generator | None = None,
) -> tuple[Array, Parameters]:
    """The loss of one batch, the penalty added, and its gradient by every parameter, as Parameters like `params`.

    x: (m, ...), samples as rows. y and sample_weight: one row a sample, as the loss takes them. loss: an object or a
    name. train and rng matter to Dropout alone. A plain mapping of names to arrays serves as `params` too.
    Raises ShapeError, DTypeError, DeviceError or ValueRangeError, with the layer's name where it arose in one.
    """
    loss = loss_of(loss)
    params = as_parameters(model, params)
    scores, cache = model.forward(params, x, train=train, rng=rng)
    value, loss_cache = loss.forward(scores, y, sample_weight=sample_weight)
    grads = model.parameter_gradients(loss.backward(1.0, loss_cache), cache)
    if regularizer is not None:
        penalty, penalty_grads = regularizer.value_and_grad(params)
        value = value + penalty
        for name, gradient in penalty_grads.items():
            grads[name] = grads[name] + gradient
    return value, params.pack(grads)


def as_parameters(model: Layer, params: Mapping[str, Array]) -> Parameters:
    """`params` itself when it is a Parameters, else its arrays packed into one vector, of the first array's library."""
    if isinstance(params, Parameters):
        return params
    import array_api_compat

    specs = model.parameters()
    arrays = list(params.values())
    size = sum(int(np.prod(spec.shape)) for spec in specs.values())
    if not arrays:
        return Parameters(specs, np.zeros(size))
    xp = array_api_compat.array_namespace(*arrays)
    flat = xp.zeros(size, dtype=arrays[0].dtype, device=array_api_compat.device(arrays[0]))
    return Parameters(specs, flat).pack(params)
