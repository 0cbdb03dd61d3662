"""Blocks of rows, shuffled through a buffer, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import array_api_compat
import numpy as np

from handgrad.ops.arrays import Array
from handgrad.training.data import Rows


def shuffled(blocks: Iterable[Rows], capacity: int, count: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Blocks of `count` rows, the last ones of what is left: each row once, drawn from a buffer of `capacity` rows.

    While rows come, `count` of those in the full buffer are drawn, all alike, and others take their places: so a row
    stays for `capacity` others on the average, and may for any number of them. What is left at the end is permuted: all
    of it, by one permutation of `rng`, where no more rows came than the buffer holds. count: at most `capacity`.
    Raises MemoryError where there is no room for so large a buffer.
    """
    held, filled = None, 0  # the buffer, and its places that were ever written to
    free = np.arange(0)  # those of them that are to be written to again
    for block in blocks:
        if held is None:
            held = _room(block, capacity)
        at = 0
        while at < len(block):
            if filled < capacity:
                here = np.arange(filled, min(capacity, filled + len(block) - at))
                filled += len(here)
            else:
                if not len(free):
                    free = rng.choice(capacity, count, replace=False)
                    yield held.take(free)
                here, free = np.split(free, [len(block) - at])
            _put(held, here, block.take(slice(at, at + len(here))))
            at += len(here)
    if held is None:
        return
    left = np.delete(np.arange(filled), free)
    left = left[rng.permutation(len(left))]
    for start in range(0, len(left), count):
        yield held.take(left[start : start + count])


def in_order(blocks: Iterable[Rows], count: int) -> Iterator[Rows]:
    """Blocks of `count` rows as they come, the last one of what is left."""
    held, filled = None, 0
    for block in blocks:
        at = 0
        while at < len(block):
            if held is None:
                held, filled = _room(block, count), 0
            taken = min(count - filled, len(block) - at)
            _put(held, np.arange(filled, filled + taken), block.take(slice(at, at + taken)))
            filled, at = filled + taken, at + taken
            if filled == count:
                yield held
                held = None
    if held is not None:
        yield held.take(slice(0, filled))


def _room(like: Rows, count: int) -> Rows:
    """Arrays for so many rows. Memory that is never written to is none that the process has."""

    def empty(array: Array) -> Array:
        xp = array_api_compat.array_namespace(array)
        return xp.empty((count, *array.shape[1:]), dtype=array.dtype, device=array_api_compat.device(array))

    try:
        return Rows(empty(like.x), empty(like.y), None if like.weight is None else empty(like.weight))
    except (MemoryError, ValueError):  # NumPy's own word for more than can be addressed
        raise MemoryError(
            f"a buffer of {count:,} rows of {like.bytes_of_a_row} bytes does not fit in memory; take a smaller one"
        ) from None


def _put(held: Rows, places: np.ndarray, block: Rows) -> None:
    """Write the rows of the block to those places."""
    for target, source in ((held.x, block.x), (held.y, block.y), (held.weight, block.weight)):
        if target is None:
            continue
        index: Any = places
        if not isinstance(target, np.ndarray):
            xp = array_api_compat.array_namespace(target)
            index = xp.asarray(places, device=array_api_compat.device(target))
        target[index] = source
