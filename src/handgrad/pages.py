"""Memory of arrays: on a line of the cache, and the system's again as soon as large ones are gone.

A vector of 64 bytes that lies across two lines takes both: a product of one row reads its weights a third faster where
they begin with a line. Of what NumPy makes, one array in four does.

An allocator keeps what was freed, for later: C's on Linux does so with arrays of up to 32 MB, once such ones have come
and gone. Of a training that takes and gives back several, it then holds one or two that nobody uses.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from typing import Any

import numpy as np

LINE = 64  # bytes of a line of the cache; the kernels have their own, as a change of theirs alone compiles them anew
LARGE = 2**20  # bytes of an array that gets pages of its own


def zeros(count: int, dtype: Any) -> np.ndarray:
    """(count,) zeros, the first at the beginning of a line. Raises MemoryError where there is no room for them."""
    size = int(count) * np.dtype(dtype).itemsize
    if size < LARGE:
        return _on_a_line(np.zeros(size + LINE, np.uint8), size).view(dtype)
    try:
        if sys.platform == "win32":
            pages = mmap.mmap(-1, size)
        else:  # by default a process that is forked would write to the same memory
            pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"no {size} bytes for an array of {count} numbers") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system that has none
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype)


def empty(count: int, dtype: Any) -> np.ndarray:
    """(count,) numbers not set yet, the first at the beginning of a line: for what comes and goes at every call.

    The allocator's, however many: it has pages that were in use already, and fresh ones cost more than to fill them.
    """
    size = int(count) * np.dtype(dtype).itemsize
    return _on_a_line(np.empty(size + LINE, np.uint8), size).view(dtype)


def copy(array: np.ndarray) -> np.ndarray:
    """A copy of a vector, the first number at the beginning of a line."""
    copied = empty(len(array), array.dtype)
    copied[...] = array
    return copied


def _on_a_line(raw: np.ndarray, size: int) -> np.ndarray:
    """So many of its bytes, which are a line less than it has."""
    start = -raw.__array_interface__["data"][0] % LINE
    return raw[start : start + size]
