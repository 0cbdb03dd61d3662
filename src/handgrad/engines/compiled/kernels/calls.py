"""How the loop and the interpreter of a program call the large kernels: by their addresses, each compiled on its own.

Were they ordinary functions of the loop, Numba would compile each once for itself and once more within its callers, and
training and prediction would each have their own: the first run would take three times as long.
"""

from __future__ import annotations

from functools import cache
from typing import Any

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
    STEP,
    UPDATE,
    FORWARD,
    BACKWARD,
    SPREAD,
    TURN,
    LAY,
    LAY_TURNED,
    TILES,
) = range(18)
FOR_PREDICTION = (BY_ROWS, ACTIVATE, SOFTMAX, NORMALIZE, FORWARD, SPREAD, LAY, TILES)
BY_MATRIX = (SPREAD, TURN, LAY, LAY_TURNED, TILES)  # what AMX alone has

# name, result, arguments: "i" an integer or address, "f" a float, "u" an unsigned integer
SIGNATURES = {
    BY_ROWS: ("by_rows", "", 12 * "i"),
    BY_COLUMNS: ("by_columns", "", 13 * "i"),
    LOSS: ("loss", "f", "if" + 12 * "i"),
    ACTIVATE: ("activate", "", "ifiii"),
    SOFTMAX: ("softmax", "", 7 * "i" + "f"),
    SOFTMAX_BACK: ("softmax_back", "", 8 * "i" + "fi"),
    NORMALIZE: ("normalize", "", 11 * "i" + "f"),
    NORMALIZE_BACK: ("normalize_back", "", 14 * "i"),
    KEEP: ("keep", "", "iiuuffi"),
    STEP: ("step", "f", "iff" + 11 * "i"),
    UPDATE: ("update", "f", "if" + 5 * "i"),
    FORWARD: ("forward", "", 14 * "i"),
    BACKWARD: ("backward", "f", 15 * "i"),
    SPREAD: ("spread", "", 8 * "i"),
    TURN: ("turn", "", 7 * "i"),
    LAY: ("lay", "", 6 * "i"),
    LAY_TURNED: ("lay_turned", "", 7 * "i"),
    TILES: ("tiles", "", 15 * "i"),
}


def types_of(text: str) -> tuple[Any, ...]:
    """Numba's types for the letters of a signature."""
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

    result, arguments = SIGNATURES[unit][1:]
    result_type = types_of(result)[0] if result else types.void
    wanted = types_of(arguments)

    @intrinsic
    def function(typing, table, *given):
        def codegen(context, builder, signature, args):
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
