"""Scores for any number of rows, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import array_api_compat

from handgrad.checks import whole
from handgrad.engines.eager import as_parameters, check_parameters
from handgrad.errors import DeviceError
from handgrad.layers import Layer
from handgrad.ops.arrays import Array
from handgrad.training.data import inputs


def predict(model: Layer, params: Mapping[str, Array], X: Any, *, batch_size: int = 4096) -> Array:
    """The model's output for each row of X, as it is without dropout: (m, n_out), in the parameters' dtype.

    batch_size rows are taken at a time, so that the memory needed beside X and the scores does not grow with m.
    """
    batch_size = whole("batch_size", batch_size)
    x = inputs(X)
    params = as_parameters(model, params)
    check_parameters(model, params)
    model.output_shape(tuple(x.shape[1:]))  # refuses rows that do not fit, a single one given without its axis too
    flat = params.flat
    if array_api_compat.is_numpy_array(x) != array_api_compat.is_numpy_array(flat):
        raise DeviceError(
            f"X is a {type(x).__name__} and params hold a {type(flat).__name__}; give both of one library"
        )
    xp = array_api_compat.array_namespace(x)
    out: Any = None
    for start in range(0, max(x.shape[0], 1), batch_size):
        part = xp.astype(x[start : start + batch_size, ...], flat.dtype, copy=False)
        scores, _ = model.forward(params, part)
        if x.shape[0] <= batch_size:
            # a copy, where layers without parameters may hand back the caller's own array, or a view of it
            return scores if len(params) else xp.asarray(scores, copy=True)
        if out is None:
            out = xp.empty((x.shape[0], *scores.shape[1:]), dtype=scores.dtype, device=array_api_compat.device(scores))
        out[start : start + batch_size, ...] = scores
    return out
