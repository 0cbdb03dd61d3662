"""`collapse`: linear layers with nothing between them are one linear layer, and become it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from handgrad.explain.trace.tape import as_numpy_parameters
from handgrad.layers import Identity, Layer, Linear, Parameters
from handgrad.models import Container, Residual, Sequential

Arrays = dict[str, np.ndarray]
Part = tuple[Layer, Arrays]  # a layer and its parameters, under its own names
Places = Counter[int]  # how often each layer stands in the model, by its id


def collapse(model: Layer, params: Mapping[str, Any]) -> tuple[Layer, Parameters]:
    """(model, params) with each run of adjacent linear layers merged into one: the same function, to rounding.

    (x W1 + b1) W2 + b2 = x (W1 W2) + (b1 W2 + b2): without a non-linearity between them, two layers can do no more than
    one. Identity layers between them go with them; a layer that stands in several places is left alone, and so is one
    behind Dropout, which is no identity in training. Nested Sequentials open up where something is merged in them or
    across their border; Residuals are entered, each for itself. The merged layer has the first one's layout and
    initializer. Where nothing can be merged, `model` itself and its parameters come back; nothing given is changed.
    """
    own = as_numpy_parameters(model, params)
    merged, arrays = _collapsed(model, dict(own), Counter(map(id, _every_place(model))))
    if merged is model:
        return model, own
    specs = merged.parameters()
    flat = np.zeros(sum(int(np.prod(spec.shape)) for spec in specs.values()), own.flat.dtype)
    return merged, Parameters(specs, flat).pack(arrays)


def _collapsed(layer: Layer, arrays: Arrays, places: Places) -> Part:
    """The layer with what is in it merged, and its parameters; the layer itself where there is nothing to merge."""
    if type(layer) is Residual:
        inner, own = _collapsed(layer.layer, _of_child(layer, "layer", arrays), places)
        return (layer, arrays) if inner is layer.layer else _named(Residual(inner), [own])
    if type(layer) is not Sequential:
        return layer, arrays
    opened = [_collapsed(*part, places) for part in _opened(layer, arrays)]
    parts = _joined(opened, places)
    before = [id(part) for part, _ in _opened(layer, arrays)]
    if [id(part) for part, _ in parts] == before:
        return layer, arrays
    return _named(Sequential([part for part, _ in parts]), [own for _, own in parts])


def _opened(layer: Layer, arrays: Arrays) -> Iterator[Part]:
    """The layers of a Sequential, and of those within it, in a row."""
    if type(layer) is not Sequential:
        yield layer, arrays
        return
    for place, child in layer.children().items():
        yield from _opened(child, _of_child(layer, place, arrays))


def _joined(parts: list[Part], places: Places) -> list[Part]:
    """The row of layers with each run of linear ones merged, and the Identities within a run gone."""
    done: list[Part] = []
    last: int | None = None  # the place in `done` of a linear layer with nothing but Identities after it
    for layer, arrays in parts:
        if last is not None and _may_merge(done[last][0], layer, places):
            done[last:] = [_merge(done[last], (layer, arrays))]  # and the Identities between
            places[id(done[last][0])] = 1
            continue
        done.append((layer, arrays))
        if type(layer) is Linear:
            last = len(done) - 1
        elif type(layer) is not Identity:
            last = None
    return done


def _may_merge(first: Layer, second: Layer, places: Places) -> bool:
    alone = places[id(first)] == places[id(second)] == 1
    # widths differ where a second layer with flatten takes several axes at once
    return alone and type(first) is type(second) is Linear and first.n_out == second.n_in


def _merge(first: Part, second: Part) -> Part:
    """(x W1 + b1) W2 + b2 as one layer, the product taken in float64."""
    (one, a), (two, b) = first, second
    assert isinstance(one, Linear)
    assert isinstance(two, Linear)
    dtype = a["weight"].dtype
    w1, w2 = (
        (w if layer.layout == "in_out" else w.T).astype(np.float64)
        for layer, w in ((one, a["weight"]), (two, b["weight"]))
    )
    biased = one.bias or two.bias
    layer = Linear(one.n_in, two.n_out, biased, one.layout, one.flatten or two.flatten, one.initializer)
    weight = w1 @ w2
    arrays = {"weight": (weight if one.layout == "in_out" else weight.T).astype(dtype)}
    if biased:
        bias = np.zeros(two.n_out)
        if one.bias:
            bias += a["bias"].astype(np.float64) @ w2
        if two.bias:
            bias += b["bias"]
        arrays["bias"] = bias.astype(dtype)
    return layer, arrays


def _of_child(layer: Container, place: str, arrays: Arrays) -> Arrays:
    return {name: arrays[own] for name, own in layer._names[place].items()}


def _named(container: Container, of_children: list[Arrays]) -> Part:
    """A container with its children's parameters under its own names."""
    arrays: Arrays = {}
    for place, own in zip(container.children(), of_children, strict=True):
        arrays |= {container._names[place][name]: value for name, value in own.items()}
    return container, arrays


def _every_place(layer: Layer) -> Iterator[Layer]:
    """Each place of each layer within; a shared layer comes once for each of its places."""
    yield layer
    if isinstance(layer, Container):
        for child in layer.children().values():
            yield from _every_place(child)
