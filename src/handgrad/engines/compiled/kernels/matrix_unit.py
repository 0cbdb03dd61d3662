"""Products of float32 by AMX, a matrix unit, from operands in thirds (see `thirds`): at up to twice AVX-512's peak.

A block of the result, two tiles by two, is summed up in the unit's own registers, which hold eight tiles: four sums,
two tiles of the left operand and two of the right. What is done to a block that is whole, `tiles` names.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from handgrad.engines.compiled.kernels.memory import prefetch
from handgrad.engines.compiled.kernels.options import INNER
from handgrad.engines.compiled.kernels.thirds import DEEP, PANEL_ROW, ROWS, STACK, TILE, WIDE, splitters
from handgrad.engines.compiled.kernels.tiles import LOCAL, MASK, RELU, STORE, SUMS
from handgrad.engines.compiled.kernels.vectors import LINE

# What a thread's room begins with: a block that is whole, or one that is turned. Then the thirds of the left operand,
# and those of a panel of the right one.
BLOCK = WIDE * PANEL_ROW
WORTH = 40  # multiply-adds that the unit must save for each number that is split
LEAST, LONGEST = 24, 4096  # numbers of a sum: most of a stack, and a panel's thirds still in the second cache
FEWEST = 4  # panels of a gradient's left operand that are kept at once, however many threads there are
KEPT = 2**20  # bytes of an operand's thirds that stay in the second cache while the other's pass
HEAVY = 2**19  # bytes of a weight whose transpose is not in the second cache any more when it is wanted
# The six products, (third of the left, of the right), the small ones first. From each to the next, one of both stays.
PRODUCTS = ((2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0))
SUM, LEFT, RIGHT = 0, 4, 6  # the first tile of each in the registers
AS_B, AS_C, TO_WRITE = range(3)  # what `tiles` asks for ahead


@cache
def unit() -> SimpleNamespace:
    """What the unit does: begin() and end(), around all that a thread does with it; take(sums, bytes of a row) and
    put(sums, bytes of a row); multiply(left, next left, right, next right). A row of 0 bytes is taken for all rows."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    byte, word = ir.IntType(8), ir.IntType(64)
    address = byte.as_pointer()

    def call(b, name, *arguments):
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.{name}"), arguments)

    def load(b, tile, place, skip):
        call(b, "tileloadd64", byte(tile), b.inttoptr(b.add(place, word(skip)), address), word(LINE))

    @intrinsic
    def begin(typing):
        def codegen(context, b, signature, args):
            # palette 1, then each tile's bytes of a row, two bytes each, then each tile's rows
            layout = [1, *[0] * 15, *[LINE, 0] * 8, *[0] * 16, *[ROWS] * 8, *[0] * 8]
            room = cgutils.alloca_once(b, ir.ArrayType(byte, LINE))
            b.store(ir.Constant(ir.ArrayType(byte, LINE), layout), room)
            call(b, "ldtilecfg", b.bitcast(room, address))
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def end(typing):
        def codegen(context, b, signature, args):
            call(b, "tilerelease")
            return context.get_dummy_value()

        return types.void(), codegen

    def sums(name):
        """An intrinsic that takes or puts the four tiles of sums."""

        @intrinsic
        def function(typing, place, row):
            def codegen(context, b, signature, args):
                place, row = args
                for i in range(2):
                    for j in range(2):
                        here = b.add(b.add(place, b.mul(row, word(i * ROWS))), word(j * LINE))
                        call(b, name, byte(SUM + 2 * i + j), b.inttoptr(here, address), row)
                return context.get_dummy_value()

            return types.void(types.intp, types.intp), codegen

        return function

    @intrinsic
    def multiply(typing, left, next_left, right, next_right):
        def codegen(context, b, signature, args):
            lefts, rights = args[:2], args[2:]
            held = {}
            for a, c in PRODUCTS:
                # each tile is loaded right before the first product that takes it, so that others hide its way
                for i in range(2):
                    for j in range(2):
                        for tile, place, third in ((LEFT + i, lefts[i], a), (RIGHT + j, rights[j], c)):
                            if held.get(tile) != third:
                                load(b, tile, place, TILE * third)
                                held[tile] = third
                        call(b, "tdpbf16ps", byte(SUM + 2 * i + j), byte(LEFT + i), byte(RIGHT + j))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), codegen

    take, put = sums("tileloadd64"), sums("tilestored64")
    return SimpleNamespace(begin=begin, end=end, take=take, multiply=multiply, put=put)


