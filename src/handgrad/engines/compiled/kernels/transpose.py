"""A square of numbers transposed within the processor's registers."""

from __future__ import annotations

from typing import Any

import numpy as np


def transposed(b: Any, rows: list[Any]) -> list[Any]:
    """The columns of so many vectors of as many lanes, with a block builder."""
    from llvmlite import ir

    rows, lanes = list(rows), len(rows)

    def pick(x, y, places):
        return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), lanes), places))

    half = lanes // 2
    while half:  # swap the off-diagonal blocks, of half the width each time
        for i in range(lanes):
            if not i & half:
                x, y = rows[i], rows[i + half]
                rows[i] = pick(x, y, [j if not j & half else lanes + j - half for j in range(lanes)])
                rows[i + half] = pick(x, y, [j + half if not j & half else lanes + j for j in range(lanes)])
        half //= 2
    return rows


def square_transpose(real: Any, lanes: int) -> Any:
    """An intrinsic (source, bytes of its row, target, bytes of its row): a square of `lanes` rows, in registers."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    size = np.dtype(real).itemsize
    vec = ir.VectorType(ir.FloatType() if size == 4 else ir.DoubleType(), lanes)

    @intrinsic
    def turn(typing, source, source_row, target, target_row):
        def codegen(context, b, signature, args):
            source, source_row, target, target_row = args

            def at(base, row, i):
                return b.inttoptr(b.add(base, b.mul(row, row.type(i))), vec.as_pointer())

            rows = [b.load(at(source, source_row, i)) for i in range(lanes)]
            for row in rows:
                row.align = size
            for i, row in enumerate(transposed(b, rows)):
                b.store(row, at(target, target_row, i)).align = size
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), codegen

    return turn
