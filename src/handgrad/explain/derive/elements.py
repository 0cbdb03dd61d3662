"""The number that a formula of elements stands for, at given indices: sums over the others are taken as written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from handgrad.explain.derive.arrays import Call, Length
from handgrad.explain.derive.formula import At, Binary, Delta, Formula, Holds, Largest, Minus, Name, Number, Total
from handgrad.explain.derive.functions import CODE

COMPUTE = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
    ">": np.greater,
    "==": np.equal,
}


def value_of(formula: Formula, at: Mapping[str, int], namespace: dict[str, Any]) -> Any:
    """The value, where `at` gives the free indices and `namespace` the arrays and the helper functions."""
    return _value(formula, dict(at), namespace, 0)


def _value(formula: Formula, at: dict[str, Any], namespace: dict[str, Any], depth: int) -> Any:
    """An index that is summed over takes all its values at once, along an axis of its own: the first, `depth` others
    being open further out."""

    def inner(part: Formula) -> Any:
        return _value(part, at, namespace, depth)

    match formula:
        case Number(value):
            return value
        case Length():
            return eval(formula.code(), namespace)
        case At(array, indices):
            return np.asarray(namespace[array.text()])[tuple(0 if i == "1" else at[i] for i in indices)]
        case Name():
            return namespace[formula.text()]
        case Binary(symbol, left, right):
            return COMPUTE[symbol](inner(left), inner(right))
        case Minus(body):
            return -inner(body)
        case Delta(one, other):
            return np.equal(at[one], at[other]).astype(float)
        case Holds(condition):
            return np.asarray(inner(condition)).astype(float)
        case Call(function, arguments, options):
            values = {f"_{k}": np.asarray(inner(argument)) for k, argument in enumerate(arguments)}
            return eval(CODE[function](list(values), options), {**namespace, **values})
        case Total(indices, body):
            lengths = _lengths(body, namespace)
            axes = {i: np.arange(lengths[i]).reshape(-1, *(1,) * (depth + k)) for k, i in enumerate(indices)}
            terms = np.asarray(_value(body, {**at, **axes}, namespace, depth + len(axes)))
            terms = np.broadcast_to(terms, np.broadcast_shapes(terms.shape, *(axis.shape for axis in axes.values())))
            over = tuple(range(-depth - len(axes), -depth)) if depth else tuple(range(-len(axes), 0))
            return (np.max if isinstance(formula, Largest) else np.sum)(terms, axis=over)
    raise TypeError(f"{type(formula).__name__} is no formula of elements")


def _lengths(body: Formula, namespace: Mapping[str, Any]) -> dict[str, int]:
    """How many values each index within a formula takes."""
    found: dict[str, int] = {}
    for part in _parts(body):
        if isinstance(part, At):
            found |= dict(zip(part.indices, np.shape(namespace[part.array.text()]), strict=True))
    return found


def _parts(formula: Formula) -> Iterator[Formula]:
    """The formula and all within it."""
    yield formula
    inner: tuple[Any, ...] = ()
    match formula:
        case Binary(_, left, right):
            inner = (left, right)
        case Minus(body) | Total(_, body):
            inner = (body,)
        case Holds(condition):
            inner = (condition,)
        case Call(_, arguments):
            inner = arguments
    for part in inner:
        yield from _parts(part)
