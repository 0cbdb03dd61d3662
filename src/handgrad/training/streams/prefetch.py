"""What an iterator gives, made ready by another thread."""

from __future__ import annotations

import atexit
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from handgrad.training.signals import HERE

T = TypeVar("T")

LOOK = 0.1  # seconds between looks at whether to stop, of a thread that waits
PATIENCE = 2.0  # seconds that are given to a thread to end in


class Prefetched(Generic[T]):
    """An iterator over what source() gives, `ahead` items of it made ready by another thread; with 0, by none.

    What the source raises comes out here, with its traceback, in its place in the order. While there is nothing yet,
    waiting() is called every so often, and what it raises comes through; with no thread of its own, when a signal has
    cut the source off. `close` ends the thread: at once, unless its source hangs, which interrupt() is to cut off: it
    says whether it can. Otherwise the thread is left to itself, and ends when the source gives something, or with the
    process; where interrupt says False, the process waits for it at its end.
    """

    def __init__(
        self,
        source: Callable[[], Iterator[T]],
        ahead: int,
        waiting: Callable[[], object],
        interrupt: Callable[[], bool] = lambda: True,
    ):
        self._waiting, self._interrupt = waiting, interrupt
        self._here = source() if ahead == 0 else None
        self._ready: queue.Queue[tuple[str, Any]] = queue.Queue(max(1, ahead))
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if ahead:
            name = "handgrad-stream"
            self._thread = threading.Thread(target=_produce, args=(source, self._put), name=name, daemon=True)
            self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._here is not None:
            return self._read_here(self._here)
        if self._thread is None:
            raise StopIteration
        while True:
            try:
                kind, item = self._ready.get(timeout=LOOK)
                break
            except queue.Empty:
                self._waiting()
        if kind == "item":
            return item
        self.close()
        if kind == "error":
            try:
                raise item
            finally:
                del item  # the error's traceback holds this frame
        raise StopIteration

    def close(self) -> None:
        """Take no more of it."""
        if self._here is not None:
            close(self._here)
        if self._thread is None:
            return
        self._stop.set()
        while not self._ready.empty():  # so that the thread, which may wait for room, looks at once
            self._ready.get_nowait()
        thread, self._thread = self._thread, None
        thread.join(min(LOOK, PATIENCE))
        until, reached = time.monotonic() + PATIENCE, True
        while thread.is_alive() and reached and time.monotonic() < until:
            reached = self._interrupt()
            thread.join(min(LOOK, PATIENCE) if reached else PATIENCE)
        if thread.is_alive() and not reached:  # C++ that comes back to a Python which has ended aborts the process
            atexit.register(thread.join)

    def _read_here(self, items: Iterator[T]) -> T:
        """In this thread. A signal that comes meanwhile ends the read, and then is heeded as between two steps."""
        try:
            HERE.reading = True
            return next(items)
        except StopIteration:
            raise
        except BaseException:
            HERE.reading = False
            self._waiting()
            raise
        finally:
            HERE.reading = False

    def _put(self, kind: str, item: Any) -> bool:
        """In the thread: hand it over when there is room. False where no more is wanted."""
        while not self._stop.is_set():
            try:
                self._ready.put((kind, item), timeout=LOOK)
                return True
            except queue.Full:
                continue
        return False


def _produce(source: Callable[[], Iterator[Any]], put: Callable[[str, Any], bool]) -> None:
    try:
        items = source()
        try:
            for item in items:
                if not put("item", item):
                    return
                del item  # or the memory of one more would be held while the next is made
        finally:
            close(items)
    except BaseException as error:  # whatever it is, it is raised where the items are wanted
        put("error", error)
    else:
        put("end", None)


def close(items: Iterator[Any]) -> None:
    """End an iterator that is not wanted any more, where it can be ended."""
    end = getattr(items, "close", None)
    if end is not None:
        end()
