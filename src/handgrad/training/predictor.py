"""A model with its parameters, ready for many calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import array_api_compat
import numpy as np

import handgrad.pages as pages
from handgrad.checks import whole
from handgrad.engines.eager import as_parameters, check_parameters
from handgrad.errors import UnsupportedError
from handgrad.layers import Layer, Parameters
from handgrad.ops.arrays import Array
from handgrad.training.data import inputs
from handgrad.training.predict import compiled_forward, eager_scores, fits


class Predictor:
    """scores = Predictor(model, params)(X): as `predict`, with all that does not depend on X done before.

    It keeps copies of the parameters, so that changing them later does not change what it gives. The first call for
    samples of a shape prepares for them, and compiles the kernel where no run before has; where the compiled engine
    cannot run the model, layers are called as they are. Safe to share between threads.

    threads: that share the rows of a call. Raises ParameterError or ShapeError when params are not the model's.
    """

    def __init__(self, model: Layer, params: Mapping[str, Array], *, threads: int = 1):
        params = as_parameters(model, params)
        check_parameters(model, params)
        self.model, self.threads = model, whole("threads", threads)
        flat = params.flat
        if isinstance(flat, np.ndarray) and flat.dtype.kind == "f":
            flat = pages.copy(flat)
        else:
            flat = array_api_compat.array_namespace(flat).asarray(flat, copy=True)
        self._params: Parameters = params.like(flat)
        self._flat, self._dtype = flat, flat.dtype
        self._ready: dict[tuple[int, ...], Any] = {}  # shape -> (compiled pass, packed parameters), or None for none

    def __call__(self, X: Any) -> Array:
        """The scores (m, n_out) of each row of X, in the parameters' dtype. Raises as `predict` does."""
        if type(X) is np.ndarray and X.dtype == self._dtype:
            ready = self._ready.get(X.shape[1:])
            if ready is not None:
                scores = ready[0].scores(self._flat, X, ready[1], self.threads)
                if scores is not None:
                    return scores
        x = inputs(X)
        fits(self.model, self._params, x)
        if isinstance(x, np.ndarray):
            shape = x.shape[1:]
            if shape not in self._ready:
                self._ready[shape] = self._prepared(shape)
            if self._ready[shape] is not None:
                forward, packed = self._ready[shape]
                scores = forward.scores(self._flat, x, packed, self.threads)
                if scores is not None:
                    return scores
        return eager_scores(self.model, self._params, x)

    def _prepared(self, shape: tuple[int, ...]) -> tuple[Any, np.ndarray] | None:
        try:
            forward = compiled_forward(self.model, self._params, shape)
        except UnsupportedError:
            return None
        return forward, forward.pack(self._flat)

    def __reduce__(self) -> tuple[Any, ...]:  # what is ready is of this process
        return _made, (self.model, self._params, self.threads)

    def __repr__(self) -> str:
        return f"Predictor({self.model!r}, {self._params!r})"


def _made(model: Layer, params: Parameters, threads: int) -> Predictor:
    return Predictor(model, params, threads=threads)