@cache
def _rows(mode: int) -> Any:
    """An intrinsic (source, bytes of its row, C, bytes of its row, rows, saved, column sums, width).

    Rows of C from their sums, as `row_tile` has the modes. At least one row; saved lies as C does.
    """
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    i32 = ir.IntType(32)
    floats, bits, counts = (ir.VectorType(t, 16) for t in (ir.FloatType(), ir.IntType(1), i32))
    pointer, zero = floats.as_pointer(), ir.Constant(floats, [0.0] * 16)

    @intrinsic
    def rows(typing, source, source_row, C, row, rows, saved, sums, width):
        def codegen(context, b, signature, args):
            source, source_row, C, row, rows, saved, sums, width = args
            word = source.type
            first = b.insert_element(ir.Constant(counts, ir.Undefined), b.trunc(width, i32), i32(0))
            splat = b.shuffle_vector(first, ir.Constant(counts, ir.Undefined), ir.Constant(counts, [0] * 16))
            there = [b.icmp_signed("<", ir.Constant(counts, list(range(16 * v, 16 * v + 16))), splat) for v in range(2)]

            def function(name, result, *arguments):
                return cgutils.get_or_insert_function(b.module, ir.FunctionType(result, arguments), name)

            masked_load = function("llvm.masked.load.v16f32.p0", floats, pointer, i32, bits, floats)
            masked_store = function("llvm.masked.store.v16f32.p0", ir.VoidType(), floats, pointer, i32, bits)

            def at(address, v):
                return b.inttoptr(b.add(address, word(LINE * v)), pointer)

            def load(address, v):
                return b.call(masked_load, [at(address, v), i32(4), there[v], zero])

            def store(value, address, v):
                b.call(masked_store, [value, at(address, v), i32(4), there[v]])

            entry, loop, done = b.block, b.append_basic_block("loop"), b.append_basic_block("done")
            b.branch(loop)
            b.position_at_end(loop)
            # columns' sums stay in registers: each addition to memory would wait for the one before
            r, totals = b.phi(word), [b.phi(floats) for _ in range(2)]
            here, c = b.add(source, b.mul(r, source_row)), b.mul(r, row)
            new = []
            for v in range(2):
                value = load(here, v)
                if mode == RELU:  # as NumPy's maximum: NaN stays
                    value = b.select(b.fcmp_ordered("<=", value, zero), zero, value)
                elif mode == MASK:
                    value = b.select(b.fcmp_ordered(">", load(b.add(saved, c), v), zero), value, zero)
                elif mode == LOCAL:
                    value = b.fmul(value, load(b.add(saved, c), v))
                store(value, b.add(C, c), v)
                new.append(b.fadd(totals[v], value))
            following = b.add(r, word(1))
            for phi, begins, goes_on in ((r, word(0), following), *zip(totals, (zero, zero), new, strict=True)):
                phi.add_incoming(begins, entry)
                phi.add_incoming(goes_on, loop)
            b.cbranch(b.icmp_signed("<", following, rows), loop, done)
            b.position_at_end(done)
            if mode not in (STORE, RELU):
                for v in range(2):
                    store(b.fadd(load(sums, v), new[v]), sums, v)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8), codegen

    return rows


def pays(rows: int, columns: int, length: int) -> bool:
    """Whether a product goes to the unit: whether it is worth splitting its operands, sums being of that length."""
    return rows * columns > WORTH * (rows + columns) and LEAST <= length <= LONGEST


def bytes_of(numbers: int) -> int:
    """What the thirds of so many numbers take along a sum, in whole stacks."""
    return (numbers + DEEP - 1) // DEEP * DEEP * 6


