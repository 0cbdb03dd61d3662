"""What each instruction of a program does: the one place where numbers of a program meet the kernels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from handgrad.engines.compiled import fallback
from handgrad.engines.compiled import program as p
from handgrad.engines.compiled.elementwise import IDENTITY, RELU, elementwise
from handgrad.engines.compiled.losses import losses
from handgrad.engines.compiled.memory import pointer
from handgrad.engines.compiled.options import INNER
from handgrad.engines.compiled.products import products
from handgrad.engines.compiled.random import random
from handgrad.engines.compiled.rows import rows
from handgrad.engines.compiled.tiles import LOCAL, MASK, STORE
from handgrad.engines.compiled.tiles import RELU as RELU_TILE
from handgrad.engines.compiled.vectors import Vectors

# Addresses that a run is given, in this order.
BASES = ("work", "params", "gradient", "transposed", "sums", "zeros", "inputs", "targets", "weights", "key")
WORK, PARAMS, GRADIENT, TRANSPOSED, SUMS_AT, ZEROS, INPUTS, TARGETS, WEIGHTS, KEY = range(10)


@cache
def forward(real: Any, kind: Vectors) -> Any:
    """An njit function that runs the instructions of a forward pass, from `begin` up to `end`, for some rows of a batch.

    (code, numbers, begin, end, base, index, m, first, last, drawn): m: samples of the batch; first, last: the rows to
    do; index: each sample's row in the inputs; drawn: how many random numbers the epoch's batches before drew.
    """
    from numba import njit

    at, integers = pointer(real), pointer(np.int64)
    keys = pointer(np.uint64)
    size, panel = np.dtype(real).itemsize, kind.panel(real)
    by_rows = (products(real, kind) if kind.bits else fallback.products(real)).by_rows
    e, r, keep = elementwise(real), rows(real), random(real).keep
    activate, join_gate, copy, times = e.activate, e.join_gate, e.copy, e.times
    softmax, normalize = r.softmax, r.normalize

    @njit(**INNER)
    def gather(x_at, n, index_at, y_at, stride, distance, first, last):  # type: ignore[no-untyped-def]
        x, y, index = at(x_at), at(y_at), integers(index_at)
        for i in range(first, last):
            row = index[i] * n
            for q in range(0, n, stride):
                place = q // stride * distance + i * stride
                if panel and n - q >= panel:
                    for j in range(panel):
                        y[place + j] = x[row + q + j]
                else:
                    for j in range(min(stride, n - q)):
                        y[place + j] = x[row + q + j]

    @njit(**INNER)
    def run(code, numbers, begin, end, base, index_at, m, first, last, drawn):  # type: ignore[no-untyped-def]
        work, params = base[WORK], base[PARAMS]
        count = last - first
        for c in range(begin, end):
            op, n, k, mode = code[c, p.OP], code[c, p.N], code[c, p.K], code[c, p.MODE]
            a, b, out, local = (work + code[c, p.A], work + code[c, p.B], work + code[c, p.C], work + code[c, p.D])
            stride = panel if panel else n
            distance = m * stride
            if op == p.GATHER:
                gather(base[INPUTS], n, index_at, out, stride, distance, first, last)
                continue
            if op == p.NORMALIZE:
                scale, shift = params + code[c, p.WEIGHT] * size, params + code[c, p.BIAS] * size
                normalize(a, out, local, b, scale, shift, n, stride, distance, first, last, numbers[c, 0])
                continue
            if op == p.SOFTMAX:
                softmax(a, out, n, stride, distance, first, last, numbers[c, 0])
                continue
            if op == p.DROP:
                key = keys(base[KEY])
                for i in range(first, last):
                    for q in range(0, n, stride):
                        number = drawn + m * code[c, p.DRAW] + i * n + q
                        place = local + (q // stride * distance + i * stride) * size
                        keep(number, min(stride, n - q), key[0], key[1], numbers[c, 0], numbers[c, 1], place)
            # the rest goes panel by panel: what a panel's product has left in the cache is there for its activation
            for q in range(0, n, stride):
                skip = (q // stride * distance + first * stride) * size
                whole = count * stride
                if op == p.LINEAR:
                    a_stride = panel if panel else k
                    bias = base[ZEROS] if code[c, p.BIAS] < 0 else params + (code[c, p.BIAS] + q) * size
                    weight = params + (code[c, p.WEIGHT] + q * k) * size
                    tile = RELU_TILE if mode == RELU else STORE
                    w = min(stride, n - q)
                    left = a + first * a_stride * size
                    by_rows(left, m * a_stride * size, k, weight, w, out + skip, count, bias, 0, 0, 0, tile)
                    if mode != RELU and mode != IDENTITY:
                        activate(mode, numbers[c, 0], out + skip, local + skip, whole)
                elif op == p.ACTIVATE:
                    copy(a + skip, out + skip, whole, False)
                    activate(mode, numbers[c, 0], out + skip, local + skip, whole)
                elif op == p.GATE:
                    activate(mode, numbers[c, 0], b + skip, out + skip, whole)
                    join_gate(a + skip, b + skip, out + skip, whole)
                elif op == p.PLUS:
                    copy(a + skip, out + skip, whole, False)
                    copy(b + skip, out + skip, whole, True)
                elif op == p.DROP:
                    copy(a + skip, out + skip, whole, False)
                    times(out + skip, local + skip, whole)

    return run


@cache
def backward(real: Any, kind: Vectors) -> Any:
    """As `forward`, for the loss and all that follows it; returns the sum of w_i L_i over the rows.

    (code, numbers, begin, end, base, index, m, first, last, sums, thread, threads): sums: this thread's own. What works
    by columns takes this thread's share of them, over all rows.
    """
    from numba import njit

    integers = pointer(np.int64)
    size, panel = np.dtype(real).itemsize, kind.panel(real)
    product = products(real, kind) if kind.bits else fallback.products(real)
    by_rows, by_columns = product.by_rows, product.by_columns
    e, r, loss = elementwise(real), rows(real), losses(real, panel).loss
    copy, times, part_gate = e.copy, e.times, e.part_gate
    where_positive, column_sums = e.where_positive, e.column_sums
    softmax_back, normalize_back = r.softmax_back, r.normalize_back

    @njit(**INNER)
    def weight_gradient(a, k, b, n, out, m, add, zeros, thread, threads):  # type: ignore[no-untyped-def]
        # blocks of one panel of A by one of B, shared out among the threads
        k_width, n_width = (panel, panel) if panel else (k, n)
        across = (n + n_width - 1) // n_width
        blocks = (k + k_width - 1) // k_width * across
        for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
            q, j = block // across * k_width, block % across * n_width
            w, height = min(n_width, n - j), min(k_width, k - q)
            target = out + (j * k + q * w) * size
            by_columns(a + q * m * size, height, b + j * m * size, w, target, m, add, zeros)

    @njit(**INNER)
    def run(code, numbers, begin, end, base, index_at, m, first, last, sums_at, thread, threads):  # type: ignore[no-untyped-def]
        work, zeros = base[WORK], base[ZEROS]
        count = last - first
        total = 0.0
        for c in range(begin, end):
            op, n, k, mode, add = code[c, p.OP], code[c, p.N], code[c, p.K], code[c, p.MODE], code[c, p.ADD]
            a, b, out, saved = (work + code[c, p.A], work + code[c, p.B], work + code[c, p.C], work + code[c, p.D])
            sums = sums_at + code[c, p.SUMS] * size
            stride = panel if panel else n
            distance = m * stride
            if op == p.WEIGHT_GRADIENT:
                target = base[GRADIENT] + code[c, p.WEIGHT] * size
                weight_gradient(a, k, b, n, target, m, add, zeros, thread, threads)
            elif op == p.INPUT_GRADIENT:
                width = panel if panel else k
                left = a + first * stride * size
                for q in range(0, k, width):
                    skip = (q * m + first * width) * size
                    weight = base[TRANSPOSED] + (code[c, p.WEIGHT] + q * n) * size
                    w = min(width, k - q)
                    column = sums + q * size
                    by_rows(
                        left, distance * size, n, weight, w, out + skip, count, zeros, add, saved + skip, column, mode
                    )
            elif op == p.LOSS:
                index = integers(index_at)
                targets, weights = base[TARGETS], base[WEIGHTS]
                total += loss(mode, numbers[c, 0], a, out, n, stride, distance, first, last, targets, index, weights, m)
            elif op == p.NORMALIZE_BACK:
                scale = base[PARAMS] + code[c, p.WEIGHT] * size
                shift_sums = sums_at + code[c, p.BIAS] * size
                normalize_back(saved, b, a, out, scale, sums, shift_sums, n, stride, distance, first, last, mode, add)
            elif op == p.SOFTMAX_BACK:
                softmax_back(b, a, out, n, stride, distance, first, last, numbers[c, 0], add)
            else:
                for q in range(0, n, stride):
                    skip = (q // stride * distance + first * stride) * size
                    whole = count * stride
                    if op == p.PASS_ON:
                        copy(a + skip, out + skip, whole, add)
                    elif op == p.PART_GATE:
                        part_gate(a + skip, b + skip, out + skip, whole)
                    elif mode == MASK:
                        where_positive(out + skip, saved + skip, whole)
                    elif mode == LOCAL:
                        times(out + skip, saved + skip, whole)
            if op == p.LOSS or op == p.LOCAL_GRADIENT or op == p.PART_GATE:
                for q in range(0, n, stride):
                    skip = (q // stride * distance + first * stride) * size
                    w = min(stride, n - q)
                    if code[c, p.SUMS] >= 0:
                        x = b if op == p.PART_GATE else out
                        column_sums(x + skip, count, w, stride, sums + q * size)
                    if op == p.PART_GATE and code[c, p.BIAS] >= 0:
                        column_sums(out + skip, count, w, stride, sums_at + (code[c, p.BIAS] + q) * size)
        return total

    return run
