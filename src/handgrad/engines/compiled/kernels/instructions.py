"""What each instruction of a program does: the one place where numbers of a program meet the kernels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels import calls
from handgrad.engines.compiled.kernels import program as p
from handgrad.engines.compiled.kernels.calls import call
from handgrad.engines.compiled.kernels.elementwise import IDENTITY, RELU, elementwise
from handgrad.engines.compiled.kernels.matrix_unit import AS_B
from handgrad.engines.compiled.kernels.memory import barrier, copy_bytes, pointer, prefetch
from handgrad.engines.compiled.kernels.options import INNER
from handgrad.engines.compiled.kernels.program import (
    BEFORE,
    ELSEWHERE,
    INPUTS,
    KEY,
    PARAMS,
    SYNC,
    TARGETS,
    TRANSPOSED,
    WEIGHTS,
    WORK,
    ZEROS,
)
from handgrad.engines.compiled.kernels.row_products import abreast, parts, row_products
from handgrad.engines.compiled.kernels.thirds import PANEL_ROW, WIDE
from handgrad.engines.compiled.kernels.tiles import LOCAL, MASK, STORE
from handgrad.engines.compiled.kernels.tiles import RELU as RELU_TILE
from handgrad.engines.compiled.kernels.vectors import LINE, SOON, Vectors
from handgrad.engines.compiled.kernels.weights import weight_gradients


@cache
def forward(real: Any, kind: Vectors) -> Any:
    """A unit that runs the instructions of a forward pass, from `begin` up to `end`, for some rows of a batch.

    (kernels, code, numbers, begin, end, base, index, m, first, last, drawn, thread, threads, room). kernels, code,
    numbers, base, index: by address; index: each sample's row in the inputs. m: samples of the batch; first, last: the
    rows to do. drawn: how many random numbers the epoch's batches before drew. room: the thread's own, for AMX (see
    `matrix_unit.room_of`). Returns early where the run was aborted while it waited for the other threads.
    """
    from numba import njit

    integers, keys, floats = pointer(np.int64), pointer(np.uint64), pointer(np.float64)
    size, panel = np.dtype(real).itemsize, kind.panel(real)
    e, prefetch_line, move = elementwise(real), prefetch(), copy_bytes()
    join_gate, copy, drop = e.join_gate, e.copy, e.drop
    activate, keep = call(calls.ACTIVATE), call(calls.KEEP)
    lay, tiles, amx = call(calls.LAY), call(calls.TILES), kind.amx
    columns, products, part_of, wait = abreast(kind), row_products(real, kind), parts(), barrier()
    by_unit, at_once, begin_rows, multiply = products.by_unit, products.at_once, products.begin, products.multiply
    lies = products.lies
    softmax, normalize = call(calls.SOFTMAX), call(calls.NORMALIZE)

    @njit(**INNER)
    def gather(x_at, n, index_at, y_at, stride, distance, first, last, left, end):
        """Rows from `first` up to `last`, their columns from `left` up to `end`."""
        # rows are anywhere in memory, and the processor cannot guess which come next: so it is told, some of them ahead
        index = integers(index_at)
        for begin in range(first - SOON, last, SOON):
            for i in range(begin + SOON, min(begin + 2 * SOON, last)):
                soon = x_at + index[i] * n * size
                for line in range(left * size, end * size, LINE):
                    prefetch_line(soon + line)
            for q in range(left, end, stride):  # some rows of each panel, as they lie one after the other there
                for i in range(max(begin, first), min(begin + SOON, last)):
                    row, place = index[i] * n, q // stride * distance + i * stride
                    move(x_at + (row + q) * size, y_at + place * size, min(stride, n - q) * size)

    @njit(**INNER)
    def partial_sums(kernels, fields, base, index, a, out, m, thread, threads, room):
        """out = a weight, over this thread's columns of a: so it needs its rows of the weight alone. The first thread's
        has the bias in it."""
        n, k, none = fields[p.N], fields[p.K], np.int64(0)
        biased = thread == 0 and fields[p.BIAS] >= 0
        _, _, first, last = part_of(fields, m, k, WIDE, none, m, thread, threads)
        length, between = last - first, m * PANEL_ROW
        _, left, index, row, distance = lies(fields, base, index, a, k, n, m, threads)
        left, step = left + first // WIDE * distance, at_once(True, m, length)
        for start in range(0, m, step):
            rows, here = min(step, m - start), start * PANEL_ROW
            begin_rows(kernels, True, left, index, row, start, rows, length, distance, room)
            for q in range(0, n, WIDE):
                w = min(WIDE, n - q)
                weight = base[PARAMS] + (fields[p.WEIGHT] + q * k + first * w) * size
                bias = base[PARAMS] + (fields[p.BIAS] + q) * size if biased else base[ZEROS]
                lay(kernels, weight, length, w * size, w, rows, room)
                tiles(
                    *(kernels, room, length, rows, w, out + q // WIDE * between + here, PANEL_ROW),
                    *(bias, none, none, none, STORE, weight + k * PANEL_ROW, none, none, AS_B),
                )

    def run(kernels, code, numbers, begin, end, base_at, index_at, m, first, last, drawn, thread, threads, room):
        base = integers(base_at)
        work, params = base[WORK], base[PARAMS]
        count, none = last - first, np.int64(0)  # typed, as a literal would make Numba compile a function for itself
        for c in range(begin, end):
            fields, number = integers(code + c * p.FIELDS * 8), floats(numbers + c * p.NUMBERS * 8)
            op, n, k, mode = fields[p.OP], fields[p.N], fields[p.K], fields[p.MODE]
            if threads > 1 and fields[p.WAIT] and not wait(base[SYNC], threads):
                return
            a, b, out, local = (work + fields[p.A], work + fields[p.B], work + fields[p.C], work + fields[p.D])
            stride = panel if panel else n
            distance = m * stride
            if op == p.GATHER:
                if lies(fields, base, index_at, out, n, k, m, threads)[0]:
                    continue
                top, end_row, left_column, end_column = part_of(fields, m, n, stride, first, last, thread, threads)
                gather(base[INPUTS], n, index_at, out, stride, distance, top, end_row, left_column, end_column)
                continue
            if amx and op == p.PARTIAL_SUMS:
                own = out + thread * ((n + stride - 1) // stride * distance * size)
                partial_sums(kernels, fields, base, index_at, a, own, m, thread, threads, room)
                continue
            if op == p.NORMALIZE:
                scale, shift = params + fields[p.WEIGHT] * size, params + fields[p.BIAS] * size
                normalize(kernels, a, out, local, b, scale, shift, n, stride, distance, first, last, number[0])
                continue
            if op == p.SOFTMAX:
                softmax(kernels, a, out, n, stride, distance, first, last, number[0])
                continue
            if op == p.DROP:
                key, start = keys(base[KEY]), drawn + (m + base[ELSEWHERE]) * fields[p.DRAW] + base[BEFORE] * n
                for i in range(first, last):
                    for q in range(0, n, stride):
                        drawn_number = start + i * n + q
                        place = local + (q // stride * distance + i * stride) * size
                        keep(kernels, drawn_number, min(stride, n - q), key[0], key[1], number[0], number[1], place)
            if op == p.LINEAR or op == p.GATED:
                k_stride = panel if panel else k
                tile = RELU_TILE if op == p.LINEAR and mode == RELU else STORE
                top, end_row, left_column, end_column = part_of(fields, m, n, stride, first, last, thread, threads)
                between = m * k_stride * size
                direct, source, index, row, apart = lies(fields, base, index_at, a, k, n, m, threads)
                unit = direct or by_unit(k, end_column - left_column, end_row - top)
                step = at_once(unit, end_row - top, k)
                target = out if op == p.LINEAR else b
                for start in range(top, end_row, step):
                    left, rows = a + start * k_stride * size, min(step, end_row - start)
                    begin_rows(kernels, unit, source, index, row, start, rows, k, apart, room)
                    q = left_column
                    while q < end_column:
                        here = (q // stride * distance + start * stride) * size
                        w, whole = columns(stride, end_column - q), rows * stride
                        # a gate's product after its content's, and what follows finds what they left in the cache
                        for gate in range(2 if op == p.GATED else 1):
                            of_bias = fields[p.GATE_BIAS] if gate else fields[p.BIAS]
                            of_weight = fields[p.GATE_WEIGHT] if gate else fields[p.WEIGHT]
                            bias = base[ZEROS] if of_bias < 0 else params + (of_bias + q) * size
                            weight = params + (of_weight + q * k) * size
                            place = local + here if gate else target + here
                            multiply(
                                *(kernels, unit, room, left, between, k, weight, none, none, w, place, rows),
                                *(bias, none, none, none, tile),
                            )
                        for _ in range(0, w, stride):
                            if op == p.GATED:
                                activate(kernels, mode, number[0], local + here, out + here, whole)
                                join_gate(b + here, local + here, out + here, whole)
                            elif mode not in (RELU, IDENTITY):
                                activate(kernels, mode, number[0], out + here, local + here, whole)
                            here += distance * size
                        q += w
                continue
            for q in range(0, n, stride):
                skip = (q // stride * distance + first * stride) * size
                whole = count * stride
                if op == p.JOIN_SUMS:
                    between = (n + stride - 1) // stride * distance * size
                    for t in range(threads):
                        copy(a + skip + t * between, out + skip, whole, t > 0)
                    if mode != IDENTITY:  # nobody needs what RELU has for f', so that goes where nobody reads any more
                        slope = local + skip if mode != RELU else a + skip + thread * between
                        activate(kernels, mode, number[0], out + skip, slope, whole)
                elif op == p.ACTIVATE:
                    copy(a + skip, out + skip, whole, False)
                    activate(kernels, mode, number[0], out + skip, local + skip, whole)
                elif op == p.GATE:
                    activate(kernels, mode, number[0], b + skip, out + skip, whole)
                    join_gate(a + skip, b + skip, out + skip, whole)
                elif op == p.PLUS:
                    copy(a + skip, out + skip, whole, False)
                    copy(b + skip, out + skip, whole, True)
                elif op == p.DROP:
                    copy(a + skip, out + skip, whole, False)
                    drop(out + skip, local + skip, whole)

    return run


@cache
def backward(real: Any, kind: Vectors) -> Any:
    """As `forward`, for the loss and all that follows it; returns the sum of w_i L_i over the rows.

    (kernels, code, numbers, begin, end, base, index, m, first, last, sums, thread, threads, pace, room). sums: the
    thread's own, by address. pace: of the optimizer's step, by address, where weights may take it at once, or 0. The
    weights' gradients are over all rows, of which all threads must have been seen to (see `weights`).
    """
    from numba import njit

    size, panel = np.dtype(real).itemsize, kind.panel(real)
    integers, floats = pointer(np.int64), pointer(np.float64)
    loss, weight_gradient, products = call(calls.LOSS), weight_gradients(real, kind), row_products(real, kind)
    by_unit, at_once, begin_rows, multiply = products.by_unit, products.at_once, products.begin, products.multiply
    softmax_back, normalize_back = call(calls.SOFTMAX_BACK), call(calls.NORMALIZE_BACK)
    e, columns, part_of, wait = elementwise(real), abreast(kind), parts(), barrier()
    copy, times, part_gate = e.copy, e.times, e.part_gate
    where_positive, column_sums = e.where_positive, e.column_sums

    @njit(**INNER)
    def gate_gradients(dy, content, gate, rows, w, stride, sums_at, content_sum, gate_sum, q):
        """The content's gradient takes the gate's place, and the other way round; a sum at -1 is left out."""
        part_gate(dy, content, gate, rows * stride)
        if content_sum >= 0:
            column_sums(gate, rows, w, stride, sums_at + (content_sum + q) * size)
        if gate_sum >= 0:
            column_sums(content, rows, w, stride, sums_at + (gate_sum + q) * size)

    def run(
        kernels, code, numbers, begin, end, base_at, index_at, m, first, last, sums_at, thread, threads, pace, room
    ):
        base = integers(base_at)
        work, zeros, none = base[WORK], base[ZEROS], np.int64(0)
        count = last - first
        total = 0.0
        for c in range(begin, end):
            fields, number = integers(code + c * p.FIELDS * 8), floats(numbers + c * p.NUMBERS * 8)
            op, n, k, mode, add = fields[p.OP], fields[p.N], fields[p.K], fields[p.MODE], fields[p.ADD]
            if threads > 1 and fields[p.WAIT] and not wait(base[SYNC], threads):
                return total
            a, b, out, saved = (work + fields[p.A], work + fields[p.B], work + fields[p.C], work + fields[p.D])
            sums = sums_at + fields[p.SUMS] * size
            stride = panel if panel else n
            distance = m * stride
            if op == p.WEIGHT_GRADIENT:
                instruction = code + c * p.FIELDS * 8
                weight_gradient(kernels, instruction, base, index_at, m, thread, threads, pace, room)
            elif op == p.INPUT_GRADIENT or op == p.GATED_GRADIENT:
                width = panel if panel else k
                turned = k if fields[p.BY_UNIT] else none
                top, end_row, left_column, end_column = part_of(fields, m, k, width, first, last, thread, threads)
                unit = turned > 0 or by_unit(n, end_column - left_column, end_row - top)
                between, step = distance * size, at_once(unit, end_row - top, n)
                for start in range(top, end_row, step):
                    left, rows = a + start * stride * size, min(step, end_row - start)
                    begin_rows(kernels, unit, a, none, PANEL_ROW, start, rows, n, between, room)
                    q = left_column
                    while q < end_column:
                        here, w = (q * m + start * width) * size, columns(width, end_column - q)
                        target = out + here
                        if op == p.GATED_GRADIENT and not add:  # read at once, and never again: so many panels will do
                            target = out + start * width * size
                        weight = base[TRANSPOSED] + (fields[p.WEIGHT] + q * n) * size
                        if turned > 0:
                            weight = base[PARAMS] + fields[p.WEIGHT] * size
                        multiply(
                            *(kernels, unit, room, left, between, n, weight, turned, q, w, target, rows),
                            *(zeros, add, saved + here, sums + q * size, mode),
                        )
                        if op == p.GATED_GRADIENT:
                            for j in range(0, w, width):
                                skip = j * m * size
                                gate_gradients(
                                    *(target + skip, b + here + skip, saved + here + skip, rows, min(width, w - j)),
                                    *(width, sums_at, fields[p.BIAS], fields[p.SUMS], q + j),
                                )
                        q += w
            elif op == p.LOSS:
                targets, weights, whole = base[TARGETS], base[WEIGHTS], m + base[ELSEWHERE]
                total += loss(
                    kernels,
                    *(mode, number[0], a, out, n, stride, distance, first, last, targets, index_at, weights, whole, b),
                )
            elif op == p.NORMALIZE_BACK:
                scale = base[PARAMS] + fields[p.WEIGHT] * size
                shift_sums = sums_at + fields[p.BIAS] * size
                normalize_back(
                    kernels, saved, b, a, out, scale, sums, shift_sums, n, stride, distance, first, last, mode, add
                )
            elif op == p.SOFTMAX_BACK:
                softmax_back(kernels, b, a, out, n, stride, distance, first, last, number[0], add)
            else:
                for q in range(0, n, stride):
                    skip = (q // stride * distance + first * stride) * size
                    whole = count * stride
                    if op == p.PASS_ON:
                        copy(a + skip, out + skip, whole, add)
                    elif op == p.PART_GATE:
                        gate_gradients(
                            *(a + skip, b + skip, saved + skip, count, min(stride, n - q), stride),
                            *(sums_at, fields[p.BIAS], fields[p.SUMS], q),
                        )
                    elif mode == MASK:
                        where_positive(out + skip, saved + skip, whole)
                    elif mode == LOCAL:
                        times(out + skip, saved + skip, whole)
            if (op == p.LOSS or op == p.LOCAL_GRADIENT) and fields[p.SUMS] >= 0:
                for q in range(0, n, stride):
                    skip = (q // stride * distance + first * stride) * size
                    column_sums(out + skip, count, min(stride, n - q), stride, sums + q * size)
        return total

    return run
