"""Which vectors the kernels are made of: AVX-512, AVX2, or none, where `np.dot` multiplies matrices."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from handgrad.checks import by_name

SWITCH = "HANDGRAD_VECTORS"


@dataclass(frozen=True)
class Vectors:
    """A way to multiply matrices. Matrices are kept in panels of columns, each as wide as a tile: two vectors.

    bits: of one vector; 0 where there is none, and a matrix is one panel. tall, short: rows of a tile. Two vectors of
    `tall` rows and their operands fill the processor's vector registers, of which AVX-512 has 32 and AVX2 16.
    """

    name: str
    bits: int
    tall: int = 0
    short: int = 0

    def lanes(self, real: Any) -> int:
        """Numbers in a vector."""
        return self.bits // 8 // np.dtype(real).itemsize

    def panel(self, real: Any) -> int:
        """Columns in a panel; 0 where a matrix is one panel, however wide."""
        return 2 * self.lanes(real)


KINDS = {v.name: v for v in (Vectors("avx512", 512, 12, 8), Vectors("avx2", 256, 6, 4), Vectors("dot", 0))}


@cache
def detected() -> Vectors:
    """The widest that this processor has."""
    import llvmlite.binding as llvm

    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:  # not known on this system
        return KINDS["dot"]
    if features.get("avx512f") and features.get("avx512vl"):
        return KINDS["avx512"]
    return KINDS["avx2" if features.get("avx2") and features.get("fma") else "dot"]


def vectors() -> Vectors:
    """What is used: the widest there is, or what the environment variable HANDGRAD_VECTORS names."""
    forced = os.environ.get(SWITCH, "auto")
    return detected() if forced == "auto" else by_name(SWITCH, forced, KINDS, '"auto" or ')
