"""What an op's node is called on: arguments put in their places and checked, while the graph is built."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from handgrad.errors import ValueRangeError
from handgrad.layers.base import Layer
from handgrad.models.graph.inputs import number_or_array
from handgrad.models.graph.nodes import Node
from handgrad.ops.base import Op


def placed_arguments(op: Op, args: tuple[Any, ...], hyper: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(the arguments by position, the other keywords): an input that was given by name stands at its place.

    Raises ValueRangeError for an argument that is missing, unknown or given twice, an input that is None where the op
    needs one, and a generator, whose state would give another result at each run.
    """
    if not hyper and len(args) == len(op.inputs) and all(arg is not None for arg in args):
        return args, hyper
    signature = _signature(type(op))
    try:
        given = signature.bind(op, *args, **hyper).arguments
    except TypeError as error:
        raise ValueRangeError(f"{op!r} cannot be called so: {error}") from None
    for name in op.inputs:
        if given.get(name, ...) is None and signature.parameters[name].default is inspect.Parameter.empty:
            raise ValueRangeError(f"{op!r} needs {name}, got None")
    for name, value in hyper.items():
        if isinstance(value, np.random.Generator):
            raise ValueRangeError(
                f"{name} of {op!r} in a graph must be a seed, since a generator gives another result at each run; "
                "or apply the layer, Dropout(rate), which draws from the rng given to run"
            )
    missing = op.inputs[len(args) :]
    named = [k for k, name in enumerate(missing) if name in hyper]
    first = missing[: named[-1] + 1] if named else ()
    by_place = (*args, *(hyper.get(name) for name in first))
    return by_place, {name: value for name, value in hyper.items() if name not in first}


def with_constants(function: Op | Layer, args: Sequence[Any]) -> list[Any]:
    """The arguments, those that have a gradient and are no nodes as constants; a loss's labels may be anything."""
    names = function.inputs if isinstance(function, Op) else ("x",)
    moving = [
        value if value is None or isinstance(value, Node) else constant_value(value, f"{name} of {function!r}")
        for name, value in zip(names, args, strict=False)
    ]
    return [*moving, *args[len(names) :]]


def constant_value(value: Any, what: str) -> Any:
    """A number as Python's own, which takes the dtype of the arrays beside it; anything else as an array."""
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        value = value.item()
    array = number_or_array(value, what)
    return value if isinstance(value, int | float) else array


@functools.cache
def _signature(kind: type[Op]) -> inspect.Signature:
    return inspect.signature(kind.forward)
