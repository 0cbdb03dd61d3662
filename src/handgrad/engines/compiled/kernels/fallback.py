"""Matrix products by `np.dot`, where the processor has no vectors that the tiles are made for. As `products`."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.memory import pointer
from handgrad.engines.compiled.kernels.tiles import MASK, RELU, STORE, SUMS


@cache
def products(real: Any) -> SimpleNamespace:
    """by_rows and by_columns of `products`, for matrices of one panel."""
    from numba import carray

    at, zero = pointer(real), real(0)

    def by_rows(A, a_panel, k, B, w, C, m, start, add, saved, sums, mode):
        product = np.dot(carray(at(A), (m, k)), carray(at(B), (k, w)))
        c, first, s, total = at(C), at(start), at(saved), at(sums)
        for i in range(m):
            for j in range(w):
                value = product[i, j] + (c[i * w + j] if add else first[j])
                if mode == RELU:
                    value = zero if value <= zero else value
                elif mode == MASK:
                    value = value if s[i * w + j] > zero else zero
                elif mode != STORE and mode != SUMS:
                    value *= s[i * w + j]
                c[i * w + j] = value
                if mode >= SUMS:
                    total[j] += value

    def by_columns(A, rows, B, w, C, m, add, zeros, c_panel, wanted, second, third, fourth):
        product = np.dot(carray(at(A), (m, rows)).T, carray(at(B), (m, w)))
        c = carray(at(C), (rows, w))
        if add:
            c += product
        else:
            c[:] = product

    return SimpleNamespace(by_rows=by_rows, by_columns=by_columns)
