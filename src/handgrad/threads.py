"""How many threads the BLAS under NumPy takes, and waiting for threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_inside = 0
_limit: Any = None


@contextmanager
def blas_threads(count: int | None) -> Iterator[None]:
    """At most `count` threads for BLAS calls made inside; None leaves them as they are.

    The limit belongs to the process. So it is set by the first Python thread to come in and lifted by the last to
    leave: while several are inside, the first one's count holds.
    """
    global _inside, _limit
    if count is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    with _lock:
        if _inside == 0:
            _limit = threadpool_limits(count, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()


def join(threads: Sequence[threading.Thread]) -> None:
    """Wait for threads, all of them: what is raised meanwhile, such as Ctrl-C, is raised when they have ended."""
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        join(threads)
        raise
