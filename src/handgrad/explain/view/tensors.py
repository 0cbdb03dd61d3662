"""Arrays as the document holds them: exact where there is room, else as blocks, else left out."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

EXACT = 65_536  # numbers up to which an array is exact, where the budget lets it
LIMITS = [EXACT >> k for k in range(13)]  # ... and what is tried where it does not
BLOCKS = 4_096  # of a pooled array, at most
SUMMARY = 160  # characters that a tensor takes besides its numbers, about
KINDS = {"f4": "float32", "f8": "float64", "i8": "int64"}


def as_array(value: Any) -> np.ndarray:
    """A number or array in one of the document's three dtypes, C order."""
    array = np.asarray(value)
    if array.dtype.kind in "biu":
        return np.ascontiguousarray(array, "<i8").reshape(array.shape)
    return np.ascontiguousarray(array, "<f4" if array.dtype.itemsize < 8 else "<f8").reshape(array.shape)


def packed(tree: Any, budget: int) -> Any:
    """A frame with each array in it as a tensor, within so many characters: the largest limit for exact ones that fits.

    Where even the smallest does not, arrays are left out, and say so.
    """
    arrays = list(_arrays(tree))
    for limit in LIMITS:
        if sum(_cost(array, limit) for array in arrays) <= budget:
            return _replaced(tree, limit)
    return _replaced(tree, 0)


def _arrays(tree: Any) -> Iterator[np.ndarray]:
    if isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, dict):
        for each in tree.values():
            yield from _arrays(each)


def _replaced(tree: Any, limit: int) -> Any:
    if isinstance(tree, np.ndarray):
        return tensor(tree, limit)
    return {key: _replaced(each, limit) for key, each in tree.items()} if isinstance(tree, dict) else tree


def _cost(array: np.ndarray, limit: int) -> int:
    return SUMMARY + -(-_bytes(array, limit) * 4 // 3)


def _bytes(array: np.ndarray, limit: int) -> int:
    if array.size <= limit:
        return array.nbytes
    (height, width), (tall, wide) = _matrix(array.shape), _block(array.shape, limit)
    return 3 * 4 * -(-height // tall) * -(-width // wide)


def tensor(array: np.ndarray, limit: int = EXACT) -> dict[str, Any]:
    """An array as a tensor: exact up to `limit` numbers, in blocks beyond, left out where the limit is 0."""
    array = as_array(array)
    head = {"shape": list(array.shape), "dtype": KINDS[array.dtype.str[1:]]}
    if array.size <= limit or array.size == 1:
        return {**head, "data": _base64(array)}
    if limit == 0:
        return {**head, "omitted": True, "why": f"{array.size:,} values; there was no room for them at this moment"}
    tall, wide = _block(array.shape, limit)
    pools = _pooled(array.reshape(_matrix(array.shape)), tall, wide)
    rows, cols = pools["mean"].shape
    why = f"{array.size:,} values; blocks of {tall} by {wide} are shown"
    pooled = {"rows": rows, "cols": cols, **{name: _base64(pool) for name, pool in pools.items()}}
    return {**head, "pooled": pooled, "why": why}


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape as rows and columns: leading axes in one, a vector as a row."""
    return (math.prod(shape[:-1]), shape[-1]) if shape else (1, 1)


def _block(shape: tuple[int, ...], limit: int) -> tuple[int, int]:
    """The height and width of blocks, about square, so many that they take less than exact numbers would."""
    (height, width), most = _matrix(shape), max(1, min(BLOCKS, limit // 4))
    side = math.ceil(math.sqrt(height * width / most))
    cols = -(-width // max(min(width, side), -(-width // most)))
    wide = -(-width // cols)  # of all blocks but the last alike, as the number of them says
    return -(-height // max(1, most // -(-width // wide))), wide


@np.errstate(over="ignore", invalid="ignore")
def _pooled(matrix: np.ndarray, tall: int, wide: int) -> dict[str, np.ndarray]:
    """The mean, least and greatest number of each block; NaN where one is NaN, so that it shows."""
    tops, lefts = np.arange(0, matrix.shape[0], tall), np.arange(0, matrix.shape[1], wide)
    numbers = matrix.astype(np.float64)

    def blocks(reduce: np.ufunc, array: np.ndarray) -> np.ndarray:
        return reduce.reduceat(reduce.reduceat(array, tops, axis=0), lefts, axis=1)

    counts = blocks(np.add, np.ones(matrix.shape))
    found = {
        "mean": blocks(np.add, numbers) / counts,
        "low": blocks(np.minimum, numbers),
        "high": blocks(np.maximum, numbers),
    }
    return {name: pool.astype("<f4") for name, pool in found.items()}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")
