"""The Euclidean norm of a gradient vector, and clipping by it. Pascanu, Mikolov and Bengio, 2013."""

from __future__ import annotations

import math

import array_api_compat.numpy as numpy_namespace
import numpy as np

import handgrad.checks as checks
from handgrad.ops.arrays import Array, Namespace, namespace_of
from handgrad.optim.base import flat_vector

# Below the length from which OpenBLAS splits a dot product over its threads, so that the norm does not depend on how
# many there are.
BLOCK = 8192


def clip_by_norm(gradient: Array, max_norm: float) -> tuple[Array, float]:
    """(gradient, norm): the gradient, scaled down to max_norm where its norm is above, and the norm it came with.

    gradient: (n,); returned itself when nothing is to be done, also when its norm is not finite: the caller sees the
    norm and decides. max_norm: a finite number above 0.
    """
    max_norm = checks.number("max_norm", max_norm, "a finite number above 0", lambda x: 0 < x < math.inf)
    norm = global_norm(gradient)
    if not max_norm < norm < math.inf:
        return gradient, norm
    factor = max_norm / norm
    xp = namespace_of(gradient=gradient)
    if factor >= xp.finfo(gradient.dtype).smallest_normal:
        return gradient * factor, norm
    root = math.sqrt(max_norm) / math.sqrt(norm)  # the factor itself would lose digits, or be 0
    return gradient * root * root, norm


def global_norm(gradient: Array) -> float:
    """sqrt(sum g²), for any entries whose norm a float can hold; inf or NaN when an entry is.

    gradient: (n,), of any floating dtype. The squares of float32 entries over- and underflow outside of about
    1e-19 to 1e19, so that the sum of squares is trusted only where neither can have mattered.
    """
    xp = namespace_of(gradient=gradient)
    flat_vector(xp, gradient, "gradient")
    n = gradient.shape[0]
    with np.errstate(over="ignore", under="ignore"):
        total = _sum_of_squares(xp, gradient)
        limits = xp.finfo(gradient.dtype)
        lost = n * float(limits.smallest_normal)  # at most, by squares that underflow
        if lost <= total * float(limits.eps) < math.inf:
            return math.sqrt(total)
        largest = float(xp.max(xp.abs(gradient)))
        if not 0 < largest < math.inf:
            return largest
        return largest * math.sqrt(_sum_of_squares(xp, gradient / largest))


def _sum_of_squares(xp: Namespace, x: Array) -> float:
    if xp is not numpy_namespace:
        return float(xp.sum(x * x, dtype=xp.float64))
    blocks = (x[start : start + BLOCK] for start in range(0, x.size, BLOCK))
    return sum(float(np.vdot(block, block)) for block in blocks)
