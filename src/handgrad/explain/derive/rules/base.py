"""What a rule says of one op: its shape, its formula element by element, and the gradient of each input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from handgrad.explain.derive.arrays import Call, Shaped
from handgrad.explain.derive.formula import At, Delta, Formula, Name, Number, Partial, Total, Transposed
from handgrad.explain.derive.places import NOWHERE, Place
from handgrad.explain.derive.shapes import Shape
from handgrad.ops import Op

Indices = tuple[str, ...]
Parts = tuple[str | Formula, ...]  # a sentence with formulas in it


def defaults(**options: Any) -> Mapping[str, Any]:
    """The options of a rule with their defaults."""
    return MappingProxyType(options)


@dataclass(frozen=True)
class Note:
    """A remark on a gradient, under a heading such as "mirror rule"."""

    label: str
    parts: Parts


@dataclass(frozen=True)
class Operand:
    """What a step takes: a name or a number. `needed`: whether a gradient by it is wanted."""

    array: Name | Number
    shape: Shape = ()
    transposed: bool = False
    needed: bool = True

    @property
    def formula(self) -> Formula:
        return Transposed(self.array, len(self.shape) > 2) if self.transposed else self.array

    @property
    def seen(self) -> Shape:
        """The shape in which the step meets it."""
        return (*self.shape[:-2], *self.shape[-1:], *self.shape[-2:-1]) if self.transposed else self.shape

    def at(self, indices: Indices) -> Formula:
        """Its element at the indices in which the step meets it."""
        if isinstance(self.array, Number):
            return self.array
        return At(self.array, (*indices[:-2], indices[-1], indices[-2]) if self.transposed else indices)


@dataclass(frozen=True)
class Step:
    """One op: name = op(operands). letters: index letters that are free in this expression."""

    name: str
    rule: Rule
    operands: tuple[Operand, ...]
    options: dict[str, Any]
    shape: Shape
    letters: tuple[str, ...]
    objective: str = "L"
    place: Place = NOWHERE
    tail: str = ""  # what the names of its auxiliary arrays end with, so that they are free
    last: bool = False  # whether its result is the objective itself, whose gradient is 1

    @property
    def out(self) -> Name:
        return Name(self.name, single=self.shape == ())

    @property
    def upstream(self) -> Formula:
        return Number(1) if self.last else self.gradient_of(self.out)

    def gradient_of(self, array: Name) -> Name:
        return Name(array.name, array.single, True, self.objective)

    @property
    def indices(self) -> Indices:
        """A letter for each axis of the output."""
        return self.letters[: len(self.shape)]

    def inner(self, count: int) -> Indices:
        """Further letters, for sums."""
        return self.letters[len(self.shape) : len(self.shape) + count]


@dataclass(frozen=True)
class Gradient:
    """The gradient of one operand of a step.

    indices, out: of the operand's element and of the output's. local: the derivative of one by the other, where the
    letters that they share agree; None where no elements need be written. first: forms of it on the way there.
    lemmas: (left, right) needed for it. further: other forms of the sum over the outputs. whole: the gradient as an
    array. other: of a matrix product, the other factor. use: which of the operand's uses this is, 0 for the only one.
    """

    step: Step
    operand: Operand
    whole: Formula
    indices: Indices = ()
    out: Indices = ()
    local: Formula | None = None
    first: tuple[Formula, ...] = ()
    further: tuple[Formula, ...] = ()
    lemmas: tuple[tuple[Formula, Formula], ...] = ()
    notes: tuple[Note, ...] = ()
    other: Operand | None = None
    use: int = 0

    @property
    def mine(self) -> Name:
        """dX, or the part of it that this use gives."""
        return replace(self.step.gradient_of(self.wrt), use=self.use)

    @property
    def wrt(self) -> Name:
        assert isinstance(self.operand.array, Name)
        return self.operand.array

    def equations(self) -> Iterator[tuple[str, tuple[Formula, ...]]]:
        """(heading, left = right = ...) from the chain rule to the gradient of one element."""
        if self.local is None:
            return
        step, wrt, free = self.step, At(self.mine, self.indices), self.free
        shared = {i: f"{i}'" for i in self.out if i in self.indices and i != "1"}
        out = tuple(shared.get(i, i) for i in self.out)
        upstream = step.gradient_of(step.out)
        partial = Partial(At(step.out, out), At(self.wrt, self.indices))
        yield "chain rule", (wrt, total([i for i in out if i != "1"], At(upstream, out) * partial))
        for left, right in self.lemmas:
            yield "where", (left, right)
        forms = [*self.first, self.local]
        for i, primed in reversed(shared.items()):
            forms = [Delta(primed, i) * form for form in forms]
        yield "local gradient", (partial, *forms)
        yield "so", (wrt, total(free, At(upstream, self.out) * self.local), *self.further)

    @property
    def free(self) -> list[str]:
        """The letters of outputs that one element of the operand reaches, over which its gradient sums."""
        return [i for i in self.out if i not in self.indices and i != "1"]


def total(indices: Sequence[str], body: Formula) -> Formula:
    """The sum over indices, or the body where there are none."""
    return Total(tuple(indices), body) if indices else body


class Rule:
    """The rule of one op. `letter`: what to call a result that has no name. op: the library's, whose data are shown."""

    letter: ClassVar[str] = "U"
    op: Op | None = None
    options: Mapping[str, Any] = MappingProxyType({})  # name -> default

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        """The output's shape. Raises Misfit; may settle `options`, such as a negative axis."""
        raise NotImplementedError

    def formula(self, step: Step) -> Formula:
        """The step, of whole arrays."""
        raise NotImplementedError

    def elements(self, step: Step) -> Formula | None:
        """One element of the output, at step.indices."""
        raise NotImplementedError

    def meaning(self, step: Step) -> Formula | None:
        """What the element is, written out, where `elements` names a function."""
        return None

    def output_indices(self, step: Step) -> Indices:
        """Those of the element that `elements` gives."""
        return step.indices

    def auxiliary(self, step: Step) -> list[tuple[Name, Formula, Shape]]:
        """Further arrays that forward works out first and backward needs."""
        return []

    def tail(self, name: str) -> str:
        """What the names of auxiliary arrays end with, in a step of that name."""
        return ""

    def gradients(self, step: Step) -> list[Gradient]:
        """One for each operand that needs it."""
        raise NotImplementedError

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        """The output by the library's op, for real and complex arrays."""
        assert self.op is not None
        return self.op(*[np.asarray(value) for value in values], **options)


