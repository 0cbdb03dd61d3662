"""Derivations: of an expression, a layer, a loss or a whole model, as one would write them, checked by numbers."""

from __future__ import annotations

from typing import Any

from handgrad.errors import DTypeError
from handgrad.explain.derive.check import DerivationError, prove
from handgrad.explain.derive.code import module
from handgrad.explain.derive.derivation import Derivation
from handgrad.explain.derive.model import lowered
from handgrad.explain.derive.parse import parse
from handgrad.explain.derive.places import ExpressionError
from handgrad.explain.derive.program import Program
from handgrad.layers import L2, Layer, Loss

__all__ = ["Derivation", "DerivationError", "ExpressionError", "derive"]


def derive(expression: Any, loss: Any = None, regularizer: L2 | None = None, /, **shapes: Any) -> Derivation:
    """The gradients of an expression, derived step by step: by elements, by shapes, as arrays; checked by numbers.

    expression: text, a part of Python's: names and numbers, + - * / ** @, .T, the functions of `handgrad.ops` such as
        relu(X), softmax(X, axis=-1), sum(X, axis=0), cross_entropy(S, y); several statements, between ; or on lines.
        Or a layer, a loss or a whole model of the library, for which shapes are known.
    shapes: of each array, by its name: "m n_in", lengths as names or numbers; "" for a single number. They broadcast
        as NumPy's. Two names of lengths stand for two numbers. Targets of a loss are data, without a gradient.
    loss, regularizer: to be put after a model, as `fit` takes them: derive(model, "hinge", L2(0.1)).

        print(derive("Z = X @ W + b", X="m n_in", W="n_in n_out", b="n_out"))

    print shows text; .markdown, .latex and .code (NumPy source of forward and backward) are other forms.
    Raises ExpressionError or ShapeError, with the place in the expression marked; UnsupportedError for a layer that is
    none of the library's. Numbers that contradict a derivation raise DerivationError; none is shown unchecked.
    """
    if isinstance(expression, str):
        if loss is not None or regularizer is not None:
            raise DTypeError("loss and regularizer go with a model; write them into the expression, as in hinge(S, y)")
        program, title = parse(expression, shapes), "; ".join(expression.strip().splitlines())
    elif isinstance(expression, Layer | Loss):
        program, title = lowered(expression, loss, regularizer, shapes)
    else:
        raise DTypeError(f"derive takes an expression, a layer, a loss or a model, got {type(expression).__name__}")
    return _checked(program, title)


def _checked(program: Program, title: str) -> Derivation:
    error, lengths = prove(program, module(program))
    return Derivation(title, program, error, lengths)
