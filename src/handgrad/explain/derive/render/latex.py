"""A derivation as LaTeX: one aligned block a step, in what amsmath, MathJax and KaTeX share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from handgrad.explain.derive.formula import Formula
from handgrad.explain.derive.matching import Matching
from handgrad.explain.derive.rules import Note

if TYPE_CHECKING:
    from handgrad.explain.derive.derivation import Derivation, Item, Section


def write(derivation: Derivation) -> str:
    """The whole."""
    blocks = [_aligned(_section(section)) for section in derivation.sections]
    program = derivation.program
    results = [
        _row(program.gradient(way.name), way.whole, "result" if i == 0 else "")
        for i, way in enumerate(program.backward())
    ]
    return "\n\n".join([*blocks, _aligned(iter(results))])


def _aligned(rows: Iterator[str]) -> str:
    body = " \\\\\n".join(rows)
    return f"$$\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n$$"


def _section(section: Section) -> Iterator[str]:
    left, right = section.definition.sides
    yield _row(left, right, "step")
    for equations in (*section.where, *([section.elements] if section.elements else [])):
        yield from _item(equations)
    if section.upstream is not None and len(section.upstream.parts) > 1:
        yield _row(section.step.upstream, section.upstream.whole, "a copy adds")
    for part in section.parts:
        for item in part.items:
            yield from _item(item)


def _item(item: Item) -> Iterator[str]:
    if isinstance(item, Matching):
        fitting = ",\\ ".join(candidate.formula.latex() for candidate in item.fitting)
        yield rf"& {fitting} && \text{{dimension matching: {'this fits' if len(item.fitting) == 1 else 'these fit'}}}"
    elif isinstance(item, Note):
        said = "".join(rf"\text{{{_escaped(p)}}}" if isinstance(p, str) else f" {p.latex()} " for p in item.parts)
        yield rf"& \text{{{item.label}: }} {said}"
    else:
        left, first, *rest = item.sides
        yield _row(left, first, item.label)
        for side in rest:
            yield f"&= {side.latex()}"


def _row(left: Formula, right: Formula, label: str) -> str:
    return f"{left.latex()} &= {right.latex()}" + (rf" && \text{{{label}}}" if label else "")


def _escaped(words: str) -> str:
    return words.replace("_", r"\_")
