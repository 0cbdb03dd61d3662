"""The processes of torch.distributed as a group that trains together."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np

from handgrad.errors import ClusterError

T = TypeVar("T")

# Seconds for which a process that waits for a sum keeps its core awake, offering it to any other thread meanwhile: a
# virtual core that is let sleep may be given back milliseconds later, several times in a sum, on a busy host.
AWAKE = 0.02
_offer: Callable[[], object] = getattr(os, "sched_yield", partial(time.sleep, 0))  # Windows has none


class CollectiveError(ClusterError):
    """What all processes were to do together failed: one has ended, or did not come in time."""


class Processes:
    """This process among those of torch.distributed's default process group, which is to be there; see `Group`."""

    def __init__(self, apart: bool = False):
        import torch
        import torch.distributed as dist

        self._tensor, self._dist = torch.from_numpy, dist
        self.rank, self.size, self.apart = dist.get_rank(), dist.get_world_size(), apart

    def sum(self, vector: np.ndarray) -> None:
        with self._explained("the sum of the gradients"):
            work = self._dist.all_reduce(self._tensor(vector), async_op=True)  # in the vector's own memory
            until = time.perf_counter() + AWAKE
            while not work.is_completed() and time.perf_counter() < until:
                _offer()
            work.wait()

    def first(self, make: Callable[[], T]) -> T:
        told: list[Any] = [None]
        if self.rank == 0:
            try:
                told = [(make(), None)]
            except Exception as error:
                told = [(None, error)]
        with self._explained("what the first tells the others"):
            self._dist.broadcast_object_list(told, src=0)
        made, raised = told[0]
        if raised is not None:
            raise raised
        return made

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        with self._explained("what each tells the others"):
            self._dist.all_gather_object(values, value)
        return values

    def leave(self) -> None:
        """Take part no more; the others learn of it when they next do something together."""
        self._dist.destroy_process_group()

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, ClusterError):
                raise
            late = "timed out" in str(error).lower()
            reason = (
                "another worker did not come in time; give a longer timeout where batches or validation take so long"
                if late
                else "another worker has ended; its own log says why"
            )
            raise CollectiveError(
                f"worker {self.rank} of {self.size}, on {socket.gethostname()}: {what} failed, as {reason} "
                f"({str(error).strip().splitlines()[0]:.200})"
            ) from error
