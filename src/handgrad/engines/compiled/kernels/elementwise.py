"""What is done to each number of a matrix of samples: activations, gates, dropout, copies, sums of columns.

`at` addresses are of the first of `count` numbers, one after the other; room to spare in a panel is computed too, which
costs less than to leave it out, and is never read.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.functions import functions
from handgrad.engines.compiled.kernels.memory import pointer
from handgrad.engines.compiled.kernels.options import INNER

IDENTITY, RELU, LEAKY_RELU, SIGMOID, TANH, SWISH, GELU, GELU_TANH = range(8)


@cache
def elementwise(real: Any) -> SimpleNamespace:
    """The functions, for one dtype."""
    from numba import njit

    at, f = pointer(real), functions(real)
    sigmoid, tanh, exp, normal_cdf = f.sigmoid, f.tanh, f.exp, f.normal_cdf
    zero, half, one = real(0), real(0.5), real(1)
    bell, root, cubic = real(1 / np.sqrt(2 * np.pi)), real(np.sqrt(8 / np.pi)), real(0.044715)
    bound = real(40)  # past which GELU's bell and its lower tail are 0

    def activate(code, a, x_at, local_at, count):
        """x becomes f(x), and local f'(x)."""
        x, local = at(x_at), at(local_at)
        a = real(a)
        if code == RELU:
            for i in range(count):
                z = x[i]
                local[i] = one if z > zero else zero
                x[i] = zero if z <= zero else z
        elif code == LEAKY_RELU:
            for i in range(count):
                z = x[i]
                slope = one if z > zero else a
                local[i] = slope
                x[i] = z if z > zero else a * z
        elif code == SIGMOID:
            for i in range(count):
                y = sigmoid(x[i])
                local[i] = y * (one - y)
                x[i] = y
        elif code == TANH:
            for i in range(count):
                y = tanh(x[i])
                local[i] = one - y * y
                x[i] = y
        elif code == SWISH:
            for i in range(count):
                z = x[i]
                s = sigmoid(a * z)
                local[i] = s + z * (a * s * (one - s))
                x[i] = z * s
        elif code == GELU:
            for i in range(count):
                z = x[i]
                phi = normal_cdf(z)
                t = bound if z > bound else (-bound if z < -bound else z)
                local[i] = phi + t * exp(-half * t * t) * bell
                x[i] = z * phi
        elif code == GELU_TANH:
            for i in range(count):
                z = x[i]
                t = bound if z > bound else (-bound if z < -bound else z)
                phi = sigmoid(root * t * (one + cubic * t * t))
                local[i] = phi + t * phi * (one - phi) * root * (one + real(3) * cubic * t * t)
                x[i] = z * phi
        else:
            for i in range(count):
                local[i] = one

    @njit(**INNER)
    def join_gate(content_at, gate_at, y_at, count):
        """With f(g) in gate and f'(g) in y: y becomes c f(g), content its derivative by the gate, c f'(g)."""
        content, gate, y = at(content_at), at(gate_at), at(y_at)
        for i in range(count):
            c, slope = content[i], y[i]
            y[i] = c * gate[i]
            content[i] = c * slope

    @njit(**INNER)
    def part_gate(dy_at, content_at, gate_at, count):
        """gate, which holds f(g), becomes the content's gradient, and content, c f'(g), the gate's."""
        dy, content, gate = at(dy_at), at(content_at), at(gate_at)
        for i in range(count):
            d = dy[i]
            content[i] *= d
            gate[i] *= d

    @njit(**INNER)
    def copy(source_at, target_at, count, add):
        source, target = at(source_at), at(target_at)
        if add:
            for i in range(count):
                target[i] += source[i]
        else:
            for i in range(count):
                target[i] = source[i]

    @njit(**INNER)
    def times(target_at, local_at, count):
        target, local = at(target_at), at(local_at)
        for i in range(count):
            target[i] *= local[i]

    @njit(**INNER)
    def drop(target_at, local_at, count):
        """Times local; what is dropped is 0 whatever it was."""
        target, local = at(target_at), at(local_at)
        for i in range(count):
            target[i] = target[i] * local[i] if local[i] > zero else zero

    @njit(**INNER)
    def where_positive(target_at, saved_at, count):
        target, saved = at(target_at), at(saved_at)
        for i in range(count):
            target[i] = target[i] if saved[i] > zero else zero

    @njit(**INNER)
    def column_sums(x_at, rows, w, stride, sums_at):
        """sums += the sum of each of w columns; stride: numbers from a row to the next."""
        x, sums = at(x_at), at(sums_at)
        for i in range(rows):
            for j in range(w):
                sums[j] += x[i * stride + j]

    return SimpleNamespace(
        activate=activate,
        join_gate=join_gate,
        part_gate=part_gate,
        copy=copy,
        times=times,
        drop=drop,
        where_positive=where_positive,
        column_sums=column_sums,
    )
