"""Products of one row with a weight as the model keeps it, so that a few rows need no packing of the parameters.

Such a product reads each number of the weight once, from front to back, and is as fast as they come from the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.memory import pointer, wide
from handgrad.engines.compiled.kernels.options import INNER


def product(real: Any) -> Any:
    """An njit function (x, k, weight, n, outward, bias, y): y = x W + bias, of addresses; bias 0 for none.

    x: k numbers, y: n. weight: (k, n), or (n, k) with `outward`.
    """
    from numba import njit

    at, size, zero, wide_vectors = pointer(real), np.dtype(real).itemsize, real(0), wide()

    @njit(**INNER)
    def inward(x_at, k, w_at, n, y_at):
        """y += x W. Eight rows of W at a time, so that y is read and written once for them all."""
        wide_vectors()
        x, y = at(x_at), at(y_at)
        p = 0
        while p + 8 <= k:
            a, b, c, d, e, f, g, h = x[p], x[p + 1], x[p + 2], x[p + 3], x[p + 4], x[p + 5], x[p + 6], x[p + 7]
            w = at(w_at + p * n * size)
            for j in range(n):
                first = a * w[j] + b * w[n + j] + c * w[2 * n + j] + d * w[3 * n + j]
                y[j] += first + (e * w[4 * n + j] + f * w[5 * n + j] + g * w[6 * n + j] + h * w[7 * n + j])
            p += 8
        while p < k:
            a, w = x[p], at(w_at + p * n * size)
            for j in range(n):
                y[j] += a * w[j]
            p += 1

    @njit(**INNER)
    def outward_product(x_at, k, w_at, n, y_at):
        """y += W x. Four rows of W at a time, so that x is read once for them all."""
        wide_vectors()
        x, y = at(x_at), at(y_at)
        j = 0
        while j + 4 <= n:
            w = at(w_at + j * k * size)
            a, b, c, d = zero, zero, zero, zero
            for p in range(k):
                a += x[p] * w[p]
                b += x[p] * w[k + p]
                c += x[p] * w[2 * k + p]
                d += x[p] * w[3 * k + p]
            y[j] += a
            y[j + 1] += b
            y[j + 2] += c
            y[j + 3] += d
            j += 4
        while j < n:
            w, a = at(w_at + j * k * size), zero
            for p in range(k):
                a += x[p] * w[p]
            y[j] += a
            j += 1

    @njit(**INNER)
    def run(x_at, k, w_at, n, outward, bias_at, y_at):
        bias, y = at(bias_at), at(y_at)
        for j in range(n):
            y[j] = bias[j] if bias_at != 0 else zero
        if outward or n == 1:
            outward_product(x_at, k, w_at, n, y_at)
        else:
            inward(x_at, k, w_at, n, y_at)

    return run
