"""A node as one would write it, with one place in it marked: what errors of a graph show."""

from __future__ import annotations

from typing import Any

from handgrad.models.graph.nodes import CONSTANT, LAYER, OP, Node
from handgrad.models.graph.plan import way

# sign and precedence, as Python has them
INFIX = {"add": ("+", 1), "subtract": ("-", 1), "multiply": ("*", 2), "divide": ("/", 2), "matmul": ("@", 2)}
UNARY, POWER, ATOM = 3, 4, 5
DEEPEST, WIDEST = 8, 100  # levels and characters of an expression; what lies deeper is written by its name
BEGIN, END = "\0", "\1"


def expression(node: Node, widest: int = WIDEST) -> str:
    """The node as an expression of its inputs, such as "(x + y) * z"; parts that lie deep stand by their names."""
    for depth in range(DEEPEST, 0, -1):
        text = _written(node, depth, 0, None)
        if len(text) <= widest:
            break
    return text


def marked(output: Node, place: Node) -> str:
    """Two lines: the expression of `output`, and a mark under `place`.

    Where that lies too deep within, its own expression, or for an input that of the first node that reads it.
    """
    nodes = output.graph.nodes
    near = place if place.kind in (OP, LAYER) else nodes[[*way(nodes, place.index, output.index), place.index][1]]
    for root in (output, near, place):
        for depth in range(DEEPEST, 0, -1):
            text = _written(root, depth, 0, place)
            if len(text) <= WIDEST + 2 and BEGIN in text:
                break
        if BEGIN in text:
            break
    start = text.index(BEGIN)
    length = text.index(END) - start - 1
    # a node read twice is written twice, and marked once
    return text.replace(BEGIN, "").replace(END, "") + "\n" + " " * start + "^" * length


def _written(node: Node, depth: int, outer: int, mark: Node | None, root: bool = True) -> str:
    """outer: the precedence of what stands around; brackets are put where it binds closer."""
    text, own = _parts(node, depth, mark) if depth and (root or not node.expressed) else (_name(node), ATOM)
    if node is mark:
        text = f"{BEGIN}{text}{END}"
    return f"({text})" if own < outer else text


def _parts(node: Node, depth: int, mark: Node | None) -> tuple[str, int]:
    def inner(arg: Node | None, precedence: int) -> str:
        return "None" if arg is None else _written(arg, depth - 1, precedence, mark, root=False)

    if node.kind not in (OP, LAYER):
        text = _name(node)
        return text, UNARY if text.startswith("-") else ATOM
    if node.kind == LAYER:
        return f"{_short(repr(node.function), type(node.function).__name__)}({inner(node.args[0], 0)})", ATOM
    name, args = node.function.name, node.args
    if name in INFIX:
        sign, own = INFIX[name]
        return f"{inner(args[0], own)} {sign} {inner(args[1], own + 1)}", own
    if name == "negative":
        return f"-{inner(args[0], UNARY)}", UNARY
    if name == "power":
        return f"{inner(args[0], POWER + 1)} ** {inner(args[1], UNARY)}", POWER
    given = [inner(arg, 0) for arg in args]
    given += [f"{key}={inner(node.graph.nodes[i], 0)}" for key, i in node._keywords.items()]
    given += [f"{key}={_short(repr(value), '...')}" for key, value in node.hyper.items()]
    return f"{name}({', '.join(given)})", ATOM


def _name(node: Node) -> str:
    return constant_text(node.value) if node.kind == CONSTANT and not node.expressed else node.name


def constant_text(value: Any) -> str:
    """A constant as an expression shows it: its number, or the kind and shape of its array."""
    if isinstance(value, float):
        return f"{value:g}"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{value[()]:g}" if shape == () else f"array{tuple(shape)}"
    return _short(repr(value), "[...]")


def shortened(text: str) -> str:
    """The text's first 60 characters."""
    return text if len(text) <= 60 else f"{text[:60]}..."


def _short(text: str, otherwise: str) -> str:
    return text if len(text) <= 40 else otherwise
