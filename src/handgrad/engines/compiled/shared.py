"""The compiled engine over several processes: a step in two halves, and between them the flat gradient is summed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from handgrad.engines.compiled.engine import CompiledEngine, in_thread
from handgrad.engines.compiled.kernels.loop import (
    BAD_LOSS,
    BATCH,
    DRAWN,
    FROM_GRADIENT,
    GOOD,
    PART,
    STATUS,
    UP_TO_GRADIENT,
)
from handgrad.engines.compiled.kernels.program import BEFORE, ELSEWHERE, INPUTS, TARGETS, WEIGHTS
from handgrad.engines.compiled.kernels.program import GRADIENT as GRADIENT_AT
from handgrad.engines.group import Group, of_all, share
from handgrad.engines.shared import agreed_place
from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.optim import Optimizer
from handgrad.pages import zeros


class SharedEngine(CompiledEngine):
    """As CompiledEngine, in each process of a group, of which each takes its share of every batch.

    The gradient is that of the mean over the samples of all, so that it has but to be summed, in the buffer that it was
    written to. The loss is summed along with it, as one more number at its end, so that all processes see in the same
    step that it is finite no more. Two buffers take turns: the one holds the gradient, the other the parameters from
    before the last step, to be taken back to.
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        regularizer: L2 | None,
        clip_norm: float | None,
        params: Parameters,
        data: Any,
        batch_size: int,
        threads: int,
        group: Group,
    ):
        self.group = group
        most = batch_size if group.apart else -(-batch_size // group.size)
        super().__init__(model, loss, optimizer, regularizer, clip_norm, params, data, most, threads)

    def _tell(self) -> None:
        super()._tell()
        length = self.packing.length
        self._buffers = [zeros(length + 1, self.layout.real) for _ in range(2)]
        self._gradient = self._buffers[1][:length]

    def _run(self, rows: np.ndarray, batch_size: int, before: int, history: np.ndarray) -> None:
        self._read = None
        if not self._told:
            self._tell()
        parts = [share(self.group, len(rows[at : at + batch_size])) for at in range(0, len(rows), batch_size)]
        mine = [rows[s * batch_size + part.begin : s * batch_size + part.end] for s, part in enumerate(parts)]
        index, found, keep = self._readable_rows(np.concatenate(mine))
        base = self._base
        base[INPUTS], base[TARGETS], base[WEIGHTS] = found
        pace, start = self._pace(len(history)), 0
        for s, part in enumerate(parts):
            m, buffer = len(part), self._buffers[0]
            seen = history[s : s + 1]
            base[GRADIENT_AT] = buffer.ctypes.data
            base[ELSEWHERE], base[BEFORE] = part.whole - m, part.before
            self._shape[DRAWN] = (before + s) * of_all(self.group, batch_size) * self.program.draws
            status = GOOD
            if m:
                self._shape[BATCH] = m
                status = self._half(UP_TO_GRADIENT, index[start : start + m], pace[s : s + 1], seen, keep)
                start += m
            if not m:
                buffer[:] = 0
            elif status == GOOD:
                buffer[-1] = seen[0, 0]
            else:
                buffer[-1] = np.nan if np.isnan(seen[0, 0]) else np.inf
            self.group.sum(buffer)
            seen[0, 0] = buffer[-1]
            if not np.isfinite(buffer[-1]):
                self._state[STATUS] = BAD_LOSS
                return
            if self._half(FROM_GRADIENT, index[:0], pace[s : s + 1], seen, keep) != GOOD:
                return
            self.steps += 1
            self._buffers.reverse()
            self._gradient = self._buffers[1][:-1]

    def _half(self, part: int, index: np.ndarray, pace: np.ndarray, seen: np.ndarray, keep: tuple[Any, ...]) -> int:
        """That half of a step; returns how it ended."""
        self._shape[PART] = part
        self._state[:] = 0
        self._sync[:] = 0
        ours = (self._constants, seen, self._shares, self._state)
        run = (*self._program_arrays, self._shape, self._base, index, pace, *ours)
        self._call(partial(in_thread, self._kernel, run, (*keep, *self._buffers, *self._kept())))
        return int(self._state[STATUS])

    def _place_of_fault(self, data: Any, rows: np.ndarray, rng: np.random.Generator, drawn: int) -> str:
        drawn = int(self._shape[DRAWN])  # by all processes
        return agreed_place(self.group, super()._place_of_fault(data, rows, rng, drawn))
