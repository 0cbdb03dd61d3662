"""Memory of large arrays that is the system's again as soon as they are gone.

An allocator keeps what was freed, for later: C's on Linux does so with arrays of up to 32 MB, once such ones have come
and gone. Of a training that takes and gives back several, it then holds one or two that nobody uses.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from typing import Any

import numpy as np

LARGE = 2**20  # bytes of an array that gets pages of its own


def zeros(count: int, dtype: Any) -> np.ndarray:
    """(count,) zeros. Raises MemoryError where there is no room for them."""
    size = int(count) * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.zeros(count, dtype)
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
