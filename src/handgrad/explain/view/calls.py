"""Calls of layers and ops as places: a layer is one, a gated layer is opened into its branches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.explain.trace.units import FLAT
from handgrad.explain.view import equations
from handgrad.explain.view.places import Link, Place, Units, Weight, patterns, role
from handgrad.layers import Dropout, Layer, LayerNorm, LeakyReLU, Linear, ReLU
from handgrad.layers.gated import Gated
from handgrad.layers.jacobians import layer_jacobian
from handgrad.ops import Op
from handgrad.ops.base import Cache
from handgrad.ops.jacobians import Call, local_jacobian

LETTERS = {"weight": "W", "bias": "b"}
WIDEST = 34  # letters of a label
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0}
NO_UNITS = Units()


@dataclass(frozen=True)
class LayerCall:
    """A layer where it was called. source: the id of what it read, x its value. names: the layer's own name of each
    parameter -> the model's. params: by own name; grads: by own name, what arises here."""

    id: str
    layer: Layer
    source: str
    x: Any
    out: Any
    cache: Cache
    gradient: Any
    downstream: Any
    names: Mapping[str, str]
    params: Mapping[str, Any]
    grads: Mapping[str, Any]
    readers: int = 1
    training: bool = False


def layer_places(call: LayerCall) -> Iterator[Place]:
    """One place, or those of a gated layer; the last has the layer's output."""
    if isinstance(call.layer, Gated) and type(call.layer).backward is Layer.backward:
        yield from _opened(call)
        return
    layer, op = call.layer, getattr(call.layer, "op", None)

    def local(wrt: str | None) -> Any:
        return layer_jacobian(layer, call.params, call.x, call.out, call.cache, wrt)

    weight = call.names.get("weight") if isinstance(layer, Linear) else None
    letters = {"weight": r"\gamma", "bias": r"\beta"} if isinstance(layer, LayerNorm) else LETTERS
    weights = tuple(
        Weight(name, letters.get(own, own), np.shape(call.params[own]), local(own), call.grads.get(own))
        for own, name in call.names.items()
    )
    yield Place(
        call.id,
        label(layer),
        "layer",
        role(op, bool(weights)),
        call.out,
        call.gradient,
        formula=getattr(op, "formula", None),
        local=getattr(op, "derivative", None),
        patterns=patterns(op, call.readers),
        subject=equations.of_layer(layer, np.ndim(call.x), call.training and call.cache is not None),
        links=(Link(call.source, "X", np.shape(call.x), local(None), call.downstream, weight),),
        weights=weights,
        cache=call.cache,
        units=units(op, call.out, closes=isinstance(layer, ReLU) or (isinstance(layer, LeakyReLU) and not layer.alpha)),
    )


def _opened(call: LayerCall) -> Iterator[Place]:
    """Content and gate, two linear maps of one input; the gate's activation; their product. By the ops' own passes."""
    op: Any = call.layer.op
    _, c, g, w_content, w_gate, *_ = call.cache
    f, f_cache = op.gate.forward(g)
    _, product_cache = ops.multiply.forward(c, f)
    dc, df = ops.multiply.backward(call.gradient, product_cache)
    (dg,) = op.gate.backward(df, f_cache)
    at = {branch: f"{call.id}.{branch}" for branch in ("content", "gate", "activation", "product")}
    for branch, value, gradient, w, letters in (
        ("content", c, dc, w_content, ("X", "V", "b")),
        ("gate", g, dg, w_gate, ("X", "W", "c")),
    ):
        yield _branch(call, branch, value, gradient, w, letters)
    straight = op.gate is ops.identity
    if not straight:
        saturation = units(op.gate, f, closes=op.gate is ops.relu)
        link = Link(at["gate"], "G", g.shape, local_jacobian(op.gate, Call((g,), f, f_cache)), dg)
        subject = equations.Subject.of(f"F = {op.gate.name}(G)", G=equations.AXES[g.ndim - 1])
        yield _part(call, at["activation"], op.gate.name, op.gate, f, df, (link,), subject, f_cache, units=saturation)
    gate, letter = (at["gate"], "G") if straight else (at["activation"], "F")
    inputs = Call((c, f), call.out, product_cache)
    links = (
        Link(at["content"], "C", c.shape, local_jacobian(ops.multiply, inputs, 0), dc),
        Link(gate, letter, f.shape, local_jacobian(ops.multiply, inputs, 1), df),
    )
    shape = equations.AXES[c.ndim - 1]
    subject = equations.Subject.of(f"Y = C * {letter}", C=shape, **{letter: shape})
    text = f"content * {'gate' if straight else f'{op.gate.name}(gate)'}"
    found = patterns(ops.multiply, call.readers)
    yield _part(call, at["product"], text, ops.multiply, call.out, call.gradient, links, subject, product_cache, found)


