"""Matrix products over panels (see `layout`), panel after panel of the result. Addresses are in bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.options import INLINE
from handgrad.engines.compiled.kernels.tiles import UNROLL, column_tile, row_tile
from handgrad.engines.compiled.kernels.vectors import LINE, Vectors

# What a tile asks for ahead (see `row_tile`): one line at a time, or four, one after the other.
NEXT, PANEL = (0, 0, 0, LINE), (LINE, 2 * LINE, 3 * LINE, 4 * LINE)
CHUNK = 128  # samples of two panels that stay in the first cache together, while a weight's gradient sums over them


@cache
def products(real: Any, kind: Vectors) -> SimpleNamespace:
    """by_rows, one panel of C = start + A B; by_columns, one block of C = A^T B. For one dtype and kind of vector."""
    from numba import njit

    size, panel, lanes = np.dtype(real).itemsize, kind.panel(real), kind.lanes(real)

    def strip(tile: Callable[..., Any], vectors: int, whole: bool, a_row: int) -> Callable[..., None]:
        """m rows of C: tall tiles, then short ones, then single rows. a_row: bytes from a row's A to the next row's.

        ahead, soon: see `row_tile`.
        """
        tall, short = (kind.tall if vectors == 2 else 2 * kind.short), kind.short
        big, small, single = (tile(real, kind, rows, vectors, whole) for rows in (tall, short, 1))

        @njit(**INLINE)
        def run(A, a_panel, k, B, b_row, ahead, C, c_row, m, start, add, saved, sums, tail, mode, soon):
            talls = m // tall
            if talls > 0 and m % tall < short and m % tall + tall >= 2 * short:
                talls -= 1  # two short tiles in place of a tall one and many single rows
            asked, i = k // UNROLL * soon[3], 0  # bytes that a tile asks for ahead
            while i < talls * tall:
                a, c, s = A + i * a_row, C + i * c_row, saved + i * c_row
                far = ahead + i // tall * asked
                big(a, a_panel, k, B, b_row, far, c, c_row, start, add, s, sums, tail, mode, *soon)
                i += tall
            while i + short <= m:
                a, c, s = A + i * a_row, C + i * c_row, saved + i * c_row
                far = ahead + i // tall * asked
                small(a, a_panel, k, B, b_row, far, c, c_row, start, add, s, sums, tail, mode, *soon)
                i += short
            while i < m:
                a, c, s = A + i * a_row, C + i * c_row, saved + i * c_row
                far = ahead + i // tall * asked
                single(a, a_panel, k, B, b_row, far, c, c_row, start, add, s, sums, tail, mode, *soon)
                i += 1

        return run

    rows_whole = strip(row_tile, 2, True, size * panel)
    rows_2 = strip(row_tile, 2, False, size * panel)
    rows_1 = strip(row_tile, 1, False, size * panel)
    columns_2 = strip(column_tile, 2, False, size)
    columns_1 = strip(column_tile, 1, False, size)

    def by_rows(A, a_panel, k, B, w, C, m, start, add, saved, sums, mode):
        """C[m, w] = start + A[m, k] B[k, w], B a panel of a weight."""
        b_row, row, ahead = w * size, panel * size, B + k * w * size
        if w == panel:
            rows_whole(A, a_panel, k, B, b_row, ahead, C, row, m, start, add, saved, sums, lanes, mode, NEXT)
        elif w > lanes:
            rows_2(A, a_panel, k, B, b_row, ahead, C, row, m, start, add, saved, sums, w - lanes, mode, NEXT)
        else:
            rows_1(A, a_panel, k, B, b_row, ahead, C, row, m, start, add, saved, sums, w, mode, NEXT)

    def by_columns(A, rows, B, w, C, m, add, zeros, wanted, second, third, fourth):
        """C[rows, w] = A[m, rows]^T B[m, w], A and B a panel each, C part of a panel of a weight's gradient.

        wanted: the first of four blocks as large as C that will be wanted after it, the others so many bytes from it;
        0 where none will.
        """
        row = panel * size
        for s in range(0, m, CHUNK):
            a, b, count = A + s * row, B + s * row, min(CHUNK, m - s)
            more = 1 if s > 0 else add
            # all four blocks with one chunk, or two or one with each, so that they don't come faster than they can
            ahead, soon = b + m * row, PANEL
            if wanted != 0 and m <= CHUNK:
                ahead, soon = wanted, (second, third, fourth, LINE)
            elif wanted != 0 and m <= 3 * CHUNK and s <= CHUNK:
                ahead, soon = wanted, (second, 0, second, LINE)
                if s == CHUNK:
                    ahead, soon = wanted + third, (fourth - third, 0, fourth - third, LINE)
            elif wanted != 0 and m > 3 * CHUNK and s <= 3 * CHUNK:
                ahead, soon = wanted, (0, 0, 0, LINE)
                if s > 0:
                    ahead += second if s == CHUNK else third if s == 2 * CHUNK else fourth
            if w > lanes:
                columns_2(a, 0, count, b, row, ahead, C, w * size, rows, zeros, more, 0, 0, w - lanes, 0, soon)
            else:
                columns_1(a, 0, count, b, row, ahead, C, w * size, rows, zeros, more, 0, 0, w, 0, soon)

    return SimpleNamespace(by_rows=by_rows, by_columns=by_columns)
