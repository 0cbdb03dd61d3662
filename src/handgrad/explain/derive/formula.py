"""Formulas as trees, of whole arrays (X W) and of their elements (X[i,k] W[k,j]), shown as text, LaTeX and NumPy code.

The ordinary operators build them: `a * b`, `a @ b`, `-a`. Factors of 1 vanish as they are met, so that a derivation
reads as one would write it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handgrad.explain.derive.symbols import indexed, symbol

COMPARE, SUM, PRODUCT, SIGN, POWER, ATOM = range(6)  # how tightly a node binds


class Formula(ABC):
    """A node."""

    counts = False  # whether it is a plain number or a length, of which 1/m is written short

    @property
    def binds(self) -> int:
        """How tightly."""
        return ATOM

    @property
    def single(self) -> bool:
        """Whether it is one number rather than an array."""
        return False

    @abstractmethod
    def text(self) -> str:
        """For a terminal."""

    @abstractmethod
    def latex(self) -> str:
        """For a paper."""

    def code(self) -> str:
        """For NumPy, which formulas of elements are not written in."""
        raise TypeError(f"{self.text()} is of elements, and has no code for NumPy")

    def __add__(self, other: Any) -> Formula:
        return Binary("+", self, lift(other))

    def __sub__(self, other: Any) -> Formula:
        return Binary("-", self, lift(other))

    def __mul__(self, other: Any) -> Formula:
        other = lift(other)
        for one, rest in ((self, other), (other, self)):
            if one == Number(1):
                return rest
            if one == Number(-1):
                return -rest
        if isinstance(other, Minus):
            return -(self * other.body)
        if isinstance(other, Number) and not isinstance(self, Number):  # numbers come first
            return other * self
        if isinstance(other, Binary) and other.operator == "*" and isinstance(other.left, Number):
            return other.left * (self * other.right)
        return Binary("*", self, other)

    def __truediv__(self, other: Any) -> Formula:
        return self if lift(other) == Number(1) else Binary("/", self, lift(other))

    def __pow__(self, other: Any) -> Formula:
        return self if lift(other) == Number(1) else Binary("**", self, lift(other))

    def __matmul__(self, other: Formula) -> Formula:
        return Binary("@", self, other)

    def __radd__(self, other: Any) -> Formula:
        return lift(other) + self

    def __rsub__(self, other: Any) -> Formula:
        return lift(other) - self

    def __rmul__(self, other: Any) -> Formula:
        return lift(other) * self

    def __rtruediv__(self, other: Any) -> Formula:
        return lift(other) / self

    def __neg__(self) -> Formula:
        return self.body if isinstance(self, Minus) else Minus(self)

    @property
    def T(self) -> Formula:
        return self.body if isinstance(self, Transposed) else Transposed(self)

    def over(self, other: Formula) -> Binary:
        """self > other."""
        return Binary(">", self, other)

    def equals(self, other: Formula) -> Binary:
        """self == other."""
        return Binary("==", self, other)


def added(terms: Sequence[Formula]) -> Formula:
    """The sum of all terms, as a tree of little depth: what forks a thousand times is shown without recursion's end."""
    half = len(terms) // 2
    return terms[0] if half == 0 else added(terms[:half]) + added(terms[half:])


def lift(value: Any) -> Formula:
    """A Python number as a formula."""
    return value if isinstance(value, Formula) else Number(value)


@dataclass(frozen=True)
class Number(Formula):
    """A number."""

    value: float
    single = True
    counts = True

    @property
    def binds(self) -> int:
        return SIGN if self.value < 0 else ATOM

    def text(self) -> str:
        return repr(int(self.value)) if self.value == int(self.value) and abs(self.value) < 1e6 else repr(self.value)

    def latex(self) -> str:
        mantissa, _, exponent = self.text().partition("e")
        return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa

    def code(self) -> str:
        return self.text()


