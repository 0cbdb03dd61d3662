"""Ctrl-C and SIGTERM while a step is being done: noted at once, heeded when it is finished."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Here(threading.local):
    """What this thread is at. reading: whether it waits for a source, which a signal is to end and not to wait for."""

    reading = False


HERE = Here()


class Signals:
    """While the context lasts, `came` says which signal there was, "" for none.

    In the main thread alone, as Python has it. SIGINT is left to a handler of the caller's own, SIGTERM where it is
    ignored. A second Ctrl-C is a KeyboardInterrupt at once, and so is either signal while this thread reads by itself.
    A SIGTERM that nobody has `heeded` is sent again at the end, so that none is lost.
    """

    def __init__(self, wanted: bool = True):
        self.came, self.heeded = "", False
        self._wanted = wanted and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self._wanted:
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._note)
            if signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, None):  # None: set by C code
                self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.came == "SIGTERM" and not self.heeded:
            signal.raise_signal(signal.SIGTERM)

    @property
    def unwatched(self) -> bool:
        """Whether the program has no handler of SIGTERM of its own."""
        return self._before.get(signal.SIGTERM) == signal.SIG_DFL

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.came:
            raise KeyboardInterrupt
        if self.came != "SIGTERM":  # which comes before Ctrl-C
            self.came = signal.Signals(number).name
        if HERE.reading:
            HERE.reading = False
            raise KeyboardInterrupt
