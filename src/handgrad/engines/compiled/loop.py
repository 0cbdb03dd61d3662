"""The loop that trains: many steps of a program without the interpreter, in one thread or several."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from handgrad.engines.compiled.cache import compiled
from handgrad.engines.compiled.instructions import GRADIENT, PARAMS, SUMS_AT, TRANSPOSED, backward, forward
from handgrad.engines.compiled.memory import barrier, pointer
from handgrad.engines.compiled.optimizers import CLIP, DECAY, PENALTY, optimizers
from handgrad.engines.compiled.options import INNER
from handgrad.engines.compiled.vectors import Vectors

# What a run is told, `shape`: instructions up to the loss and up to those by columns, samples a batch, random numbers
# a sample draws, those drawn before the first step, numbers of a thread's sums, parameters, which optimizer, threads.
LOSS_AT, SPLIT, BATCH, DRAWS, DRAWN, SUMS, LENGTH, OPTIMIZER, THREADS = range(9)
# What it tells, `state`: steps done, and why it ended.
DONE, STATUS = range(2)
GOOD, BAD_LOSS, BAD_NORM = range(3)


@cache
def updates(real: Any, kind: Vectors) -> tuple[Any, Any, Any]:
    """(penalty, norm, update): njit functions that take a thread's share of the parameters."""
    from numba import njit

    size, panel = np.dtype(real).itemsize, kind.panel(real)
    o = optimizers(real, kind)
    rule, transpose, squares, add_penalty = o.rule, o.transpose, o.squares, o.add_penalty
    height = panel or 32  # rows of a block that is updated and transposed at once

    @njit(**INNER)
    def penalty(pieces, params, strength, thread, threads):  # type: ignore[no-untyped-def]
        """The penalty on the weights."""
        total = 0.0
        for c in range(len(pieces)):
            if pieces[c, 4]:
                length = pieces[c, 1] * pieces[c, 2]
                begin, end = length * thread // threads, length * (thread + 1) // threads
                total += strength * squares(params + (pieces[c, 0] + begin) * size, end - begin)
        return total

    @njit(**INNER)
    def norm(pieces, params, gradient, strength, thread, threads):  # type: ignore[no-untyped-def]
        """Adds the penalty's gradient, and returns the sum of the squares of the whole."""
        total = 0.0
        for c in range(len(pieces)):
            length = pieces[c, 1] * pieces[c, 2]
            begin, end = length * thread // threads, length * (thread + 1) // threads
            skip = (pieces[c, 0] + begin) * size
            if strength > 0 and pieces[c, 4]:
                add_penalty(params + skip, gradient + skip, end - begin, strength)
            total += squares(gradient + skip, end - begin)
        return total

    @njit(**INNER)
    def update(pieces, code, scale, pace, constants, base, first, second, room, thread, threads):  # type: ignore[no-untyped-def]
        """The optimizer's step. first, second: of its state; room: for a block."""
        params, gradient, transposed = base[PARAMS], base[GRADIENT], base[TRANSPOSED]
        for c in range(len(pieces)):
            k, n, turned = pieces[c, 1], pieces[c, 2], pieces[c, 3]
            decay = pace[DECAY] if pieces[c, 4] else 0.0
            at = pieces[c, 0] * size
            if turned < 0:
                begin, end = n * thread // threads, n * (thread + 1) // threads
                at += begin * size
                p, g, m, v = params + at, gradient + at, first + at, second + at
                rule(code, scale, decay, pace, constants, p, g, m, v, end - begin, room)
                continue
            width = panel if panel else n
            down = (k + height - 1) // height
            blocks = (n + width - 1) // width * down
            for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
                j, i = block // down * width, block % down * height
                w, rows = min(width, n - j), min(height, k - i)
                here = at + (j * k + i * w) * size
                p, g, m, v = params + here, gradient + here, first + here, second + here
                rule(code, scale, decay, pace, constants, p, g, m, v, rows * w, room)
                place = turned + i * n + j * rows if panel else turned + i
                transpose(p, rows, w, transposed + place * size, rows if panel else k)

    return penalty, norm, update


