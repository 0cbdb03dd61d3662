"""What the ops ask of an array library: its namespace, checks that inputs belong together, broadcasting undone."""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import array_api_compat.numpy as numpy_namespace
import numpy as np

from handgrad.errors import DeviceError, DTypeError, ShapeError

Array = Any  # an array of any library that follows the Python array API standard
Namespace = Any


def namespace_of(**arrays: Array) -> Namespace:
    """The array namespace the named arrays share; None stands for an input that was left out.

    Raises DeviceError when they are of two libraries or devices, DTypeError when one is no array.
    """
    first_name, first, same = "", None, True
    for name, array in arrays.items():
        if array is None:
            continue
        if first is None:
            first_name, first = name, array
        if type(array) is not np.ndarray:
            same = False
    if same:
        return numpy_namespace
    for name, array in arrays.items():
        if array is None:
            continue
        if not array_api_compat.is_array_api_obj(array):
            raise DTypeError(f"{name} must be an array, got {type(array).__name__}")
        if _library(array) != _library(first):
            raise DeviceError(
                f"{name} is an array of {_library(array)} and {first_name} of {_library(first)}; "
                "inputs of one operation must come from one array library"
            )
        if array_api_compat.device(array) != array_api_compat.device(first):
            raise DeviceError(
                f"{name} is on device {array_api_compat.device(array)} and {first_name} on "
                f"{array_api_compat.device(first)}; inputs of one operation must be on one device"
            )
    return array_api_compat.array_namespace(first)


def _library(array: Array) -> str:
    # scalars of NumPy (np.float64) count as NumPy's arrays
    return array_api_compat.array_namespace(array).__name__.rsplit(".", 1)[-1].replace("array_api_strict", "strict")


def same_dtype(**arrays: Array) -> None:
    """Raise DTypeError unless the named arrays are all of one floating dtype."""
    first_name, first = "", None
    for name, array in arrays.items():
        if array is None:
            continue
        if first is None:
            floating(**{name: array})
            first_name, first = name, array
        elif array.dtype != first.dtype:
            raise DTypeError(
                f"{name} has dtype {array.dtype} and {first_name} has {first.dtype}; "
                "give all inputs one dtype, so that nothing is converted in silence"
            )


def floating(**arrays: Array) -> None:
    """Raise DTypeError unless the named arrays hold floating-point numbers (or complex ones, for a complex step)."""
    for name, array in arrays.items():
        if type(array) is np.ndarray:
            if array.dtype.kind in "fc":
                continue
        else:
            xp = array_api_compat.array_namespace(array)
            if xp.isdtype(array.dtype, ("real floating", "complex floating")):
                continue
        raise DTypeError(f"{name} must hold floating-point numbers, got dtype {array.dtype}")


def operand(value: Any, like: Array | None = None) -> Array:
    """A Python number or list as an array: of NumPy and float64, or of the library, dtype and device of `like`."""
    if array_api_compat.is_array_api_obj(value):
        return value
    if isinstance(value, np.generic):
        return np.asarray(value)
    if like is None or isinstance(value, list | tuple):
        return np.asarray(value, dtype=np.float64)
    xp = array_api_compat.array_namespace(like)
    return xp.asarray(value, dtype=like.dtype, device=array_api_compat.device(like))


def operands(*values: Any) -> tuple[Array, ...]:
    """The values as arrays that belong together: numbers take the dtype of the arrays beside them."""
    like = next((value for value in values if array_api_compat.is_array_api_obj(value)), None)
    return tuple(operand(value, like) for value in values)


def sum_to_shape(xp: Namespace, x: Array, shape: tuple[int, ...]) -> Array:
    """x summed over the axes along which `shape` was broadcast to x.shape: the gradient of broadcasting."""
    if x.shape == shape:
        return x
    extra = len(x.shape) - len(shape)
    stretched = tuple(i + extra for i, n in enumerate(shape) if n == 1 and x.shape[i + extra] != 1)
    axes = (*range(extra), *stretched)
    return xp.reshape(xp.sum(x, axis=axes), shape) if axes else x


def broadcast(xp: Namespace, x: Array, shape: tuple[int, ...]) -> Array:
    """x broadcast to `shape`, unless it has that shape already."""
    return x if x.shape == shape else xp.broadcast_to(x, shape)


def transpose(x: Array) -> Array:
    """x with its last two axes swapped: a change of strides, no copy."""
    return x.mT


def rows(xp: Namespace, x: Array) -> Array:
    """x of shape (..., n) as (m, n), without a copy where strides allow."""
    return x if x.ndim == 2 else xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def unit_axis(axis: int, ndim: int, name: str = "axis") -> int:
    """`axis` as a number from 0 to ndim - 1. Raises ShapeError when it is outside."""
    if not -ndim <= axis < ndim:
        raise ShapeError(f"{name}={axis} is outside an array of {ndim} axes; expected {-ndim} to {ndim - 1}")
    return axis % ndim


def magnitude(xp: Namespace, x: Array) -> Array:
    """|x|, continued to complex x as an analytic function (x or -x, by its real part), so that complex steps pass."""
    return xp.where(xp.real(x) < 0, -x, x) if xp.isdtype(x.dtype, "complex floating") else xp.abs(x)


def real(xp: Namespace, x: Array) -> Array:
    """The real part, which orders complex numbers in a maximum; x itself when it is real."""
    return xp.real(x) if xp.isdtype(x.dtype, "complex floating") else x
