"""An op's formulas under the names that stand around it: f = q z and not z = x y, where a graph has an x of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from handgrad.explain.derive.symbols import operator_name, symbol
from handgrad.models.graph.expression import constant_text, expression
from handgrad.models.graph.nodes import CONSTANT, OP, Node
from handgrad.ops import Loss, Op

WIDEST = 34  # letters of an expression in a formula
SPARE = ("z", "u", "v", "t", "s", "h")  # what a value without a name is called, the first that nothing else is called
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
TOKEN = re.compile(r"\s*(?:([A-Za-z][A-Za-z0-9_]*)(\()?|(\d+(?:\.\d*)?(?:e[+-]?\d+)?)|(\*|[-+/@(),]))")
SIGNS = {"*": r" \cdot ", "@": r" \, "}
SPECIAL = {
    **{each: f"\\{each}" for each in "{}$&#%_"},
    "\\": r"\textbackslash ",
    "^": r"\textasciicircum ",
    "~": r"\textasciitilde ",
}


def renamed(latex: str, names: Mapping[str, str]) -> str:
    """A formula with other names in the place of its letters; the letters within words and commands stay."""
    if not names:
        return latex
    letters = "|".join(map(re.escape, names))
    return re.sub(rf"(?<![A-Za-z\\])({letters})(?![A-Za-z'])", lambda found: _braced(names[found[1]]), latex)


def _braced(name: str) -> str:
    return name if len(name) == 1 else f"{{{name}}}"


def formulas(op: Op, inputs: Sequence[str | None], out: str | None) -> tuple[str | None, str | None]:
    """The op's (formula, local derivative) with those names for its inputs and its output; None leaves a letter as it
    is. Losses keep their own: they are written for one sample."""
    if isinstance(op, Loss) or op.formula is None:
        return op.formula, op.derivative
    names = {_letter(op.formula, letter): name for letter, name in zip(op.inputs, inputs, strict=False) if name}
    left = op.formula.partition(" = ")[0]
    if out and re.fullmatch("[A-Za-z]", left):
        names[left] = out
    return renamed(op.formula, names), None if op.derivative is None else renamed(op.derivative, names)


def _letter(formula: str, letter: str) -> str:
    """The letter as the formula writes it: x, or X of a product of matrices."""
    return letter if re.search(rf"(?<![A-Za-z\\]){letter}(?![A-Za-z])", formula) else letter.upper()


def of_node(node: Node) -> tuple[str | None, str | None]:
    """(formula, local derivative) of an op of a graph, under the names of the graph; by numbers nothing is derived.

    What has no name gets a letter that nothing else has, and the formula says what it is: u = 1 + v, v = exp(-s).
    """
    op: Any = node.op
    args = node.args[: len(op.inputs)]
    if isinstance(op, Loss) or op.formula is None or None in args:
        return op.formula, op.derivative
    used = {each.name for each in node.graph.nodes}
    spare = (letter for letter in SPARE if letter not in used)
    out = symbol_of(node.name) if node.expressed else next(spare, None)
    where: dict[Node, str] = {}
    names: list[str | None] = []
    for arg in args:
        assert arg is not None
        if arg.kind == CONSTANT and not arg.expressed:
            text = constant_text(arg.value)
            names.append(
                rf"\left({text}\right)" if text.startswith("-") else text if text[0].isdigit() else worded(text)
            )
        elif arg.kind == OP and not arg.expressed and (arg in where or (letter := next(spare, ""))):
            names.append(where.setdefault(arg, letter))
        else:
            names.append(symbol_of(arg.name))
    formula, local = formulas(op, names, out)
    told = [f"{letter} = {written(expression(arg, WIDEST))}" for arg, letter in where.items()]
    fixed = [rf"\partial {_braced(name)}}}" for arg, name in zip(args, names, strict=True) if name and _fixed(arg)]
    parts = [] if local is None else re.split(r",\\quad\s*", local)
    kept = [part for part in parts if not any(each in part for each in fixed)]
    return r",\quad ".join([str(formula), *told]), r",\quad ".join(kept) or None


def _fixed(node: Node | None) -> bool:
    return node is not None and node.kind == CONSTANT


def symbol_of(name: str) -> str:
    """A node's name in LaTeX; one that is no word of a program stands as text."""
    return symbol(name) if PLAIN.fullmatch(name) else worded(name)


def worded(text: str) -> str:
    r"""Any text within \text{}, with what LaTeX would read as commands escaped."""
    return rf"\text{{{''.join(SPECIAL.get(letter, letter) for letter in text)}}}"


def written(text: str) -> str:
    """An expression of names, numbers and signs in LaTeX; any other as text."""
    found, at = [], 0
    while at < len(text):
        token = TOKEN.match(text, at)
        if token is None or text.startswith("**", token.start(4) if token[4] else at):
            return worded(text)
        name, called, number, sign = token.groups()
        if name:
            found.append(f"{operator_name(name)}(" if called else symbol(name))
        else:
            found.append(number or SIGNS.get(sign, sign))
        at = token.end()
    return "".join(found)
