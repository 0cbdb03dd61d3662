"""What is done to each row of a matrix of samples as a whole: softmax, layer normalization.

stride: numbers from a row of a panel to the next; distance: from a panel to the next.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.functions import functions
from handgrad.engines.compiled.kernels.memory import pointer


@cache
def rows(real: Any) -> SimpleNamespace:
    """The functions, for one dtype. Each takes the rows from `first` up to `end`."""
    at, exp = pointer(real), functions(real).exp
    zero, one = real(0), real(1)
    tiny = real(np.finfo(real).smallest_normal)

    def softmax(x_at, p_at, n, stride, distance, first, end, temperature):
        """p = softmax(x / temperature)."""
        x, p = at(x_at), at(p_at)
        temperature = real(temperature)
        for i in range(first, end):
            largest = x[i * stride]
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    z = x[r + j]
                    largest = z if z > largest or z != z else largest
            total = zero
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    e = exp((x[r + j] - largest) / temperature)
                    p[r + j] = e
                    total += e
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    p[r + j] /= total

    def softmax_back(p_at, dy_at, dx_at, n, stride, distance, first, end, temperature, add):
        """dx = p (dy - sum of p dy) / temperature."""
        p, dy, dx = at(p_at), at(dy_at), at(dx_at)
        temperature = real(temperature)
        for i in range(first, end):
            total = zero
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    total += p[r + j] * dy[r + j]
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    old = dx[r + j] if add else zero
                    dx[r + j] = old + p[r + j] * (dy[r + j] - total) / temperature

    def normalize(x_at, y_at, normal_at, scales_at, scale_at, shift_at, n, stride, distance, first, end, epsilon):
        """y = scale * normal + shift, normal = (x - mean) / sqrt(variance + epsilon); scales: 1 / root of each row.

        Rows are measured in units of their largest number, where that is above 1, so that no square overflows.
        """
        x, y, normal, scales = at(x_at), at(y_at), at(normal_at), at(scales_at)
        scale, shift = at(scale_at), at(shift_at)
        count = real(n)
        for i in range(first, end):
            unit = one
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    unit = max(unit, abs(x[r + j]))
            mean = zero
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    z = x[r + j] / unit
                    normal[r + j] = z
                    mean += z
            mean /= count
            variance = zero
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    z = normal[r + j] - mean
                    normal[r + j] = z
                    variance += z * z
            part = real(np.sqrt(epsilon)) / unit
            inverse = one / np.sqrt(variance / count + part * part + tiny)
            scales[i] = inverse / unit
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    z = normal[r + j] * inverse
                    normal[r + j] = z
                    y[r + j] = z * scale[q + j] + shift[q + j]

    def normalize_back(
        normal_at, scales_at, dy_at, dx_at, scale_at, dscale_at, dshift_at, n, stride, distance, first, end, dx_too, add
    ):
        """dx = (u - mean(u) - normal mean(u normal)) / root, u = dy scale; dscale and dshift are added to."""
        normal, scales, dy, dx, scale = at(normal_at), at(scales_at), at(dy_at), at(dx_at), at(scale_at)
        dscale, dshift = at(dscale_at), at(dshift_at)
        count = real(n)
        for i in range(first, end):
            mean, mean_normal = zero, zero
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    d, z = dy[r + j], normal[r + j]
                    u = d * scale[q + j]
                    mean += u
                    mean_normal += u * z
                    dscale[q + j] += d * z
                    dshift[q + j] += d
            if dx_too:
                mean /= count
                mean_normal /= count
                for q in range(0, n, stride):
                    r = i * stride + q // stride * distance
                    for j in range(min(stride, n - q)):
                        u = dy[r + j] * scale[q + j]
                        old = dx[r + j] if add else zero
                        dx[r + j] = old + (u - mean - normal[r + j] * mean_normal) * scales[i]

    return SimpleNamespace(
        softmax=softmax, softmax_back=softmax_back, normalize=normalize, normalize_back=normalize_back
    )
