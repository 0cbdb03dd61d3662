"""Philox, the counter-based generator: any number of a stream at once, whichever thread asks.

Bit for bit NumPy's `Generator(Philox(...)).random(dtype=float32)`, so that dropout drops what the eager engine drops.
Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3": Philox4x64 with ten rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.memory import pointer
from handgrad.engines.compiled.kernels.options import INNER


@cache
def high_product() -> Any:
    """An intrinsic: the upper 64 of the 128 bits of a product."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    wide = ir.IntType(128)

    @intrinsic
    def high(typing, a, b):
        def codegen(context, builder, signature, args):
            product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
            return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

        return types.uint64(types.uint64, types.uint64), codegen

    return high


@cache
def random(real: Any) -> Callable[..., None]:
    """keep(first, count, key_0, key_1, rate, scale, target): scale where the number is at least rate, else 0.

    first: which number of the stream is the first. Each block of four 64-bit words holds eight numbers, the lower half
    of a word first, of 24 bits each, the upper ones of the half. A float32 is as long as the half that it is decided
    by: the words are written to its place first, and all compared at once then.
    """
    from numba import njit

    high, single = high_product(), np.dtype(real).itemsize == 4
    at, words_at, halves_at = pointer(real), pointer(np.uint64), pointer(np.uint32)
    multiply_0, multiply_1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
    step_0, step_1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
    nothing, none, lower = real(0), np.uint32(0), np.uint64(0xFFFFFFFF)
    shift, half_word = np.uint64(8), np.uint64(32)

    @njit(**INNER)
    def words(block, k0, k1):
        """The four words of a block."""
        w0, w1, w2, w3 = np.uint64(block + 1), np.uint64(0), np.uint64(0), np.uint64(0)
        for _ in range(10):
            h0, h1 = high(multiply_0, w0), high(multiply_1, w2)
            w0, w1, w2, w3 = h1 ^ w1 ^ k0, multiply_1 * w2, h0 ^ w3 ^ k1, multiply_0 * w0
            k0 += step_0
            k1 += step_1
        return w0, w1, w2, w3

    def keep(first, count, key_0, key_1, rate, scale, target_at):
        target, halves, scale = at(target_at), halves_at(target_at), real(scale)
        # u >= rate, u of 24 bits, as whole numbers of 32
        least = np.uint64(np.ceil(np.float64(np.float32(rate)) * 2.0**24)) << shift
        kept, i = none, 0
        if single and count > 0:
            target[0] = scale
            kept = halves[0]  # its bits
        while i < count:
            place = (first + i) & 7
            w0, w1, w2, w3 = words((first + i) >> 3, key_0, key_1)
            if single and place == 0 and count - i >= 8:  # no branch within, so that blocks overlap in the processor
                whole = words_at(target_at + i * 4)
                whole[0], whole[1], whole[2], whole[3] = w0, w1, w2, w3
                i += 8
                continue
            while place < 8 and i < count:
                word = (w0 if place < 2 else w1) if place < 4 else (w2 if place < 6 else w3)
                word = word >> half_word if place & 1 else word & lower
                if single:
                    halves[i] = np.uint32(word)
                else:
                    target[i] = scale if word >= least else nothing
                place += 1
                i += 1
        if single:
            for j in range(count):
                halves[j] = kept if np.uint64(halves[j]) >= least else none

    return keep
