"""Shapes whose lengths are names or numbers: ("m", "n_in"), broadcast and compared as NumPy does with numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from handgrad.errors import ShapeError

Dim = str | int
Shape = tuple[Dim, ...]
AXES = 8  # of an array, at most


class Misfit(ValueError):
    """Shapes that do not fit, in words; who knows the place in the expression makes an error of it."""


def shape_of(name: str, given: Any) -> Shape:
    """A shape as a caller writes it: "m n_in", "3 n", "" for a number, or a sequence of names and numbers.

    Raises ShapeError, which names the array.
    """
    words = given.replace(",", " ").split() if isinstance(given, str) else given
    if not isinstance(words, Iterable):
        raise ShapeError(f'{name} must have a shape such as "m n_in", or "" for a number, got {given!r}')
    dims = []
    for word in words:
        if isinstance(word, bool) or not _is_length(str(word)):
            raise ShapeError(f"{name}: a length must be a name or a number of at least 1, got {word!r} in {given!r}")
        dims.append(int(word) if str(word).isdecimal() else str(word))
    if len(dims) > AXES:
        raise ShapeError(f"{name} may have at most {AXES} axes, got {len(dims)} in {given!r}")
    return tuple(dims)


def _is_length(word: str) -> bool:
    """A number of at least 1, or names with * between them."""
    return int(word) > 0 if word.isdecimal() else all(part.isidentifier() for part in word.split("*"))


def show(shape: Shape) -> str:
    """(m, n_in), (n_out,), and () for a single number."""
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def broadcast(x: Shape, y: Shape) -> Shape:
    """The shape of two arrays side by side, element by element. Raises Misfit."""
    longer, shorter = (x, y) if len(x) >= len(y) else (y, x)
    out = list(longer)
    for i, n in enumerate(reversed(shorter)):
        at = len(out) - 1 - i
        if out[at] != n and n != 1:
            if out[at] != 1:
                raise Misfit(f"{show(x)} and {show(y)} do not broadcast together: {out[at]} and {n} differ")
            out[at] = n
    return tuple(out)


def product(x: Shape, y: Shape) -> Shape:
    """The shape of x @ y. Raises Misfit."""
    if not x or not y:
        raise Misfit(f"{show(x)} @ {show(y)}: a single number takes part in no matrix product; write *")
    inner = y[-2] if len(y) > 1 else y[0]
    if x[-1] != inner:
        raise Misfit(f"{show(x)} @ {show(y)}: the inner sizes {x[-1]} and {inner} differ")
    leading = broadcast(x[:-2], y[:-2])
    return (*leading, *x[-2:-1], *(y[-1:] if len(y) > 1 else ()))


def flattened(dims: Shape) -> Dim:
    """The length of several axes laid out as one."""
    if all(isinstance(n, int) for n in dims):
        return math.prod(n for n in dims if isinstance(n, int))
    return "*".join(map(str, dims))


def sizes(shape: Shape, lengths: Mapping[Dim, int]) -> tuple[int, ...]:
    """The shape in numbers, by the length of each name; a number may have another put in its place, too."""
    return tuple(
        lengths.get(n, n) if isinstance(n, int) else math.prod(lengths[part] for part in n.split("*")) for n in shape
    )


def names_in(shape: Shape) -> list[str]:
    """The names of lengths in a shape."""
    return [part for n in shape if isinstance(n, str) for part in n.split("*")]