@dataclass(frozen=True)
class Name(Formula):
    """An array, or its gradient where `gradient`: dX, or the derivative of the objective by X."""

    name: str
    single: bool = False
    gradient: bool = False
    objective: str = "L"
    use: int = 0  # of a gradient with several parts: which of them this is, from 1

    def text(self) -> str:
        return f"d{self.name}{_raised(self.use)}" if self.gradient else self.name

    def latex(self) -> str:
        return _partial(self, symbol(self.name)) if self.gradient else symbol(self.name)

    def code(self) -> str:
        return f"d{self.name}" if self.gradient else self.name


@dataclass(frozen=True)
class At(Formula):
    """One element: X[i,k]. An index "1" is the only one of an axis that is broadcast."""

    array: Name
    indices: tuple[str, ...]
    single = True

    def text(self) -> str:
        return f"{self.array.text()}[{','.join(self.indices)}]" if self.indices else self.array.text()

    def latex(self) -> str:
        element = indexed(self.array.name, self.indices)
        return _partial(self.array, element) if self.array.gradient else element


@dataclass(frozen=True)
class Partial(Formula):
    """The local gradient: of one element by another, not yet worked out."""

    of: At
    by: At
    single = True
    binds = PRODUCT

    def text(self) -> str:
        return f"∂{self.of.text()}/∂{self.by.text()}"

    def latex(self) -> str:
        return rf"\frac{{\partial {self.of.latex()}}}{{\partial {self.by.latex()}}}"


@dataclass(frozen=True)
class Binary(Formula):
    """Two formulas and an operator between them, one of Python's."""

    operator: str
    left: Formula
    right: Formula

    @property
    def binds(self) -> int:
        return {"+": SUM, "-": SUM, "**": POWER, ">": COMPARE, "==": COMPARE, "!=": COMPARE}.get(self.operator, PRODUCT)

    @property
    def single(self) -> bool:
        return self.left.single and self.right.single

    def text(self) -> str:
        left, right = self._sides("text")
        if self.operator == "/" and all(part.counts for part in (self.left, self.right)):
            return f"{left}/{right}"
        if self.operator == "*":
            return f"{left} {right}" if self.left.single or self.right.single else f"{left} ⊙ {right}"
        return {"@": f"{left} {right}", "**": f"{left}^{right}", "==": f"{left} = {right}"}.get(
            self.operator, f"{left} {self.operator} {right}"
        )

    def latex(self) -> str:
        if self.operator == "/":
            if isinstance(self.left, Binary) and self.left.operator == "*" and _is_upstream(self.left.left):
                return (self.left.left * (self.left.right / self.right)).latex()  # no fraction within a fraction
            return rf"\frac{{{self.left.latex()}}}{{{self.right.latex()}}}"
        left, right = self._sides("latex")
        if self.operator == "**":
            return f"{left}^{{{self.right.latex()}}}"
        if self.operator == "*":
            both = isinstance(self.left, Number) and isinstance(self.right, Number | Binary)
            dot = r"\cdot" if both and right[0].isdigit() else r"\,"
            return f"{left} {dot} {right}" if self.left.single or self.right.single else rf"{left} \odot {right}"
        return {"@": f"{left} {right}", "==": f"{left} = {right}"}.get(self.operator, f"{left} {self.operator} {right}")

    def code(self) -> str:
        left, right = self._sides("code")
        tight = self.operator == "**" and all(isinstance(part, Name | Number) for part in (self.left, self.right))
        return f"{left} {self.operator} {right}" if not tight else f"{left}**{right}"

    def _sides(self, kind: str) -> tuple[str, str]:
        def mixed(part: Formula) -> bool:  # a * (b @ c) is not a * b @ c
            return isinstance(part, Binary) and part.binds == b and (part.operator == "@") != (self.operator == "@")

        b = self.binds
        # a - (b + c) and a / (b c) need their parentheses; a + (b + c), a (b c) and a sum at the end do not
        at_end = kind != "code" and isinstance(self.right, Total)
        right = COMPARE if at_end else b + (self.operator in ("-", "/", "**") or mixed(self.right))
        left = b + (self.operator == "**" or mixed(self.left))
        if (b > SUM and _ends_in_sum(self.left)) or (
            kind == "text" and self.operator == "*" and _is_quotient(self.left)
        ):
            left = ATOM
        return closed(self.left, left, kind), closed(self.right, right, kind)


