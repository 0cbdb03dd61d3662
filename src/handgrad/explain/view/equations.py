"""The derivation that belongs to a place: its op as an expression of `derive`, and what that gives, as JSON's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from handgrad.errors import HandgradError
from handgrad.explain.derive import Derivation, derive
from handgrad.explain.derive.derivation import Equations, Item, Section
from handgrad.explain.derive.matching import Candidate, Matching
from handgrad.explain.derive.rules import Note
from handgrad.explain.derive.shapes import show
from handgrad.layers import Dropout, Flatten, LayerNorm, Linear, Loss
from handgrad.layers.activations import ACTIVATIONS
from handgrad.layers.base import Layer
from handgrad.ops import Op
from handgrad.ops.base import Elementwise

INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**", "matmul": "@"}
AXES = ("n", "m n", "b m n", "a b m n")  # of an array by how many axes it has


@dataclass(frozen=True)
class Subject:
    """An expression of `derive` and the shapes of its names: what a derivation is found by, and shared by."""

    expression: str
    shapes: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, expression: str, **shapes: str) -> Subject:
        """As `derive` takes them."""
        return cls(expression, tuple(shapes.items()))


def of_layer(layer: Layer, axes: int, training: bool) -> Subject | None:
    """That of a layer whose input has so many axes; None for one that derive does not know."""
    if not 1 <= axes <= len(AXES):
        return None
    shape = AXES[axes - 1]
    if type(layer) is Linear and axes > 1:
        return linear("Z", ("X", "W", "b"), axes, layer.bias, layer.layout == "out_in", layer.flatten)
    if type(layer) is LayerNorm:
        text = f"N = normalize(X, epsilon={layer.epsilon!r}); Y = N * gamma + beta"
        return Subject.of(text, X=shape, gamma="n", beta="n")
    if type(layer) is Dropout:
        return Subject.of("Y = X * K", X=shape, K=shape) if training else Subject.of("Y = identity(X)", X=shape)
    if type(layer) is Flatten:
        return Subject.of("F = flatten(X)", X=shape)
    if type(layer) in ACTIVATIONS.values():
        return Subject.of(f"Y = {layer.op.name}(X{_options(layer.hyper())})", X=shape)
    return None


def linear(
    out: str, letters: tuple[str, str, str], axes: int, bias: bool, turned: bool = False, flatten: bool = False
) -> Subject:
    """Z = X W + b, under those letters; turned: with W kept as (n_out, n_in); flatten: with X's axes but one as one."""
    x, w, b = letters
    dims = [*AXES[axes - 1].split()[:-1], "n_in"]
    width, taken = ("*".join(dims[1:]), f"flatten({x})") if flatten and axes > 2 else ("n_in", x)
    text = f"{out} = {taken} @ {w}{'.T' if turned else ''}{f' + {b}' if bias else ''}"
    shapes = {x: " ".join(dims), w: f"n_out {width}" if turned else f"{width} n_out"}
    return Subject.of(text, **shapes, **({b: "n_out"} if bias else {}))


def of_loss(loss: Loss) -> Subject:
    """That of a loss, of scores S and targets y."""
    options = _options(vars(loss))
    return Subject.of(f"L = {loss.op.name}(S, y{options})", S="m n", y="m" if loss.classifies else "m n")


def of_op(op: Op, shapes: Sequence[tuple[int, ...] | None], hyper: Mapping[str, Any]) -> Subject | None:
    """That of an op on inputs of those shapes; None for one that an input was left out of."""
    if any(shape is None for shape in shapes) or len(shapes) != len(op.inputs):
        return None
    names = [name.upper() if shape else name for name, shape in zip(op.inputs, shapes, strict=True)]
    given = [" ".join(map(str, shape)) for shape in shapes if shape is not None]
    if isinstance(op, Elementwise) and shapes[0]:
        given = [AXES[len(shapes[0]) - 1]] if len(shapes[0]) <= len(AXES) else given
    called = f"{op.name}({', '.join(names)}{_options(hyper)})"
    text = f" {INFIX[op.name]} ".join(names) if op.name in INFIX else called
    out = "f" if "y" in op.inputs else "y"
    return Subject.of(f"{out.upper() if any(shapes) else out} = {text}", **dict(zip(names, given, strict=True)))


def _options(hyper: Mapping[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in hyper.items())


@lru_cache(maxsize=256)
def derivation(subject: Subject) -> dict[str, Any] | None:
    """The derivation in the document's form; None for what derive can't write."""
    try:
        found = derive(subject.expression, **dict(subject.shapes))
    except (HandgradError, ArithmeticError, RecursionError):
        return None
    return {"title": subject.expression, "sections": _sections(found)}


def _sections(found: Derivation) -> list[dict[str, Any]]:
    return [_section(section) for section in found.sections]


def _section(section: Section) -> dict[str, Any]:
    parts = [
        {"wrt": part.wrt.latex(), "shape": show(part.shape), "items": [_item(item) for item in part.items]}
        for part in section.parts
    ]
    return {
        "formula": _equation(section.definition),
        "elements": None if section.elements is None else _equation(section.elements),
        "where": [_equation(each) for each in section.where],
        "parts": parts,
    }


def _equation(equations: Equations) -> str:
    return " = ".join(side.latex() for side in equations.sides)


def _item(item: Item) -> dict[str, Any]:
    if isinstance(item, Matching):
        label = f"dimension matching: which products have the shape {show(item.wanted)}{item.side}?"
        products = [_product(candidate, item) for candidate in item.candidates]
        return {"kind": "matching", "label": label, "products": products, "verdict": item.verdict()}
    if isinstance(item, Note):
        text = "".join(part if isinstance(part, str) else part.text() for part in item.parts)
        return {"kind": "note", "label": item.label, "text": text}
    return {"kind": "equation", "label": item.label, "latex": _equation(item)}


def _product(candidate: Candidate, matching: Matching) -> dict[str, Any]:
    return {
        "latex": candidate.formula.latex(),
        "shapes": " ".join(map(show, candidate.factors)),
        "fits": candidate.fits,
        "chosen": candidate.formula == matching.chosen,
        "why": candidate.why(),
    }
