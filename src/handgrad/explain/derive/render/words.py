"""The sentences that text, Markdown and LaTeX share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handgrad.explain.derive.program import Program
from handgrad.explain.derive.shapes import show

if TYPE_CHECKING:
    from handgrad.explain.derive.derivation import Derivation


def shapes(program: Program) -> str:
    """Given: X (m, n_in), W (n_in, n_out) and b (n_out,)."""
    given = [f"{name} {show(shape) if shape else '(a number)'}" for name, shape in program.inputs.items()]
    data = [name for name in program.inputs if name in program.data]
    plain = f" No gradient is taken by {listed(data)}: {'they are' if data[1:] else 'it is'} data." if data else ""
    said = "".join(f" {name} is {meaning}." for name, meaning in program.meanings.items())
    return f"Given: {listed(given)}.{plain}{said}"


def task(program: Program, delta: str = "[i'=i]") -> str:
    """What is given and what is sought. delta: how it is written that two indices agree."""
    out, objective = program.output, program.objective
    wanted = listed([f"d{name}" for name in program.wanted])
    shape = program.shape(out)
    agree = f" {delta} is 1 where both indices agree, otherwise 0." if any(program.inputs.values()) else ""
    form = f"in its shape {show(shape)}" if shape else "a number (1 where it is the objective itself)"
    return (
        f"Write dX for ∂{objective}/∂X, the gradient of an objective {objective} by X. "
        f"The upstream gradient d{out} is given, {form}. Sought: {wanted}, "
        f"{'each ' if len(program.wanted) > 1 else ''}in the shape of what it belongs to."
        f"{agree}"
    )


def check(derivation: Derivation) -> str:
    """What was compared, and how it came out."""
    sizes = [f"{name} = {size}" for name, size in derivation.sizes.items() if not name.isdecimal()]
    smaller = [f"{size} in place of {name}" for name, size in derivation.sizes.items() if name.isdecimal()]
    at = f" at {', '.join(sizes)}" if sizes else ""
    at += f"{',' if sizes else ''} with {listed(smaller)}" if smaller else ""
    return (
        f"Checked{at}: every line against the others, every gradient against complex steps; "
        f"the worst relative difference is {derivation.error:.1e}."
    )


def listed(words: list[str]) -> str:
    """a, b and c."""
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