@dataclass(frozen=True)
class Minus(Formula):
    """-a."""

    body: Formula
    binds = SIGN

    @property
    def single(self) -> bool:
        return self.body.single

    def text(self) -> str:
        return "-" + closed(self.body, PRODUCT, "text")

    def latex(self) -> str:
        return "-" + closed(self.body, PRODUCT, "latex")

    def code(self) -> str:
        return "-" + closed(self.body, PRODUCT, "code")


@dataclass(frozen=True)
class Transposed(Formula):
    """The last two axes swapped. `stacked`: there are more axes, for which NumPy has .mT."""

    body: Formula
    stacked: bool = False

    def text(self) -> str:
        return closed(self.body, ATOM, "text") + "ᵀ"

    def latex(self) -> str:
        body = self.body.latex()
        return (
            rf"\left({body}\right)^\top" if body.startswith(r"\frac") else rf"{closed(self.body, ATOM, 'latex')}^\top"
        )

    def code(self) -> str:
        return closed(self.body, ATOM, "code") + (".mT" if self.stacked else ".T")


@dataclass(frozen=True)
class Total(Formula):
    """The sum over indices."""

    indices: tuple[str, ...]
    body: Formula
    binds = SUM
    single = True

    def text(self) -> str:
        over = self.indices[0]
        if len(self.indices) > 1 or len(over) > 1:
            over = "{" + ",".join(self.indices) + "}"
        return f"Σ_{over} {closed(self.body, PRODUCT, 'text')}"

    def latex(self) -> str:
        return rf"\sum_{{{','.join(self.indices)}}} {closed(self.body, PRODUCT, 'latex')}"


@dataclass(frozen=True)
class Largest(Total):
    """The largest over indices."""

    def text(self) -> str:
        return super().text().replace("Σ_", "max_", 1)

    def latex(self) -> str:
        return super().latex().replace(r"\sum", r"\max", 1)


@dataclass(frozen=True)
class Delta(Formula):
    """1 where two indices agree, 0 elsewhere."""

    left: str
    right: str
    single = True

    def text(self) -> str:
        return f"[{self.left}={self.right}]"

    def latex(self) -> str:
        return rf"\delta_{{{self.left}{self.right}}}"


@dataclass(frozen=True)
class Holds(Formula):
    """1 where a comparison holds, 0 elsewhere."""

    condition: Binary

    @property
    def single(self) -> bool:
        return self.condition.single

    def text(self) -> str:
        return f"[{self.condition.text()}]"

    def latex(self) -> str:
        return rf"\left[{self.condition.latex()}\right]"

    def code(self) -> str:
        return f"({self.condition.code()})"


def _ends_in_sum(part: Formula) -> bool:
    """Whether a sum at the end stands open, so that what follows would seem to belong to it."""
    if isinstance(part, Total) or not isinstance(part, Binary):
        return isinstance(part, Total)
    return isinstance(part.right, Total) or (part.right.binds >= part.binds and _ends_in_sum(part.right))


def _is_quotient(part: Formula) -> bool:
    """a / b, which c after it would seem to divide; 1/m is read as one."""
    return isinstance(part, Binary) and part.operator == "/" and not (part.left.counts and part.right.counts)


def _is_upstream(part: Formula) -> bool:
    return isinstance(part.array if isinstance(part, At) else part, Name) and part.latex().startswith(r"\frac")


def _partial(gradient: Name, by: str) -> str:
    fraction = rf"\frac{{\partial {gradient.objective}}}{{\partial {by}}}"
    return rf"\left({fraction}\right)^{{({gradient.use})}}" if gradient.use else fraction


def _raised(use: int) -> str:
    return f"⁽{str(use).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}⁾" if use else ""


def closed(part: Formula, tight: int, kind: str) -> str:
    """A part as it stands within a node that binds this tightly: in parentheses where it binds less."""
    shown = getattr(part, kind)()
    if part.binds >= tight:
        return shown
    return rf"\left({shown}\right)" if kind == "latex" else f"({shown})"
