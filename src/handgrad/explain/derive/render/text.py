"""A derivation as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from handgrad.explain.derive.matching import Matching
from handgrad.explain.derive.render import words
from handgrad.explain.derive.rules import Note
from handgrad.explain.derive.shapes import show

if TYPE_CHECKING:
    from handgrad.explain.derive.derivation import Derivation, Equations, Part, Section

WIDTH = 120
LABEL = 23  # columns of a heading
ALIGNED = 72  # columns up to which what stands beside a line stands one under the other


def write(derivation: Derivation) -> str:
    """The whole."""
    program = derivation.program
    title = textwrap.wrap(derivation.title, WIDTH)
    lines = [*title, "=" * max(map(len, title)), ""]
    lines += _wrapped(words.shapes(program), "")
    lines += ["", *_wrapped(words.task(program), ""), ""]
    if len(program.steps) > 1:
        lines += ["Forward", ""]
        rows = []
        for s in program.steps:
            made = [*s.rule.auxiliary(s), (s.out, s.rule.formula(s), s.shape)]
            rows += [(f"{name.text()} = {formula.text()}", _shape(shape)) for name, formula, shape in made]
        lines += [*_columns(rows), "", "Backward, from the last step to the first", ""]
    for section in derivation.sections:
        lines += [*_section(section), ""]
    lines += ["Result", ""]
    rows = [(f"d{way.name} = {way.whole.text()}", _shape(program.shape(way.name))) for way in program.backward]
    lines += [*_columns(rows), "", *_wrapped(words.check(derivation), "")]
    return "\n".join(line.rstrip() for line in lines)


def _section(section: Section) -> Iterator[str]:
    step = section.step
    head = f"{step.name} = {section.definition.sides[1].text()}"
    yield f"{head}   {_shape(step.shape)}"
    yield "-" * len(head)
    for equations in (*section.where, *([section.elements] if section.elements else [])):
        yield from _equations(equations)
    for part in section.parts:
        yield ""
        yield from _part(part)


def _part(part: Part) -> Iterator[str]:
    whence = f", from {part.whence}" if part.whence else ""
    yield f"  d{part.wrt.name}   {_shape(part.shape)}{whence}"
    for item in part.items:
        if isinstance(item, Matching):
            yield from _matching(item)
        elif isinstance(item, Note):
            said = "".join(piece if isinstance(piece, str) else piece.text().replace(" ", "\0") for piece in item.parts)
            yield from _labelled(item.label, [line.replace("\0", " ") for line in _wrapped(said, "")])
        else:
            yield from _equations(item)


def _equations(equations: Equations) -> Iterator[str]:
    left, *rest = (side.text() for side in equations.sides)
    lines = [part for k, side in enumerate(rest) for part in _broken(f"{' ' * len(left) if k else left} = {side}")]
    yield from _labelled(equations.label, lines)


def _matching(found: Matching) -> Iterator[str]:
    rows = [
        (f"{'✓' if candidate.fits else '·'} {candidate.formula.text()}", candidate.why())
        for candidate in found.candidates
    ]
    head = f"which products have the shape {show(found.wanted)} of {found.wrt.text()}{found.side}?"
    yield from _labelled("dimension matching", [head, *_columns(rows, ""), f"{found.verdict()}: {found.chosen.text()}"])


def _labelled(label: str, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield f"    {label:<{LABEL - 2}}{line}"
        label = ""


def _broken(line: str) -> Iterator[str]:
    """A line that is too long breaks before a + or - within it, the last that fits."""
    room, indent = WIDTH - LABEL - 2, " " * (line.index("=") + 4)
    while len(line) > room:
        cut = max(line.rfind(" + ", len(indent) + 1, room), line.rfind(" - ", len(indent) + 1, room))
        if cut < 0:
            break
        yield line[:cut]
        line = indent + line[cut + 1 :]
    yield line


def _columns(rows: list[tuple[str, str]], indent: str = "    ") -> list[str]:
    width = max([len(left) for left, _ in rows if len(left) <= ALIGNED] or [0])
    return [f"{indent}{left:<{width}}   {right}" for left, right in rows]


def _wrapped(sentence: str, indent: str) -> list[str]:
    return textwrap.wrap(sentence, WIDTH - LABEL - 2, initial_indent=indent, subsequent_indent=indent)


def _shape(shape: tuple[object, ...]) -> str:
    return show(shape) if shape else "a number"  # type: ignore[arg-type]
