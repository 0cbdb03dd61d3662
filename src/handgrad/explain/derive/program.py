"""An expression as steps, one op each, with every shape; and the gradients of each step, in reverse."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from handgrad.explain.derive.formula import Formula, Name, added
from handgrad.explain.derive.rules import Gradient, Step
from handgrad.explain.derive.shapes import Dim, Shape


@dataclass(frozen=True)
class Program:
    """inputs: every array given, with its shape. data: those of them that no gradient is taken by. output: a name."""

    expression: str
    inputs: dict[str, Shape]
    steps: tuple[Step, ...]
    output: str
    data: frozenset[str] = frozenset()
    objective: str = "L"
    meanings: dict[str, str] = field(default_factory=dict)  # input -> what it is, in words

    @property
    def wanted(self) -> list[str]:
        """The inputs that gradients are taken by."""
        return [name for name in self.inputs if name not in self.data]

    def shape(self, name: str) -> Shape:
        """The shape of an input or of a step's result."""
        return self.shapes[name]

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Of all names, the auxiliary ones among them."""
        found = dict(self.inputs)
        for step in self.steps:
            found |= {name.name: shape for name, _, shape in step.rule.auxiliary(step)}
            found[step.name] = step.shape
        return found

    def gradient(self, name: str) -> Name:
        """dX, for a name X."""
        return Name(name, self.shapes[name] == (), True, self.objective)

    @property
    def lengths(self) -> set[Dim]:
        """All lengths of the inputs, names and numbers, parts of products too."""
        dims = [n for shape in self.inputs.values() for n in shape]
        return {part for n in dims for part in (n.split("*") if isinstance(n, str) else (n,))}

    @cached_property
    def gradients(self) -> dict[str, tuple[Gradient, ...]]:
        """By each step, those of its operands; the uses of a name that has several are counted from 1."""
        found = {step.name: step.rule.gradients(step) for step in self.steps}
        uses = Counter(gradient.wrt.name for gradients in found.values() for gradient in gradients)
        counts = {name: itertools.count(1) for name, times in uses.items() if times > 1}
        return {
            name: tuple(
                replace(gradient, use=next(counts[gradient.wrt.name])) if gradient.wrt.name in counts else gradient
                for gradient in gradients
            )
            for name, gradients in found.items()
        }

    @cached_property
    def backward(self) -> list[Way]:
        """What backpropagation does, in its order: for each name that needs a gradient, all that it receives."""
        return list(_backward(self))


@dataclass(frozen=True)
class Way:
    """The gradient of one name: one part for each of its uses, in their order. What forks adds up."""

    name: str
    parts: tuple[Gradient, ...]

    @property
    def whole(self) -> Formula:
        """The sum of all parts."""
        return added([part.whole for part in self.parts])


def _backward(program: Program) -> Iterator[Way]:
    received: dict[str, list[Gradient]] = {}
    uses = Counter(gradient.wrt.name for found in program.gradients.values() for gradient in found)
    for step in reversed(program.steps):
        for gradient in program.gradients[step.name]:
            name = gradient.wrt.name
            received.setdefault(name, []).append(gradient)
            if len(received[name]) == uses[name]:
                yield Way(name, tuple(sorted(received[name], key=lambda part: part.use)))
