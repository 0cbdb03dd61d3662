"""Functions that stand for other expressions: what they mean, and their arguments put in."""

from __future__ import annotations

import ast
from collections.abc import Mapping

# Name -> (arguments, expression). An argument with ? may be left out.
MEANINGS = {
    "matmul": "x y: x @ y",
    "add": "x y: x + y",
    "subtract": "x y: x - y",
    "multiply": "x y: x * y",
    "divide": "x y: x / y",
    "power": "x y: x ** y",
    "negative": "x: -x",
    "silu": "x: swish(x)",
    "linear": "x w b?: x @ w + b",
    "layer_norm": "x scale shift: normalize(x) * scale + shift",
    "glu": "x v w b? c?: (x @ v + b) * sigmoid(x @ w + c)",
    "swiglu": "x v w b? c?: (x @ v + b) * swish(x @ w + c)",
    "bilinear": "x v w b? c?: (x @ v + b) * (x @ w + c)",
    "reglu": "x v w b? c?: (x @ v + b) * relu(x @ w + c)",
    "geglu": "x v w b? c?: (x @ v + b) * gelu(x @ w + c)",
}


def meant(function: str) -> tuple[list[str], ast.expr]:
    """The arguments of a function, and the expression that it stands for."""
    heads, _, body = MEANINGS[function].partition(": ")
    return heads.split(), ast.parse(body, mode="eval").body


class Put(ast.NodeTransformer):
    """Puts arguments in the places of names; a term whose name was left out is dropped from its sum."""

    def __init__(self, given: Mapping[str, ast.expr], like: ast.Call):
        self.given, self.like = given, like

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.given.get(node.id, ast.copy_location(ast.Name(node.id), self.like))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        return self._here(ast.Call(ast.Name(node.func.id), [self.visit(part) for part in node.args], []))  # type: ignore[attr-defined]

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.right, ast.Name) and node.right.id not in self.given:
            return self.visit(node.left)
        return self._here(ast.BinOp(self.visit(node.left), node.op, self.visit(node.right)))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        return self._here(ast.UnaryOp(node.op, self.visit(node.operand)))

    def _here(self, node: ast.expr) -> ast.expr:
        return ast.copy_location(node, self.like)
