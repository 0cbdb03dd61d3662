"""Layers, losses and models of the library, written as expressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from handgrad.errors import DTypeError, ShapeError, UnsupportedError
from handgrad.explain.derive.graphs import layers_from_the_input, write_graph
from handgrad.explain.derive.parse import parse
from handgrad.explain.derive.program import Program
from handgrad.explain.derive.shapes import Shape, flattened, shape_of
from handgrad.layers import (
    GEGLU,
    GLU,
    L2,
    Bilinear,
    CrossEntropy,
    Dropout,
    Flatten,
    Hinge,
    Identity,
    Layer,
    LayerNorm,
    Linear,
    Loss,
    ReGLU,
    SwiGLU,
)
from handgrad.layers import loss as loss_of
from handgrad.layers.activations import ACTIVATIONS
from handgrad.layers.gated import Gated
from handgrad.layers.losses import LOSSES
from handgrad.models import Graph, Residual, Sequential
from handgrad.models.container import Container

GATES: dict[type[Layer], str] = {GLU: "sigmoid", SwiGLU: "swish", Bilinear: "identity", ReGLU: "relu", GEGLU: "gelu"}
PLAIN = {kind for kind in ACTIVATIONS.values() if kind is not Identity}


@dataclass
class Written:
    """A model as statements. parameters: handgrad's name -> the name in the expression, for each that is no repeat.

    masks: what Dropout draws, name -> (rate, the array it is shaped as). titles: a line on each name.
    """

    statements: list[str] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    decayed: list[str] = field(default_factory=list)
    masks: dict[str, tuple[float, str]] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)  # the first name a layer makes -> what the layer is
    output: str = "X"

    @property
    def expression(self) -> str:
        """All statements."""
        return "; ".join(self.statements)


def lowered(target: Layer | Loss, loss: Any, regularizer: L2 | None, shapes: Mapping[str, Any]) -> tuple[Program, str]:
    """(the program, its title) of a layer, a loss or a model with its loss."""
    if isinstance(target, Loss):
        if loss is not None or regularizer is not None:
            raise DTypeError("a loss takes no further loss or regularizer; give derive the model first")
        return _loss(target, shapes), repr(target)
    if regularizer is not None and not isinstance(regularizer, L2):
        raise DTypeError(f"regularizer must be L2(strength), got {regularizer!r}")
    if unknown := sorted(shapes.keys() - {"X"}):
        raise ShapeError(f"a layer's own shapes are known; only X can be given, got {unknown[0]}")
    given = shape_of("X", shapes["X"]) if "X" in shapes else ("m", *sample_shape(target))
    written = write(target, given, single=not isinstance(target, Container))
    title = repr(target)
    if loss is not None:
        made = loss_of(loss)
        scores = parse(written.expression, written.shapes).shape(written.output)
        add_loss(written, made, regularizer, scores)
        title = f"{title} with {made!r}" + (f" and {regularizer!r}" if regularizer else "")
    elif regularizer is not None:
        raise DTypeError("regularizer is added to a loss; give the loss too")
    meanings = {
        mask: f"1 / (1 - {rate:g}) where Dropout keeps an element of {array}, 0 where it drops it"
        for mask, (rate, array) in written.masks.items()
    }
    return parse(written.expression, written.shapes, written.masks, meanings), title


def sample_shape(model: Layer) -> Shape:
    """The shape of one sample, as far as the layers tell: of a model without widths, n."""
    found = list(leaves(model))
    for layer in found:
        if isinstance(layer, Linear | Gated):
            return (layer.n_in,)
        if isinstance(layer, LayerNorm):
            return (layer.n,)
    return ("h", "w") if any(isinstance(layer, Flatten) for layer in found) else ("n",)


def leaves(layer: Layer) -> Iterator[Layer]:
    """The layers within that are no containers, in order."""
    if isinstance(layer, Sequential):
        for child in layer.layers:
            yield from leaves(child)
    elif isinstance(layer, Residual):
        yield from leaves(layer.layer)
    elif isinstance(layer, Graph):
        for child in layers_from_the_input(layer):
            yield from leaves(child)
    else:
        yield layer


def write(model: Layer, given: Shape, single: bool = False, training: bool = True) -> Written:
    """The model as statements, from an input X of shape `given`, samples first.

    single: a layer alone, whose names carry no number and whose output is Z or Y. training: whether Dropout drops.
    """
    writer = _Writer(Written(shapes={"X": given}), single, training)
    out = writer.layer(model, "X", "", dict(zip(model.parameters(), model.parameter_keys().values(), strict=True)))
    if not writer.written.statements:
        writer.say("Y", f"identity({out})")
        out = "Y"
    writer.written.output = out
    return _in_the_models_order(writer.written, model)


def _in_the_models_order(written: Written, model: Layer) -> Written:
    """The parameters as the model draws them. A graph may have some that its output does not need."""
    for name in model.parameters():
        if name not in written.parameters:
            raise UnsupportedError(f"parameter {name!r} has no part in the output of {model!r}: it cannot be written")
    written.parameters = {name: written.parameters[name] for name in model.parameters()}
    return written


class _Writer:
    """Writes the statements of a model, layer by layer. Layers placed twice take the names of their first place."""

    def __init__(self, written: Written, single: bool, training: bool):
        self.written, self.single, self.training = written, single, training
        self.ranks: dict[str, Shape] = dict(written.shapes)
        self.places: dict[Any, dict[str, str]] = {}  # a layer's identity -> its names of parameters
        self.number = 0  # of layers with parameters
        self.counts: dict[str, int] = {}

    def layer(self, layer: Layer, x: str, place: str, keys: Any = None) -> str:
        """Writes a layer that takes x; the name of its output."""
        if isinstance(layer, Sequential):
            for i, child in enumerate(layer.layers):
                x = self.layer(child, x, f"{place}{i}.")
            return x
        if isinstance(layer, Residual):
            inner = self.layer(layer.layer, x, f"{place}layer.")
            return self.say(self.name("R"), f"{x} + {inner}", self.ranks[x], "Residual: what goes around is added")
        if isinstance(layer, Graph):
            return write_graph(self, layer, x, place)
        kind = type(layer)
        if kind is Identity and not self.single:
            return x
        if kind is Linear:
            return self.linear(layer, x, place)  # type: ignore[arg-type]
        if kind in GATES:
            return self.gated(layer, x, place)  # type: ignore[arg-type]
        if kind is LayerNorm:
            return self.norm(layer, x, place)  # type: ignore[arg-type]
        if kind is Dropout:
            return self.dropout(layer, x, place)  # type: ignore[arg-type]
        if kind is Flatten:
            return self.flatten(x, repr(layer)) if len(self.ranks[x]) != 2 or self.single else x
        if kind in PLAIN or kind is Identity:
            name = "P" if layer.op.name == "softmax" else "Y" if self.single else "A"
            options = "".join(f", {k}={v!r}" for k, v in layer.hyper().items())
            return self.say(self.name(name), f"{layer.op.name}({x}{options})", self.ranks[x], repr(layer))
        raise UnsupportedError(
            f"{kind.__name__}, at {place.rstrip('.') or 'the top'}, is no layer of the library: it cannot be written"
        )

    def linear(self, layer: Linear, x: str, place: str) -> str:
        """Z = X W + b."""
        title = repr(layer)
        if layer.flatten and len(self.ranks[x]) != 2:
            x = self.flatten(x, title)
        names = self.parameters(layer, place, {"weight": "W", "bias": "b"})
        turned = ".T" if layer.layout == "out_in" else ""
        shape = (*self.ranks[x][:-1], layer.n_out)
        return self.say(self.name("Z"), f"{x} @ {names['weight']}{turned}{_plus(names.get('bias'))}", shape, title)

    def gated(self, layer: Gated, x: str, place: str) -> str:
        """C = X V + b, G = X W + c, Y = C * f(G)."""
        letters = {"content.weight": "V", "gate.weight": "W", "content.bias": "b", "gate.bias": "c"}
        names = self.parameters(layer, place, letters)
        shape = (*self.ranks[x][:-1], layer.n_out)
        content, gate, out = self.name("C"), self.name("G"), self.name("Y")
        self.say(content, f"{x} @ {names['content.weight']}{_plus(names.get('content.bias'))}", shape, repr(layer))
        self.say(gate, f"{x} @ {names['gate.weight']}{_plus(names.get('gate.bias'))}", shape)
        if (function := GATES[type(layer)]) == "identity":
            return self.say(out, f"{content} * {gate}", shape)
        opened = self.say(self.name("F"), f"{function}({gate})", shape)
        return self.say(out, f"{content} * {opened}", shape)

    def norm(self, layer: LayerNorm, x: str, place: str) -> str:
        """Y = normalize(X) * gamma + beta."""
        names = self.parameters(layer, place, {"weight": "gamma", "bias": "beta"})
        shape = self.ranks[x]
        normal = self.say(self.name("N"), f"normalize({x}, epsilon={layer.epsilon!r})", shape, repr(layer))
        scaled = self.say(self.name("U"), f"{normal} * {names['weight']}", shape)
        return self.say(self.name("Y"), f"{scaled} + {names['bias']}", shape)

    def dropout(self, layer: Dropout, x: str, place: str) -> str:
        """D = X * K, where K holds 1 / (1 - rate) for what is kept and 0 for what is dropped."""
        if not self.training or layer.rate == 0:
            return x if not self.single else self.say("Y", f"identity({x})", self.ranks[x], repr(layer))
        mask = self.name("K")
        self.written.masks[mask] = (layer.rate, x)
        self.written.shapes[mask] = self.ranks[x]
        return self.say("Y" if self.single else self.name("D"), f"{x} * {mask}", self.ranks[x], repr(layer))

    def flatten(self, x: str, title: str) -> str:
        """All axes but the first as one."""
        return self.say(self.name("F"), f"flatten({x})", (self.ranks[x][0], flattened(self.ranks[x][1:])), title)

    def parameters(self, layer: Layer, place: str, letters: Mapping[str, str]) -> dict[str, str]:
        """The names of a layer's parameters: those of its first place where it was met before."""
        key = tuple(layer.parameter_keys().values())
        if key not in self.places:
            self.number += 1
            tail = "" if self.single else str(self.number)
            names = {own: f"{letters[own]}{tail}" for own in layer.parameters()}
            self.places[key] = names
            for own, spec in layer.parameters().items():
                self.written.parameters[f"{place}{own}"] = names[own]
                self.written.shapes[names[own]] = spec.shape
                if spec.decays:
                    self.written.decayed.append(names[own])
        return self.places[key]

    def name(self, letter: str) -> str:
        """A name for a result, numbered in a model."""
        self.counts[letter] = self.counts.get(letter, 0) + 1
        return letter if self.single else f"{letter}{self.counts[letter]}"

    def say(self, name: str, expression: str, shape: Shape | None = None, title: str = "") -> str:
        """One statement."""
        self.written.statements.append(f"{name} = {expression}")
        self.ranks[name] = shape if shape is not None else self.ranks["X"]
        if title:
            self.written.sections[name] = title
        return name


