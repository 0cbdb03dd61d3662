"""What `derive` gives: a derivation as data, shown as text, Markdown, LaTeX or NumPy code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from handgrad.explain.derive import code
from handgrad.explain.derive.formula import At, Formula, Name, added
from handgrad.explain.derive.matching import Matching, matching
from handgrad.explain.derive.program import Program, Way
from handgrad.explain.derive.render import latex, markdown, text
from handgrad.explain.derive.rules import Gradient, Note, Step
from handgrad.explain.derive.shapes import Shape


@dataclass(frozen=True)
class Equations:
    """left = right = ... under a heading, such as "chain rule"."""

    label: str
    sides: tuple[Formula, ...]


Item = Equations | Note | Matching


@dataclass(frozen=True)
class Part:
    """The gradient of one operand of one step: all that is said of it. whence: "use 1 of 2", where it has several."""

    wrt: Name
    shape: Shape
    items: tuple[Item, ...]
    whence: str = ""


@dataclass(frozen=True)
class Section:
    """One step: its formula, by elements too, and the gradient of each operand."""

    step: Step
    definition: Equations
    elements: Equations | None
    where: tuple[Equations, ...]
    source: tuple[str, str] | None  # the op's name, and its own local gradient in LaTeX
    parts: tuple[Part, ...]


@dataclass(frozen=True, repr=False)
class Derivation:
    """The gradients of an expression, derived and checked. str() and print show it as text.

    markdown, latex, code: other forms of it. gradients: name -> its gradient, in LaTeX. error: the largest relative
    difference from complex steps, at sizes drawn at random.
    """

    title: str
    program: Program
    error: float
    sizes: dict[str, int]

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """One for each step, in the order of backpropagation."""
        return tuple(_sections(self.program))

    @cached_property
    def code(self) -> str:
        """NumPy source: forward gives the output and a cache, backward the gradient of each input from it."""
        return code.module(self.program)

    @cached_property
    def text(self) -> str:
        """For a terminal."""
        return text.write(self)

    @cached_property
    def markdown(self) -> str:
        """For a page or a notebook, with formulas in LaTeX."""
        return markdown.write(self)

    @cached_property
    def latex(self) -> str:
        """For a paper: an `aligned` block for each step, in amsmath's terms and KaTeX's."""
        return latex.write(self)

    @cached_property
    def gradients(self) -> dict[str, str]:
        """Each input's gradient in LaTeX."""
        found = {way.name: way.whole.latex() for way in self.program.backward}
        return {name: found[name] for name in self.program.wanted if name in found}

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.markdown

    def _repr_latex_(self) -> str:
        return self.latex


def _sections(program: Program) -> Iterator[Section]:
    ways = {way.name: way for way in program.backward}
    shapes = program.shapes
    missing = {name: len(way.parts) for name, way in ways.items()}
    for step in reversed(program.steps):
        if step.name != program.output and step.name not in ways:
            continue  # it is data
        rule = step.rule
        element = rule.elements(step)
        formula = rule.formula(step)
        elements = None
        if element is not None and (step.shape or element.text() != formula.text()):
            meaning = rule.meaning(step)
            sides = (At(step.out, rule.output_indices(step)), element, *([meaning] if meaning else []))
            elements = Equations("in elements", sides)
        where = tuple(Equations("where", (name, extra)) for name, extra, _ in rule.auxiliary(step))
        parts = []
        for gradient in program.gradients[step.name]:
            wrt, items = gradient.wrt, list(_items(gradient))
            missing[wrt.name] -= 1
            if gradient.use and not missing[wrt.name]:
                items += _copied(ways[wrt.name])
            whence = f"use {gradient.use} of {len(ways[wrt.name].parts)}" if gradient.use else ""
            parts.append(Part(wrt, shapes[wrt.name], tuple(items), whence))
        op = rule.op
        source = None if op is None or step.rule.letter == "Z" else (op.name, op.derivative)
        definition = Equations("", (step.out, formula))
        yield Section(step, definition, elements, where, source, tuple(parts))


def _items(gradient: Gradient) -> Iterator[Item]:
    """What is said of one gradient, in order."""
    mine = gradient.mine
    first: Formula | None = None
    for label, (left, *rest) in gradient.equations():
        yield Equations(label, (left, *rest))
        first = rest[-1]
    if first is None or gradient.whole.text() != first.text():
        yield Equations("as arrays" if gradient.indices else "so", (mine, gradient.whole))
    found = matching(gradient)
    if found is not None:
        yield found
    yield from gradient.notes


def _copied(way: Way) -> Iterator[Item]:
    """Once every use of a name has given its part: their sum."""
    uses, name = [gradient.mine for gradient in way.parts], way.parts[0].wrt
    yield Note("a copy adds", (name, f" is used {len(uses)} times, and what each use gives adds up"))
    yield Equations("so", (way.parts[0].step.gradient_of(name), added(uses), way.whole))
