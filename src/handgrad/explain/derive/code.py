"""A program as NumPy code: the lines of forward and backward, each with the shape of what it makes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from handgrad.explain.derive.functions import helpers_for
from handgrad.explain.derive.program import Program
from handgrad.explain.derive.rules import Step
from handgrad.explain.derive.shapes import Shape, show

WIDTH = 120  # columns of a line
ALIGNED = 60  # columns of code up to which comments stand one under the other

Line = tuple[str, Shape]  # code, and the shape of the array that it makes


def step_lines(step: Step) -> list[Line]:
    """One step, its auxiliary arrays first."""
    extra = [(f"{name.code()} = {formula.code()}", shape) for name, formula, shape in step.rule.auxiliary(step)]
    return [*extra, (f"{step.name} = {step.rule.formula(step).code()}", step.shape)]


def forward_lines(program: Program) -> list[Line]:
    """All steps."""
    return [line for step in program.steps for line in step_lines(step)]


def backward_lines(program: Program) -> list[Line]:
    """The gradient of each name that needs one."""
    return [(f"d{way.name} = {way.whole.code()}", program.shape(way.name)) for way in program.backward]


def saved(program: Program, lines: Iterable[Line]) -> list[str]:
    """The arrays of the forward pass that those lines use, in the order in which they arose."""
    used = set(re.findall(r"\b[^\W\d]\w*", "\n".join(code.split(" = ", 1)[1] for code, _ in lines)))
    return [name for name in program.shapes if name in used]


def commented(lines: Iterable[Line], indent: str = "    ") -> list[str]:
    """Lines with their shapes in comments, one under the other where they fit; a long line breaks at its sums."""
    lines = list(lines)
    column = max((len(code) for code, _ in lines if len(code) <= ALIGNED), default=0)
    shown = []
    for code, shape in lines:
        comment = f"# {show(shape) if shape else 'a number'}"
        line = f"{indent}{code:<{column}}  {comment}"
        if len(line) > WIDTH:
            line = f"{indent}{code}"
            if len(line) > WIDTH:
                name, value = code.split(" = ", 1)
                terms = value.replace(" + ", f"\n{indent}    + ")
                line = f"{indent}{name} = (\n{indent}    {terms}\n{indent})"
            line = f"{indent}{comment}\n{line}"
        shown.append(line)
    return shown


def unpacked(names: list[str]) -> str:
    """The left side that takes a tuple apart."""
    return ", ".join(names) if len(names) > 1 else f"({names[0]},)"


def module(program: Program) -> str:
    """The whole: helpers, forward and backward."""
    lines, back = forward_lines(program), backward_lines(program)
    kept = saved(program, back)
    wanted = [f"d{name}" for name in program.wanted]
    out, inputs = program.output, ", ".join(program.inputs)
    given = ", ".join(f"{name} {show(shape) if shape else 'a number'}" for name, shape in program.inputs.items())
    lead = expression if len(expression := program.expression.strip()) < 100 and "\n" not in expression else "Of"
    cache = f"({', '.join(kept)}{',' * (len(kept) == 1)})"
    body = [
        f"def forward({inputs}):",
        *textwrap.wrap(f'"""{lead}: {given}."""', 112, initial_indent=" " * 4, subsequent_indent=" " * 4),
        *commented(lines),
        f"    return {out}, {cache}",
        "",
        "",
        f"def backward(d{out}, cache):",
        f'    """From the gradient of {out}, that of each input, in its shape."""',
        *([f"    {unpacked(kept)} = cache"] if kept else []),
        *commented(back),
        f"    return {', '.join(wanted)}",
    ]
    text = "\n".join(body) + "\n"
    return imports(helpers := helpers_for(text), text) + "".join(f"\n\n{helper}" for helper in helpers) + f"\n\n{text}"


def imports(helpers: list[str], text: str) -> str:
    """The imports that a script needs."""
    needs_math = any("math." in part for part in (*helpers, text))
    return ("import math\n\n" if needs_math else "") + "import numpy as np\n"
