"""The losses: each sample's, and the gradient by its scores, in one go over the rows of the scores.

stride: numbers from a row of a panel to the next; distance: from a panel to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.functions import functions
from handgrad.engines.compiled.kernels.lanes import lanes
from handgrad.engines.compiled.kernels.memory import pointer, prefetch, wide
from handgrad.engines.compiled.kernels.options import INLINE
from handgrad.engines.compiled.kernels.vectors import LINE, SOON, Vectors

HINGE, CROSS_ENTROPY, SOFT_CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SQUARED_ERROR, HUBER, POISSON, QUANTILE = range(8)
FAR = 16  # labels, anywhere in memory, that are asked for ahead: what is done with one takes less time than it comes in
LARGE = 1e200  # of a product of sums of exponentials, which as many classes as there can be do not overflow


@cache
def losses(real: Any, kind: Vectors) -> Callable[..., float]:
    """loss(...) -> the sum of w_i L_i, for one dtype and kind of vector."""
    from numba import njit

    at, labels_at = pointer(real), pointer(np.int64)
    f, panel, width, wide_vectors = functions(real), kind.panel(real), kind.lanes(real), wide()
    largest_of, times_less = lanes(real, kind).largest, lanes(real, kind).times_less
    size, prefetch_line = np.dtype(real).itemsize, prefetch()
    exp, sigmoid, log, log1p_exp_neg = f.exp, f.sigmoid, f.log, f.log1p_exp_neg
    zero, half, one, two = real(0), real(0.5), real(1), real(2)

    @njit(**INLINE)
    def of_outputs(code, a, rest, s, r, y, t, w, d, factor):
        """The sum over w outputs of a loss of numbers; their gradients times factor go to d. rest: 1 - a."""
        total = zero
        if code == SQUARED_ERROR:
            for j in range(w):
                e = s[r + j] - y[t + j]
                total += e * e
                d[r + j] = two * e * factor
        elif code == HUBER:
            for j in range(w):
                e = s[r + j] - y[t + j]
                held = a if e > a else (-a if e < -a else e)
                total += held * (e - half * held)
                d[r + j] = held * factor
        elif code == POISSON:
            for j in range(w):
                rate = exp(s[r + j])
                total += rate - y[t + j] * s[r + j]
                d[r + j] = (rate - y[t + j]) * factor
        elif code == QUANTILE:
            for j in range(w):
                u = y[t + j] - s[r + j]
                total += a * u if u > zero else -rest * u
                slope = -a if u > zero else (rest if u < zero else zero)
                d[r + j] = slope * factor
        else:
            for j in range(w):
                z = s[r + j]
                positive = zero if z < zero else z
                total += positive - y[t + j] * z + log1p_exp_neg(abs(z))
                d[r + j] = (sigmoid(z) - y[t + j]) * factor
        return total

    @njit(**INLINE)
    def largest_score(s_at, s, i, n, stride, distance):
        largest = s[i * stride]
        for q in range(0, n, stride):
            r, w = i * stride + q // stride * distance, min(stride, n - q)
            for j in range(0, w, width or w):
                largest = largest_of(s_at + (r + j) * size, min(width or w, w - j), largest)
        return largest

    @njit(**INLINE)
    def entropy(s, d, i, n, stride, distance, y, t, label, smoothing, largest):
        """Cross-entropy with the row y[t:] where label is -1, with the label otherwise, smoothed.

        Returns (S, w, t) of which it is ln(S) w - t, S being the sum of exp(s - the largest).
        """
        total, target, mass = zero, zero, one
        keep, share = one - smoothing, smoothing / real(n)
        for q in range(0, n, stride):
            r = i * stride + q // stride * distance
            w = min(stride, n - q)
            for j in range(panel or w):  # all of a panel: a number of steps known beforehand is vectors alone
                e = exp(s[r + j] - largest)
                e = e if j < w else zero
                d[r + j] = e
                total += e
        if label >= 0:
            place = label // stride * distance + i * stride + label % stride
            target = keep * (s[place] - largest) if keep > zero else zero
            if smoothing > zero:
                mass = keep + share * real(n)
                for q in range(0, n, stride):
                    r = i * stride + q // stride * distance
                    for j in range(min(stride, n - q)):
                        target += share * (s[r + j] - largest)
        else:
            mass = zero
            for q in range(0, n, stride):
                r = i * stride + q // stride * distance
                for j in range(min(stride, n - q)):
                    p = keep * y[t + q + j] + share
                    mass += p
                    target += p * (s[r + j] - largest) if p > zero else zero
        return total, mass, target

    @njit(**INLINE)
    def entropy_gradient(d_at, d, i, n, stride, distance, y, t, label, smoothing, factor, pull):
        """d, which holds exp(s - the largest), becomes factor (p sum(q) - q), pull being factor sum(q) / S."""
        keep, share = one - smoothing, smoothing / real(n)
        for q in range(0, n, stride):
            r = i * stride + q // stride * distance
            w = min(stride, n - q)
            if label < 0:
                for j in range(w):
                    d[r + j] = d[r + j] * pull - factor * (keep * y[t + q + j] + share)
            else:
                for j in range(0, w, width or w):
                    times_less(d_at + (r + j) * size, w, pull, factor * share)
        if label >= 0:
            d[label // stride * distance + i * stride + label % stride] -= factor * keep

    @njit(**INLINE)
    def hinge(s, d, i, n, stride, distance, label, margin, factor):
        place = label // stride * distance + i * stride + label % stride
        true, total, active = s[place], zero, zero
        for q in range(0, n, stride):
            r = i * stride + q // stride * distance
            for j in range(min(stride, n - q)):
                term = s[r + j] - true + margin
                on = one if term > zero else zero
                on = zero if q + j == label else on
                total += term if on > zero or (term != term and q + j != label) else zero
                active += on
                d[r + j] = on * factor
        d[place] = -active * factor
        return total

    def loss(code, a, s_at, d_at, n, stride, distance, first, end, y_at, index_at, weight_at, whole, room_at):
        """Over the rows from `first` up to `end`. index: each sample in y and weights; whole: how many
        samples the mean is over; room: for a number of each."""
        s, d, y, labels, weights = at(s_at), at(d_at), at(y_at), labels_at(y_at), at(weight_at)
        pulls = at(room_at)
        wide_vectors()
        stride = panel or stride  # a number known beforehand costs no division
        index = labels_at(index_at)
        a, rest = real(a), real(1 - a)
        total = 0.0
        each = one / real(whole)
        together, by_label = code == CROSS_ENTROPY and weight_at == 0, code in (CROSS_ENTROPY, HINGE)
        product, logs, mass = 1.0, 0.0, one
        if code in (CROSS_ENTROPY, SOFT_CROSS_ENTROPY):  # in goes of their own: no row waits for what it needs itself
            for i in range(first, end):
                pulls[i] = largest_score(s_at, s, i, n, stride, distance)
        for i in range(first, end):
            row = index[i]
            if by_label and i + FAR < end:
                prefetch_line(y_at + index[i + FAR] * 8)
            weight = weights[row] if weight_at else one
            factor = weight * each
            if code == HINGE:
                value = hinge(s, d, i, n, stride, distance, labels[row], a, factor)
            elif code in (CROSS_ENTROPY, SOFT_CROSS_ENTROPY):
                label = labels[row] if code == CROSS_ENTROPY else np.int64(-1)
                sum_of_exp, mass, target = entropy(s, d, i, n, stride, distance, y, row * n, label, a, pulls[i])
                pulls[i] = factor * mass / sum_of_exp
                if together:  # the sum of their logarithms is that of their product; each is from 1 to n
                    product *= sum_of_exp
                    if product > LARGE:
                        logs += math.log(product)
                        product = 1.0
                    value = -target
                else:
                    value = log(sum_of_exp) * mass - target
            else:
                if i + SOON < end:  # rows are anywhere in memory: the processor cannot guess which is the next
                    soon = y_at + index[i + SOON] * n * size
                    for line in range(0, n * size, LINE):
                        prefetch_line(soon + line)
                value = zero
                factor /= real(n)
                for q in range(0, n, stride):
                    r, t = q // stride * distance + i * stride, row * n + q
                    value += of_outputs(code, a, rest, s, r, y, t, min(stride, n - q), d, factor)
                value /= real(n)
            total += weight * value
        if code in (CROSS_ENTROPY, SOFT_CROSS_ENTROPY):
            for i in range(first, end):
                row = index[i]
                label = labels[row] if code == CROSS_ENTROPY else np.int64(-1)
                factor = (weights[row] if weight_at else one) * each
                entropy_gradient(d_at, d, i, n, stride, distance, y, row * n, label, a, factor, pulls[i])
        if together:
            total += (logs + math.log(product)) * mass
        return total

    return loss