def add_loss(written: Written, loss: Loss, regularizer: L2 | None, scores: Shape) -> None:
    """Puts the loss, and the penalty on all weights, after a model whose scores have that shape."""
    written.shapes["y"] = scores[:-1] if loss.classifies else scores
    terms = []
    if regularizer is not None and regularizer.strength:
        for name in written.decayed:
            written.statements.append(f"R_{name} = l2({name}, strength={regularizer.strength!r})")
            terms.append(f"R_{name}")
    if not terms:
        written.statements.append(f"L = {call(loss, written.output)}")
    else:
        written.statements += [f"loss = {call(loss, written.output)}", f"L = {' + '.join(['loss', *terms])}"]
    written.output = "L"


def call(loss: Loss, scores: str) -> str:
    """The loss as an expression of scores and y. Raises UnsupportedError for one of the caller's own."""
    if type(loss) not in LOSSES.values():
        raise UnsupportedError(f"{type(loss).__name__} is no loss of the library: it cannot be written")
    options = "".join(f", {f.name}={getattr(loss, f.name)!r}" for f in fields(loss))  # type: ignore[arg-type]
    return f"{loss.op.name}({scores}, y{options})"


def _loss(loss: Loss, shapes: Mapping[str, Any]) -> Program:
    given = {name: shape_of(name, shape) for name, shape in shapes.items()}
    scores = given.pop("S", ("m", "n"))
    labels = scores[:-1] if isinstance(loss, Hinge | CrossEntropy) else scores
    return parse(f"L = {call(loss, 'S')}", {"S": scores, "y": labels, **given})


def _plus(bias: str | None) -> str:
    return f" + {bias}" if bias else ""
