"""Matrix products over panels (see `layout`), panel after panel of the result. Addresses are in bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.lanes import lanes as lanes_of
from handgrad.engines.compiled.kernels.memory import pointer
from handgrad.engines.compiled.kernels.options import INLINE
from handgrad.engines.compiled.kernels.tiles import STORE, UNROLL, column_tile, row_tile
from handgrad.engines.compiled.kernels.vectors import LINE, Vectors

ONE = (0, 0, 0, LINE)  # a line at a time that a tile asks for ahead (see `row_tile`)
CHUNK = 2**13  # bytes of a panel of samples that stay in the first cache, while a weight's gradient sums over them
SPAN = 128  # samples that are summed over in the time in which one of the blocks comes that the optimizer will want


@cache
def products(real: Any, kind: Vectors) -> SimpleNamespace:
    """by_rows, a panel or two of C = start + A B; by_columns, a block or two of C = A^T B.

    For one dtype and kind of vector. Two where the kind has tiles for it; in by_rows both are as wide as a panel.
    """
    from numba import njit

    size, panel, lanes = np.dtype(real).itemsize, kind.panel(real), kind.lanes(real)
    row, chunk, pairs = panel * size, CHUNK // (panel * size), kind.abreast == 2
    at, dot = pointer(real), lanes_of(real, kind).dot

    def strip(tile: Callable[..., Any], a_row: int, shape: tuple[int, int, int], one: Any) -> Callable[..., int]:
        """Rows of C: tall tiles, then short ones, then single rows, unless there are no tiles for them: the rows done.

        a_row: bytes from a row's A to the next row's. shape: of the kind's tiles. one: the tile of a single row, or
        None. ahead, soon: see `row_tile`. i: the first rows, which are there already.
        """
        vectors, tall, short = shape
        sure = vectors if vectors > 1 else 0
        big, small = tile(real, kind, tall, vectors, sure, True), tile(real, kind, short, vectors, sure, a_row == size)
        ones = one is not None
        single = one if ones else small

        @njit(**INLINE)
        def run(A, a_panel, k, B, b_row, b_next, ahead, C, c_row, c_next, m, start, add, saved, sums, w, mode, soon, i):
            left = m - i
            talls = left // tall
            if talls > 0 and left % tall < short and left % tall + tall >= 2 * short:
                talls -= 1  # two short tiles in place of a tall one and many single rows
            asked, until = k // UNROLL * soon[3], i + talls * tall  # bytes that a tile asks for ahead
            while i < m:
                a, c, s, far = A + i * a_row, C + i * c_row, saved + i * c_row, ahead + i // tall * asked
                if i < until:
                    big(a, a_panel, k, B, b_row, b_next, far, c, c_row, c_next, start, add, s, sums, w, mode, *soon)
                    i += tall
                elif i + short <= m:
                    small(a, a_panel, k, B, b_row, b_next, far, c, c_row, c_next, start, add, s, sums, w, mode, *soon)
                    i += short
                elif ones:
                    single(a, a_panel, k, B, b_row, b_next, far, c, c_row, c_next, start, add, s, sums, w, mode, *soon)
                    i += 1
                else:
                    break
            return i

        return run

    def strips(tile: Callable[..., Any], a_row: int) -> tuple[Any, Any, Any]:
        """For two panels abreast, for one, and for columns of a narrower one, a vector at a time."""
        one = tile(real, kind, 1, 2, 0, False)
        whole, few = (strip(tile, a_row, shape, one) for shape in kind.tiles[-2:])
        return strip(tile, a_row, kind.tiles[0], None) if pairs else whole, whole, few

    rows_pair, rows_whole, rows_few = strips(row_tile, row)
    columns_pair, columns_whole, columns_few = strips(column_tile, size)

    def by_rows(A, a_panel, k, B, w, C, m, start, add, saved, sums, mode):
        """C[m, w] = start + A[m, k] B[k, w], B a panel of a weight, or two; panels of C are as far apart as of A."""
        b_row, b_next, c_next, ahead, done, j = min(w, panel) * size, k * row, a_panel, B + k * w * size, 0, 0
        if w == 1 and mode == STORE and not add:  # numbers of a column lie one after the other: so vectors take them
            bias = at(start)[0]
            for i in range(m):
                at(C + i * row)[0] = bias + dot(A + i * row, a_panel, B, k)
            return
        if pairs and w == 2 * panel:
            done = rows_pair(
                A, a_panel, k, B, b_row, b_next, ahead, C, row, c_next, m, start, add, saved, sums, w, mode, ONE, done
            )
        while j < w and done < m:
            part, q, p = min(panel if w - j >= panel else lanes, w - j), j // panel, j % panel * size
            b, c, s = B + q * b_next + p, C + q * c_next + p, saved + q * c_next + p
            first, total = start + j * size, sums + j * size
            if part == panel:
                rows_whole(A, a_panel, k, b, b_row, 0, ahead, c, row, 0, m, first, add, s, total, part, mode, ONE, done)
            else:
                rows_few(A, a_panel, k, b, b_row, 0, ahead, c, row, 0, m, first, add, s, total, part, mode, ONE, done)
            j += part

    def by_columns(A, rows, B, w, C, m, add, zeros, c_panel, wanted, second, third, fourth):
        """C[rows, w] = A[m, rows]^T B[m, w], A a panel, B a panel or two, C part of as many of a weight's gradient.

        c_panel: bytes from a panel of C to the next. wanted: the first of four blocks as large as C that will be wanted
        after it, the others so many bytes from it; 0 where none will. All but the fourth are as far from the next
        panel's as C.
        """
        b_next = m * row
        for q in range(0, m, chunk):
            a, b, count = A + q * row, B + q * row, min(chunk, m - q)
            more = 1 if q > 0 else add
            # all four blocks in one span, or two or one in each, so that they don't come faster than they can
            ahead, soon, span, done, j = C, ONE, q // SPAN, 0, 0
            if wanted != 0:
                here, last = wanted, fourth
                if q % SPAN and w > panel:
                    here, last = wanted + c_panel, fourth + rows * row - c_panel
                elif q % SPAN:
                    here += rows * w * size // 2
                if m <= SPAN:
                    ahead, soon = here, (second, third, last, LINE)
                elif m <= 3 * SPAN and span <= 1:
                    ahead, soon = here, (second, 0, second, LINE)
                    if span == 1:
                        ahead, soon = here + third, (last - third, 0, last - third, LINE)
                elif m > 3 * SPAN and span <= 3:
                    ahead, soon = here, (0, 0, 0, LINE)
                    if span > 0:
                        ahead += second if span == 1 else third if span == 2 else last
            if pairs and w == 2 * panel:
                done = columns_pair(
                    a, 0, count, b, row, b_next, ahead, C, row, c_panel, rows, zeros, more, 0, 0, w, 0, soon, done
                )
            while j < w and done < rows:
                part, i, p = min(panel if w - j >= panel else lanes, w - j), j // panel, j % panel * size
                right, c, c_row = b + i * b_next + p, C + i * c_panel + p, min(panel, w - i * panel) * size
                if part == panel:
                    columns_whole(
                        a, 0, count, right, row, 0, ahead, c, row, 0, rows, zeros, more, 0, 0, part, 0, soon, done
                    )
                else:
                    columns_few(
                        a, 0, count, right, row, 0, ahead, c, c_row, 0, rows, zeros, more, 0, 0, part, 0, soon, done
                    )
                j += part

    return SimpleNamespace(by_rows=by_rows, by_columns=by_columns)
