"""What Numba lacks: numbers at an address, copies, and the few instructions by which threads wait for one another."""

from __future__ import annotations

import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.options import EXACT

SPINS = 4096  # looks at a barrier before the processor is offered to others: about 50 microseconds


@cache
def pointer(dtype: Any) -> Any:
    """An intrinsic: the address, an integer, as a pointer to numbers of that dtype, which takes an index."""
    from numba import from_dtype, types
    from numba.extending import intrinsic

    kind = types.CPointer(from_dtype(np.dtype(dtype)))

    @intrinsic
    def at(typing, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(types.intp), codegen

    return at


@cache
def atomics() -> SimpleNamespace:
    """add(address, value) -> the number before; read(address); pause(), while waiting; offer(), the processor."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    word = ir.IntType(64)

    def number(builder, address):
        return builder.inttoptr(address, word.as_pointer())

    @intrinsic
    def add(typing, address, value):
        def codegen(context, builder, signature, args):
            return builder.atomic_rmw("add", number(builder, args[0]), args[1], "seq_cst")

        return types.int64(types.intp, types.int64), codegen

    @intrinsic
    def read(typing, address):
        def codegen(context, builder, signature, args):
            return builder.load_atomic(number(builder, args[0]), "seq_cst", 8)

        return types.int64(types.intp), codegen

    def call(name: str, result: Any):
        @intrinsic
        def function(typing):
            def codegen(context, builder, signature, args):
                outside = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, []), name)
                builder.call(outside, [])
                return context.get_dummy_value()

            return types.void(), codegen

        return function

    def nothing() -> Any:
        from numba import njit

        return njit(**EXACT)(lambda: None)

    import platform

    intel = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    pause = call("llvm.x86.sse2.pause", ir.VoidType()) if intel else nothing()
    offer = call("SwitchToThread" if sys.platform == "win32" else "sched_yield", ir.IntType(32))
    return SimpleNamespace(add=add, read=read, pause=pause, offer=offer)


@cache
def prefetch(level: int = 3, to_write: bool = False) -> Any:
    """An intrinsic: the line at that address will be wanted soon, in the first cache or, with level 2, in the second.

    to_write: it is to come as this processor's own, whoever has read it before.
    """
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    @intrinsic
    def function(typing, address):
        def codegen(context, builder, signature, args):
            i32, at = ir.IntType(32), builder.inttoptr(args[0], ir.IntType(8).as_pointer())
            kind = ir.FunctionType(ir.VoidType(), [at.type, i32, i32, i32])
            builder.call(
                cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0"),
                [at, i32(int(to_write)), i32(level), i32(1)],
            )
            return context.get_dummy_value()

        return types.void(types.intp), codegen

    return function


@cache
def copy_bytes() -> Any:
    """An intrinsic (source, target, count) that copies so many bytes, of which none may be in both places."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    @intrinsic
    def function(typing, source, target, count):
        def codegen(context, builder, signature, args):
            at = [builder.inttoptr(place, ir.IntType(8).as_pointer()) for place in args[:2]]
            cgutils.raw_memcpy(builder, at[1], at[0], args[2], 1)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.intp), codegen

    return function


@cache
def wide() -> Any:
    """An intrinsic for the beginning of a kernel: its loops take the widest vectors there are.

    Left alone, LLVM takes half of AVX-512's, for the sake of processors that slow down with all of it.
    """
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def function(typing):
        def codegen(context, builder, signature, args):
            # llvmlite's own `add` knows no attributes with a value
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
            return context.get_dummy_value()

        return types.void(), codegen

    return function


@cache
def flush() -> Any:
    """An intrinsic: numbers too small for full precision count as 0 in this thread, or no longer; returns what was set.

    flush(-1) begins, flush(what it returned) ends. The moments of a unit that is never active fade through such
    numbers, with which a processor may take a hundred times as long.
    """
    import platform

    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    intel = platform.machine().lower() in ("x86_64", "amd64")

    @intrinsic
    def function(typing, previous):
        def codegen(context, builder, signature, args):
            i32 = ir.IntType(32)
            if not intel:
                return args[0]
            room = cgutils.alloca_once(builder, i32)
            at = builder.bitcast(room, ir.IntType(8).as_pointer())
            kind = ir.FunctionType(ir.VoidType(), [at.type])
            read = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse.stmxcsr")
            write = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse.ldmxcsr")
            builder.call(read, [at])
            before = builder.load(room)
            begins = builder.icmp_signed("<", args[0], args[0].type(0))
            flushed = builder.or_(before, i32(0x8040))  # flush to zero, and denormals are zeros
            builder.store(builder.select(begins, flushed, builder.trunc(args[0], i32)), room)
            builder.call(write, [at])
            return builder.zext(before, args[0].type)

        return types.int64(types.int64), codegen

    return function


# Where in the block of synchronization each number stands, in bytes: lines of their own.
ARRIVED, ROUND, ABORT = 0, 64, 128
SYNC_BYTES = 192


@cache
def barrier() -> Any:
    """An njit function (sync, threads) -> True when all threads have come; False when the run was aborted, then always.

    A thread that gives up stays counted: should it come again, it must not make up for one that never will.
    """
    from numba import njit

    a = atomics()
    add, read, pause, offer = a.add, a.read, a.pause, a.offer

    @njit(**EXACT)
    def wait(sync, threads):
        if threads == 1:
            return True
        if read(sync + ABORT) != 0:
            return False
        current = read(sync + ROUND)
        if add(sync + ARRIVED, 1) == threads - 1:
            add(sync + ARRIVED, -threads)
            add(sync + ROUND, 1)
            return True
        looks = 0
        while read(sync + ROUND) == current:
            looks += 1
            if looks < SPINS:
                pause()
            else:
                offer()
                if read(sync + ABORT) != 0:
                    return False
        return True

    return wait