def pooled(whole: Formula, out: Shape, shape: Shape) -> Formula:
    """An array of shape `out` summed over the axes along which `shape` was broadcast to it."""
    extra = len(out) - len(shape)
    stretched = tuple(i + extra for i, n in enumerate(shape) if n == 1 and out[i + extra] != 1)
    if extra:
        whole = Call("sum", (whole,), {"axis": 0 if extra == 1 else tuple(range(extra))} if shape else {})
    if stretched:
        axes = tuple(axis - extra for axis in stretched)
        whole = Call("sum", (whole,), {"axis": axes[0] if len(axes) == 1 else axes, "keepdims": True})
    return whole


def aligned(operand: Operand, out: Shape, letters: Indices) -> Indices:
    """The indices of an operand that is broadcast to `out`."""
    extra = len(out) - len(operand.shape)
    return tuple("1" if n == 1 and out[i + extra] != 1 else letters[i + extra] for i, n in enumerate(operand.shape))


def expanded(whole: Formula, axes: Sequence[int], ndim: int, like: Name) -> Formula:
    """An array whose `axes` were summed away, repeated along them to the shape of `like`, of ndim axes."""
    if len(axes) == ndim or not axes:
        return Shaped(whole, "", like)
    index = ", ".join("None" if axis in axes else ":" for axis in range(ndim))
    return Shaped(whole, f"[{index}]", like)


@dataclass
class Wanted:
    """Collects the gradients of a step that are needed."""

    step: Step
    found: list[Gradient] = field(default_factory=list)

    def add(self, operand: Operand, whole: Formula, **details: Any) -> None:
        """Keep the gradient of an operand that is a name and needs one."""
        if operand.needed and isinstance(operand.array, Name):
            self.found.append(Gradient(self.step, operand, whole, **details))
