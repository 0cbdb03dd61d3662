"""A float32 as the sum of three bfloat16, as AMX multiplies them: a product of float32 in six of bfloat16.

bfloat16 has float32's exponents and 8 digits of its 24. x = x1 + x2 + x3 without a rest: x1 is x rounded to 8 digits,
x2 what is left of it, rounded likewise, and x3 the last. Of the nine products that make x y, the six that count are
taken, x1 y1 + x1 y2 + x2 y1 + x2 y2 + x1 y3 + x3 y1: the others are at most 2^-24 of x y, no more than what float32
itself rounds off. Of infinity comes NaN, as infinity less itself is, and of what rounds to it, above 3.396e38. What is
below 2^-126 counts as 0, a third too: so numbers below 2^-103 lose digits. Henry, Tang and Heinecke, "Leveraging the
bfloat16 artificial intelligence datatype for higher-precision computations" (ARITH 2019), examine such sums.

AMX takes tiles of 16 rows of 64 bytes. A left operand's tile holds 16 rows of 32 numbers each; a right operand's 32
rows of 16 numbers, two rows interleaved: number j of the even row, then of the odd one. Matrices lie here as stacks of
three such tiles, one for each third, in columns of stacks: those along the sum's direction one after the other.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.memory import pointer, prefetch
from handgrad.engines.compiled.kernels.options import INNER
from handgrad.engines.compiled.kernels.transpose import square_transpose, transposed
from handgrad.engines.compiled.kernels.vectors import LINE

ROWS = 16  # of a tile
DEEP = 32  # numbers of the sum in a tile
TILE = 1024  # bytes
STACK = 3 * TILE
WIDE = 2 * ROWS  # rows and columns of what is computed at a time, two tiles by two: and of a panel
PANEL_ROW = 4 * WIDE  # bytes of a panel's row


@cache
def _split() -> Any:
    """Of a block builder and vectors of 16 float32: the three vectors of thirds, each in the upper half of 32 bits."""
    from llvmlite import ir

    word, floats = ir.VectorType(ir.IntType(32), 16), ir.VectorType(ir.FloatType(), 16)

    def same(value: int) -> Any:
        return ir.Constant(word, [value] * 16)

    def split(b: Any, x: Any) -> list[Any]:
        thirds = []
        for _ in range(2):
            near = b.and_(b.add(b.bitcast(x, word), same(0x8000)), same(0xFFFF0000))
            thirds.append(near)
            x = b.fsub(x, b.bitcast(near, floats))
        return [*thirds, b.bitcast(x, word)]

    return split


def _halves(b: Any, low: Any, high: Any, places: list[int]) -> Any:
    """The upper 16 bits of each number of both vectors, in that order; places: from 0 to 31, of `high` from 16 on."""
    from llvmlite import ir

    words = ir.VectorType(ir.IntType(16), 32)
    order = ir.Constant(ir.VectorType(ir.IntType(32), 32), [2 * place + 1 for place in places])
    return b.shuffle_vector(b.bitcast(low, words), b.bitcast(high, words), order)


@cache
def _intrinsics() -> SimpleNamespace:
    """split_row (source, width, target); split_pair (source, next source, width, odd, target, next target); and
    turn_rows (source, index, bytes of a row, width, target), the transpose of a tile's rows of at most as many columns,
    wherever they are, into a panel."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    i32 = ir.IntType(32)
    floats, bits, counts = (ir.VectorType(t, 16) for t in (ir.FloatType(), ir.IntType(1), i32))
    along = list(range(32))
    paired = [place for j in range(16) for place in (j, 16 + j)]

    def masks(b, width):
        """Which columns of two vectors there are."""
        splat = b.shuffle_vector(
            b.insert_element(ir.Constant(counts, ir.Undefined), b.trunc(width, i32), i32(0)),
            ir.Constant(counts, ir.Undefined),
            ir.Constant(counts, [0] * 16),
        )
        return [b.icmp_signed("<", ir.Constant(counts, list(range(16 * v, 16 * v + 16))), splat) for v in range(2)]

    def load(b, address, mask):
        pointer = floats.as_pointer()
        kind = ir.FunctionType(floats, [pointer, i32, bits, floats])
        function = cgutils.get_or_insert_function(b.module, kind, "llvm.masked.load.v16f32.p0")
        return b.call(function, [b.inttoptr(address, pointer), i32(4), mask, ir.Constant(floats, [0.0] * 16)])

    def store(b, value, address, third):
        place = b.inttoptr(b.add(address, address.type(TILE * third)), value.type.as_pointer())
        b.store(value, place).align = 64

    @intrinsic
    def split_row(typing, source, width, target):
        def codegen(context, b, signature, args):
            source, width, target = args
            split, there = _split(), masks(b, width)
            left, right = (split(b, load(b, b.add(source, source.type(64 * v)), there[v])) for v in range(2))
            for third in range(3):
                store(b, _halves(b, left[third], right[third], along), target, third)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 3), codegen

    @intrinsic
    def split_pair(typing, even, odd, width, odd_width, target, next_target):
        def codegen(context, b, signature, args):
            even, odd, width, odd_width, *targets = args
            split, there = _split(), (masks(b, width), masks(b, odd_width))
            for v in range(2):
                skip = even.type(64 * v)
                low, high = (
                    split(b, load(b, b.add(at, skip), mask[v])) for at, mask in zip((even, odd), there, strict=True)
                )
                for third in range(3):
                    store(b, _halves(b, low[third], high[third], paired), targets[v], third)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 6), codegen

    @intrinsic
    def turn_rows(typing, source, index, row, width, target):
        def codegen(context, b, signature, args):
            source, index, row, width, target = args
            word, there, rows = source.type, masks(b, width)[0], []
            for i in range(ROWS):
                which = b.load(b.inttoptr(b.add(index, word(8 * i)), word.as_pointer()))
                rows.append(load(b, b.add(source, b.mul(which, row)), there))
            for i, column in enumerate(transposed(b, rows)):
                b.store(column, b.inttoptr(b.add(target, word(PANEL_ROW * i)), floats.as_pointer())).align = 64
            return context.get_dummy_value()

        return types.void(*[types.intp] * 5), codegen

    return SimpleNamespace(split_row=split_row, split_pair=split_pair, turn_rows=turn_rows)


