"""Which part of a product with a weight is a thread's, how much of it is taken at once, and what takes it."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels import calls, matrix_unit
from handgrad.engines.compiled.kernels import program as p
from handgrad.engines.compiled.kernels.calls import call
from handgrad.engines.compiled.kernels.matrix_unit import AS_B
from handgrad.engines.compiled.kernels.options import INLINE, INNER
from handgrad.engines.compiled.kernels.thirds import PANEL_ROW, WIDE
from handgrad.engines.compiled.kernels.vectors import CACHED, Vectors

EVEN = 24  # rows that whole tiles of any kind of vector make up


@cache
def abreast(kind: Vectors) -> Any:
    """An njit function (panel, left): how many columns the next product is for, of those left: of whole panels, or one.

    panel: columns of one.
    """
    from numba import njit

    most = kind.abreast

    @njit(**INLINE)
    def columns(panel, left):
        return most * panel if left >= most * panel else min(panel, left)

    return columns


@cache
def parts() -> Any:
    """An njit function (fields, m, columns, panel, first, last, thread, threads) -> (row, end, column, end): a thread's
    part of a product of m rows, which is its own rows, from `first` to `last`, or whole panels of columns."""
    from numba import njit

    first_panel = njit(**INLINE)(matrix_unit.first_panel)

    @njit(**INNER)
    def part(fields, m, columns, panel, first, last, thread, threads):
        if threads == 1 or not fields[p.COLUMNWISE]:
            return first, last, np.int64(0), columns
        panels = (columns + panel - 1) // panel
        begin, end = first_panel(panels, thread, threads), first_panel(panels, thread + 1, threads)
        return np.int64(0), m, begin * panel, min(columns, end * panel)

    return part


@cache
def row_products(real: Any, kind: Vectors) -> SimpleNamespace:
    """What products of samples with weights go by: vectors, or the matrix unit where the kind has it and it pays.

    by_unit(k, n, m): which, for a weight (k, n), summed over k, and m rows. at_once(by_unit, rows, k): how many of the
    rows a product may take at once. begin(kernels, by_unit, source, index, row, first, rows, k, distance, room), once
    for so many rows from the first on, wherever they are (see `splitters`), and then multiply(kernels, by_unit, room,
    left, distance, k, weight, turned, q, *as by_rows), for a panel of the weight or two; or, by the unit, of the
    transpose of a weight of `turned` rows, from row q on, which lies as it is.
    gradient_by_unit(k, n, m, threads): whether that of a weight's gradient goes to the unit.
    lies(fields, base, index, a, k, n, m, threads) -> (whether rows of the data are taken where they lie, source, index,
    row, distance) of the left operand, which is the matrix a else; with `index`, of the batch's rows in the data.
    """
    from numba import njit

    amx, size, none = kind.amx, np.dtype(real).itemsize, np.int64(0)
    by_rows, spread, tiles = call(calls.BY_ROWS), call(calls.SPREAD), call(calls.TILES)
    lay, lay_turned = call(calls.LAY), call(calls.LAY_TURNED)
    pays, bytes_of = njit(**INNER)(matrix_unit.pays), njit(**INNER)(matrix_unit.bytes_of)
    rows_at_once, panels_at_once = njit(**INNER)(matrix_unit.rows_at_once), njit(**INNER)(matrix_unit.panels_at_once)

    @njit(**INLINE)
    def by_unit(k, n, m):
        # as many rows as are spread at once, for which the weight is split anew
        return pays(min(m, rows_at_once(bytes_of(k))), n, k) if amx else False

    @njit(**INLINE)
    def at_once(by_unit, rows, k):
        most = max(EVEN, CACHED // (k * size))
        if amx and by_unit:
            return rows_at_once(bytes_of(k))
        return most if rows <= most else most // EVEN * EVEN

    @njit(**INLINE)
    def begin(kernels, by_unit, source, index, row, first, rows, k, distance, room):
        if amx and by_unit:
            spread(kernels, source, index, row, first, rows, k, distance, room)

    @njit(**INNER)
    def multiply(
        kernels, by_unit, room, left, distance, k, weight, turned, q, w, target, rows, start, add, saved, sums, mode
    ):
        if amx and by_unit:
            for j in range(0, w, WIDE):
                width, c = min(WIDE, w - j), j // WIDE * distance
                if turned > 0:
                    lay_turned(kernels, weight, turned, q + j, width, k, rows, room)
                    following, far = weight + (q + j + WIDE) * PANEL_ROW, turned * PANEL_ROW
                else:
                    lay(kernels, weight + j * k * size, k, width * size, width, rows, room)
                    following, far = weight + (j + WIDE) * k * size, none
                tiles(
                    *(kernels, room, k, rows, width, target + c, PANEL_ROW),
                    *(start + j * size, add, saved + c, sums + j * size, mode, following, far, none, AS_B),
                )
        else:
            by_rows(kernels, left, distance, k, weight, w, target, rows, start, add, saved, sums, mode)

    @njit(**INNER)
    def gradient_by_unit(k, n, m, threads):
        if not amx:
            return False
        return pays(min(k, panels_at_once(bytes_of(m), (k + WIDE - 1) // WIDE, threads) * WIDE), n, m)

    @njit(**INNER)
    def lies(fields, base, index, a, k, n, m, threads):
        if 0 < fields[p.IN_PLACE] <= m and gradient_by_unit(k, n, m, threads):
            return True, base[p.INPUTS], index, k * size, np.int64(PANEL_ROW)
        return False, a, none, np.int64(PANEL_ROW), m * PANEL_ROW

    return SimpleNamespace(
        by_unit=by_unit,
        at_once=at_once,
        begin=begin,
        multiply=multiply,
        gradient_by_unit=gradient_by_unit,
        lies=lies,
    )
