"""Scores for any number of rows, in bounded memory."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Mapping
from typing import Any

import array_api_compat
import numpy as np

from handgrad.checks import whole
from handgrad.engines.eager import as_parameters, check_parameters
from handgrad.errors import DeviceError, UnsupportedError
from handgrad.layers import Layer, Parameters
from handgrad.ops.arrays import Array
from handgrad.training.data import inputs

# Multiplications of all calls so far from which Numba is worth its import, and from which the kernel is worth being
# compiled: when as long has been spent without it, as who buys skis after having rented them for their price.
LOOK, COMPILE = 1e9, 1e11
CALL = 1e6  # multiplications that the cost of an eager call itself stands for


def predict(model: Layer, params: Mapping[str, Array], X: Any, *, batch_size: int = 4096) -> Array:
    """The model's output for each row of X, as it is without dropout: (m, n_out), in the parameters' dtype.

    No more than batch_size rows are taken at a time, so that the memory needed beside X and the scores does not grow
    with m. NumPy arrays go through the compiled engine where that can run the model and its kernels are on the disk, or
    the work is large enough to compile them; the scores are the same to rounding. `Predictor` is for many small calls.

    Raises ShapeError, DTypeError, ValueRangeError, ParameterError or DeviceError for X or params that do not fit.
    """
    if type(batch_size) is not int or batch_size < 1:
        batch_size = whole("batch_size", batch_size)
    if type(X) is np.ndarray and type(params) is Parameters:
        known = _known.get(id(model))
        if known is not None and known.model() is model and known.specs is params.specs:
            flat = params.flat
            forward = known.forwards.get((X.shape[1:], flat.dtype))
            if forward and X.dtype == flat.dtype:
                scores = forward.scores(flat, X)
                if scores is not None:
                    return scores
    x = inputs(X)
    params = as_parameters(model, params)
    check_parameters(model, params)
    return scores_of(model, params, x, batch_size)


def scores_of(model: Layer, params: Parameters, x: Array, batch_size: int = 4096) -> Array:
    """As predict, for parameters and rows that were checked, each alone."""
    fits(model, params, x)
    if isinstance(x, np.ndarray) and (forward := _forward(model, params, x)):
        scores = forward.scores(params.flat, x)
        if scores is not None:  # else a number of x is too large for the parameters' dtype
            return scores
    return eager_scores(model, params, x, batch_size)


def fits(model: Layer, params: Parameters, x: Array) -> None:
    """Raise ShapeError or DeviceError unless the model can take x, and params are of its library."""
    model.output_shape(tuple(x.shape[1:]))  # refuses rows that do not fit, a single one given without its axis too
    flat = params.flat
    if array_api_compat.is_numpy_array(x) != array_api_compat.is_numpy_array(flat):
        raise DeviceError(
            f"X is a {type(x).__name__} and params hold a {type(flat).__name__}; give both of one library"
        )


def eager_scores(model: Layer, params: Parameters, x: Array, batch_size: int = 4096) -> Array:
    """As predict, by plain calls of the layers, whatever ran before: what must give the same bits in each run."""
    xp, flat = array_api_compat.array_namespace(x), params.flat
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


class _Known:
    """What predict remembers of a model that it has seen, and no longer than that lives.

    forwards: its compiled passes by (shape of a sample, dtype), None where there can be none; they hold no parameters.
    specs: of the last parameters that were checked: the very same ones need no second look.
    """

    def __init__(self, model: Layer):
        key = id(model)
        self.model = weakref.ref(model, lambda _: _known.pop(key, None))
        self.specs: Any = None
        self.forwards: dict[tuple[tuple[int, ...], Any], Any] = {}


# By identity: models that are equal as dataclasses may share no layers, and hashing one takes longer than to predict.
_known: dict[int, _Known] = {}
_ready: dict[Any, bool] = {}  # dtype -> whether this process has its kernel, False where the disk has none either
_work = 0.0  # multiplications of the calls that went without


def _forward(model: Layer, params: Parameters, x: np.ndarray) -> Any:
    """The compiled pass for these checked parameters and rows, or None where there is none or it is not worth it."""
    key = (x.shape[1:], params.flat.dtype)
    known = _known.get(id(model))
    forward = None
    if known is None or known.model() is not model or key not in known.forwards:
        if not _is_worth_it(params, len(x)):
            return None
        try:
            forward = compiled_forward(model, params, x.shape[1:])
        except UnsupportedError:
            forward = None
        if known is None or known.model() is not model:
            try:
                known = _Known(model)
            except TypeError:  # a layer of the user's own, of a class without weak references
                return forward
            _known[id(model)] = known
        known.forwards[key] = forward
    else:
        forward = known.forwards[key]
    if forward is not None and tuple(params.specs) != forward.names:  # in another order in the vector
        return None
    if known.specs is not None and tuple(known.specs) != tuple(params.specs):
        known.forwards = {key: forward}  # those made for another order in the vector
    known.specs = params.specs
    return forward


def compiled_forward(model: Layer, params: Parameters, shape: tuple[int, ...]) -> Any:
    """The compiled pass for samples of that shape. Raises UnsupportedError, with its place, for one that cannot."""
    from handgrad.engines.compiled.inference import Forward

    dtype = params.flat.dtype
    if not dtype.isnative:
        raise UnsupportedError(f"the compiled engine needs parameters in this machine's byte order, got {dtype}")
    forward = Forward(model, params.specs, shape, dtype.type)
    _ready[dtype] = True
    return forward


def _is_worth_it(params: Parameters, m: int) -> bool:
    """Whether to go through the compiled engine, whose kernel may have to be found, or compiled, first."""
    global _work
    dtype = params.flat.dtype
    if _ready.get(dtype):
        return True
    _work += m * params.flat.size + CALL
    if _work >= COMPILE:
        return True
    if dtype in _ready or dtype.kind != "f" or dtype.itemsize not in (4, 8):
        return False
    if _work < LOOK and "numba" not in sys.modules:
        return False
    from handgrad.engines.compiled.kernels.predict import kernel_is_cached

    _ready[dtype] = kernel_is_cached(dtype.type)
    return _ready[dtype]
