"""Matrix products over panels (see `layout`), panel after panel of the result. Addresses are in bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.options import INLINE
from handgrad.engines.compiled.kernels.tiles import UNROLL, column_tile, row_tile
from handgrad.engines.compiled.kernels.vectors import LINE, Vectors

# What a tile asks for ahead (see `row_tile`): one line at a time, or four, one after the other.
NEXT, PANEL = (0, 0, 0, LINE), (LINE, 2 * LINE, 3 * LINE, 4 * LINE)
CHUNK = 2**14  # bytes of each of two panels that stay in the first cache, while a weight's gradient sums over them
SPAN = 128  # samples that are summed over in the time in which one of the blocks comes that the optimizer will want


@cache
def products(real: Any, kind: Vectors) -> SimpleNamespace:
    """by_rows, one panel of C = start + A B; by_columns, one block of C = A^T B. For one dtype and kind of vector."""
    from numba import njit

    size, panel, lanes = np.dtype(real).itemsize, kind.panel(real), kind.lanes(real)
    chunk = min(SPAN, CHUNK // (panel * size))
    # a tile is for more columns than half of its own
    half, quarter = (vectors // 2 * lanes for vectors, _, _ in kind.tiles[:2])

    def strip(tile: Callable[..., Any], width: int, whole: bool, a_row: int, one: Any) -> Callable[..., None]:
        """m rows of C: tall tiles, then short ones, then single rows. a_row: bytes from a row's A to the next row's.

        width: which of the kind's tiles. one: the tile of a single row. ahead, soon: see `row_tile`.
        """
        vectors, tall, short = kind.tiles[width]
        sure = vectors if whole else vectors // 2
        big, small = tile(real, kind, tall, vectors, sure, True), tile(real, kind, short, vectors, sure, a_row == size)

        @njit(**INLINE)
        def run(A, a_panel, k, B, b_row, ahead, C, c_row, m, start, add, saved, sums, w, mode, soon):
            talls = m // tall
            if talls > 0 and m % tall < short and m % tall + tall >= 2 * short:
                talls -= 1  # two short tiles in place of a tall one and many single rows
            asked, i = k // UNROLL * soon[3], 0  # bytes that a tile asks for ahead
            while i < talls * tall:
                a, c, s = A + i * a_row, C + i * c_row, saved + i * c_row
                far = ahead + i // tall * asked
                big(a, a_panel, k, B, b_row, far, c, c_row, start, add, s, sums, w, mode, *soon)
                i += tall
            while i + short <= m:
                a, c, s = A + i * a_row, C + i * c_row, saved + i * c_row
                far = ahead + i // tall * asked
                small(a, a_panel, k, B, b_row, far, c, c_row, start, add, s, sums, w, mode, *soon)
                i += short
            while i < m:
                a, c, s = A + i * a_row, C + i * c_row, saved + i * c_row
                far = ahead + i // tall * asked
                one(a, a_panel, k, B, b_row, far, c, c_row, start, add, s, sums, w, mode, *soon)
                i += 1

        return run

    def strips(tile: Callable[..., Any], a_row: int) -> Sequence[Any]:
        """For C as wide as a panel, more than half as wide, more than a quarter, and the rest, where there is one."""
        one = tile(real, kind, 1, kind.tiles[0][0], 0, False)
        wide, middle, *narrow = (strip(tile, width, False, a_row, one) for width in range(len(kind.tiles)))
        return strip(tile, 0, True, a_row, one), wide, middle, *(narrow or [middle])

    rows_whole, rows_wide, rows_half, rows_narrow = strips(row_tile, size * panel)
    _, columns_wide, columns_half, columns_narrow = strips(column_tile, size)

    def by_rows(A, a_panel, k, B, w, C, m, start, add, saved, sums, mode):
        """C[m, w] = start + A[m, k] B[k, w], B a panel of a weight."""
        b_row, row, ahead = w * size, panel * size, B + k * w * size
        if w == panel:
            rows_whole(A, a_panel, k, B, b_row, ahead, C, row, m, start, add, saved, sums, w, mode, NEXT)
        elif w > half:
            rows_wide(A, a_panel, k, B, b_row, ahead, C, row, m, start, add, saved, sums, w, mode, NEXT)
        elif w > quarter:
            rows_half(A, a_panel, k, B, b_row, ahead, C, row, m, start, add, saved, sums, w, mode, NEXT)
        else:
            rows_narrow(A, a_panel, k, B, b_row, ahead, C, row, m, start, add, saved, sums, w, mode, NEXT)

    def by_columns(A, rows, B, w, C, m, add, zeros, wanted, second, third, fourth):
        """C[rows, w] = A[m, rows]^T B[m, w], A and B a panel each, C part of a panel of a weight's gradient.

        wanted: the first of four blocks as large as C that will be wanted after it, the others so many bytes from it;
        0 where none will.
        """
        row = panel * size
        for s in range(0, m, chunk):
            a, b, count = A + s * row, B + s * row, min(chunk, m - s)
            more = 1 if s > 0 else add
            # all four blocks in one span, or two or one in each, so that they don't come faster than they can
            ahead, soon, span = b + m * row, PANEL, s // SPAN
            if wanted != 0 and m <= SPAN:
                ahead, soon = wanted, (second, third, fourth, LINE)
            elif wanted != 0 and m <= 3 * SPAN and span <= 1:
                ahead, soon = wanted, (second, 0, second, LINE)
                if span == 1:
                    ahead, soon = wanted + third, (fourth - third, 0, fourth - third, LINE)
            elif wanted != 0 and m > 3 * SPAN and span <= 3:
                ahead, soon = wanted, (0, 0, 0, LINE)
                if span > 0:
                    ahead += second if span == 1 else third if span == 2 else fourth
            if wanted != 0 and s % SPAN:  # the second half of them
                ahead += rows * w * size // 2
            if w > half:
                columns_wide(a, 0, count, b, row, ahead, C, w * size, rows, zeros, more, 0, 0, w, 0, soon)
            elif w > quarter:
                columns_half(a, 0, count, b, row, ahead, C, w * size, rows, zeros, more, 0, 0, w, 0, soon)
            else:
                columns_narrow(a, 0, count, b, row, ahead, C, w * size, rows, zeros, more, 0, 0, w, 0, soon)

    return SimpleNamespace(by_rows=by_rows, by_columns=by_columns)
