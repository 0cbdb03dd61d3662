"""Which calls of ops keep samples apart: each row of the output made of the same row of what goes in, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from handgrad.ops.arithmetic import Binary, MatMul
from handgrad.ops.base import Cache, Elementwise, Op
from handgrad.ops.dropout import Dropout
from handgrad.ops.reductions import Max, Reshape, Sum
from handgrad.ops.softmax import Softmax


@singledispatch
def keeps_apart(op: Op | None, cache: Cache, fixed: Sequence[bool] = ()) -> bool:
    """Whether the call that left this cache keeps samples, the rows of its inputs, apart.

    Only then is row i of the upstream gradient the gradient of sample i's own loss all the way down. fixed: which of
    the inputs are constants, that hold no samples; none unless given. False for None and an op that it does not know.
    """
    return False


@keeps_apart.register
def _each_element(op: Elementwise | Dropout, cache: Cache, fixed: Sequence[bool] = ()) -> bool:
    return True


@keeps_apart.register
def _binary(op: Binary, cache: Cache, fixed: Sequence[bool] = ()) -> bool:
    _, *shapes, out, _ = cache
    moving = (shape for k, shape in enumerate(shapes) if not (fixed and fixed[k]))
    return len(out) > 0 and all(len(shape) == len(out) and shape[0] == out[0] for shape in moving)


@keeps_apart.register
def _matmul(op: MatMul, cache: Cache, fixed: Sequence[bool] = ()) -> bool:
    x, y, _ = cache
    return bool(fixed) and fixed[1] and x.ndim == 2 and y.ndim <= 2


@keeps_apart.register
def _reduction(op: Sum | Max, cache: Cache, fixed: Sequence[bool] = ()) -> bool:
    return 0 not in cache[1] and len(cache[2]) > 0


@keeps_apart.register
def _reshape(op: Reshape, cache: Cache, fixed: Sequence[bool] = ()) -> bool:
    before, after, _ = cache
    return len(before) > 0 and tuple(before[:1]) == tuple(after[:1])


@keeps_apart.register
def _softmax(op: Softmax, cache: Cache, fixed: Sequence[bool] = ()) -> bool:
    return cache[2] != 0
