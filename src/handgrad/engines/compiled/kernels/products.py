"""Matrix products over panels (see `layout`), panel after panel of the result. Addresses are in bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.options import INLINE
from handgrad.engines.compiled.kernels.tiles import COLUMN_LINES, ROW_LINES, UNROLL, column_tile, row_tile
from handgrad.engines.compiled.kernels.vectors import LINE, Vectors

CHUNK = 128  # samples of two panels that stay in the first cache together, while a weight's gradient sums over them


@cache
def products(real: Any, kind: Vectors) -> SimpleNamespace:
    """by_rows, one panel of C = start + A B; by_columns, one block of C = A^T B. For one dtype and kind of vector."""
    from numba import njit

    size, panel, lanes = np.dtype(real).itemsize, kind.panel(real), kind.lanes(real)

    def strip(tile: Callable[..., Any], vectors: int, whole: bool, a_row: int, lines: int) -> Callable[..., None]:
        """m rows of C: tall tiles, then short ones, then single rows. a_row: bytes from a row's A to the next row's."""
        tall, short = (kind.tall if vectors == 2 else 2 * kind.short), kind.short
        big, small, single = (tile(real, kind, rows, vectors, whole) for rows in (tall, short, 1))

        @njit(**INLINE)
        def run(A, a_panel, k, B, b_row, ahead, C, c_row, m, start, add, saved, sums, tail, mode):
            talls = m // tall
            if talls > 0 and m % tall < short and m % tall + tall >= 2 * short:
                talls -= 1  # two short tiles in place of a tall one and many single rows
            asked = k // UNROLL * LINE * lines  # bytes that a tile asks for ahead
            i = 0
            while i < talls * tall:
                a, c, s = A + i * a_row, C + i * c_row, saved + i * c_row
                big(a, a_panel, k, B, b_row, ahead + i // tall * asked, c, c_row, start, add, s, sums, tail, mode)
                i += tall
            while i + short <= m:
                a, c, s = A + i * a_row, C + i * c_row, saved + i * c_row
                small(a, a_panel, k, B, b_row, ahead + i // tall * asked, c, c_row, start, add, s, sums, tail, mode)
                i += short
            while i < m:
                a, c, s = A + i * a_row, C + i * c_row, saved + i * c_row
                single(a, a_panel, k, B, b_row, ahead + i // tall * asked, c, c_row, start, add, s, sums, tail, mode)
                i += 1

        return run

    rows_whole = strip(row_tile, 2, True, size * panel, ROW_LINES)
    rows_2 = strip(row_tile, 2, False, size * panel, ROW_LINES)
    rows_1 = strip(row_tile, 1, False, size * panel, ROW_LINES)
    columns_2 = strip(column_tile, 2, False, size, COLUMN_LINES)
    columns_1 = strip(column_tile, 1, False, size, COLUMN_LINES)

    def by_rows(A, a_panel, k, B, w, C, m, start, add, saved, sums, mode):
        """C[m, w] = start + A[m, k] B[k, w], B a panel of a weight."""
        b_row, row, ahead = w * size, panel * size, B + k * w * size
        if w == panel:
            rows_whole(A, a_panel, k, B, b_row, ahead, C, row, m, start, add, saved, sums, lanes, mode)
        elif w > lanes:
            rows_2(A, a_panel, k, B, b_row, ahead, C, row, m, start, add, saved, sums, w - lanes, mode)
        else:
            rows_1(A, a_panel, k, B, b_row, ahead, C, row, m, start, add, saved, sums, w, mode)

    def by_columns(A, rows, B, w, C, m, add, zeros):
        """C[rows, w] = A[m, rows]^T B[m, w], A and B a panel each, C part of a panel of a weight's gradient."""
        row = panel * size
        for s in range(0, m, CHUNK):
            a, b, count = A + s * row, B + s * row, min(CHUNK, m - s)
            more = 1 if s > 0 else add
            if w > lanes:
                columns_2(a, 0, count, b, row, b + m * row, C, w * size, rows, zeros, more, 0, 0, w - lanes, 0)
            else:
                columns_1(a, 0, count, b, row, b + m * row, C, w * size, rows, zeros, more, 0, 0, w, 0)

    return SimpleNamespace(by_rows=by_rows, by_columns=by_columns)
