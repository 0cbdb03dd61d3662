"""An expression as steps, one op each, with every shape; and the gradients of each step, in reverse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from handgrad.explain.derive.formula import Formula, Name
from handgrad.explain.derive.rules import Gradient, Step
from handgrad.explain.derive.shapes import Shape


@dataclass(frozen=True)
class Program:
    """inputs: every array given, with its shape. data: those of them that no gradient is taken by. output: a name."""

    expression: str
    inputs: dict[str, Shape]
    steps: tuple[Step, ...]
    output: str
    data: frozenset[str] = frozenset()
    objective: str = "L"
    labels: dict[str, str] = field(default_factory=dict)  # input -> the name of the dimension that it counts up to
    titles: dict[str, str] = field(default_factory=dict)  # input -> what it is, in words

    @property
    def wanted(self) -> list[str]:
        """The inputs that gradients are taken by."""
        return [name for name in self.inputs if name not in self.data]

    def shape(self, name: str) -> Shape:
        """The shape of an input or of a step's result."""
        return self.shapes[name]

    @property
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

    def backward(self) -> list[Way]:
        """What backpropagation does, in its order: for each name that needs a gradient, all that it receives."""
        return list(_backward(self))


@dataclass(frozen=True)
class Way:
    """The gradient of one name: one part for each step that uses it. What forks adds up."""

    name: str
    parts: tuple[Gradient, ...]

    @property
    def whole(self) -> Formula:
        """The sum of all parts."""
        first, *rest = (part.whole for part in self.parts)
        out: Formula = first
        for part in rest:
            out = out + part
        return out


def _backward(program: Program) -> Iterator[Way]:
    received: dict[str, list[Gradient]] = {}
    uses: dict[str, int] = {}
    for step in program.steps:
        for gradient in step.rule.gradients(step):
            uses[gradient.wrt.name] = uses.get(gradient.wrt.name, 0) + 1
    for step in reversed(program.steps):
        if step.name != program.output and not received.get(step.name):
            continue  # no loss depends on it
        for gradient in step.rule.gradients(step):
            name = gradient.wrt.name
            received.setdefault(name, []).append(gradient)
            if len(received[name]) == uses[name]:
                yield Way(name, tuple(reversed(received[name])))
