"""A model's parameters as NumPy arrays over one vector, from whatever holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import array_api_compat
import numpy as np

import handgrad.pages as pages
from handgrad.formats.errors import FormatError
from handgrad.layers.base import Layer
from handgrad.layers.parameters import Parameter, Parameters
from handgrad.ops.arrays import Array

DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}  # by safetensors' names


def packed(model: Layer, params: Mapping[str, Array]) -> Parameters:
    """Copies of the model's parameters, all float16, float32 or float64, as they are given.

    Raises FormatError for another type or a mixture, ParameterError or ShapeError for parameters of another model.
    """
    arrays = {name: np.ascontiguousarray(on_host(array)) for name, array in params.items()}
    dtype = next((array.dtype for array in arrays.values()), np.dtype(float))
    for name, array in arrays.items():
        if array.dtype != dtype or dtype not in DTYPES.values():
            raise FormatError(
                f"parameters must be all float16, float32 or float64, got {array.dtype} in {name!r}"
                + (f" and {dtype} before" if array.dtype != dtype else "")
            )
    return empty(model.parameters(), dtype).pack(arrays)  # refuses what does not fit the model


def empty(specs: Mapping[str, Parameter], dtype: object) -> Parameters:
    """Parameters that hold no value yet."""
    return Parameters(specs, pages.empty(sum(math.prod(spec.shape) for spec in specs.values()), dtype))


def on_host(array: Array) -> np.ndarray:
    """The array in NumPy, whatever library and device it is of."""
    if array_api_compat.is_array_api_obj(array) and not array_api_compat.is_numpy_array(array):
        array = array_api_compat.to_device(array, "cpu")
        if array_api_compat.is_torch_array(array):
            array = array.detach()
    return np.asarray(array)


def filled(model: Layer, values: Mapping[object, np.ndarray], dtype: object) -> Parameters:
    """The model's parameters from `values`, by each layer's own keys (`Layer.parameter_keys`)."""
    params = empty(model.parameters(), dtype)
    for name, key in model.parameter_keys().items():
        params[name][...] = values[key]
    return params
