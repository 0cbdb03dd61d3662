"""Ops on each element: of two arrays, broadcast, or of one."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.explain.derive.arrays import Call
from handgrad.explain.derive.formula import Formula, Holds, Name, Number
from handgrad.explain.derive.rules.base import Gradient, Note, Operand, Rule, Step, Wanted, aligned, pooled
from handgrad.explain.derive.shapes import Shape, broadcast
from handgrad.ops import Op

Locals = Callable[..., tuple[Formula, ...]]
ONE = Number(1)


class Elementwise2(Rule):
    """z = f(x, y), with x and y broadcast to one shape. local: (x, y, z) -> (dz/dx, dz/dy)."""

    def __init__(self, letter: str, op: Op, form: Callable[..., Formula], local: Locals, pattern: str = ""):
        self.letter, self.op, self.form, self.local, self.pattern = letter, op, form, local, pattern  # type: ignore[misc]

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        x, y = operands
        return broadcast(x.shape, y.shape)

    def formula(self, step: Step) -> Formula:
        return self.form(*(operand.formula for operand in step.operands))

    def elements(self, step: Step) -> Formula:
        return self.form(*(operand.at(aligned(operand, step.shape, step.indices)) for operand in step.operands))

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, letters = Wanted(step), step.indices
        elements = [operand.at(aligned(operand, step.shape, letters)) for operand in step.operands]
        by_element = self.local(*elements, Operand(step.out).at(letters))
        by_array = self.local(*(operand.formula for operand in step.operands), step.out)
        for operand, local, whole in zip(step.operands, by_element, by_array, strict=True):
            notes = [Note("pattern", (self.pattern,))] if self.pattern else []
            indices = aligned(operand, step.shape, letters)
            if isinstance(operand.array, Name) and (note := pooling(step, operand, indices)):
                notes.append(note)
            notes += kinks(self.op)
            array = pooled(step.upstream * whole, step.shape, operand.shape)
            wanted.add(operand, array, indices=indices, out=letters, local=local, notes=tuple(notes))
        return wanted.found


class Add(Elementwise2):
    """z = x + y, or the sum of several arrays of one shape."""

    def __init__(self) -> None:
        pattern = "addition distributes: each term receives the upstream gradient"
        super().__init__("S", ops.add, lambda *terms: functools.reduce(operator.add, terms), self._ones, pattern)

    def _ones(self, *terms: Formula) -> tuple[Formula, ...]:
        return tuple(ONE for _ in terms[:-1])

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        return functools.reduce(broadcast, (operand.shape for operand in operands))

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        return functools.reduce(ops.add, values)


class Elementwise1(Rule):
    """y = f(x). local: (x, y, options) -> dy/dx; first: a form of it on the way there. means: (x, options) -> f(x),
    written out."""

    letter = "A"

    def __init__(
        self,
        op: Op,
        local: Callable[[Formula, Formula, dict[str, Any]], Formula],
        means: Callable[[Formula, dict[str, Any]], Formula] | None = None,
        first: Callable[[Formula, dict[str, Any]], Formula] | None = None,
        **options: Any,
    ):
        self.op, self.local, self.means, self.first, self.options = op, local, means, first, options

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        return operands[0].shape

    def formula(self, step: Step) -> Formula:
        return self._called(step.operands[0].formula, step.options)

    def elements(self, step: Step) -> Formula:
        return self._called(step.operands[0].at(step.indices), step.options)

    def meaning(self, step: Step) -> Formula | None:
        return self.means(step.operands[0].at(step.indices), step.options) if self.means else None

    def _called(self, x: Formula, options: dict[str, Any]) -> Formula:
        assert self.op is not None
        given = {k: v for k, v in options.items() if self.op.name == "leaky_relu" or v != self.options[k]}
        return Call(self.op.name, (x,), given)

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, (x,), letters = Wanted(step), step.operands, step.indices
        local = self.local(x.at(letters), Operand(step.out).at(letters), step.options)
        first = (self.first(x.at(letters), step.options),) if self.first else ()
        whole = step.upstream * self.local(x.formula, step.out, step.options)
        wanted.add(x, whole, indices=letters, out=letters, local=local, first=first, notes=tuple(kinks(self.op)))
        return wanted.found


class Gelu(Elementwise1):
    """y = x Phi(x), or its approximation by tanh, which stands as one function."""

    def meaning(self, step: Step) -> Formula | None:
        return None if step.options["approximate"] == "tanh" else super().meaning(step)

    def _called(self, x: Formula, options: dict[str, Any]) -> Formula:
        return Call("gelu_tanh" if options["approximate"] == "tanh" else "gelu", (x,))


class SquareRoot(Elementwise1):
    """y = sqrt(x), which the library has as a power."""

    def __init__(self) -> None:
        super().__init__(ops.power, lambda x, y, options: 1 / (2 * y))

    def _called(self, x: Formula, options: dict[str, Any]) -> Formula:
        return Call("sqrt", (x,))

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        return np.sqrt(values[0])


class Negative(Elementwise1):
    """y = -x."""

    letter = "N"

    def __init__(self) -> None:
        super().__init__(ops.negative, lambda x, y, options: Number(-1))

    def _called(self, x: Formula, options: dict[str, Any]) -> Formula:
        return -x


def kinks(op: Op | None) -> list[Note]:
    """Where the op has no derivative, in its own words."""
    return [
        Note("kink", (f"at {plain(kink.where)} there is no derivative; {plain(kink.subgradient)} is taken",))
        for kink in (op.kinks if op is not None else ())
    ]


def plain(latex: str) -> str:
    """The little LaTeX of a kink as text."""
    for old, new in ((r"\tfrac{1}{2}", "1/2"), (r"\tfrac{1}{k}", "1/k"), (r"\alpha", "alpha"), (r"\Delta", "margin")):
        latex = latex.replace(old, new)
    return latex.replace("{", "").replace("}", "")


def pooling(step: Step, operand: Operand, indices: tuple[str, ...]) -> Note | None:
    """What broadcasting means for the gradient, where the operand is broadcast."""
    free = [i for i in step.indices if i not in indices]
    if not free:
        return None
    rows = " and ".join(f"{i} (1 to {step.shape[step.indices.index(i)]})" for i in free)
    return Note(
        "batch pooling",
        (operand.array, f" has no index {rows}: one value serves all of them, so that its gradient is their sum"),
    )


def _power(x: Formula, y: Formula, z: Formula) -> tuple[Formula, Formula]:
    by_y = z * Call("log", (x,))
    if not isinstance(y, Number):
        return y * x ** (y - 1), by_y
    if y.value in (0, 1):
        return y, by_y  # x**0 is 1 at 0 too
    return y * x ** Number(y.value - 1), by_y


def _maximum(x: Formula, y: Formula, z: Formula) -> tuple[Formula, Formula]:
    half = Number(0.5) * Holds(x.equals(y))
    return Holds(x.over(y)) + half, Holds(y.over(x)) + half


def _gate(x: Formula, options: dict[str, Any]) -> Formula:
    return Call("sigmoid", (Number(options["beta"]) * x,))


def _swish(x: Formula, y: Formula, options: dict[str, Any]) -> Formula:
    gate = _gate(x, options)
    return gate + Number(options["beta"]) * y * (1 - gate)


def _swish_by_product(x: Formula, options: dict[str, Any]) -> Formula:
    gate = _gate(x, options)
    return gate + x * (Number(options["beta"]) * (gate * (1 - gate)))


def _gelu(x: Formula, y: Formula, options: dict[str, Any]) -> Formula:
    if options["approximate"] == "tanh":
        return Call("gelu_tanh_slope", (x,))
    return Call("normal_cdf", (x,)) + x * Call("normal_pdf", (x,))


SWAPS = "multiplication swaps: each factor receives the upstream gradient times the other"
ROUTES = "the maximum routes: the upstream gradient goes to the larger alone"

TWO: dict[str, Elementwise2] = {
    "add": Add(),
    "subtract": Elementwise2("D", ops.subtract, lambda x, y: x - y, lambda x, y, z: (ONE, -ONE)),
    "multiply": Elementwise2("P", ops.multiply, lambda x, y: x * y, lambda x, y, z: (y, x), SWAPS),
    "divide": Elementwise2("Q", ops.divide, lambda x, y: x / y, lambda x, y, z: (1 / y, -(z / y))),
    "power": Elementwise2("P", ops.power, lambda x, y: x**y, _power),
    "maximum": Elementwise2("M", ops.maximum, lambda x, y: Call("maximum", (x, y)), _maximum, ROUTES),
}

ONE_INPUT: dict[str, Elementwise1] = {
    "identity": Elementwise1(ops.identity, lambda x, y, o: ONE),
    "sigmoid": Elementwise1(
        ops.sigmoid,
        lambda x, y, o: y * (1 - y),
        lambda x, o: 1 / (1 + Call("exp", (-x,))),
        lambda x, o: Call("exp", (-x,)) / (1 + Call("exp", (-x,))) ** 2,
    ),
    "tanh": Elementwise1(ops.tanh, lambda x, y, o: 1 - y**2),
    "relu": Elementwise1(
        ops.relu, lambda x, y, o: Holds(x.over(Number(0))), lambda x, o: Call("maximum", (Number(0), x))
    ),
    "leaky_relu": Elementwise1(
        ops.leaky_relu,
        lambda x, y, o: Call("where", (x.over(Number(0)), ONE, Number(o["alpha"]))),
        lambda x, o: Call("where", (x.over(Number(0)), x, Number(o["alpha"]) * x)),
        alpha=0.01,
    ),
    "swish": Elementwise1(ops.swish, _swish, lambda x, o: x * _gate(x, o), _swish_by_product, beta=1.0),
    "gelu": Gelu(ops.gelu, _gelu, lambda x, o: x * Call("normal_cdf", (x,)), approximate="none"),
    "exp": Elementwise1(ops.exp, lambda x, y, o: y),
    "log": Elementwise1(ops.log, lambda x, y, o: 1 / x),
    "sqrt": SquareRoot(),
    "negative": Negative(),
}
