"""Dimension matching: every product of the upstream gradient and the other factor, and whose shapes fit."""

from __future__ import annotations

from dataclasses import dataclass

from handgrad.explain.derive.formula import Formula, Name, Number
from handgrad.explain.derive.rules import Gradient
from handgrad.explain.derive.shapes import Misfit, Shape, product, show


@dataclass(frozen=True)
class Candidate:
    """A product, the shapes of its factors, and its own, None where the inner sizes differ."""

    formula: Formula
    factors: tuple[Shape, Shape]
    shape: Shape | None
    fits: bool

    def why(self) -> str:
        """Its shapes in words: (m, n_out) (n_out, n_in) gives (m, n_in)."""
        first, second = map(show, self.factors)
        if self.shape is None:
            return f"{first} {second}: {self.factors[0][1]} and {self.factors[1][0]} differ"
        return f"{first} {second} gives {show(self.shape)}"


@dataclass(frozen=True)
class Matching:
    """All candidates for one gradient, of the shape `wanted`."""

    wrt: Name
    wanted: Shape
    candidates: tuple[Candidate, ...]
    chosen: Formula
    side: str = ""  # ", a row" or ", a column" for a vector

    @property
    def fitting(self) -> list[Candidate]:
        """Those whose shapes fit."""
        return [candidate for candidate in self.candidates if candidate.fits]

    def verdict(self) -> str:
        """What the shapes alone decide."""
        if len(self.fitting) == 1:
            return "one product fits, and the chain rule agrees"
        return f"{len(self.fitting)} products fit: shapes alone do not decide, the chain rule above does"


def matching(gradient: Gradient) -> Matching | None:
    """The candidates for the gradient of a factor of a matrix product; None for any other gradient.

    A vector counts as one row where it stands on the left, or as one column where it stands on the right.
    """
    step, me, other = gradient.step, gradient.operand, gradient.other
    if other is None or not isinstance(me.array, Name) or isinstance(other.array, Number):
        return None
    x, y = step.operands[:2]
    left = me is x

    def matrix(shape: Shape, row: bool) -> Shape:
        return shape if len(shape) == 2 else ((1, *shape) if row else (*shape, 1))

    out: Shape = (*(step.shape[:1] if len(x.shape) > 1 else (1,)), *(step.shape[-1:] if len(y.shape) > 1 else (1,)))
    wanted, others = matrix(me.shape, left), matrix(other.shape, not left)
    up: list[tuple[Formula, Shape]] = [(step.upstream, out), (step.upstream.T, out[::-1])]
    factors: list[tuple[Formula, Shape]] = [(other.array, others), (other.array.T, others[::-1])]
    pairs = [(a, b) for a in up for b in factors] + [(b, a) for b in factors for a in up]
    side = "" if len(me.shape) == 2 else ", a row" if left else ", a column"
    candidates = []
    for (first, one), (second, two) in pairs:
        try:
            shape: Shape | None = product(one, two)
        except Misfit:
            shape = None
        candidates.append(Candidate(first @ second, (one, two), shape, shape == wanted))
    return Matching(me.array, wanted, tuple(candidates), right(gradient, left), side)


def right(gradient: Gradient, left: bool) -> Formula:
    """The product that the chain rule gives, of the names as they are, vectors as rows or columns."""
    step, me, other = gradient.step, gradient.operand, gradient.other
    assert other is not None
    f: Formula = other.array if not other.transposed else other.array.T
    turned = f.T
    if not me.transposed:
        return step.upstream @ turned if left else turned @ step.upstream
    return f @ step.upstream.T if left else step.upstream.T @ f
