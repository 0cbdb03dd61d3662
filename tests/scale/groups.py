"""A group of threads, so that what processes do together is tested in one."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from handgrad.engines.group import joined


class Threads:
    """One of the threads of a group, each of which stands for a process. Nothing that one holds is another's."""

    def __init__(self, rank: int, size: int, barrier: threading.Barrier, board: list, apart: bool = False):
        self.rank, self.size, self.apart = rank, size, apart
        self.barrier, self.board = barrier, board

    def gather(self, value):
        self.board[self.rank] = copy.deepcopy(value)
        self.barrier.wait()
        found = copy.deepcopy(self.board)
        self.barrier.wait()
        return found

    def sum(self, vector):
        parts = self.gather(vector)
        vector[:] = parts[0]
        for part in parts[1:]:
            vector += part

    def first(self, make: Callable):
        made = error = None
        if self.rank == 0:
            try:
                made = make()
            except Exception as raised:
                error = raised
        made, error = self.gather((made, error))[0]
        if error:
            raise error
        return made


def together(size: int, run: Callable, apart: bool = False, patience: float = 60) -> list:
    """run(rank) in each of the threads of a group; what they return, or the exceptions that they raise.

    patience: seconds that one waits for the others, which may have ended in an error alone.
    """
    barrier, board = threading.Barrier(size, timeout=patience), [None] * size

    def one(rank):
        with joined(Threads(rank, size, barrier, board, apart)):
            try:
                return run(rank)
            except Exception as error:
                return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))
