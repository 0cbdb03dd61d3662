"""The gradient of a weight, block after block, and the optimizer's step of each while it is in the cache still."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels import calls
from handgrad.engines.compiled.kernels import program as p
from handgrad.engines.compiled.kernels.calls import call
from handgrad.engines.compiled.kernels.memory import atomics, pointer
from handgrad.engines.compiled.kernels.optimizers import DECAY
from handgrad.engines.compiled.kernels.options import INLINE
from handgrad.engines.compiled.kernels.vectors import CACHED, LINE, Vectors


@cache
def weight_gradients(real: Any, kind: Vectors) -> Any:
    """An njit function (kernels, instruction, base, m, thread, threads, pace) for one WEIGHT_GRADIENT.

    A block is one panel of A by one of B, or by two abreast, over all m samples. A thread begins with its own share of
    the blocks, as in each step, so that their parameters stay in its cache; done with it, it takes what is left of the
    others'. Each block is one thread's alone: the result is the same whoever takes it.
    instruction, pace: addresses; pace of the numbers of the optimizer's step, or 0 where that is to come when all of
    the gradient is there.
    """
    from numba import njit

    size, panel = np.dtype(real).itemsize, kind.panel(real)
    integers, floats = pointer(np.int64), pointer(np.float64)
    by_columns, step, claim = call(calls.BY_COLUMNS), call(calls.STEP), atomics().add
    none, most, each = np.int64(0), kind.abreast, panel or 2**62

    @njit(**INLINE)
    def run(kernels, instruction, base, m, thread, threads, pace_at):
        fields = integers(instruction)
        a, b, n, k = base[p.WORK] + fields[p.A], base[p.WORK] + fields[p.B], fields[p.N], fields[p.K]
        piece = integers(base[p.PIECES] + fields[p.PIECE] * p.PIECE_COLUMNS * 8)
        counters = none
        if threads > 1 and fields[p.CLAIM] >= 0:
            counters = base[p.CLAIMS] + fields[p.CLAIM] * threads * LINE
        steps = pace_at != 0 and fields[p.PIECE] >= 0 and piece[p.AT_ONCE] != 0
        k_width, n_width = (panel, most * panel) if panel else (k, n)
        down, across = (k + k_width - 1) // k_width, (n + n_width - 1) // n_width
        # through as many panels of B as stay in the second cache, with each panel of A, before the next ones
        group = max(1, CACHED // (m * n_width * size))
        blocks, owner, helped = down * across, thread, 0
        block = blocks * thread // threads - 1
        while helped < (threads if counters != 0 else 1):
            block += 1
            if counters != 0:
                block = blocks * owner // threads + claim(counters + owner * LINE, 1)
            if block >= blocks * (owner + 1) // threads:  # this share is done
                helped += 1
                owner = (thread + helped) % threads
                continue
            before = block // (down * group) * group
            abreast, place = min(group, across - before), block - before * down
            q, j = place // abreast * k_width, (before + place % abreast) * n_width
            w, height = min(n_width, n - j), min(k_width, k - q)
            here = (fields[p.WEIGHT] + j * k + q * min(each, w)) * size
            param, gradient = base[p.PARAMS] + here, base[p.GRADIENT] + here
            speed, square = base[p.SPEEDS] + here, base[p.SQUARES] + here
            target, wanted, fourth = none, none, none
            if steps:
                wanted = param  # what the step needs comes into the cache while the product is taken
                if piece[p.TURNED] >= 0:
                    target = base[p.TRANSPOSED] + (piece[p.TURNED] + q * n + j * height) * size
                    fourth = target - param
            # from this block's place in its panel to that of the one abreast, which may be narrower, in the next
            next_panel = (panel * k - q * max(0, 2 * panel - w)) * size
            left, rows, right, columns = a + q * m * size, height, b + j * m * size, w
            if panel and n == 1:  # the gradient of a column lies as its transpose does: so it is taken by vectors
                left, rows, right, columns = right, 1, left, height
            by_columns(
                kernels,
                *(left, rows, right, columns, gradient, m, fields[p.ADD], base[p.ZEROS], next_panel),
                *(wanted, speed - param, square - param, fourth),
            )
            if steps:
                decay, total = floats(pace_at)[DECAY] if piece[p.DECAYS] else 0.0, 0.0
                for i in range(0, w, each):
                    width, skip = min(each, w - i), i // each * next_panel
                    turned = target
                    if target != 0:
                        turned += i * height * size
                    total += step(
                        kernels,
                        *(base[p.OPTIMIZER], 1.0, decay, pace_at, base[p.CONSTANTS]),
                        *(param + skip, gradient + skip, speed + skip, square + skip, height, width),
                        *(turned, height),
                    )
                floats(base[p.BLOCKS])[piece[p.FIRST_BLOCK] + block] = total

    return run