def _branch(call: LayerCall, branch: str, value: Any, gradient: Any, w: Any, letters: tuple[str, str, str]) -> Place:
    biased = f"{branch}.bias" in call.names
    bias = call.params.get(f"{branch}.bias")
    cache = ops.linear.forward(call.x, w, bias)[1]
    inputs = Call((call.x, w, bias), value, cache, f"[{branch}]")
    dx, dw, db = ops.linear.backward(gradient, cache)
    own = {f"{branch}.weight": (1, letters[1], dw), **({f"{branch}.bias": (2, letters[2], db)} if biased else {})}
    weights = tuple(
        Weight(call.names[name], letter, np.shape(part), local_jacobian(ops.linear, inputs, place), part)
        for name, (place, letter, part) in own.items()
    )
    jacobian = local_jacobian(ops.linear, inputs, 0)
    link = Link(call.source, "X", np.shape(call.x), jacobian, dx, call.names[f"{branch}.weight"])
    subject = equations.linear(branch[0].upper(), letters, np.ndim(call.x), biased) if np.ndim(call.x) > 1 else None
    text = f"{branch} {call.layer.n_in} → {call.layer.n_out}"  # type: ignore[attr-defined]
    return _part(call, f"{call.id}.{branch}", text, ops.linear, value, gradient, (link,), subject, cache, (), weights)


def _part(
    call: LayerCall,
    place: str,
    text: str,
    op: Op,
    value: Any,
    gradient: Any,
    links: tuple[Link, ...],
    subject: equations.Subject | None,
    cache: Cache,
    found: tuple[str, ...] | None = None,
    weights: tuple[Weight, ...] = (),
    units: Units = NO_UNITS,
) -> Place:
    return Place(
        place,
        text,
        "layer" if weights else "op",
        role(op, bool(weights)),
        value,
        gradient,
        call.id,
        op.formula,
        op.derivative,
        found or patterns(op, 1),
        subject,
        links,
        weights,
        cache,
        units=units,
    )


def units(op: Any, out: Any, closes: bool = False) -> Units:
    """How many units an output has; of a squashing op how many stand where it is flat, of one that `closes` how many
    are 0 for every sample."""
    if np.ndim(out) < 2:
        return Units()
    count = out.shape[-1]
    name = getattr(op, "name", "")
    flat = float(np.mean(op.local(out) / STEEPEST[name] < FLAT)) if name in STEEPEST else None
    dead = int((~(out.reshape(-1, count) > 0)).all(axis=0).sum()) if closes else None
    return Units(flat, dead, count)


def label(layer: Layer) -> str:
    """A layer in a few words."""
    if isinstance(layer, Linear | Gated):
        return f"{type(layer).__name__} {layer.n_in} → {layer.n_out}"
    if isinstance(layer, Dropout):
        return f"Dropout {layer.rate:g}"
    text = repr(layer).removesuffix("()")
    return text if len(text) <= WIDEST else type(layer).__name__
