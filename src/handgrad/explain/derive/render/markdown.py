"""A derivation as Markdown, formulas in LaTeX between dollars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from handgrad.explain.derive.matching import Matching
from handgrad.explain.derive.render import words
from handgrad.explain.derive.rules import Note
from handgrad.explain.derive.shapes import show

if TYPE_CHECKING:
    from handgrad.explain.derive.derivation import Derivation, Equations, Item, Section


def write(derivation: Derivation) -> str:
    """The whole."""
    program = derivation.program
    lines = [f"# {derivation.title}", "", words.shapes(program), "", words.task(program), ""]
    for section in derivation.sections:
        lines += _section(section)
    lines += ["## Result", ""]
    for way in program.backward():
        lines += [f"$${program.gradient(way.name).latex()} = {way.whole.latex()}$$", ""]
    lines += [words.check(derivation), "", "```python", derivation.code.rstrip(), "```", ""]
    return "\n".join(lines)


def _section(section: Section) -> Iterator[str]:
    step = section.step
    yield f"## ${step.out.latex()} = {section.definition.sides[1].latex()}$, {_shape(step.shape)}"
    yield ""
    for equations in (*section.where, *([section.elements] if section.elements else [])):
        yield from _item(equations)
    if section.source:
        name, derivative = section.source
        yield f"The library's `{name}`: ${derivative}$"
        yield ""
    if section.upstream is not None and len(section.upstream.parts) > 1:
        yield f"**A copy adds.** ${step.out.latex()}$ is used {len(section.upstream.parts)} times, so that"
        yield f"$${step.upstream.latex()} = {section.upstream.whole.latex()}$$"
        yield ""
    for part in section.parts:
        yield f"### By ${part.wrt.latex()}$, {_shape(part.shape)}"
        yield ""
        for item in part.items:
            yield from _item(item)


def _item(item: Item) -> Iterator[str]:
    if isinstance(item, Matching):
        whose = f"{show(item.wanted)} of ${item.wrt.latex()}${item.side}"
        yield f"**Dimension matching.** Which products have the shape {whose}?"
        yield ""
        yield "| product | shapes | fits |"
        yield "|---|---|---|"
        for candidate in item.candidates:
            yield f"| ${candidate.formula.latex()}$ | {candidate.why()} | {'✓' if candidate.fits else ''} |"
        yield ""
        yield f"{item.verdict().capitalize()}: ${item.chosen.latex()}$."
    elif isinstance(item, Note):
        said = "".join(piece if isinstance(piece, str) else f"${piece.latex()}$" for piece in item.parts)
        yield f"**{item.label.capitalize()}.** {said[0].upper() + said[1:]}."
    else:
        yield f"**{item.label.capitalize()}.**"
        yield f"$${equation(item)}$$"
    yield ""


def equation(equations: Equations) -> str:
    """left = right = ... on one line."""
    return " = ".join(side.latex() for side in equations.sides)


def _shape(shape: tuple[object, ...]) -> str:
    return show(shape) if shape else "a number"  # type: ignore[arg-type]
