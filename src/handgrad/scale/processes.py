"""The processes of torch.distributed as a group that trains together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from handgrad.errors import ClusterError

T = TypeVar("T")


class CollectiveError(ClusterError):
    """What all processes were to do together failed: one has ended, or did not come in time."""


class Processes:
    """This process among those of torch.distributed's default process group, which is to be there; see `Group`."""

    def __init__(self, apart: bool = False):
        import torch
        import torch.distributed as dist

        self._tensor, self._dist = torch.from_numpy, dist
        self.rank, self.size, self.apart = dist.get_rank(), dist.get_world_size(), apart
        self._others = np.empty(0)

    def sum(self, vector: np.ndarray) -> None:
        with self._explained("the sum of the gradients"):
            if self.size == 2:
                self._add_other(vector)
            else:
                self._dist.all_reduce(self._tensor(vector))  # in the vector's own memory

    def _add_other(self, vector: np.ndarray) -> None:
        """As all_reduce by two: as many bytes, of which none wait for others, in less than half the time."""
        if (self._others.shape, self._others.dtype) != (vector.shape, vector.dtype):
            self._others = np.empty_like(vector)
        other = 1 - self.rank
        sent = self._dist.isend(self._tensor(vector), other)
        self._dist.recv(self._tensor(self._others), other)  # asked for first it took longer, on two cores
        sent.wait()
        vector += self._others  # a + b is b + a to the bit

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
