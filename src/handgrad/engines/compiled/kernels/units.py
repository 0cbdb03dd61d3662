"""The large kernels, compiled or from the disk, and where they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels import calls, fallback
from handgrad.engines.compiled.kernels.cache import compiled
from handgrad.engines.compiled.kernels.calls import SIGNATURES, types_of
from handgrad.engines.compiled.kernels.elementwise import elementwise
from handgrad.engines.compiled.kernels.instructions import backward, forward
from handgrad.engines.compiled.kernels.losses import losses
from handgrad.engines.compiled.kernels.matrix_unit import matrix_unit
from handgrad.engines.compiled.kernels.optimizers import optimizers
from handgrad.engines.compiled.kernels.products import products
from handgrad.engines.compiled.kernels.random import random
from handgrad.engines.compiled.kernels.rows import rows
from handgrad.engines.compiled.kernels.vectors import Vectors


def _function(unit: int, real: Any, kind: Vectors) -> Callable[..., Any]:
    """The plain function of a unit, by the name that it has in its module."""
    match unit:
        case calls.BY_ROWS | calls.BY_COLUMNS:
            of = products(real, kind) if kind.bits else fallback.products(real)
        case calls.SOFTMAX | calls.SOFTMAX_BACK | calls.NORMALIZE | calls.NORMALIZE_BACK:
            of = rows(real)
        case calls.ACTIVATE:
            of = elementwise(real)
        case calls.STEP | calls.UPDATE:
            of = optimizers(real, kind)
        case calls.LOSS:
            return losses(real, kind)
        case calls.KEEP:
            return random(real)
        case calls.SPREAD | calls.TURN | calls.LAY | calls.LAY_TURNED | calls.TILES:
            of = matrix_unit()
        case calls.FORWARD:
            return forward(real, kind)
        case _:
            return backward(real, kind)
    return getattr(of, SIGNATURES[unit][0])


@cache
def addresses(real: Any, kind: Vectors, units: tuple[int, ...] = tuple(SIGNATURES)) -> np.ndarray:
    """Where the units are, by their numbers, 0 for those not asked for; compiled now where the cache has none."""
    from numba import types

    table = np.zeros(len(SIGNATURES), np.int64)
    for unit in units:
        if unit in calls.BY_MATRIX and not kind.amx:
            continue
        name, result, arguments = SIGNATURES[unit]
        signature = (types_of(result)[0] if result else types.void)(*types_of(arguments))
        full_name = f"{name}_{np.dtype(real).name}_{kind.name}"
        kernel: Any = compiled(full_name, partial(_function, unit, real, kind), signature)
        (made,) = kernel.overloads.values()
        table[unit] = made.library.get_pointer_to_function(made.fndesc.llvm_cfunc_wrapper_name)
    return table
