"""The optimizers' rules over part of the flat vector, the norm of the gradient, and weights transposed.

After a step the flat gradient's place holds the parameters from before it: should the next loss not be finite, they are
the last good ones, and cost no memory of their own.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels import calls
from handgrad.engines.compiled.kernels.calls import call
from handgrad.engines.compiled.kernels.memory import pointer, wide
from handgrad.engines.compiled.kernels.options import INNER
from handgrad.engines.compiled.kernels.program import (
    AT_ONCE,
    CONSTANTS,
    DECAYS,
    GRADIENT,
    OPTIMIZER,
    PARAMS,
    PIECE_AT,
    PIECE_COLUMNS,
    PIECE_K,
    PIECE_N,
    PIECES,
    PIECES_COUNT,
    SPEEDS,
    SQUARES,
    TRANSPOSED,
    TURNED,
)
from handgrad.engines.compiled.kernels.transpose import square_transpose
from handgrad.engines.compiled.kernels.vectors import LINE, Vectors

SGD, MOMENTUM, NESTEROV, RMSPROP, ADAM = range(5)
# What each step is given, its `pace`: the rate, with the first moment's correction in it; what a parameter loses to
# decay; the second moment's correction, 1 / sqrt(1 - second^t).
RATE, DECAY, CORRECTION = range(3)
# The run's `constants`: strength of the penalty, largest norm (0 for any), beta1 or momentum, beta2 or decay, epsilon.
PENALTY, CLIP, FIRST, SECOND, EPSILON = range(5)
SUM_BLOCK = 4096  # numbers whose squares are summed in the dtype itself, before the sum is taken on in float64


@cache
def optimizers(real: Any, kind: Vectors) -> SimpleNamespace:
    """The functions, for one dtype."""
    from numba import njit

    at = pointer(real)
    size = np.dtype(real).itemsize
    zero, one = real(0), real(1)
    wide_vectors, call_step = wide(), call(calls.STEP)
    # float32 with AVX-512 alone has estimates good enough to be worth it
    abreast = 16 if kind.bits == 512 and real is np.float32 else 0
    adam, adam_past = (adam_by_sixteens(past) if abreast else None for past in (False, True))
    lanes = kind.lanes(real)
    turn = square_transpose(real, lanes) if lanes else None
    numbers, integers, panel = pointer(np.float64), pointer(np.int64), kind.panel(real)
    height = panel or 32  # rows of a block that is updated and transposed at once

    @njit(**INNER)
    def exact_squares(x_at, count):
        """The sum of the squares of float32, each in float64."""
        x, total = at(x_at), 0.0
        if size == 4:
            for i in range(count):
                z = np.float64(x[i])
                total += z * z
        return total

    @njit(**INNER)
    def rule(code, scale, decay, pace, constants, p_at, g_at, old_at, m_at, v_at, count):
        """One step of `count` numbers. scale: of the gradient. decay: what each parameter loses of itself.

        pace, constants: the step's numbers and the run's, see above. old_at: where the parameters from before it are to
        be: in the gradient's place, or in another. Returns the sum of the gradient's squares for float32, whose squares
        neither over- nor underflow in float64.
        """
        total = 0.0
        rate, scale, decay = real(pace[RATE]), real(scale), real(decay)
        first, second, epsilon = real(constants[FIRST]), real(constants[SECOND]), real(constants[EPSILON])
        rest_of_first, rest_of_second = real(1 - constants[FIRST]), real(1 - constants[SECOND])
        p, g, m, v, done = at(p_at), at(g_at), at(m_at), at(v_at), 0
        if code == ADAM:
            correction = real(pace[CORRECTION])
            if abreast:
                done = count // abreast * abreast
                if old_at != g_at and old_at % LINE == 0:
                    total = adam_past(
                        *(p_at, g_at, old_at, m_at, v_at, done, rate, scale, decay),
                        *(first, second, rest_of_first, rest_of_second, epsilon, correction),
                    )
                else:
                    total = adam(
                        *(p_at, g_at, old_at, m_at, v_at, done, rate, scale, decay),
                        *(first, second, rest_of_first, rest_of_second, epsilon, correction),
                    )
            total += exact_squares(g_at + done * size, count - done)
            for i in range(done, count):
                x, old = g[i] * scale, p[i]
                speed, square = first * m[i] + rest_of_first * x, second * v[i] + rest_of_second * (x * x)
                m[i], v[i], g[i] = speed, square, old
                p[i] = old - rate * (speed / (np.sqrt(square) * correction + epsilon)) - decay * old
        else:
            total = exact_squares(g_at, count)  # which brings it into the cache
        if code == RMSPROP:
            for i in range(count):
                x, old = g[i] * scale, p[i]
                square = second * v[i] + rest_of_second * (x * x)
                v[i], g[i] = square, old
                p[i] = old - rate * (x / (np.sqrt(square) + epsilon))
        elif code == SGD:
            for i in range(count):
                old = p[i]
                p[i] = old - rate * (g[i] * scale)
                g[i] = old
        elif code != ADAM:
            look = first if code == NESTEROV else zero
            keep = one if code == NESTEROV else zero
            for i in range(count):
                x = g[i] * scale
                old, speed = p[i], first * m[i] + x
                m[i] = speed
                p[i] = old - rate * (keep * x + (one - keep) * speed + look * speed)
                g[i] = old
        if old_at != g_at:
            kept = at(old_at)
            for i in range(done, count):
                kept[i] = g[i]
        return total

    @njit(**INNER)
    def transpose(w_at, rows, w, target_at, width):
        """target[j, i] = w[i, j], for rows of w numbers and of `width`."""
        source, target = at(w_at), at(target_at)
        if w == 1:
            for i in range(rows):
                target[i] = source[i]
            return
        whole_rows, whole_w = 0, 0
        if lanes:
            whole_rows, whole_w = rows // lanes * lanes, w // lanes * lanes
            for i in range(0, whole_rows, lanes):
                for j in range(0, whole_w, lanes):
                    turn(w_at + (i * w + j) * size, w * size, target_at + (j * width + i) * size, width * size)
        for j in range(w):
            for i in range(whole_rows if j < whole_w else 0, rows):
                target[j * width + i] = source[i * w + j]

    @njit(**INNER)
    def squares(x_at, count):
        """The sum of the squares, in float64."""
        total = 0.0
        for begin in range(0, count, SUM_BLOCK):
            x = at(x_at + begin * size)
            part = zero
            for i in range(min(SUM_BLOCK, count - begin)):
                part += x[i] * x[i]
            total += part
        return total

    @njit(**INNER)
    def scaled_norm(x_at, count):
        """The root of the sum of the squares, where they over- or underflow: taken in units of the largest number."""
        x = at(x_at)
        largest = zero
        for i in range(count):
            z = abs(x[i])
            largest = z if z > largest or z != z else largest
        if not zero < largest < np.inf:
            return float(largest)
        total = 0.0
        for i in range(count):
            z = float(x[i]) / float(largest)
            total += z * z
        return float(largest) * np.sqrt(total)

    @njit(**INNER)
    def add_penalty(p_at, g_at, count, strength):
        """g += 2 strength p."""
        p, g = at(p_at), at(g_at)
        twice = real(2 * strength)
        for i in range(count):
            g[i] += twice * p[i]

    def step(code, scale, decay, pace_at, constants_at, p, g, old, m, v, rows, w, target, target_row):
        """The optimizer's step of rows of w parameters, and their transpose to `target`, in rows so wide; 0 for none.

        Returns what `rule` does.
        """
        wide_vectors()
        total = rule(code, scale, decay, numbers(pace_at), numbers(constants_at), p, g, old, m, v, rows * w)
        if target != 0:
            transpose(p, rows, w, target, target_row)
        return total

    def update(kernels, scale, pace_at, base_at, rest, thread, threads):
        """A thread's share of the optimizer's step: of all, or of the `rest`, not taken with the gradient.

        Returns the sum of the gradient's squares, as `step`.
        """
        total, none = 0.0, np.int64(0)
        base, pace = integers(base_at), numbers(pace_at)
        params, gradient, speeds, squares_at = base[PARAMS], base[GRADIENT], base[SPEEDS], base[SQUARES]
        code, constants = base[OPTIMIZER], base[CONSTANTS]
        for c in range(base[PIECES_COUNT]):
            piece = integers(base[PIECES] + c * PIECE_COLUMNS * 8)
            if rest and piece[AT_ONCE]:
                continue
            k, n, turned = piece[PIECE_K], piece[PIECE_N], piece[TURNED]
            decay = pace[DECAY] if piece[DECAYS] else 0.0
            if turned < 0:
                begin, end = k * n * thread // threads, k * n * (thread + 1) // threads
                here = (piece[PIECE_AT] + begin) * size
                places = (params + here, gradient + here, gradient + here, speeds + here, squares_at + here)
                total += call_step(kernels, code, scale, decay, pace_at, constants, *places, 1, end - begin, none, none)
                continue
            width = panel if panel else n
            down = (k + height - 1) // height
            blocks = (n + width - 1) // width * down
            for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
                j, i = block // down * width, block % down * height
                w, rows = min(width, n - j), min(height, k - i)
                here = (piece[PIECE_AT] + j * k + i * w) * size
                places = (params + here, gradient + here, gradient + here, speeds + here, squares_at + here)
                target = base[TRANSPOSED] + (turned + (i * n + j * rows if panel else i)) * size
                row = rows if panel else k
                total += call_step(kernels, code, scale, decay, pace_at, constants, *places, rows, w, target, row)
        return total

    return SimpleNamespace(step=step, update=update, squares=squares, scaled_norm=scaled_norm, add_penalty=add_penalty)


def adam_by_sixteens(past: bool) -> Any:
    """An intrinsic: Adam's step of float32, sixteen at a time, by AVX-512's estimate of 1 / x.

    past: whether the parameters from before it, which are hardly ever read, go past the caches, whole lines of them.
    (parameters, gradient, place of the parameters from before, first moment, second moment, how many, a multiple of
    sixteen, rate, scale, decay, beta1, beta2, 1 - beta1, 1 - beta2, epsilon, correction) -> the sum of the gradient's
    squares in float64. The estimate, of 14 bits, is followed by one step of Newton's method for the quotient: within
    some 2 ulp, in half of the time that the division takes beside the square root, as both have one unit.
    """
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    i32, vec = ir.IntType(32), ir.VectorType(ir.FloatType(), 16)
    largest = ir.Constant(vec, [float(np.finfo(np.float32).max)] * 16)
    address, number = types.intp, types.float32

    @intrinsic
    def adam(
        typing,
        p_at,
        g_at,
        old_at,
        m_at,
        v_at,
        count,
        rate,
        scale,
        decay,
        beta1,
        beta2,
        rest1,
        rest2,
        epsilon,
        correction,
    ):
        def codegen(context, b, signature, args):
            def splat(value):
                undefined = ir.Constant(vec, ir.Undefined)
                one = b.insert_element(undefined, value, i32(0))
                return b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(i32, 16), [0] * 16))

            def function(name, *arguments):
                kind = ir.FunctionType(vec, [argument.type for argument in arguments])
                return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}"), arguments)

            def load(place):
                value = b.load(place)
                value.align = 4
                return value

            def times(x, y):
                return b.fmul(x, y, flags=("contract",))

            def plus(x, y):
                return b.fadd(x, y, flags=("contract",))

            def minus(x, y):
                return b.fsub(x, y, flags=("contract",))

            i64, half = args[5].type, ir.VectorType(ir.DoubleType(), 8)
            rate, scale, decay, beta1, beta2, rest1, rest2, epsilon, correction = (splat(arg) for arg in args[6:])
            entry, loop, done = b.block, b.append_basic_block("loop"), b.append_basic_block("done")
            nothing = ir.Constant(half, [0.0] * 8)
            b.cbranch(b.icmp_signed(">", args[5], i64(0)), loop, done)
            b.position_at_end(loop)
            at, sums = b.phi(i64), [b.phi(half) for _ in range(2)]
            at.add_incoming(i64(0), entry)
            places = [b.inttoptr(b.add(arg, b.mul(at, i64(4))), vec.as_pointer()) for arg in args[:5]]
            # each half of the gradient is loaded for itself too, as what converts them can take them from memory
            first = b.bitcast(places[1], ir.VectorType(ir.FloatType(), 8).as_pointer())
            squares = []
            for total, place in zip(sums, (first, b.gep(first, [i64(1)])), strict=True):
                z = b.fpext(load(place), half)
                squares.append(plus(times(z, z), total))
            p, g, m, v = (load(places[i]) for i in (0, 1, 3, 4))
            x = times(g, scale)
            m = plus(times(beta1, m), times(rest1, x))
            v = plus(times(beta2, v), times(rest2, times(x, x)))
            root = plus(times(function("sqrt.v16f32", v), correction), epsilon)
            root = b.select(b.fcmp_ordered(">", root, largest), largest, root)  # of infinity would come no number
            y = function("x86.avx512.rcp14.ps.512", root, ir.Constant(vec, [0.0] * 16), ir.IntType(16)(-1))
            quotient = times(m, y)
            quotient = plus(times(minus(m, times(root, quotient)), y), quotient)
            new = minus(minus(p, times(rate, quotient)), times(decay, p))
            for value, place in zip((new, m, v), (places[0], *places[3:]), strict=True):
                b.store(value, place).align = 4
            kept = b.store(p, places[2])
            kept.align = LINE if past else 4
            if past:
                kept.set_metadata("nontemporal", b.module.add_metadata([i32(1)]))
            following = b.add(at, i64(16))
            at.add_incoming(following, loop)
            for phi, value in zip(sums, squares, strict=True):
                phi.add_incoming(nothing, entry)
                phi.add_incoming(value, loop)
            b.cbranch(b.icmp_signed("<", following, args[5]), loop, done)
            b.position_at_end(done)
            ends = []
            for value in squares:
                end = b.phi(half)
                end.add_incoming(nothing, entry)
                end.add_incoming(value, loop)
                ends.append(end)
            kind = ir.FunctionType(ir.DoubleType(), [ir.DoubleType(), half])
            reduce = cgutils.get_or_insert_function(b.module, kind, "llvm.vector.reduce.fadd.v8f64")
            return b.call(reduce, [ir.Constant(ir.DoubleType(), 0.0), b.fadd(*ends)], fastmath=("reassoc",))

        return types.float64(*[address] * 6, *[number] * 9), codegen

    return adam
