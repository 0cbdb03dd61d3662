"""The loop that trains: many steps of a program without the interpreter, in one thread or several."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels import calls, matrix_unit, memory
from handgrad.engines.compiled.kernels.cache import compiled
from handgrad.engines.compiled.kernels.calls import call
from handgrad.engines.compiled.kernels.memory import barrier, pointer
from handgrad.engines.compiled.kernels.optimizers import CLIP, PENALTY, optimizers
from handgrad.engines.compiled.kernels.options import INNER
from handgrad.engines.compiled.kernels.program import (
    BLOCKS,
    CLAIMS,
    DECAYS,
    ELSEWHERE,
    GRADIENT,
    PARAMS,
    PIECE_AT,
    PIECE_K,
    PIECE_N,
    ROOM,
    SUMS_AT,
    SYNC,
)
from handgrad.engines.compiled.kernels.vectors import LINE, Vectors

# What a run is told, `shape`: instructions up to the loss and up to those by columns, samples a batch, random numbers
# a sample draws, those drawn before the first step, numbers of a thread's sums, parameters, blocks of weights that may
# take the optimizer's step with their gradient, weights whose blocks any thread may take, threads, bytes of a thread's
# room, which part of a step to do.
LOSS_AT, SPLIT, BATCH, DRAWS, DRAWN, SUMS, LENGTH, STEPPED, CLAIMED, THREADS, ROOM_BYTES, PART = range(12)
WHOLE, UP_TO_GRADIENT, FROM_GRADIENT = range(3)  # of a step: between the last two the gradient may be summed up
# What it tells, `state`: steps done, and why it ended.
DONE, STATUS = range(2)
GOOD, BAD_LOSS, BAD_NORM = range(3)


@cache
def updates(real: Any, kind: Vectors) -> tuple[Any, Any, Any]:
    """(penalty, norm, shrink): njit functions that take a thread's share of the parameters."""
    from numba import njit

    size = np.dtype(real).itemsize
    o = optimizers(real, kind)
    squares, add_penalty = o.squares, o.add_penalty
    at = pointer(real)

    @njit(**INNER)
    def penalty(pieces, params, strength, thread, threads):
        """The penalty on the weights."""
        total = 0.0
        for c in range(len(pieces)):
            if pieces[c, DECAYS]:
                length = pieces[c, PIECE_K] * pieces[c, PIECE_N]
                begin, end = length * thread // threads, length * (thread + 1) // threads
                total += strength * squares(params + (pieces[c, PIECE_AT] + begin) * size, end - begin)
        return total

    @njit(**INNER)
    def norm(pieces, params, gradient, strength, thread, threads):
        """Adds the penalty's gradient, and returns the sum of the squares of the whole."""
        total = 0.0
        for c in range(len(pieces)):
            length = pieces[c, PIECE_K] * pieces[c, PIECE_N]
            begin, end = length * thread // threads, length * (thread + 1) // threads
            skip = (pieces[c, PIECE_AT] + begin) * size
            if strength > 0 and pieces[c, DECAYS]:
                add_penalty(params + skip, gradient + skip, end - begin, strength)
            total += squares(gradient + skip, end - begin)
        return total

    @njit(**INNER)
    def shrink(pieces, gradient, factor, thread, threads):
        """The gradient times the factor."""
        for c in range(len(pieces)):
            length = pieces[c, PIECE_K] * pieces[c, PIECE_N]
            begin, end = length * thread // threads, length * (thread + 1) // threads
            g = at(gradient + pieces[c, PIECE_AT] * size)
            for i in range(begin, end):
                g[i] *= real(factor)

    return penalty, norm, shrink


