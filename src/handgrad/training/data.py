"""What training takes as data: rows checked once, before the first step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from handgrad.errors import DTypeError, ShapeError, ValueRangeError
from handgrad.layers import Layer, Loss
from handgrad.ops.arrays import Array

CHECKED_ROWS = 65536  # a slice of rows at a time, so that no check doubles the memory


@dataclass(frozen=True)
class Rows:
    """Samples as rows: x (m, ...), y with m rows, and a weight for each (m,), or None."""

    x: Array
    y: Array
    weight: Array | None = None

    def __len__(self) -> int:
        return self.x.shape[0]

    def take(self, index: Array) -> Rows:
        """The rows of that index, in its order; index: NumPy integers, or a slice for rows in a row."""
        return Rows(
            _take(self.x, index), _take(self.y, index), None if self.weight is None else _take(self.weight, index)
        )


def _take(array: Array, index: Any) -> Array:
    if isinstance(index, slice):
        return array[index]
    if type(array) is np.ndarray:
        return array.take(index, axis=0)
    xp = array_api_compat.array_namespace(array)
    return xp.take(array, xp.asarray(index, device=array_api_compat.device(array)), axis=0)


def rows(data: Any, name: str = "data") -> Rows:
    """(X, y) or (X, y, sample_weight) as arrays, checked: lengths that match, at least one row, numbers, all finite.

    Lists and tables become NumPy arrays; integers in X become float64. Raises ShapeError, DTypeError or
    ValueRangeError, which name the array and the first place at fault.
    """
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise DTypeError(f"{name} must be (X, y) or (X, y, sample_weight), got {type(data).__name__}")
    x = inputs(data[0], f"X of {name}")
    y = _array(data[1], f"y of {name}")
    weight = None if len(data) == 2 or data[2] is None else _array(data[2], f"sample_weight of {name}")
    if x.shape[0] == 0:
        raise ShapeError(f"X of {name} has no rows, in shape {tuple(x.shape)}; training needs one or more")
    for array, what in ((y, "y"), (weight, "sample_weight")):
        if array is not None and (array.ndim == 0 or array.shape[0] != x.shape[0]):
            raise ShapeError(
                f"{what} of {name} must have a row for each of X's {x.shape[0]}, got shape {tuple(array.shape)}"
            )
    _all_finite(y, f"y of {name}")
    return Rows(x, y, weight)


def inputs(X: Any, name: str = "X") -> Array:
    """X as a floating-point array with an axis of samples, all finite; other numbers become float64."""
    x = _array(X, name)
    if x.ndim == 0:
        raise ShapeError(f"{name} must have samples as rows, got a single number")
    xp = array_api_compat.array_namespace(x)
    if not xp.isdtype(x.dtype, "real floating"):
        x = xp.astype(x, xp.float64)
    elif type(x) is np.ndarray and x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float64)
    _all_finite(x, name)
    return x


def _array(values: Any, name: str) -> Array:
    array = values if array_api_compat.is_array_api_obj(values) else np.asarray(values)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "fiub":
        raise DTypeError(f"{name} must hold numbers, got dtype {array.dtype}; encode text and categories first")
    return array


def _all_finite(array: Array, name: str) -> None:
    xp = array_api_compat.array_namespace(array)
    if not xp.isdtype(array.dtype, "real floating"):
        return
    for start in range(0, array.shape[0], CHECKED_ROWS):
        finite = xp.isfinite(array[start : start + CHECKED_ROWS, ...])
        if not bool(xp.all(finite)):
            flat = int(xp.argmax(xp.astype(xp.reshape(~finite, (-1,)), xp.int8)))
            row, *column = (int(i) for i in np.unravel_index(flat, finite.shape))
            place = ", ".join(str(i) for i in column)
            at = f"row {start + row}" + (f", column {place}" if column else "")
            value = float(array[(start + row, *column)])
            raise ValueRangeError(f"{name} must be finite, got {value} at {at}")


def fits(model: Layer, loss: Loss, data: Rows, name: str = "data") -> None:
    """Raise ShapeError, DTypeError or ValueRangeError when the model can't take X or the loss can't take y."""
    shape = model.output_shape(tuple(data.x.shape[1:]))
    if shape is None or ... in shape:
        return  # a layer of the user's own; the first step will tell
    xp = array_api_compat.array_namespace(data.x)
    for start in range(0, len(data), max(1, CHECKED_ROWS // max(1, math.prod(shape)))):
        part = data.take(slice(start, start + max(1, CHECKED_ROWS // max(1, math.prod(shape)))))
        scores = xp.zeros((len(part), *shape), dtype=data.x.dtype, device=array_api_compat.device(data.x))
        # "none", as a part whose weights are all 0 is no fault
        loss.forward(scores, part.y, sample_weight=part.weight, reduction="none")
    integers = array_api_compat.array_namespace(data.y).isdtype(data.y.dtype, "integral")
    if loss.classifies and integers and int(data.y.min()) == int(data.y.max()):
        raise ValueRangeError(
            f"y of {name} holds one class, {int(data.y.min())}, in all {len(data)} rows; "
            "classification needs two or more"
        )
    if data.weight is not None and not bool(data.weight.sum() > 0):
        raise ValueRangeError(f"sample_weight of {name} is 0 for every sample")


def split(data: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """(the rest, a random part of that fraction), for validation."""
    if not 0 < fraction < 1:
        raise ValueRangeError(f"validation as a fraction must be above 0 and below 1, got {fraction}")
    held = round(len(data) * fraction)
    if not 0 < held < len(data):
        raise ShapeError(f"validation={fraction} of {len(data)} rows leaves one part empty")
    order = np.random.default_rng([seed, 2**32 - 1]).permutation(len(data))
    return data.take(order[held:]), data.take(order[:held])