def rows_at_once(row: int) -> int:
    """How many rows are spread at once at most, whose thirds take so many bytes each."""
    return max(WIDE, KEPT // row // WIDE * WIDE)


def panels_at_once(column: int, down: int, threads: int) -> int:
    """How many of a left operand's panels are kept at once, whose thirds take so many bytes a column.

    down: how many there are. Several threads take different ones first, so that none splits what another does; but no
    fewer than some, for which the right operand is split anew.
    """
    return min(down, max(1, KEPT // (WIDE * column)), max(FEWEST, (down + threads - 1) // threads))


def columnwise(length: int, columns: int, m: int, threads: int) -> bool:
    """Whether threads had better take columns of a product each, over all of m rows, than rows of it: each splits its
    part of the weight then, and all of the rows, where it would split all of the weight and its part of the rows."""
    rows = min(m, rows_at_once(bytes_of(length)))
    return threads > 1 and columns > m and pays(rows, columns // threads, length)


def first_panel(panels: int, thread: int, threads: int) -> int:
    """Where a thread's part of so many panels begins, and that of the one before it ends. The last, whose last panel
    may be narrow, has as many as any."""
    return panels * thread // threads


def parts_of(length: int, threads: int) -> list[int]:
    """How many columns each thread takes of so many, in whole panels but for the last."""
    panels = -(-length // WIDE)
    ends = [min(length, WIDE * first_panel(panels, thread, threads)) for thread in range(threads + 1)]
    return [end - begin for begin, end in pairwise(ends)]


def termwise(length: int, columns: int, m: int, threads: int) -> bool:
    """Whether threads had better share the sums of a product of the inputs: each takes some columns of the inputs and
    their rows of the weight, most of whose gradient and step are its own too, and all exchange sums alone, where they
    would exchange inputs and the weight. So it is for wide inputs."""
    least = min(parts_of(length, threads))
    wide = threads > 1 and least >= LEAST and length >= 2 * max(columns, m)
    return wide and all(pays(min(m, rows_at_once(bytes_of(k))), columns, k) for k in (least, length))


def turns(k: int, n: int, m: int) -> bool:
    """Whether the unit takes the gradient by a linear map's input, m rows of it by one thread, however short the last
    batch is, and turns the weight (k, n) itself: a large one, whose transpose costs more to keep than to make."""
    return k * n * 4 >= HEAVY and pays(min(m, rows_at_once(bytes_of(n))), k, n)


def room_of(k: int, n: int, m: int, backward: bool) -> int:
    """Bytes of the room that the products of a weight (k, n) need, over up to m samples; and of its gradient."""
    rows, panel, needs = -(-m // WIDE) * WIDE, WIDE * bytes_of(min(m, LONGEST)), [0]
    if backward and m >= LEAST and pays(k, n, LEAST):
        strip = min(-(-k // WIDE), KEPT // (WIDE * bytes_of(LEAST))) * 2 * BLOCK  # a gradient's, of as many panels
        needs.append(min(max(KEPT, panel), -(-k // WIDE) * panel) + panel + strip)
    for length, columns in ((k, n), (n, k)):
        at_once = rows_at_once(bytes_of(length))
        if pays(min(m, at_once), columns, length):
            needs.append((min(rows, at_once) + WIDE) * bytes_of(length))
    return BLOCK + max(needs) if max(needs) else 0


def room_of_parts(k: int, n: int, m: int, threads: int) -> int:
    """Bytes of the room that a thread's partial sums need: see `termwise`."""
    return max(room_of(length, n, m, False) for length in parts_of(k, threads))


@cache
def matrix_unit() -> SimpleNamespace:
    """The units spread and turn, lay and lay_turned, and tiles; addresses are in bytes."""
    from numba import njit

    u, s = unit(), splitters()
    take, multiply, put, bytes_of_sum = u.take, u.multiply, u.put, njit(**INNER)(bytes_of)
    left, left_turned, right, right_turned = s.left, s.left_turned, s.right, s.right_turned
    fetch, fetch_to_write = prefetch(2), prefetch(3, True)
    copy, relu, with_sums, mask, local = (_rows(mode) for mode in (STORE, RELU, SUMS, MASK, LOCAL))

    @njit(**INNER)
    def finish(source, source_row, C, rows, row, saved, sums, width, mode):
        """C from its sums."""
        if mode == RELU:
            relu(source, source_row, C, row, rows, saved, sums, width)
        elif mode == MASK:
            mask(source, source_row, C, row, rows, saved, sums, width)
        elif mode == LOCAL:
            local(source, source_row, C, row, rows, saved, sums, width)
        elif mode == SUMS:
            with_sums(source, source_row, C, row, rows, saved, sums, width)
        else:
            copy(source, source_row, C, row, rows, saved, sums, width)

    @njit(**INNER)
    def block(room, a, b, deep, C, row, rows, width, start, add, saved, sums, mode, lines, ahead, far, other, soon):
        """A block of C, two tiles by two or what is left of it: its start, or C, and the products of so many stacks.

        lines: of what will be wanted soon, so many with each stack, from `ahead` on, and from `other` on unless it is
        0; far: bytes to those of the next stack.
        """
        whole, count = rows >= WIDE and width == WIDE, min(rows, WIDE)
        first, distance = C if add else start, row if add else 0
        if not whole:
            finish(first, distance, room, count, PANEL_ROW, saved, sums, width, STORE)
            first, distance = room, PANEL_ROW
        take(first, distance)
        beside = deep * STACK
        for _ in range(deep):
            for line in range(0, lines * LINE, LINE):
                if soon == TO_WRITE:
                    fetch_to_write(ahead + line)
                    if other != 0:
                        fetch_to_write(other + line)
                else:
                    fetch(ahead + line)
                    if other != 0:
                        fetch(other + line)
            ahead += far
            if other != 0:
                other += far
            multiply(a, a + beside, b, b + beside)
            a += STACK
            b += STACK
        source, distance = (C, row) if whole else (room, PANEL_ROW)
        put(source, distance)
        if mode != STORE or not whole:
            finish(source, distance, C, count, row, saved, sums, width, mode)

    def spread(source, index, row, first, rows, k, distance, room):
        """A left operand into the room: rows of k numbers, from `first` on, in panels that are `distance` bytes apart.

        index, row: where each row of a panel is (see `splitters`).
        """
        left(source, index, row, first, rows, k, distance, room + BLOCK)

    def turn(source, index, row, m, k, distance, room):
        """A left operand into the room: the transpose of k columns, which begin at a panel, of m rows, as `spread`."""
        for i in range(0, k, WIDE):
            place = room + BLOCK + i * bytes_of_sum(m)
            left_turned(source + i // WIDE * distance, index, row, min(WIDE, k - i), m, distance, place, room)

    @njit(**INNER)
    def right_place(k, m, room):
        """Where a right operand lies in the room, behind a left one of m rows, both with sums of k numbers."""
        return room + BLOCK + (m + WIDE - 1) // WIDE * WIDE * bytes_of_sum(k)

    def lay(source, k, row, width, m, room):
        """A right operand into the room: k rows of `width` numbers, at most a panel, `row` bytes apart."""
        right(source, k, row, width, right_place(k, m, room))

    def lay_turned(weight, k, first, width, n, m, room):
        """A right operand into the room: the transpose of `width` rows, at most WIDE, from `first` on, of (k, n)."""
        right_turned(weight, k, first, width, n, right_place(n, m, room), room)

    def tiles(room, k, m, width, C, row, start, add, saved, sums, mode, ahead, far, other, soon):
        """C[m, width] = start + A B, as `by_rows`, a panel at most; A and B: what lies in the room. row: bytes of C's.

        ahead: what will be wanted soon, or 0. As `soon` says, as large as B, AS_B, `far` bytes from each stack's rows
        to the next's, or 0 where they follow one another; else as large as C, to be read, AS_C, or TO_WRITE, and then
        `far` bytes from row to row of `other`, a second one, unless that is 0.
        """
        deep, high = (k + DEEP - 1) // DEEP, (m + WIDE - 1) // WIDE
        a, b = room + BLOCK, right_place(k, m, room)
        lines = WIDE * PANEL_ROW // LINE // (high if soon == AS_B else deep) if ahead != 0 else 0
        for i in range(0, m, WIDE):
            here, second, distance = ahead + i // WIDE * deep * lines * LINE, other, lines * LINE
            if soon != AS_B:
                here = ahead + i * row
                if other != 0:
                    second = other + i * far
            elif far != 0:
                here, distance = ahead + i // WIDE * lines * LINE, far
            block(
                *(room, a + i // ROWS * deep * STACK, b, deep, C + i * row, row, m - i, width),
                *(start, add, saved + i * row, sums, mode, lines, here, distance, second, soon),
            )

    return SimpleNamespace(spread=spread, turn=turn, lay=lay, lay_turned=lay_turned, tiles=tiles)