@cache
def splitters() -> SimpleNamespace:
    """left and right, njit functions that put a matrix into stacks, and its transpose; addresses are in bytes.

    A left operand's rows, and those of its transpose, may be anywhere: row i is index[i] times `row` bytes from
    `source` on; or, where there is no index but 0, i times as many.
    """
    from numba import njit

    i = _intrinsics()
    split_row, split_pair, turn = i.split_row, i.split_pair, square_transpose(np.float32, ROWS)
    numbers, integers, turn_rows, fetch = pointer(np.float32), pointer(np.int64), i.turn_rows, prefetch(2)

    @njit(**INNER)
    def left(source, index_at, row, first, rows, k, distance, target):
        """Rows of k numbers, from `first` on, in panels that are `distance` bytes apart, as a left operand."""
        deep, index = (k + DEEP - 1) // DEEP, integers(index_at)
        last = first + rows
        for i in range(0, rows, ROWS):
            for q in range(deep):
                x, width, tile = source + q * distance, min(DEEP, k - q * DEEP), target + (i // ROWS * deep + q) * STACK
                for r in range(first + i, min(first + i + ROWS, last)):
                    place = r
                    if index_at != 0:
                        place, soon = index[r], x + index[min(r + ROWS, last - 1)] * row
                        fetch(soon)
                        fetch(soon + LINE)
                    split_row(x + place * row, width, tile)
                    tile += 64

    @njit(**INNER)
    def stack(x, row, count, width, tile, beside):
        """`count` rows, at most DEEP, as one stack of a right operand, and one `beside` it."""
        pairs = count // 2
        for _ in range(pairs):
            split_pair(x, x + row, width, width, tile, tile + beside)
            x += 2 * row
            tile += 64
        for p in range(pairs, DEEP // 2):  # what is left, and zeros
            split_pair(x, x, width if 2 * p < count else 0, 0, tile, tile + beside)
            tile += 64

    @njit(**INNER)
    def right(source, k, row, width, target):
        """k rows of `width` numbers, at most WIDE, `row` bytes apart, as a right operand: two columns of stacks."""
        deep = (k + DEEP - 1) // DEEP
        for q in range(deep):
            stack(source + q * DEEP * row, row, min(DEEP, k - q * DEEP), width, target + q * STACK, deep * STACK)

    @njit(**INNER)
    def right_turned(weight, k, first, width, n, target, room):
        """`width` rows, at most WIDE, of a weight (k, n) in panels, as a right operand: their transpose.

        first: the first of them. room: for WIDE * WIDE float32.
        """
        deep = (n + DEEP - 1) // DEEP
        for q in range(deep):
            count = min(DEEP, n - q * DEEP)
            x = weight + (q * DEEP * k + first * count) * 4
            if count >= DEEP and width >= WIDE:
                for i in range(0, width, ROWS):  # to a bound that LLVM does not know, so that it repeats no code
                    for j in range(0, count, ROWS):
                        turn(x + i * PANEL_ROW + j * 4, PANEL_ROW, room + j * PANEL_ROW + i * 4, PANEL_ROW)
            else:
                for i in range(width):
                    for j in range(count):
                        numbers(room)[j * WIDE + i] = numbers(x)[i * count + j]
            stack(room, PANEL_ROW, count, width, target + q * STACK, deep * STACK)

    @njit(**INNER)
    def left_turned(source, index_at, row, width, k, ahead, target, room):
        """The transpose of k rows of `width` numbers, at most WIDE, as a left operand.

        ahead: bytes from these numbers of a row to those that will be wanted next, of rows that have an index. room:
        for WIDE * WIDE float32.
        """
        deep, index = (k + DEEP - 1) // DEEP, integers(index_at)
        for q in range(deep):
            first, count = q * DEEP, min(DEEP, k - q * DEEP)
            whole = count // ROWS * ROWS
            for i in range(0, whole, ROWS):
                for j in range(0, width, ROWS):
                    here, place = source + j * 4, room + j * PANEL_ROW + i * 4
                    if index_at == 0:  # panels have all columns there
                        turn(here + (first + i) * PANEL_ROW, PANEL_ROW, place, PANEL_ROW)
                    else:
                        turn_rows(here, index_at + (first + i) * 8, row, width - j, place)
            for i in range(whole, count):
                x = numbers(source + (index[first + i] if index_at != 0 else first + i) * row)
                for j in range(width):
                    numbers(room)[j * WIDE + i] = x[j]
            if index_at != 0:
                for i in range(first, first + count):
                    soon = source + index[i] * row + ahead
                    fetch(soon)
                    fetch(soon + LINE)
            for i in range(0, width, ROWS):
                tile = target + (i // ROWS * deep + q) * STACK
                for r in range(ROWS):
                    split_row(room + (i + r) * PANEL_ROW, count, tile + r * 64)

    return SimpleNamespace(left=left, left_turned=left_turned, right=right, right_turned=right_turned)
