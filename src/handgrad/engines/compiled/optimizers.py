"""The optimizers' rules over part of the flat vector, the norm of the gradient, and weights transposed.

After a step the gradient's place holds the parameters from before it: should the next loss not be finite, they are the
last good ones, and cost no memory of their own.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.memory import pointer
from handgrad.engines.compiled.options import INNER
from handgrad.engines.compiled.program import GRADIENT, PARAMS, TRANSPOSED
from handgrad.engines.compiled.vectors import Vectors

SGD, MOMENTUM, NESTEROV, RMSPROP, ADAM = range(5)
# What each step is given, its `pace`: the rate, with the first moment's correction in it; what a parameter loses to
# decay; the second moment's correction, 1 / sqrt(1 - second^t).
RATE, DECAY, CORRECTION = range(3)
# The run's `constants`: strength of the penalty, largest norm (0 for any), beta1 or momentum, beta2 or decay, epsilon.
PENALTY, CLIP, FIRST, SECOND, EPSILON = range(5)
BLOCK = 1024  # numbers of each vector a rule takes at a time: they stay in the first cache between its passes
SUM_BLOCK = 4096  # numbers whose squares are summed in the dtype itself, before the sum is taken on in float64


@cache
def optimizers(real: Any, kind: Vectors) -> SimpleNamespace:
    """The functions, for one dtype."""
    from numba import njit

    at = pointer(real)
    size = np.dtype(real).itemsize
    zero, one = real(0), real(1)
    inverse_roots = _inverse_roots(real, kind)
    numbers, integers, panel = pointer(np.float64), pointer(np.int64), kind.panel(real)
    height = panel or 32  # rows of a block that is updated and transposed at once

    @njit(**INNER)
    def rule(code, scale, decay, pace, constants, p_at, g_at, m_at, v_at, count, room_at):  # type: ignore[no-untyped-def]
        """One step of `count` numbers. scale: of the gradient. decay: what each parameter loses of itself.

        pace, constants: the step's numbers and the run's, see above. room: for BLOCK numbers.
        """
        rate, scale, decay = real(pace[RATE]), real(scale), real(decay)
        first, second, epsilon = real(constants[FIRST]), real(constants[SECOND]), real(constants[EPSILON])
        rest_of_first, rest_of_second = real(1 - constants[FIRST]), real(1 - constants[SECOND])
        for begin in range(0, count, BLOCK):
            n = min(BLOCK, count - begin)
            skip = begin * size
            p, g = at(p_at + skip), at(g_at + skip)
            m, v = at(m_at + skip), at(v_at + skip)
            if code == ADAM or code == RMSPROP:
                inverse = at(room_at)
                for i in range(n):
                    x = g[i] * scale
                    v[i] = second * v[i] + rest_of_second * (x * x)
                inverse_roots(v_at + skip, room_at, n, real(pace[CORRECTION]), epsilon)
                if code == ADAM:
                    for i in range(n):
                        x = first * m[i] + rest_of_first * (g[i] * scale)
                        old = p[i]
                        m[i] = x
                        g[i] = old
                        p[i] = old - rate * (x * inverse[i]) - decay * old
                else:
                    for i in range(n):
                        old = p[i]
                        p[i] = old - rate * ((g[i] * scale) * inverse[i])
                        g[i] = old
            elif code == SGD:
                for i in range(n):
                    old = p[i]
                    p[i] = old - rate * (g[i] * scale)
                    g[i] = old
            else:
                look = first if code == NESTEROV else zero
                keep = one if code == NESTEROV else zero
                for i in range(n):
                    x = g[i] * scale
                    old, speed = p[i], first * m[i] + x
                    m[i] = speed
                    p[i] = old - rate * (keep * x + (one - keep) * speed + look * speed)
                    g[i] = old

    @njit(**INNER)
    def transpose(w_at, rows, w, target_at, width):  # type: ignore[no-untyped-def]
        """target[j, i] = w[i, j], for rows of w numbers and of `width`."""
        source, target = at(w_at), at(target_at)
        for j in range(w):
            for i in range(rows):
                target[j * width + i] = source[i * w + j]

    @njit(**INNER)
    def squares(x_at, count):  # type: ignore[no-untyped-def]
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
    def scaled_norm(x_at, count):  # type: ignore[no-untyped-def]
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
    def add_penalty(p_at, g_at, count, strength):  # type: ignore[no-untyped-def]
        """g += 2 strength p."""
        p, g = at(p_at), at(g_at)
        twice = real(2 * strength)
        for i in range(count):
            g[i] += twice * p[i]

    def update(  # type: ignore[no-untyped-def]
        pieces_at, count, code, scale, pace_at, constants_at, base_at, first, second, room, thread, threads
    ):  # type: ignore[no-untyped-def]
        """A thread's share of the optimizer's step. first, second: of its state; room: for a block; all by address."""
        pace, constants, base = numbers(pace_at), numbers(constants_at), integers(base_at)
        params, gradient, transposed = base[PARAMS], base[GRADIENT], base[TRANSPOSED]
        for c in range(count):
            piece = integers(pieces_at + c * 40)
            k, n, turned = piece[1], piece[2], piece[3]
            decay = pace[DECAY] if piece[4] else 0.0
            place = piece[0] * size
            if turned < 0:
                begin, end = n * thread // threads, n * (thread + 1) // threads
                here = place + begin * size
                p, g, m, v = params + here, gradient + here, first + here, second + here
                rule(code, scale, decay, pace, constants, p, g, m, v, end - begin, room)
                continue
            width = panel if panel else n
            down = (k + height - 1) // height
            blocks = (n + width - 1) // width * down
            for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
                j, i = block // down * width, block % down * height
                w, rows = min(width, n - j), min(height, k - i)
                here = place + (j * k + i * w) * size
                p, g, m, v = params + here, gradient + here, first + here, second + here
                rule(code, scale, decay, pace, constants, p, g, m, v, rows * w, room)
                target = turned + i * n + j * rows if panel else turned + i
                transpose(p, rows, w, transposed + target * size, rows if panel else k)

    return SimpleNamespace(update=update, squares=squares, scaled_norm=scaled_norm, add_penalty=add_penalty)


def _inverse_roots(real: Any, kind: Vectors) -> Any:
    """An njit function: target = 1 / (sqrt(v) factor + epsilon).

    In float32 with AVX-512 by the processor's estimates of 14 bits and one step of Newton's for each, to an ulp or two
    in a third of the time of its square root and division.
    """
    from numba import njit

    at = pointer(real)
    one = real(1)
    lanes = kind.lanes(real) if kind.bits == 512 and real is np.float32 else 0
    estimate = _estimates() if lanes else None
    size = np.dtype(real).itemsize

    if estimate is None:

        @njit(**INNER)
        def exact(v_at, target_at, count, factor, epsilon):  # type: ignore[no-untyped-def]
            v, target = at(v_at), at(target_at)
            for i in range(count):
                target[i] = one / (np.sqrt(v[i]) * factor + epsilon)

        return exact

    @njit(**INNER)
    def inverse_roots(v_at, target_at, count, factor, epsilon):  # type: ignore[no-untyped-def]
        whole = count // lanes * lanes
        for i in range(0, whole, lanes):
            estimate(v_at + i * size, target_at + i * size, factor, epsilon)
        v, target = at(v_at), at(target_at)
        for i in range(whole, count):
            target[i] = one / (np.sqrt(v[i]) * factor + epsilon)

    return inverse_roots


def _estimates() -> Any:
    """An intrinsic (source, target, factor, epsilon): the same for sixteen float32 by AVX-512's estimates."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    f32, i32 = ir.FloatType(), ir.IntType(32)
    vec = ir.VectorType(f32, 16)
    limits = np.finfo(np.float32)

    @intrinsic
    def estimate(typing, source, target, factor, epsilon):  # type: ignore[no-untyped-def]
        def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
            source, target, factor, epsilon = args

            def splat(value):  # type: ignore[no-untyped-def]
                one = b.insert_element(ir.Constant(vec, ir.Undefined), value, i32(0))
                return b.shuffle_vector(
                    one, ir.Constant(vec, ir.Undefined), ir.Constant(ir.VectorType(i32, 16), [0] * 16)
                )

            def constant(value):  # type: ignore[no-untyped-def]
                return ir.Constant(vec, [float(value)] * 16)

            def approximate(name, x):  # type: ignore[no-untyped-def]
                kind = ir.FunctionType(vec, [vec, vec, ir.IntType(16)])
                function = cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.avx512.{name}14.ps.512")
                return b.call(function, [x, constant(0), ir.IntType(16)(-1)])

            pointer = vec.as_pointer()
            v = b.load(b.inttoptr(source, pointer))
            v.align = 4
            # below the smallest normal number the estimate is infinite, and 0 times it no number
            held = b.select(
                b.fcmp_ordered(">", v, constant(limits.smallest_normal)), v, constant(limits.smallest_normal)
            )
            r = approximate("rsqrt", held)
            half = b.fmul(b.fmul(held, constant(0.5)), r)
            r = b.fmul(r, b.fsub(constant(1.5), b.fmul(half, r)))
            x = b.fadd(b.fmul(b.fmul(v, r), splat(factor)), splat(epsilon))
            y = approximate("rcp", x)
            y = b.fmul(y, b.fsub(constant(2), b.fmul(x, y)))
            y = b.select(b.fcmp_ordered("==", v, constant(np.inf)), constant(0), y)
            b.store(y, b.inttoptr(target, pointer)).align = 4
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.float32, types.float32), codegen

    return estimate
