"""A derivation as Markdown, formulas in LaTeX between dollars."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from handgrad.explain.derive.formula import Delta, Formula
from handgrad.explain.derive.matching import Matching
from handgrad.explain.derive.render import words
from handgrad.explain.derive.rules import Note
from handgrad.explain.derive.shapes import show

if TYPE_CHECKING:
    from handgrad.explain.derive.derivation import Derivation, Item, Section

SPOKEN = {
    r"\\": r"\cr ",
    r"\,": r"\thinspace{}",
    r"\;": r"\thickspace{}",
    r"\:": r"\medspace{}",
    r"\!": r"\negthinspace{}",
    r"\{": r"\lbrace{}",
    r"\}": r"\rbrace{}",
    r"\_": r"\textunderscore{}",
}


def write(derivation: Derivation) -> str:
    """The whole."""
    program = derivation.program
    task = plain(words.task(program, "\0")).replace("\0", _inline(Delta("i'", "i")))
    lines = [f"# `{derivation.title}`", "", plain(words.shapes(program)), "", task, ""]
    for section in derivation.sections:
        lines += _section(section)
    lines += ["## Result", ""]
    for way in program.backward:
        lines += [f"$${inert(f'{program.gradient(way.name).latex()} = {way.whole.latex()}')}$$", ""]
    lines += [plain(words.check(derivation)), "", "```python", derivation.code.rstrip(), "```", ""]
    return "\n".join(lines)


def _section(section: Section) -> Iterator[str]:
    step = section.step
    yield f"## {_inline(step.out, section.definition.sides[1])}, {_shape(step.shape)}"
    yield ""
    for equations in (*section.where, *([section.elements] if section.elements else [])):
        yield from _item(equations)
    if section.source:
        name, derivative = section.source
        yield f"The library's `{name}`: ${inert(derivative)}$"
        yield ""
    for part in section.parts:
        whence = f", from {part.whence}" if part.whence else ""
        yield f"### By {_inline(part.wrt)}, {_shape(part.shape)}{whence}"
        yield ""
        for item in part.items:
            yield from _item(item)


def _item(item: Item) -> Iterator[str]:
    if isinstance(item, Matching):
        whose = f"{plain(show(item.wanted))} of {_inline(item.wrt)}{item.side}"
        yield f"**Dimension matching.** Which products have the shape {whose}?"
        yield ""
        yield "| product | shapes | fits |"
        yield "|---|---|---|"
        for candidate in item.candidates:
            yield f"| {_inline(candidate.formula)} | {plain(candidate.why())} | {'✓' if candidate.fits else ''} |"
        yield ""
        yield f"{item.verdict().capitalize()}: {_inline(item.chosen)}."
    elif isinstance(item, Note):
        said = "".join(plain(piece) if isinstance(piece, str) else _inline(piece) for piece in item.parts)
        yield f"**{item.label[0].upper()}{item.label[1:]}.** {said[0].upper() + said[1:]}."
    else:
        yield f"**{item.label.capitalize()}.**"
        yield ""
        yield f"$${inert(' = '.join(side.latex() for side in item.sides))}$$"
    yield ""


def _inline(*sides: Formula) -> str:
    """left = right = ... within a sentence."""
    return f"${inert(' = '.join(side.latex() for side in sides))}$"


def plain(sentence: str) -> str:
    """Words of which none is taken for emphasis: h*w and _k are names."""
    return re.sub(r"\*|(?<!\w)_|_(?!\w)", r"\\\g<0>", sentence)


def inert(latex: str) -> str:
    r"""The same formula in signs that Markdown leaves alone: some pages read it before they read the formula, and take
    \, for an escaped comma and }_{ for the beginning of emphasis.
    """
    for sign, word in SPOKEN.items():
        latex = latex.replace(sign, word)
    return re.sub(r"(?<=[^\w\s])_|_(?=\W)", " _ ", latex)


def _shape(shape: tuple[object, ...]) -> str:
    return plain(show(shape)) if shape else "a number"  # type: ignore[arg-type]
