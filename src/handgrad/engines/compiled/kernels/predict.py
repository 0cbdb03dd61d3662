"""The loop that predicts: blocks of rows through a program, or row by row with the parameters as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels import calls, matrix_unit
from handgrad.engines.compiled.kernels import program as p
from handgrad.engines.compiled.kernels.cache import compiled, is_cached
from handgrad.engines.compiled.kernels.calls import call
from handgrad.engines.compiled.kernels.elementwise import RELU
from handgrad.engines.compiled.kernels.memory import pointer
from handgrad.engines.compiled.kernels.options import INNER
from handgrad.engines.compiled.kernels.program import BEFORE, INPUTS, PARAMS, WORK, ZEROS
from handgrad.engines.compiled.kernels.single import product
from handgrad.engines.compiled.kernels.vectors import LINE, Vectors, vectors

# What a run is told, `shape`: rows of a block, features in and out, where the scores are, whether the parameters are
# packed, where in the room the matrix unit has its own, and then the index of a block's rows, which is 0, 1, 2 and so
# on.
BATCH, N_IN, N_OUT, SCORES, PACKED, UNIT, INDEX = range(7)
BASE = -(-8 * (BEFORE + 1) // LINE) * LINE  # bytes of the room that come before the workspace
OUTWARD = p.ADD  # of a linear instruction, which has no use of its own for that field: the weight is (n, k)
FINITE = -1  # the kernel's answer when all inputs are finite; else the first row of a block that holds one that is not


def _predict(real: Any, kind: Vectors) -> Any:
    """The entry point, for one dtype and kind of vector."""
    from numba import njit

    run_forward, one_row, at, integers = call(calls.FORWARD), product(real), pointer(real), pointer(np.int64)
    size, panel, zero = np.dtype(real).itemsize, kind.panel(real), real(0)
    largest = np.finfo(real).max
    amx, take_unit, leave_unit = kind.amx, matrix_unit.unit().begin, matrix_unit.unit().end

    @njit(**INNER)
    def finite(x_at, count):
        x, bad = at(x_at), 0
        for i in range(count):
            bad += 0 if abs(x[i]) <= largest else 1
        return bad == 0

    @njit(**INNER)
    def copy_out(scores_at, n, m, out_at):
        scores, out = at(scores_at), at(out_at)
        stride = panel if panel else n
        for q in range(0, n, stride):
            for i in range(m):
                for j in range(min(stride, n - q)):
                    out[i * n + q + j] = scores[q * m + i * stride + j]

    def predict(kernels, code, numbers, shape, zeros, params, x, out, room):
        """The scores of x (m, n_in) into out (m, n_out), a block of rows at a time. Returns FINITE, or where x is not.

        kernels: where the units are. code, numbers: the program's. params: the flat vector, packed; or as it is, for a
        program of blocks of one row. zeros: for the widest matrix. room: for `base` and the workspace, this call's own;
        made by the caller, as Numba would free an array of this function's once its address was taken, all that is used
        of it, and would import what makes arrays with every kernel that makes one.
        """
        batch, n_in, n_out, packed = shape[BATCH], shape[N_IN], shape[N_OUT], shape[PACKED] != 0
        index = shape.ctypes.data + INDEX * 8
        base_at = (room.ctypes.data + LINE - 1) // LINE * LINE
        base, work = integers(base_at), base_at + BASE
        for i in range(BEFORE + 1):
            base[i] = 0
        base[WORK], base[PARAMS], base[ZEROS] = work, params.ctypes.data, zeros.ctypes.data
        first_bad = FINITE
        if amx and packed:
            take_unit()
        for start in range(0, len(x), batch):
            m = min(batch, len(x) - start)
            rows = x.ctypes.data + start * n_in * size
            if not finite(rows, m * n_in):
                first_bad = start
                break
            base[INPUTS] = rows
            c = 0
            while c < len(code):
                if packed or code[c, p.OP] != p.LINEAR:
                    end = len(code) if packed else c + 1
                    run_forward(
                        kernels,
                        *(kernels, code.ctypes.data, numbers.ctypes.data, c, end, base_at, index),
                        *(m, 0, m, 0, 0, 1, work + shape[UNIT]),
                    )
                    c = end
                    continue
                n, y = code[c, p.N], work + code[c, p.C]
                bias = base[PARAMS] + code[c, p.BIAS] * size if code[c, p.BIAS] >= 0 else 0
                weight = base[PARAMS] + code[c, p.WEIGHT] * size
                one_row(work + code[c, p.A], code[c, p.K], weight, n, code[c, OUTWARD] != 0, bias, y)
                if code[c, p.MODE] == RELU:
                    numbers_of_y = at(y)
                    for j in range(n):
                        value = numbers_of_y[j]
                        numbers_of_y[j] = zero if value <= zero else value  # NaN stays
                c += 1
            copy_out(work + shape[SCORES], n_out, m, out.ctypes.data + start * n_out * size)
        if amx and packed:
            leave_unit()
        return first_bad

    return predict


def _entry(real: Any, kind: Vectors) -> tuple[str, Any]:
    """The kernel's name and signature."""
    from numba import from_dtype, types

    def vector(of: Any) -> Any:
        return types.Array(of, 1, "C")

    def matrix(of: Any) -> Any:
        return types.Array(of, 2, "C")

    dtype = from_dtype(np.dtype(real))
    program = (types.int64, matrix(types.int64), matrix(types.float64), vector(types.int64))
    data = (vector(dtype), vector(dtype), matrix(dtype), matrix(dtype), vector(types.uint8))
    return f"predict_{np.dtype(real).name}_{kind.name}", types.int64(*program, *data)


def predict_kernel(real: Any, kind: Vectors) -> Any:
    """The compiled pass: from the cache, or compiled now. See `_predict`."""
    name, signature = _entry(real, kind)
    return compiled(name, lambda: _predict(real, kind), signature)


def kernel_is_cached(real: Any) -> bool:
    """Whether the kernel for this machine is on the disk. It comes last, so that the units are there if it is."""
    return is_cached(*_entry(real, vectors(real)))