def _train(real: Any, kind: Vectors) -> Any:
    """The entry point, for one dtype and kind of vector."""
    from numba import njit

    run_forward, run_backward = call(calls.FORWARD), call(calls.BACKWARD)
    penalty_of, norm_of, shrink = updates(real, kind)
    update = call(calls.UPDATE)
    scaled_norm, at, wait = optimizers(real, kind).scaled_norm, pointer(real), barrier()
    integers, floats = pointer(np.int64), pointer(np.float64)
    wide, flush = memory.wide(), memory.flush()
    amx, take_unit, leave_unit = kind.amx, matrix_unit.unit().begin, matrix_unit.unit().end
    size, zero = np.dtype(real).itemsize, real(0)
    short = kind.tiles[0][2] if kind.tiles else 1
    single = real is np.float32
    # not np.isfinite: it takes x - x, which is 0 where sums may be taken in any order
    largest = float(np.finfo(np.float64).max)
    lost, trusted = float(np.finfo(real).smallest_normal), float(np.finfo(real).eps)

    @njit(**INNER)
    def run(
        kernels,
        code,
        numbers,
        pieces,
        reduced,
        shape,
        base,
        order,
        pace,
        constants,
        history,
        shares,
        state,
        thread,
    ):
        wide()
        loss_at, split, batch, threads = shape[LOSS_AT], shape[SPLIT], shape[BATCH], shape[THREADS]
        sums, length, strength, clip = shape[SUMS], shape[LENGTH], constants[PENALTY], constants[CLIP]
        part_of_step = shape[PART]
        # where nothing needs the norm before the update, that takes it on its way, and is taken back when it is bad
        with_norm = single and clip == 0 and strength == 0
        at_once = with_norm and part_of_step == WHOLE and shape[STEPPED] > 0
        code_at, numbers_at, base_at = code.ctypes.data, numbers.ctypes.data, base.ctypes.data
        sync, own_sums, room = base[SYNC], base[SUMS_AT] + thread * sums * size, base[ROOM] + thread * shape[ROOM_BYTES]
        for s in range(len(pace)):
            if part_of_step != FROM_GRADIENT:
                m = min(batch, len(order) - s * batch)
                index = order.ctypes.data + s * batch * 8
                units = (m + short - 1) // short  # whole short tiles to each thread
                begin, end = min(m, units * thread // threads * short), min(m, units * (thread + 1) // threads * short)
                for c in range(shape[CLAIMED]):
                    integers(base[CLAIMS] + (c * threads + thread) * LINE)[0] = 0
                cleared = at(own_sums)
                for i in range(sums):
                    cleared[i] = zero
                drawn = shape[DRAWN] + s * batch * shape[DRAWS]
                loss = 0.0
                paced = np.int64(pace[s].ctypes.data) if at_once else np.int64(0)  # else both would be float64
                # up to the loss; what else works by rows; what works by columns
                for phase in range(3):
                    if phase == 0:
                        run_forward(
                            kernels,
                            *(kernels, code_at, numbers_at, 0, loss_at, base_at, index, m, begin, end, drawn),
                            *(thread, threads, room),
                        )
                    at_first = loss_at + phase if phase < 2 else split
                    until = loss_at + 1 if phase == 0 else (split if phase == 1 else len(code))
                    part = run_backward(
                        kernels,
                        *(kernels, code_at, numbers_at, at_first, until, base_at, index),
                        *(m, begin, end, own_sums, thread, threads, paced, room),
                    )
                    if phase == 0:
                        whole = m + base[ELSEWHERE]
                        loss = part / whole
                        if strength > 0:
                            loss += penalty_of(pieces, base[PARAMS], strength, thread, threads) * (m / whole)
                        shares[thread, 0] = loss
                    if phase == (0 if threads == 1 else 1):  # before the first weight's gradient is written
                        if not wait(sync, threads):
                            return
                        loss = 0.0
                        for t in range(threads):
                            loss += shares[t, 0]
                        if thread == 0:
                            history[s, 0] = loss
                        if not abs(loss) <= largest:
                            if thread == 0:
                                state[STATUS] = BAD_LOSS
                            return
                for c in range(thread, len(reduced), threads):
                    target, source = at(base[GRADIENT] + reduced[c, 1] * size), at(base[SUMS_AT] + reduced[c, 0] * size)
                    for i in range(reduced[c, 2]):
                        target[i] = source[i]
                    for t in range(1, threads):
                        for i in range(reduced[c, 2]):
                            target[i] += source[t * sums + i]
                if not wait(sync, threads):
                    return
                if part_of_step == UP_TO_GRADIENT:
                    continue
            scale = 1.0
            if not with_norm:
                squared = norm_of(pieces, base[PARAMS], base[GRADIENT], strength, thread, threads)
                if threads > 1:
                    shares[thread, 1] = squared
                    if not wait(sync, threads):
                        return
                    squared = 0.0
                    for t in range(threads):
                        squared += shares[t, 1]
                if length * lost <= squared * trusted < np.inf:
                    norm = np.sqrt(squared)
                else:
                    norm = scaled_norm(base[GRADIENT], length)
                    if not wait(sync, threads):  # nobody is to update what another thread still reads
                        return
                if thread == 0:
                    history[s, 1] = norm
                if not norm <= largest:
                    if thread == 0:
                        state[STATUS] = BAD_NORM
                    return
                scale = clip / norm if 0 < clip < norm else 1.0
                if scale < lost:  # as a factor it would lose digits, or be 0: so its root is taken twice
                    scale = np.sqrt(clip) / np.sqrt(norm)
                    shrink(pieces, base[GRADIENT], scale, thread, threads)
                    if not wait(sync, threads):
                        return
            shares[thread, 2] = update(kernels, kernels, scale, pace[s].ctypes.data, base_at, at_once, thread, threads)
            if not wait(sync, threads):
                return
            if with_norm:
                squared = 0.0
                for t in range(threads):
                    squared += shares[t, 2]
                if at_once:
                    of_blocks = floats(base[BLOCKS])
                    for block in range(shape[STEPPED]):
                        squared += of_blocks[block]
                if thread == 0:
                    history[s, 1] = np.sqrt(squared)
                if not squared <= largest:
                    if thread == 0:
                        state[STATUS] = BAD_NORM
                        last_good, params = at(base[GRADIENT]), at(base[PARAMS])  # the update put them there
                        for i in range(length):
                            params[i] = last_good[i]
                    return
            if thread == 0:
                state[DONE] += 1

    def train(
        kernels,
        code,
        numbers,
        pieces,
        reduced,
        shape,
        base,
        order,
        pace,
        constants,
        history,
        shares,
        state,
        thread,
    ):
        """A step for each row of `pace`, over `order`, in this thread. Returns when all are done, or one went wrong.

        order: the samples' rows, batch after batch. history: (steps, 2), the loss and the gradient's norm of each.
        shares: (threads, 8), a thread's part of what all must know.
        """
        before = flush(-1)
        if amx:
            take_unit()
        run(
            *(kernels, code, numbers, pieces, reduced, shape, base, order, pace, constants, history),
            *(shares, state, thread),
        )
        if amx:
            leave_unit()
        flush(before)

    return train


def train_kernel(real: Any, kind: Vectors) -> Any:
    """The compiled loop: from the cache, or compiled now. See `train`."""
    from numba import types

    integers, table = types.Array(types.int64, 1, "C"), types.Array(types.int64, 2, "C")
    floats, grid = types.Array(types.float64, 1, "C"), types.Array(types.float64, 2, "C")
    signature = types.void(
        *(types.int64, table, grid, table, table, integers, integers, integers, grid, floats, grid, grid, integers),
        types.int64,
    )
    return compiled(f"train_{np.dtype(real).name}_{kind.name}", lambda: _train(real, kind), signature)
