"""The large kernels, each compiled on its own and called by its address.

Were they ordinary functions of the loop, Numba would compile each once for itself and once more within its callers, and
training and prediction would each have their own: the first run would take three times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from handgrad.engines.compiled import fallback
from handgrad.engines.compiled.cache import compiled
from handgrad.engines.compiled.elementwise import elementwise
from handgrad.engines.compiled.losses import losses
from handgrad.engines.compiled.optimizers import optimizers
from handgrad.engines.compiled.products import products
from handgrad.engines.compiled.random import random
from handgrad.engines.compiled.rows import rows
from handgrad.engines.compiled.vectors import Vectors

(
    BY_ROWS,
    BY_COLUMNS,
    LOSS,
    ACTIVATE,
    SOFTMAX,
    SOFTMAX_BACK,
    NORMALIZE,
    NORMALIZE_BACK,
    KEEP,
    UPDATE,
    FORWARD,
    BACKWARD,
) = range(12)
FOR_PREDICTION = (BY_ROWS, ACTIVATE, SOFTMAX, NORMALIZE, FORWARD)


def _products(real: Any, kind: Vectors) -> Any:
    return products(real, kind) if kind.bits else fallback.products(real)


def _forward(real: Any, kind: Vectors) -> Any:
    from handgrad.engines.compiled.instructions import forward

    return forward(real, kind)


def _backward(real: Any, kind: Vectors) -> Any:
    from handgrad.engines.compiled.instructions import backward

    return backward(real, kind)


# name, result, arguments ("i" an integer or address, "f" a float, "u" an unsigned integer), and what makes it
UNITS: dict[int, tuple[str, str, str, Callable[[Any, Vectors], Callable[..., Any]]]] = {
    BY_ROWS: ("by_rows", "", 12 * "i", lambda real, kind: _products(real, kind).by_rows),
    BY_COLUMNS: ("by_columns", "", 8 * "i", lambda real, kind: _products(real, kind).by_columns),
    LOSS: ("loss", "f", "if" + 12 * "i", losses),
    ACTIVATE: ("activate", "", "ifiii", lambda real, kind: elementwise(real).activate),
    SOFTMAX: ("softmax", "", 7 * "i" + "f", lambda real, kind: rows(real).softmax),
    SOFTMAX_BACK: ("softmax_back", "", 8 * "i" + "fi", lambda real, kind: rows(real).softmax_back),
    NORMALIZE: ("normalize", "", 11 * "i" + "f", lambda real, kind: rows(real).normalize),
    NORMALIZE_BACK: ("normalize_back", "", 14 * "i", lambda real, kind: rows(real).normalize_back),
    KEEP: ("keep", "", "iiuuffi", lambda real, kind: random(real)),
    UPDATE: ("update", "", "iiif" + 7 * "i", lambda real, kind: optimizers(real, kind).update),
    FORWARD: ("forward", "", 11 * "i", _forward),
    BACKWARD: ("backward", "f", 13 * "i", _backward),
}


def _types(text: str) -> tuple[Any, ...]:
    from numba import types

    known = {"i": types.int64, "f": types.float64, "u": types.uint64}
    return tuple(known[letter] for letter in text)


@cache
def call(unit: int) -> Any:
    """An intrinsic (table, *arguments) that calls the unit; table: where the array is that `addresses` gives."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    _, result, arguments, _ = UNITS[unit]
    result_type = _types(result)[0] if result else types.void
    wanted = _types(arguments)

    @intrinsic
    def function(typing, table, *given):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            values = cgutils.unpack_tuple(builder, args[1], len(wanted))
            cast = [
                context.cast(builder, value, source, target)
                for value, source, target in zip(values, signature.args[1], wanted, strict=True)
            ]
            entry = builder.add(args[0], context.get_constant(types.intp, 8 * unit))
            at = builder.load(builder.inttoptr(entry, ir.IntType(64).as_pointer()))
            kind = ir.FunctionType(
                context.get_value_type(result_type) if result else ir.VoidType(),
                [context.get_value_type(t) for t in wanted],
            )
            value = builder.call(builder.inttoptr(at, kind.as_pointer()), cast)
            return value if result else context.get_dummy_value()

        return result_type(types.intp, types.StarArgTuple.from_types(given)), codegen

    return function


@cache
def addresses(real: Any, kind: Vectors, units: tuple[int, ...] = tuple(UNITS)) -> np.ndarray:
    """Where the units are, by their numbers, 0 for those not asked for; compiled now where the cache has none."""
    from numba import types

    table = np.zeros(len(UNITS), np.int64)
    for unit in units:
        name, result, arguments, build = UNITS[unit]
        signature = (_types(result)[0] if result else types.void)(*_types(arguments))
        full_name = f"{name}_{np.dtype(real).name}_{kind.name}"
        kernel: Any = compiled(full_name, partial(build, real, kind), signature)
        (made,) = kernel.overloads.values()
        table[unit] = made.library.get_pointer_to_function(made.fndesc.llvm_cfunc_wrapper_name)
    return table
