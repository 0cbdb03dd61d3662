"""What an iterator gives, made ready by another thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

LOOK = 0.1  # seconds between looks at whether to stop, of a thread that waits
PATIENCE = 2.0  # seconds that are given to a thread to end in


class Prefetched(Generic[T]):
    """An iterator over what source() gives, `ahead` items of it made ready by another thread; with 0, by none.

    What the source raises comes out here, with its traceback, in its place in the order. While there is nothing yet,
    waiting() is called every so often, and what it raises comes through. `close` ends the thread: at once, unless its
    source hangs; such a thread is left to itself, and ends when the source gives something, or with the process.
    """

    def __init__(self, source: Callable[[], Iterator[T]], ahead: int, waiting: Callable[[], object]):
        self._waiting = waiting
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
            return next(self._here)
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
        self._thread.join(PATIENCE)
        self._thread = None

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
