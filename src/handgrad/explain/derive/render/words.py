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
    data = sorted(program.data)
    plain = f". No gradient is taken by {listed(data)}, which is data" if data else ""
    return f"Given: {listed(given)}{plain}."


def task(program: Program) -> str:
    """What is given and what is sought."""
    out, objective = program.output, program.objective
    wanted = listed([f"d{name}" for name in program.wanted])
    shape = program.shape(out)
    agree = " [i'=i] is 1 where both agree, otherwise 0." if any(program.inputs.values()) else ""
    form = f"in its shape {show(shape)}" if shape else "a number (1 where it is the objective itself)"
    return (
        f"Write dX for ∂{objective}/∂X, the gradient of an objective {objective} by X. "
        f"The upstream gradient d{out} is given, {form}. Sought: {wanted}, "
        f"{'each ' if len(program.wanted) > 1 else ''}in the shape of what it belongs to."
        f"{agree}"
    )


def check(derivation: Derivation) -> str:
    """What was compared, and how it came out."""
    sizes = ", ".join(f"{name} = {size}" for name, size in derivation.sizes.items())
    at = f" at {sizes}" if sizes else ""
    return (
        f"Checked{at}: every line against the others, every gradient against complex steps; "
        f"the worst relative difference is {derivation.error:.1e}."
    )


def listed(words: list[str]) -> str:
    """a, b and c."""
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
