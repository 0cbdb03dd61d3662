"""A derivation as LaTeX: blocks of aligned equations and tables, in what amsmath, MathJax and KaTeX share."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from handgrad.explain.derive.formula import Formula
from handgrad.explain.derive.matching import Matching
from handgrad.explain.derive.render import words
from handgrad.explain.derive.rules import Note
from handgrad.explain.derive.shapes import Shape
from handgrad.explain.derive.symbols import symbol

if TYPE_CHECKING:
    from handgrad.explain.derive.derivation import Derivation, Item, Section

WIDTH = 90  # letters of a sentence on one line


def write(derivation: Derivation) -> str:
    """The whole."""
    program = derivation.program
    given = [
        rf"{symbol(name)} &\in {_space(shape)} && \text{{{'data' if name in program.data else 'given'}}}"
        for name, shape in program.inputs.items()
    ]
    blocks = [_block(given), *(block for section in derivation.sections for block in _section(section))]
    results = [
        _row(program.gradient(way.name), way.whole, "result" if i == 0 else "")
        for i, way in enumerate(program.backward)
    ]
    checked = _block(f"& {line}" for line in _lines([words.check(derivation)]))
    return "\n\n".join([*blocks, _block(results), checked])


def _block(rows: Iterable[str], kind: str = "aligned", columns: str = "") -> str:
    body = " \\\\\n".join(rows)
    return f"$$\n\\begin{{{kind}}}{columns}\n{body}\n\\end{{{kind}}}\n$$"


def _section(section: Section) -> Iterator[str]:
    """Blocks: the step, and for each operand the equations and notes, with a table of products between them."""
    left, right = section.definition.sides
    rows = [_row(left, right, "step")]
    for equations in (*section.where, *([section.elements] if section.elements else [])):
        rows += _item(equations)
    yield _block(rows)
    for part in section.parts:
        rows = [rf"& \text{{from {part.whence}}}"] if part.whence else []
        for item in part.items:
            if isinstance(item, Matching):
                yield _block(rows)
                yield _block(_table(item), "array", "{lll}")
                rows = [rf"& \text{{{_escaped(item.verdict())}: }} {item.chosen.latex()}"]
            else:
                rows += _item(item)
        yield _block(rows)


def _table(item: Matching) -> Iterator[str]:
    fits = rf"\text{{as }} {item.wrt.latex()}"
    yield rf"\text{{dimension matching{item.side}}} & \text{{shapes}} & {fits}"
    for i, candidate in enumerate(item.candidates):
        fit = r"\text{fits}" if candidate.fits else ""
        yield r"\hline " * (i == 0) + rf"{candidate.formula.latex()} & \text{{{_escaped(candidate.why())}}} & {fit}"


def _item(item: Item) -> Iterator[str]:
    if isinstance(item, Note):
        for line in _lines([f"{item.label}: ", *item.parts]):
            yield f"& {line}"
    elif not isinstance(item, Matching):
        left, first, *rest = item.sides
        yield _row(left, first, item.label)
        for side in rest:
            yield f"&= {side.latex()}"


def _lines(parts: Iterable[str | Formula]) -> Iterator[str]:
    """A sentence with formulas in it, as lines of a block."""
    line: list[str | Formula] = []
    room = WIDTH
    for part in parts:
        for piece in re.findall(r"\s*\S+\s*", part) if isinstance(part, str) else [part]:
            width = len(piece if isinstance(piece, str) else piece.text())
            if line and width > room:
                yield _joined(line)
                line, room = [], WIDTH
            line.append(piece)
            room -= width
    yield _joined(line)


def _joined(pieces: Iterable[str | Formula]) -> str:
    """Neighbouring words as one text."""
    runs = itertools.groupby(pieces, key=lambda piece: isinstance(piece, str))
    return "".join(
        rf"\text{{{_escaped(''.join(map(str, run)))}}}" if said else "".join(piece.latex() for piece in run)  # type: ignore[union-attr]
        for said, run in runs
    )


def _row(left: Formula, right: Formula, label: str) -> str:
    return f"{left.latex()} &= {right.latex()}" + (rf" && \text{{{label}}}" if label else "")


def _space(shape: Shape) -> str:
    lengths = r" \times ".join(symbol(n) if isinstance(n, str) else str(n) for n in shape)
    return rf"\mathbb{{R}}^{{{lengths}}}" if shape else r"\mathbb{R}"


def _escaped(words: str) -> str:
    return words.replace("_", r"\_")
