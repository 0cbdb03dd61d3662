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
    of a word first, of 24 bits each.
    """
    high, at = high_product(), pointer(real)
    multiply_0, multiply_1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
    step_0, step_1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
    unit, nothing, lower = np.float32(2.0**-24), real(0), np.uint64(0xFFFFFFFF)
    shift, half_word = np.uint64(8), np.uint64(32)

    def keep(first, count, key_0, key_1, rate, scale, target_at):
        target = at(target_at)
        rate, scale = np.float32(rate), real(scale)
        i = 0
        while i < count:
            block, place = (first + i) >> 3, (first + i) & 7
            w0, w1, w2, w3 = np.uint64(block + 1), np.uint64(0), np.uint64(0), np.uint64(0)
            k0, k1 = key_0, key_1
            for _ in range(10):
                h0, h1 = high(multiply_0, w0), high(multiply_1, w2)
                w0, w1, w2, w3 = h1 ^ w1 ^ k0, multiply_1 * w2, h0 ^ w3 ^ k1, multiply_0 * w0
                k0 += step_0
                k1 += step_1
            while place < 8 and i < count:
                word = (w0 if place < 2 else w1) if place < 4 else (w2 if place < 6 else w3)
                word = word >> half_word if place & 1 else word & lower
                u = np.float32(word >> shift) * unit
                target[i] = scale if u >= rate else nothing
                place += 1
                i += 1

    return keep