def _train(real: Any, kind: Vectors) -> Any:
    """The entry point, for one dtype and kind of vector."""
    run_forward, run_backward = forward(real, kind), backward(real, kind)
    penalty_of, norm_of, update = updates(real, kind)
    scaled_norm, at, wait = optimizers(real, kind).scaled_norm, pointer(real), barrier()
    size, short, zero = np.dtype(real).itemsize, max(kind.short, 1), real(0)
    lost, trusted = float(np.finfo(real).smallest_normal), float(np.finfo(real).eps)

    def train(  # type: ignore[no-untyped-def]
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
        first,
        second,
        room,
        sync,
        thread,
    ):
        """A step for each row of `pace`, over `order`, in this thread. Returns when all are done, or one went wrong.

        order: the samples' rows, batch after batch. history: (steps, 2), the loss and the gradient's norm of each.
        shares: (threads, 8), a thread's part of what all must know. first, second: the optimizer's state, room: for its
        blocks, sync: for the barrier; base and these are addresses.
        """
        loss_at, split, batch, threads = shape[LOSS_AT], shape[SPLIT], shape[BATCH], shape[THREADS]
        sums, length, strength, clip = shape[SUMS], shape[LENGTH], constants[PENALTY], constants[CLIP]
        own_sums = base[SUMS_AT] + thread * sums * size
        for s in range(len(pace)):
            m = min(batch, len(order) - s * batch)
            index = order.ctypes.data + s * batch * 8
            units = (m + short - 1) // short  # whole short tiles to each thread
            begin, end = min(m, units * thread // threads * short), min(m, units * (thread + 1) // threads * short)
            cleared = at(own_sums)
            for i in range(sums):
                cleared[i] = zero
            drawn = shape[DRAWN] + s * batch * shape[DRAWS]
            run_forward(code, numbers, 0, loss_at, base, index, m, begin, end, drawn)
            part = run_backward(
                code, numbers, loss_at, loss_at + 1, base, index, m, begin, end, own_sums, thread, threads
            )
            loss = part / m
            if strength > 0:
                loss += penalty_of(pieces, base[PARAMS], strength, thread, threads)
            if threads > 1:
                run_backward(code, numbers, loss_at + 1, split, base, index, m, begin, end, own_sums, thread, threads)
                shares[thread, 0] = loss
                if not wait(sync, threads):
                    return
                loss = 0.0
                for t in range(threads):
                    loss += shares[t, 0]
            if thread == 0:
                history[s, 0] = loss
            if not np.isfinite(loss):
                if thread == 0:
                    state[STATUS] = BAD_LOSS
                return
            after = split if threads > 1 else loss_at + 1
            run_backward(code, numbers, after, len(code), base, index, m, begin, end, own_sums, thread, threads)
            for c in range(thread, len(reduced), threads):
                target, source = at(base[GRADIENT] + reduced[c, 1] * size), at(base[SUMS_AT] + reduced[c, 0] * size)
                for i in range(reduced[c, 2]):
                    total = source[i]
                    for t in range(1, threads):
                        total += source[t * sums + i]
                    target[i] = total
            if not wait(sync, threads):
                return
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
            if thread == 0:
                history[s, 1] = norm
            if not np.isfinite(norm):
                if thread == 0:
                    state[STATUS] = BAD_NORM
                return
            scale = clip / norm if 0 < clip < norm else 1.0
            update(pieces, shape[OPTIMIZER], scale, pace[s], constants, base, first, second, room, thread, threads)
            if not wait(sync, threads):
                return
            if thread == 0:
                state[DONE] += 1

    return train


def train_kernel(real: Any, kind: Vectors) -> Any:
    """The compiled loop: from the cache, or compiled now. See `train`."""
    from numba import types

    integers, table = types.Array(types.int64, 1, "C"), types.Array(types.int64, 2, "C")
    floats, grid = types.Array(types.float64, 1, "C"), types.Array(types.float64, 2, "C")
    address = types.int64
    signature = types.void(
        *(table, grid, table, table, integers, integers, integers, grid, floats, grid, grid, integers),
        *(address, address, address, address, address),
    )
    return compiled(f"train_{np.dtype(real).name}_{kind.name}", lambda: _train(real, kind), signature)
