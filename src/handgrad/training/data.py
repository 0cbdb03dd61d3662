"""What training takes as data: rows checked once, before the first step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from handgrad.errors import DTypeError, HandgradError, ShapeError, ValueRangeError
from handgrad.layers import BinaryCrossEntropy, Layer, Loss
from handgrad.ops.arrays import Array, namespace_of

CHECKED = 65536  # numbers at a time, so that no check takes memory to speak of

SHUFFLE, DROPOUT, SPLIT = range(3)  # what a stream of random numbers is for


def stream(seed: int, *key: int) -> np.random.Generator:
    """The random numbers of one purpose (and epoch), independent of all others that the seed decides."""
    bits = np.random.SeedSequence(seed, spawn_key=key)
    # counter-based for dropout: each engine, and each thread, can take any number of the stream on its own
    return np.random.Generator(np.random.Philox(bits) if key[0] == DROPOUT else np.random.PCG64(bits))


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

    @property
    def bytes_of_a_row(self) -> int:
        """What a row takes in memory."""
        arrays = (array for array in (self.x, self.y, self.weight) if array is not None)
        return sum(math.prod(array.shape[1:]) * array.dtype.itemsize for array in arrays)


def _take(array: Array, index: Any) -> Array:
    if isinstance(index, slice):
        return array[index]
    if type(array) is np.ndarray:
        return array.take(index, axis=0)
    xp = array_api_compat.array_namespace(array)
    return xp.take(array, xp.asarray(index, device=array_api_compat.device(array)), axis=0)


def rows(data: Any, name: str = "data", first: int = 0, columns: Sequence[str] = ()) -> Rows:
    """(X, y) or (X, y, sample_weight) as arrays, checked: lengths that match, at least one row, numbers, all finite.

    Lists and tables become arrays, of X's library. first: the number of the first row, where others came before.
    columns: X's names. Raises ShapeError, DTypeError or ValueRangeError, which name the array and the first place at
    fault.
    """
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise DTypeError(f"{name} must be (X, y) or (X, y, sample_weight), got {type(data).__name__}")
    x = inputs(data[0], f"X of {name}", first, columns)
    y = _array(data[1], f"y of {name}", x)
    weight = None if len(data) == 2 or data[2] is None else _array(data[2], f"sample_weight of {name}", x)
    if x.shape[0] == 0:
        raise ShapeError(f"X of {name} has no rows, in shape {tuple(x.shape)}; training needs one or more")
    for array, what in ((y, "y"), (weight, "sample_weight")):
        if array is not None and (array.ndim == 0 or array.shape[0] != x.shape[0]):
            expected, given = x.shape[0], tuple(array.shape)
            raise ShapeError(f"{what} of {name} must have a row for each of X's {expected}, got shape {given}")
    _all_finite(y, f"y of {name}", first)
    return Rows(x, y, weight)


def inputs(X: Any, name: str = "X", first: int = 0, columns: Sequence[str] = ()) -> Array:
    """X as an array of numbers with an axis of samples, all finite. Its dtype stays: batches are converted, not all."""
    x = _array(X, name)
    if x.ndim == 0:
        raise ShapeError(f"{name} must have samples as rows, got a single number")
    _all_finite(x, name, first, columns)
    return x


def trained_dtype(x: Array) -> Any:
    """The dtype that X trains in: float32 stays, anything else is float64."""
    xp = array_api_compat.array_namespace(x)
    return xp.float32 if x.dtype == xp.float32 else xp.float64


def _array(values: Any, name: str, like: Array | None = None) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        raise DTypeError(f"{name} is a masked array; fill what is masked, or leave those rows out")
    if not array_api_compat.is_array_api_obj(values) or isinstance(values, np.ndarray):
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise ShapeError(f"{name} must have rows of one length: {error}") from None
        if array.dtype.kind not in "fiub":
            raise DTypeError(f"{name} must hold numbers, got dtype {array.dtype}; encode text and categories first")
        if isinstance(values, np.ndarray) or like is None or isinstance(like, np.ndarray):
            return array
        values = array_api_compat.array_namespace(like).asarray(array, device=array_api_compat.device(like))
    elif like is not None:
        namespace_of(X=like, **{name.split()[0]: values})
    xp = array_api_compat.array_namespace(values)
    if not xp.isdtype(values.dtype, ("real floating", "integral", "bool")):
        raise DTypeError(f"{name} must hold real numbers, got dtype {values.dtype}")
    return values


def _all_finite(array: Array, name: str, first: int = 0, columns: Sequence[str] = ()) -> None:
    xp = array_api_compat.array_namespace(array)
    if not xp.isdtype(array.dtype, "real floating"):
        return
    rows_at_once = max(1, CHECKED // max(1, math.prod(array.shape[1:])))
    for start in range(0, array.shape[0], rows_at_once):
        finite = xp.isfinite(array[start : start + rows_at_once, ...])
        if not bool(xp.all(finite)):
            flat = int(xp.argmax(xp.astype(xp.reshape(~finite, (-1,)), xp.int8)))
            row, *column = (int(i) for i in np.unravel_index(flat, finite.shape))
            place = repr(columns[column[0]]) if columns and column else ", ".join(str(i) for i in column)
            at = f"row {first + start + row}" + (f", column {place}" if column else "")
            value = float(array[(start + row, *column)])
            raise ValueRangeError(f"{name} must be finite, got {value} at {at}")


def fits(model: Layer, loss: Loss, data: Rows, name: str = "data") -> None:
    """Raise ShapeError, DTypeError or ValueRangeError when the model can't take X or the loss can't take y."""
    shape = model.output_shape(tuple(data.x.shape[1:]))
    if shape is not None and ... not in shape:  # else a layer of the user's own; the first step will tell
        rows_at_once = max(1, CHECKED // max(1, math.prod(shape)))
        try:
            for start in range(0, len(data), rows_at_once):
                _try_loss(loss, shape, data.take(slice(start, start + rows_at_once)))
        except HandgradError:
            try:
                _try_loss(loss, shape, data)  # on the whole, for the number of the row
            except HandgradError as error:
                error.args = (f"{name}: {error.args[0]}",)
                raise


def some_weight(data: Rows, name: str = "data") -> None:
    """Raise ValueRangeError for weights that leave no sample to learn from."""
    if data.weight is not None and not bool(data.weight.sum() > 0):
        raise ValueRangeError(f"sample_weight of {name} is 0 for every sample")


def _try_loss(loss: Loss, shape: tuple[int, ...], data: Rows) -> None:
    """The loss of scores that are all 0, whose checks of y and weights are what is wanted; "none", as a part may have
    no weight at all."""
    xp = array_api_compat.array_namespace(data.x)
    zero = xp.zeros((), dtype=trained_dtype(data.x), device=array_api_compat.device(data.x))
    loss.forward(xp.broadcast_to(zero, (len(data), *shape)), data.y, sample_weight=data.weight, reduction="none")


def two_classes(loss: Loss, data: Rows) -> None:
    """Raise ValueRangeError when a loss of classes is given rows of one class alone, from which nothing is learnt."""
    only = one_class(loss, data)
    if only is not None:
        raise one_class_alone(loss, only, len(data))


def one_class(loss: Loss, data: Rows) -> float | None:
    """The class that all rows are of, where the loss is one of classes and there is such a class."""
    y = data.y
    xp = array_api_compat.array_namespace(y)
    if isinstance(loss, BinaryCrossEntropy):
        return next((float(value) for value in (0, 1) if bool(xp.all(y == value))), None)
    if not loss.classifies:
        return None
    if xp.isdtype(y.dtype, "real floating"):  # a distribution a row; one-hot rows that are all alike are one class
        if not bool(xp.all(xp.max(y, axis=-1) == 1)):
            return None
        y = xp.argmax(y, axis=-1)
    first = int(xp.reshape(y, (-1,))[0])
    return first if bool(xp.all(y == first)) else None


def one_class_alone(loss: Loss, only: float, count: int) -> ValueRangeError:
    """The error of data that hold nothing but that class."""
    if isinstance(loss, BinaryCrossEntropy):
        return ValueRangeError(f"y of data is {only:g} everywhere; training needs 0 and 1")
    return ValueRangeError(
        f"y of data holds one class, {only:.0f}, in all {count} rows; classification needs two or more"
    )


def weighed(data: Rows) -> Rows:
    """The rows with weights whose mean is 1, in the dtype they train in."""
    if data.weight is None:
        return data
    xp = array_api_compat.array_namespace(data.weight)
    weight = xp.astype(data.weight, xp.float64)
    weight = weight / xp.max(weight)  # first, so that no sum of huge ones overflows
    return Rows(data.x, data.y, xp.astype(weight / xp.mean(weight), trained_dtype(data.x)))


def weighed_by(data: Rows, mean: float) -> Rows:
    """The rows with their weights over that mean, which is of more rows than these, in the dtype they train in."""
    if data.weight is None:
        return data
    xp = array_api_compat.array_namespace(data.weight)
    return Rows(data.x, data.y, xp.astype(xp.astype(data.weight, xp.float64) / mean, trained_dtype(data.x)))


def split(data: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """(the rest, a random part of that fraction), for validation."""
    if not 0 < fraction < 1:
        raise ValueRangeError(f"validation as a fraction must be above 0 and below 1, got {fraction}")
    held = round(len(data) * fraction)
    if not 0 < held < len(data):
        raise ShapeError(f"validation={fraction} of {len(data)} rows leaves one part empty")
    order = stream(seed, SPLIT).permutation(len(data))
    return data.take(order[held:]), data.take(order[:held])
