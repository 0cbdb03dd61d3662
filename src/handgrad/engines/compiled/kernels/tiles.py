"""The innermost loop of a matrix product, as LLVM vector code: a tile of C stays in registers until it is whole.

A tile has `rows` rows and one vector of columns or more. Before its sum starts and after it ends, it does what would
else take passes of their own over C: the bias, the activation, the local gradient, the bias gradient.

The left operand A is read a number at a time, each broadcast to a vector; the right operand B a vector at a time.
Matrices of samples lie in panels (see `layout`), so that the distances between numbers of A are known constants, and
B and C are read and written from front to back. A tile of four vectors goes over two panels of B and C.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.vectors import LINE, Vectors

# Lines that a tile asks for in UNROLL steps: one of rows for the next panel of B, which goes by some ten tiles; one of
# columns for the optimizer's four numbers, in the time of six tiles.
ROW_LINES, COLUMN_LINES = 1, 4

# What is done to a tile whose sum is whole; all but STORE and RELU add its columns' sums to the bias gradient.
STORE, RELU, SUMS, MASK, LOCAL = range(5)
UNROLL = 4  # steps of a sum between two looks at whether it is whole, in the tiles that most of the work is done by


def row_tile(real: Any, kind: Vectors, rows: int, vectors: int, sure: int, unroll: bool) -> Callable[..., None]:
    """C[rows, columns] = start + A B, or C + A B: samples are rows of A and C. For outputs and inputs' gradients.

    A: the rows' first panel, the next one a_panel bytes on; k: the length of the sums. B: rows of b_row bytes, in
    panels b_panel bytes from one to the next.
    ahead, second, third, fourth, stride: what is to be in the second cache soon, a line each UNROLL steps, `stride`
    bytes on each time. In a tile of columns the lines so many bytes from it too, and for writing.
    C: rows of c_row bytes, in panels c_panel bytes from one to the next; start: a row that each sum starts from, the
    bias; add: start from C instead. saved: as C, the layer's own output (MASK) or its local gradient (LOCAL), by which
    the tile is multiplied.
    sums: a row, to which the columns' sums are added. width: how many columns there are; the first `sure` vectors
    have theirs all, and need not ask. unroll: whether it will run so often that UNROLL steps at a time are worth it.
    """
    panel, modes = kind.panel(real), (STORE, RELU, SUMS, MASK, LOCAL)
    return _tile(real, kind, rows, vectors, panel, 1, panel, modes, sure, sure, unroll)


def column_tile(real: Any, kind: Vectors, rows: int, vectors: int, sure: int, unroll: bool) -> Callable[..., None]:
    """C[rows, columns] = A^T B, or C + A^T B: samples are what is summed over. What a weight's gradient needs.

    As `row_tile`, but A's features are the rows of C; they lie in one panel. k: the number of samples. B is a matrix
    of samples, whose panels have room to spare: a vector alone need not ask for its columns of B.
    """
    return _tile(real, kind, rows, vectors, 1, kind.panel(real), 0, (STORE,), 1 if vectors == 1 else sure, sure, unroll)


def _tile(
    real: Any,
    kind: Vectors,
    rows: int,
    vectors: int,
    a_row: int,
    a_step: int,
    block: int,
    modes: tuple[int, ...],
    sure_b: int,
    sure_c: int,
    unroll: bool,
) -> Callable[..., None]:
    """block: how many steps of k one panel of A holds, 0 for all. sure_b, sure_c: `sure`, of B and of C."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    lanes, panel, size = kind.lanes(real), kind.panel(real), np.dtype(real).itemsize
    of_panel = panel // lanes
    number = ir.FloatType() if size == 4 else ir.DoubleType()
    vec, bits, i32 = ir.VectorType(number, lanes), ir.VectorType(ir.IntType(1), lanes), ir.IntType(32)
    suffix = f"v{lanes}f{8 * size}"
    zero = ir.Constant(vec, [0.0] * lanes)
    # what columns ask for is to be written: so it comes as this thread's own, whoever has read it before
    lines, writes = (ROW_LINES, 0) if block else (COLUMN_LINES, 1)
    unrolled = (UNROLL, 1) if unroll else (1,)
    align = ir.Constant(i32, size)

    @intrinsic
    def tile(typing, A, a_panel, k, B, b_row, b_panel, ahead, C, c_row, c_panel, start, add, saved, sums, *more):
        def codegen(context, b, signature, args):
            A, a_panel, k, B, b_row, b_panel, ahead, C, c_row, c_panel, start, add, saved, sums, more = args
            width, mode, second, third, fourth, stride = cgutils.unpack_tuple(b, more, 6)
            word = A.type
            if sure_b == vectors:  # whole panels
                b_row = word(size * panel)

            def function(name, result, *arguments):
                return cgutils.get_or_insert_function(b.module, ir.FunctionType(result, arguments), name)

            pointer = vec.as_pointer()
            fma = function(f"llvm.fma.{suffix}", vec, vec, vec, vec)
            masked_load = function(f"llvm.masked.load.{suffix}.p0", vec, pointer, i32, bits, vec)
            masked_store = function(f"llvm.masked.store.{suffix}.p0", ir.VoidType(), vec, pointer, i32, bits)
            byte = ir.IntType(8).as_pointer()
            prefetch = function("llvm.prefetch.p0", ir.VoidType(), byte, i32, i32, i32)
            first = ir.Constant(ir.VectorType(i32, lanes), [0] * lanes)

            def splat(value):
                undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
                one = b.insert_element(undefined, value, ir.Constant(i32, 0))
                return b.shuffle_vector(one, undefined, first)

            columns, masks = splat(width), {}
            for v in range(min(sure_b, sure_c), vectors):
                places = ir.Constant(ir.VectorType(word, lanes), list(range(lanes * v, lanes * (v + 1))))
                masks[v] = b.icmp_signed("<", places, columns)

            def at(address, v, panel_bytes=None):
                """Where vector v of a row is, of a row in panels or, without `panel_bytes`, of one that is whole."""
                if panel_bytes is not None and v >= of_panel:
                    address, v = b.add(address, panel_bytes), v - of_panel
                return b.inttoptr(b.add(address, word(size * lanes * v)), pointer)

            def load(address, v, panel_bytes=None, sure=sure_c):
                place = at(address, v, panel_bytes)
                if v >= sure:
                    return b.call(masked_load, [place, align, masks[v], zero])
                value = b.load(place)
                value.align = size
                return value

            def store(value, address, v, panel_bytes=None):
                place = at(address, v, panel_bytes)
                if v >= sure_c:
                    b.call(masked_store, [value, place, align, masks[v]])
                else:
                    b.store(value, place).align = size

            def broadcast(address, distance):
                value = b.load(b.inttoptr(b.add(address, word(size * distance)), number.as_pointer()))
                value.align = size
                return splat(value)

            cells = [(r, v) for r in range(rows) for v in range(vectors)]
            c_rows = [b.add(C, b.mul(c_row, word(r))) for r in range(rows)]

            # from C or the start -> outer, once a panel of A -> its loops, UNROLL steps at a time, then 1 -> done
            from_c, from_start = b.append_basic_block("from_c"), b.append_basic_block("from_start")
            outer, done = b.append_basic_block("outer"), b.append_basic_block("done")
            loops = [(b.append_basic_block(f"by{steps}"), steps) for steps in unrolled]

            for row in c_rows:  # to be written when the sums are whole
                for v in range(0, vectors, LINE // (size * lanes)):
                    b.call(prefetch, [b.bitcast(at(row, v, c_panel), byte), i32(1), i32(3), i32(1)])
            b.cbranch(b.icmp_signed("!=", add, word(0)), from_c, from_start)
            b.position_at_end(from_c)
            old = [load(c_rows[r], v, c_panel) for r, v in cells]
            b.branch(outer)
            b.position_at_end(from_start)
            bias = [load(start, v) for v in range(vectors)]
            b.branch(outer)

            def join(*states):
                """The state of the loops at the head of a block, into which each (block, state) flows."""
                joined = [b.phi(value.type) for value in states[0][1]]
                for source, state in states:
                    for phi, value in zip(joined, state, strict=True):
                        phi.add_incoming(value, source)
                return joined

            def flow(phi, source, state):
                for one, value in zip(phi, state, strict=True):
                    one.add_incoming(value, source)

            def step(a, right_row, sums):
                right = [load(right_row, v, b_panel, sure_b) for v in range(vectors)]
                new = []
                for r in range(rows):
                    x = broadcast(a, r * a_row)
                    new += [b.call(fma, [x, right[v], sums[r * vectors + v]]) for v in range(vectors)]
                return b.add(a, word(size * a_step)), b.add(right_row, b_row), new

            b.position_at_end(outer)
            state = join((from_c, [k, A, B, ahead, *old]), (from_start, [k, A, B, ahead, *(bias[v] for _, v in cells)]))
            left, block_a, block_b, block_ahead, *begin = state
            count = left
            if block:
                count = b.select(b.icmp_signed("<", left, word(block)), left, word(block))
            last = (outer, [count, block_a, block_b, block_ahead, *begin])
            for loop, steps in loops:
                head = b.append_basic_block("head")
                b.branch(head)
                b.position_at_end(head)
                into = join(last)
                after = b.append_basic_block("after")
                b.cbranch(b.icmp_signed(">=", into[0], word(steps)), loop, after)
                b.position_at_end(loop)
                in_loop = join((head, into))
                p, a, row_of_b, far, *total = in_loop
                for _ in range(steps):
                    a, row_of_b, total = step(a, row_of_b, total)
                if steps > 1:
                    for line in range(lines):
                        place = b.add(far, (word(0), second, third, fourth)[line])
                        b.call(prefetch, [b.inttoptr(place, byte), i32(writes), i32(3 if writes else 2), i32(1)])
                    far = b.add(far, stride)
                p = b.sub(p, word(steps))
                out = [p, a, row_of_b, far, *total]
                flow(in_loop, loop, out)
                b.cbranch(b.icmp_signed(">=", p, word(steps)), loop, after)
                b.position_at_end(after)
                last = (after, join((head, into), (loop, out)))
            end_of_panel, (_, _, row_of_b, far, *total) = last
            remaining = b.sub(left, count)
            flow(state, end_of_panel, [remaining, b.add(block_a, a_panel), row_of_b, far, *total])
            b.cbranch(b.icmp_signed(">", remaining, word(0)), outer, done)

            b.position_at_end(done)
            saved_rows = [b.add(saved, b.mul(c_row, word(r))) for r in range(rows)]
            end = b.append_basic_block("end")
            blocks = {m: b.append_basic_block(f"mode{m}") for m in modes}
            switch = b.switch(mode, blocks[STORE])
            for m in modes[1:]:
                switch.add_case(word(m), blocks[m])
            for m in modes:
                b.position_at_end(blocks[m])
                column = [zero] * vectors
                for r, v in cells:
                    value = total[r * vectors + v]
                    if m == RELU:  # as NumPy's maximum: NaN stays
                        value = b.select(b.fcmp_ordered("<=", value, zero), zero, value)
                    elif m == MASK:
                        value = b.select(b.fcmp_ordered(">", load(saved_rows[r], v, c_panel), zero), value, zero)
                    elif m == LOCAL:
                        value = b.fmul(value, load(saved_rows[r], v, c_panel))
                    store(value, c_rows[r], v, c_panel)
                    column[v] = b.fadd(column[v], value)
                if m not in (STORE, RELU):
                    for v in range(vectors):
                        store(b.fadd(load(sums, v), column[v]), sums, v)
                b.branch(end)
            b.position_at_end(end)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 14, types.StarArgTuple.from_types(more)), codegen

    return tile
