"""What the kernels are made of: AMX beside AVX-512, AVX-512, AVX2, or none, where `np.dot` multiplies matrices."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from handgrad.checks import by_name
from handgrad.errors import ValueRangeError

SWITCH = "HANDGRAD_VECTORS"
LINE = 64  # bytes of a line of the cache, on which matrices begin
CACHED = 2**19  # bytes of one operand of a product that stay in the second cache while all panels of the other pass
# arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): the numbers of the call, of what is asked, of what for
ASK_FOR_TILES = (158, 0x1023, 18)
SOON = 4  # rows of the data, anywhere in memory, that are asked for ahead


@dataclass(frozen=True)
class Vectors:
    """A way to multiply matrices. Matrices are kept in panels of columns, each two vectors wide.

    bits: of one vector; 0 where there is none, and a matrix is one panel. tiles: (vectors, rows of a tall tile, rows of
    a short one), the widest first: of two panels abreast where there are registers for it, of one, and of half of one.
    A tall tile and what it is made from fill the processor's vector registers, of which AVX-512 has 32 and AVX2 16. Six
    rows of four vectors take ten numbers from memory for 24 products, where twelve rows of two would take fourteen.
    amx: whether large products of float32 go to the processor's matrix unit (see `thirds`).
    """

    name: str
    bits: int
    tiles: tuple[tuple[int, int, int], ...] = ()
    amx: bool = False

    def lanes(self, real: Any) -> int:
        """Numbers in a vector."""
        return self.bits // 8 // np.dtype(real).itemsize

    def panel(self, real: Any) -> int:
        """Columns in a panel; 0 where a matrix is one panel, however wide."""
        return 2 * self.lanes(real)

    @property
    def abreast(self) -> int:
        """Panels that a tile may go over."""
        return self.tiles[0][0] // 2 if self.tiles else 1


OF_512 = ((4, 6, 4), (2, 12, 8), (1, 16, 8))
KINDS = {
    v.name: v
    for v in (
        Vectors("amx", 512, OF_512, amx=True),
        Vectors("avx512", 512, OF_512),
        Vectors("avx2", 256, ((2, 6, 4), (1, 8, 4))),
        Vectors("dot", 0),
    )
}


@cache
def available() -> tuple[str, ...]:
    """The kinds that this processor has, the widest first."""
    import llvmlite.binding as llvm
    from numba.core import config

    settings: Any = config

    try:
        features = dict(llvm.get_host_cpu_features())
    except RuntimeError:  # not known on this system
        features = {}
    if settings.CPU_NAME not in (None, "host"):  # Numba is told to compile for another
        features = {}
    if settings.CPU_FEATURES is not None:
        features = {name[1:]: name[0] == "+" for name in settings.CPU_FEATURES.split(",") if name}
    if not settings.ENABLE_AVX:
        features = {}
    avx512 = ("avx512f", "avx512vl")
    needs = {"amx": (*avx512, "avx512bw", "amx-tile", "amx-bf16"), "avx512": avx512, "avx2": ("avx2", "fma"), "dot": ()}
    there = tuple(kind for kind, names in needs.items() if all(features.get(name) for name in names))
    return there if "amx" not in there or _tiles_allowed() else there[1:]


def _tiles_allowed() -> bool:
    """Ask Linux for the tiles of AMX, which it gives to a process that has asked: for all its threads, to its end."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return False
    try:
        return ctypes.CDLL(None).syscall(*(ctypes.c_long(number) for number in ASK_FOR_TILES)) == 0
    except (OSError, AttributeError):  # no C library to ask by
        return False


def detected() -> Vectors:
    """The widest that this processor has."""
    return KINDS[available()[0]]


def vectors(real: Any = np.float32) -> Vectors:
    """What is used for numbers of that dtype: the best there is, or what HANDGRAD_VECTORS in the environment names.

    AMX is for float32 alone: float64 has AVX-512 then. Raises ValueRangeError for a kind that is not known, or that
    this processor has not.
    """
    forced = os.environ.get(SWITCH, "auto")
    kind = detected()
    if forced != "auto":
        kind = by_name(SWITCH, forced, KINDS, '"auto" or ')
        if kind.name not in available():
            raise ValueRangeError(f"{SWITCH} must be one of {available()} on this processor, got {forced!r}")
    return KINDS["avx512"] if kind.amx and real is not np.float32 else kind
