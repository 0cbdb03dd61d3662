"""The arrays that the engine is given and keeps: what it can read, where they are, whether they are finite."""

from __future__ import annotations

from typing import Any

import numpy as np

from handgrad.errors import UnsupportedError
from handgrad.layers import Parameters

LOOKED_AT = 2**16  # numbers at a time


def with_room(history: np.ndarray, steps: int) -> np.ndarray:
    """The history, longer where it is too short for so many steps: twice as long, so that it is seldom copied."""
    if steps <= len(history):
        return history
    longer = np.zeros((max(steps, 2 * len(history)), 2))
    longer[: len(history)] = history
    return longer


def all_finite(vector: np.ndarray) -> bool:
    """Whether there is no NaN or infinity, looked at in parts, as memory is at its peak."""
    return all(np.isfinite(vector[i : i + LOOKED_AT]).all() for i in range(0, len(vector), LOOKED_AT))


def addresses_of(y: np.ndarray, weight: np.ndarray | None) -> tuple[int, int]:
    """Where the targets are, and the weights, 0 for none."""
    return y.ctypes.data, 0 if weight is None else weight.ctypes.data


def real_of(params: Parameters, data: Any) -> Any:
    """numpy.float32 or numpy.float64. Raises UnsupportedError for what the engine cannot read."""
    for name, array in (("X", data.x), ("y", data.y), ("params", params.flat)):
        if not isinstance(array, np.ndarray):
            raise UnsupportedError(f"the compiled engine takes NumPy arrays, got {name} as a {type(array).__name__}")
    real = params.flat.dtype.type
    native = params.flat.dtype.isnative
    if real not in (np.float32, np.float64) or not native or data.x.ndim < 2:
        raise UnsupportedError(
            "the compiled engine takes rows of float32 or float64 in this machine's byte order, got "
            f"{params.flat.dtype} in shape {data.x.shape}"
        )
    return real
