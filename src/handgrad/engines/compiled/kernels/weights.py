"""The gradient of a weight, block after block, and the optimizer's step of each while it is in the cache still."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels import calls, matrix_unit
from handgrad.engines.compiled.kernels import program as p
from handgrad.engines.compiled.kernels.calls import call
from handgrad.engines.compiled.kernels.matrix_unit import AS_B, AS_C, TO_WRITE
from handgrad.engines.compiled.kernels.memory import atomics, pointer
from handgrad.engines.compiled.kernels.optimizers import DECAY
from handgrad.engines.compiled.kernels.options import INNER
from handgrad.engines.compiled.kernels.row_products import row_products
from handgrad.engines.compiled.kernels.vectors import CACHED, LINE, Vectors

# Rows of a batch with which a product takes so long that the optimizer's moments may come into the cache beside it.
AHEAD = 256


@cache
def weight_gradients(real: Any, kind: Vectors) -> Any:
    """An njit function (kernels, instruction, base, index, m, thread, threads, pace, room) for one WEIGHT_GRADIENT.

    A block is one panel of A by one of B, or by two abreast, over all m samples; by the matrix unit, several panels of
    A. A thread begins with its own share of the blocks, as in each step, so that their parameters stay in its cache;
    done with it, it takes what is left of the others'. Each block is one thread's alone: the result is the same whoever
    takes it.
    instruction, index, pace: addresses; index of the batch's rows in the data, pace of the numbers of the optimizer's
    step, or 0 where that is to come when all of the gradient is there.
    """
    from numba import njit

    size, panel = np.dtype(real).itemsize, kind.panel(real)
    integers, floats = pointer(np.int64), pointer(np.float64)
    by_columns, step = call(calls.BY_COLUMNS), call(calls.STEP)
    turn, lay, tiles = call(calls.TURN), call(calls.LAY), call(calls.TILES)
    products, claim = row_products(real, kind), atomics().add
    gradient_by_unit, lies = products.gradient_by_unit, products.lies
    bytes_of, panels_at_once = njit(**INNER)(matrix_unit.bytes_of), njit(**INNER)(matrix_unit.panels_at_once)
    unit_block = matrix_unit.BLOCK
    none, most, each = np.int64(0), kind.abreast, panel or 2**62

    @njit(**INNER)
    def run(kernels, instruction, base, index_at, m, thread, threads, pace_at, room):
        fields = integers(instruction)
        a, b, n, k = base[p.WORK] + fields[p.A], base[p.WORK] + fields[p.B], fields[p.N], fields[p.K]
        piece = integers(base[p.PIECES] + fields[p.PIECE] * p.PIECE_COLUMNS * 8)
        counters = none
        if threads > 1 and fields[p.CLAIM] >= 0:
            counters = base[p.CLAIMS] + fields[p.CLAIM] * threads * LINE
        steps = pace_at != 0 and fields[p.PIECE] >= 0 and piece[p.AT_ONCE] != 0
        decay = floats(pace_at)[DECAY] if steps and piece[p.DECAYS] else 0.0
        k_width, n_width = (panel, most * panel) if panel else (k, n)
        down, across = (k + k_width - 1) // k_width, (n + n_width - 1) // n_width
        # through as many panels of B as stay in the second cache, with each panel of A, before the next ones
        tall, group = 1, max(1, CACHED // (m * n_width * size))
        turned, before_strip = -1, none  # the first panel of A whose thirds are there; bytes that thirds take
        unit = gradient_by_unit(k, n, m, threads)
        if unit:  # down as many panels of A as stay there, with each pair of B's
            tall = panels_at_once(bytes_of(m), down, threads)
            before_strip = unit_block + (tall + 1) * k_width * bytes_of(m)
        _, source, index, row, apart = lies(fields, base, index_at, a, k, n, m, threads)
        blocks, owner, helped = (down + tall - 1) // tall * across, thread, 0
        block = blocks * thread // threads - 1
        while helped < (threads if counters != 0 else 1):
            block += 1
            if counters != 0:
                block = blocks * owner // threads + claim(counters + owner * LINE, 1)
            if block >= blocks * (owner + 1) // threads:  # this share is done
                helped += 1
                owner = (thread + helped) % threads
                continue
            if unit:
                first, j = block // across * tall, block % across * n_width
            else:
                before = block // (down * group) * group
                abreast, place = min(group, across - before), block - before * down
                first, j = place // abreast, (before + place % abreast) * n_width
            w, last = min(n_width, n - j), min(down, first + tall)
            q, height = first * k_width, min(k, last * k_width) - first * k_width
            here = (fields[p.WEIGHT] + j * k + q * min(each, w)) * size
            gradient, left, right = base[p.GRADIENT] + here, a + q * m * size, b + j * m * size
            strip, strip_panel, c_next = gradient, none, none
            # from this block's place in its panel to that of the one abreast, which may be narrower, in the next
            next_panel = (panel * k - q * max(0, 2 * panel - w)) * size
            wanted, target = none, none
            if steps:  # what will be written comes into the cache while the product is taken
                wanted = base[p.PARAMS] + here
                if piece[p.TURNED] >= 0:
                    target = base[p.TRANSPOSED] + (piece[p.TURNED] + q * n + j * min(height, k_width)) * size
            if unit:
                if turned != first:
                    turn(kernels, source + first * apart, index, row, m, height, apart, room)
                    turned = first
                c_next = next_panel
                if steps and not fields[p.ADD]:  # the step alone will read it: so it stays in the cache
                    strip, strip_panel = room + before_strip, height * min(each, w) * size
                    c_next = strip_panel
                for i in range(0, w, each):
                    panel_of_b, width = right + i * m * size, min(each, w - i)
                    lay(kernels, panel_of_b, m, panel * size, width, height, room)
                    ahead, far, other, soon = panel_of_b + panel * m * size, none, none, AS_B
                    beside = here + i // each * next_panel
                    if wanted != 0 and threads > 1:  # another may have read it
                        ahead, far, other, soon = base[p.PARAMS] + beside, n * size, target, TO_WRITE
                        if target != 0:
                            other += i * min(each, height) * size
                    elif wanted != 0 and m >= AHEAD:
                        ahead, far, other, soon = base[p.SPEEDS] + beside, width * size, base[p.SQUARES] + beside, AS_C
                    tiles(
                        *(kernels, room, m, height, width, strip + i // each * c_next, width * size),
                        *(base[p.ZEROS], fields[p.ADD], none, none, none, ahead, far, other, soon),
                    )
            else:
                second, third, fourth = none, none, none
                if steps:
                    second, third = base[p.SPEEDS] - base[p.PARAMS], base[p.SQUARES] - base[p.PARAMS]
                    fourth = target - wanted if target != 0 else none
                rows, columns = height, w
                if panel and n == 1:  # the gradient of a column lies as its transpose does: so it is taken by vectors
                    left, rows, right, columns = right, 1, left, height
                by_columns(
                    kernels,
                    *(left, rows, right, columns, gradient, m, fields[p.ADD], base[p.ZEROS], next_panel),
                    *(wanted, second, third, fourth),
                )
            if steps:
                # down each panel in turn, so that the processor guesses what comes next
                for i in range(0, w, each):
                    width = min(each, w - i)
                    for r in range(first, last):
                        q = r * k_width
                        height, here = min(k_width, k - q), (fields[p.WEIGHT] + (j + i) * k + q * width) * size
                        target = none
                        if piece[p.TURNED] >= 0:
                            target = base[p.TRANSPOSED] + (piece[p.TURNED] + q * n + (j + i) * height) * size
                        old = base[p.GRADIENT] + here
                        own = old
                        if strip_panel != 0:
                            own = strip + i // each * strip_panel + (q - first * k_width) * width * size
                        total = step(
                            kernels,
                            *(base[p.OPTIMIZER], 1.0, decay, pace_at, base[p.CONSTANTS]),
                            *(base[p.PARAMS] + here, own, old, base[p.SPEEDS] + here),
                            *(base[p.SQUARES] + here, height, width, target, height),
                        )
                        sums, number = floats(base[p.BLOCKS]), piece[p.FIRST_BLOCK] + r * across + j // n_width
                        sums[number] = total if i == 0 else sums[number] + total

    return run
