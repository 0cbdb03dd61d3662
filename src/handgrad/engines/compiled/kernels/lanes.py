"""What is done a vector at a time by hand: of short loops LLVM makes single numbers."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.memory import pointer
from handgrad.engines.compiled.kernels.options import INLINE
from handgrad.engines.compiled.kernels.vectors import Vectors


@cache
def lanes(real: Any, kind: Vectors) -> SimpleNamespace:
    """Functions for kernels of one dtype and kind of vector, with addresses of numbers; without vectors, plain loops.

    largest(at, count, most): the larger of `most` and the first `count` numbers, a vector at most; NaN may be passed
    over. times_less(at, count, factor, less): `count` numbers, or a whole vector, become factor x - less.
    dot(a, a_panel, b, k): the sum of a[p] b[p] over k numbers, those of a in panels a_panel bytes apart; vectors only.
    """
    if not kind.bits:
        return _plain(real)
    from llvmlite import ir
    from numba import from_dtype, types
    from numba.core import cgutils
    from numba.extending import intrinsic

    width, panel, size = kind.lanes(real), kind.panel(real), np.dtype(real).itemsize
    number, i32 = ir.FloatType() if size == 4 else ir.DoubleType(), ir.IntType(32)
    vec = ir.VectorType(number, width)
    suffix, of_kind, address = f"v{width}f{8 * size}", from_dtype(np.dtype(real)), types.intp
    zero = ir.Constant(vec, [0.0] * width)

    def function(b: Any, name: str, result: Any, *arguments: Any, **options: Any) -> Any:
        """A call of one of LLVM's functions of vectors."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}"), arguments, **options)

    def splat(b: Any, value: Any) -> Any:
        undefined = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
        one = b.insert_element(undefined, value, i32(0))
        return b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(i32, width), [0] * width))

    def load(b: Any, at: Any) -> Any:
        value = b.load(b.inttoptr(at, vec.as_pointer()))
        value.align = size
        return value

    def load_some(b: Any, at: Any, count: Any, other: Any, first: int = 0) -> Any:
        """Those before `count` of the numbers from `first` on, and `other` in the places of the rest."""
        places = ir.Constant(ir.VectorType(i32, width), list(range(first, first + width)))
        mask = b.icmp_signed("<", places, splat(b, b.trunc(count, i32)))
        where = b.inttoptr(at, vec.as_pointer())
        return function(b, f"masked.load.{suffix}.p0", vec, where, i32(size), mask, other)

    @intrinsic
    def largest(typing, at, count, most):
        def codegen(context, b, signature, args):
            at, count, most = args
            numbers, reach = load_some(b, at, count, ir.Constant(vec, [float("-inf")] * width)), width // 2
            while reach:
                places = [i ^ reach for i in range(width)]
                others = b.shuffle_vector(numbers, numbers, ir.Constant(ir.VectorType(i32, width), places))
                numbers, reach = b.select(b.fcmp_ordered(">", numbers, others), numbers, others), reach // 2
            found = b.extract_element(numbers, i32(0))
            return b.select(b.fcmp_ordered(">", found, most), found, most)

        return of_kind(address, address, of_kind), codegen

    @intrinsic
    def times_less(typing, at, count, factor, less):
        def codegen(context, b, signature, args):
            at, _, factor, less = args
            product = b.fmul(load(b, at), splat(b, factor), flags=("contract",))
            result = b.fsub(product, splat(b, less), flags=("contract",))
            b.store(result, b.inttoptr(at, vec.as_pointer())).align = size
            return context.get_dummy_value()

        return types.void(address, address, of_kind, of_kind), codegen

    @intrinsic
    def dot(typing, a, a_panel, b, k):
        def codegen(context, builder, signature, args):
            b, word = builder, args[0].type
            a, a_panel, right, k = args
            step = word(size * width)

            def add(sums, a, right, loaded):
                products = []
                for v, total in enumerate(sums):
                    x = loaded(a, v)
                    y = loaded(right, v)
                    products.append(function(b, f"fma.{suffix}", vec, x, y, total))
                    a, right = b.add(a, step), b.add(right, step)
                return products

            entry, loop, after = b.block, b.append_basic_block("loop"), b.append_basic_block("after")
            rest, done = b.append_basic_block("rest"), b.append_basic_block("done")
            begin = [k, a, right, *[zero] * (panel // width)]
            whole = b.icmp_signed(">=", k, word(panel))
            b.cbranch(whole, loop, after)
            b.position_at_end(loop)
            state = [b.phi(value.type) for value in begin]
            left, a_here, b_here, *sums = state
            sums = add(sums, a_here, b_here, lambda at, v: load(b, at))
            following = [b.sub(left, word(panel)), b.add(a_here, a_panel), b.add(b_here, word(panel * size)), *sums]
            b.cbranch(b.icmp_signed(">=", following[0], word(panel)), loop, after)
            for phi, first, later in zip(state, begin, following, strict=True):
                phi.add_incoming(first, entry)
                phi.add_incoming(later, loop)
            b.position_at_end(after)
            ends = [b.phi(value.type) for value in begin]
            for phi, first, later in zip(ends, begin, following, strict=True):
                phi.add_incoming(first, entry)
                phi.add_incoming(later, loop)
            left, a_here, b_here, *sums = ends
            b.cbranch(b.icmp_signed(">", left, word(0)), rest, done)
            b.position_at_end(rest)
            last = add(sums, a_here, b_here, lambda at, v: load_some(b, at, left, zero, v * width))
            b.branch(done)
            b.position_at_end(done)
            total = zero
            for one, other in zip(sums, last, strict=True):
                phi = b.phi(vec)
                phi.add_incoming(one, after)
                phi.add_incoming(other, rest)
                total = phi if total is zero else b.fadd(total, phi)
            start = ir.Constant(number, 0.0)
            return function(b, f"vector.reduce.fadd.{suffix}", number, start, total, fastmath=("reassoc",))

        return of_kind(*[address] * 4), codegen

    return SimpleNamespace(largest=largest, times_less=times_less, dot=dot)


def _plain(real: Any) -> SimpleNamespace:
    """What `lanes` has without vectors."""
    from numba import njit

    at = pointer(real)

    @njit(**INLINE)
    def largest(address, count, most):
        x = at(address)
        for j in range(count):
            most = max(most, x[j])
        return most

    @njit(**INLINE)
    def times_less(address, count, factor, less):
        x = at(address)
        for j in range(count):
            x[j] = x[j] * factor - less

    return SimpleNamespace(largest=largest, times_less=times_less)
