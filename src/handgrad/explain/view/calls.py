"""Calls of layers and ops as places: a layer is one, a gated layer is opened into its branches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.explain.trace.units import FLAT
from handgrad.explain.view import equations
from handgrad.explain.view.names import formulas
from handgrad.explain.view.places import Link, Place, Units, Weight, Worked, patterns, role
from handgrad.layers import Dropout, Layer, LayerNorm, LeakyReLU, Linear, ReLU
from handgrad.layers.gated import Gated
from handgrad.layers.jacobians import layer_jacobian
from handgrad.ops import Op
from handgrad.ops.base import Cache
from handgrad.ops.jacobians import Call, local_jacobian

LETTERS = {"weight": "W", "bias": "b"}
WIDEST = 34  # letters of a label
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0}


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
        worked=Worked("linear", layer.layout, (call.source, *call.names.values()))
        if isinstance(layer, Linear)
        else Worked.elementwise(op, (call.source,)),
    )


def _opened(call: LayerCall) -> Iterator[Place]:
    """Content and gate, two linear maps of one input; the gate's activation; their product. By the ops' own passes."""
    op: Any = call.layer.op
    _, c, g, w_content, w_gate, *_ = call.cache
    f, f_cache = op.gate.forward(g)
    _, product_cache = ops.multiply.forward(c, f)
    dc, df = ops.multiply.backward(call.gradient, product_cache)
    (dg,) = op.gate.backward(df, f_cache)
    yield _branch(call, "content", c, dc, w_content, ("X", "V", "b"))
    yield _branch(call, "gate", g, dg, w_gate, ("X", "W", "c"))
    shape = equations.AXES[c.ndim - 1]
    straight = op.gate is ops.identity  # the gate's value is its activation
    if not straight:
        jacobian = local_jacobian(op.gate, Call((g,), f, f_cache))
        yield _part(
            call,
            "activation",
            op.gate,
            label=op.gate.name,
            names=(("G",), "F"),
            value=f,
            gradient=df,
            patterns=patterns(op.gate, 1),
            subject=equations.Subject.of(f"F = {op.gate.name}(G)", G=shape),
            links=(Link(f"{call.id}.gate", "G", g.shape, jacobian, dg),),
            cache=f_cache,
            units=units(op.gate, f, closes=op.gate is ops.relu),
        )
    branch, letter = ("gate", "G") if straight else ("activation", "F")
    by_content, by_gate = (local_jacobian(ops.multiply, Call((c, f), call.out, product_cache), i) for i in (0, 1))
    yield _part(
        call,
        "product",
        ops.multiply,
        label=f"content * {'gate' if straight else f'{op.gate.name}(gate)'}",
        names=(("C", letter), "Y"),
        value=call.out,
        gradient=call.gradient,
        patterns=patterns(ops.multiply, call.readers),
        subject=equations.Subject.of(f"Y = C * {letter}", **{"C": shape, letter: shape}),
        links=(
            Link(f"{call.id}.content", "C", c.shape, by_content, dc),
            Link(f"{call.id}.{branch}", letter, f.shape, by_gate, df),
        ),
        cache=product_cache,
    )


def _branch(call: LayerCall, branch: str, value: Any, gradient: Any, w: Any, letters: tuple[str, str, str]) -> Place:
    """One of the two linear maps. letters: of its input, its weights and its bias."""
    layer: Any = call.layer
    bias = call.params.get(f"{branch}.bias")
    _, cache = ops.linear.forward(call.x, w, bias)
    inputs = Call((call.x, w, bias), value, cache, f"[{branch}]")
    dx, dw, db = ops.linear.backward(gradient, cache)
    own = [("weight", dw), *([] if bias is None else [("bias", db)])]
    weights = tuple(
        Weight(call.names[f"{branch}.{name}"], letters[i], np.shape(part), local_jacobian(ops.linear, inputs, i), part)
        for i, (name, part) in enumerate(own, 1)
    )
    axes, jacobian = np.ndim(call.x), local_jacobian(ops.linear, inputs, 0)
    return _part(
        call,
        branch,
        ops.linear,
        label=f"{branch} {layer.n_in} → {layer.n_out}",
        names=(letters, branch[0].upper()),
        value=value,
        gradient=gradient,
        patterns=patterns(ops.linear, 1),
        subject=equations.linear(branch[0].upper(), letters, axes, bias is not None) if axes > 1 else None,
        links=(Link(call.source, "X", np.shape(call.x), jacobian, dx, weights[0].name),),
        weights=weights,
        cache=cache,
        worked=Worked("linear", "in_out", (call.source, *(weight.name for weight in weights))),
    )


def _part(call: LayerCall, branch: str, op: Op, names: tuple[Sequence[str], str], **fields: Any) -> Place:
    """A part of an opened layer, under its op's formulas with those names for the inputs and the output."""
    weights = bool(fields.get("weights"))
    formula, local = formulas(op, *names)
    fields.setdefault("worked", Worked.elementwise(op, [link.source for link in fields["links"]]))
    return Place(
        f"{call.id}.{branch}",
        kind="layer" if weights else "op",
        role=role(op, weights),
        group=call.id,
        formula=formula,
        local=local,
        **fields,
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
