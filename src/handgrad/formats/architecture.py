"""A model's architecture as plain data, for JSON, and back.

The data is a list of its layers, each once, a layer within before the one that holds it; the last is the model:

    [{"type": "Linear", "n_in": 2, "n_out": 1, "bias": true, ...}, {"type": "Sequential", "layers": [0, 0]}]

A layer that stands in two places is one entry with two references, so that its parameters stay shared. A Graph's entry
lists its nodes; see `handgrad.formats.graphs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

import numpy as np

import handgrad.layers as layers
from handgrad.errors import HandgradError
from handgrad.formats.errors import FormatError
from handgrad.formats.graphs import build_graph, describe_graph, layers_within
from handgrad.initializers import NAMED, Constant, Initializer
from handgrad.layers.base import Layer
from handgrad.models import Graph, Residual, Sequential

LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (*(getattr(layers, name) for name in layers.__all__), Sequential, Residual, Graph)
    if isinstance(kind, type) and issubclass(kind, Layer) and kind is not Layer
}
PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}

# Shared containers can stand for far more layers than they take bytes. A file beyond these bounds is a hostile one.
MOST_PLACES, DEEPEST = 100_000, 100

Entry = dict[str, Any]


class Lost:
    """The initializer of a layer whose own one was a function that no file can hold. Drawing from it is an error."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        raise FormatError(
            "the initializer of this layer was a function of your own, which a model file does not hold; "
            "make the layer again with init=... to draw new parameters"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lost)

    def __hash__(self) -> int:
        return hash(Lost)


def describe(model: Layer) -> list[Entry]:
    """The architecture of `model`. Raises FormatError, with its place, for a layer that is not the library's own."""
    entries: list[Entry] = []
    known: dict[int, int] = {}

    def add(layer: Layer) -> int:
        if id(layer) not in known:
            kind = type(layer)
            if LAYERS.get(kind.__name__) is not kind:
                raise FormatError(
                    f"{kind.__module__}.{kind.__qualname__} is not one of the library's layers; "
                    f"a model file holds {', '.join(LAYERS)}"
                )
            if isinstance(layer, Graph):
                entry = describe_graph(layer, add, _initializer_data)
            else:
                entry = {"type": kind.__name__}
                for field in fields(layer):  # type: ignore[arg-type]
                    entry[field.name] = data(getattr(layer, field.name), field.name)
            known[id(layer)] = len(entries)
            entries.append(entry)
        return known[id(layer)]

    def data(value: Any, name: str) -> Any:
        if isinstance(value, Layer):
            return inside(value, name)
        if isinstance(value, tuple):
            return [inside(layer, str(place)) for place, layer in enumerate(value)]
        if callable(value):
            return _initializer_data(value)
        return value.item() if isinstance(value, np.generic) else value

    def inside(layer: Layer, place: str) -> int:
        try:
            return add(layer)
        except HandgradError as error:
            raise error.within(place) from None

    add(model)
    _within_bounds(entries)
    return entries


def build(entries: Any) -> Layer:
    """The model that `describe` gave `entries` for. Raises FormatError for anything else."""
    if not isinstance(entries, list) or not entries:
        raise FormatError(f"the architecture must be a list of layers, got {_short(entries)}")
    for place, entry in enumerate(entries):
        given = entry.get("type") if isinstance(entry, dict) else entry
        if not isinstance(entry, dict) or not isinstance(given, str) or given not in LAYERS:
            raise FormatError(
                f"layer {place} of the architecture has the unknown type {_short(given)}; "
                f"this version knows {', '.join(LAYERS)}"
            )
        for reference in _references(entry):
            if isinstance(reference, bool) or not isinstance(reference, int) or not 0 <= reference < place:
                raise FormatError(
                    f"layer {place} of the architecture refers to {_short(reference)}; a layer holds earlier ones only"
                )
    _within_bounds(entries)
    built: list[Layer] = []
    for place, entry in enumerate(entries):
        try:
            built.append(_make(entry, built))
        except (HandgradError, ArithmeticError, TypeError) as error:
            raise FormatError(f"layer {place} of the architecture, {entry['type']}: {error}") from None
    used = {index for entry in entries for index in _references(entry)} | {len(entries) - 1}
    if unused := [place for place in range(len(entries)) if place not in used]:
        raise FormatError(f"layer {unused[0]} of the architecture stands nowhere in the model, which is the last layer")
    return built[-1]


def _make(entry: Entry, built: list[Layer]) -> Layer:
    if entry["type"] == "Graph":
        return build_graph(entry, built, _initializer)
    kind = LAYERS[entry["type"]]
    wanted = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    given = entry.keys() - {"type"}
    if given != wanted.keys():
        missing, unknown = sorted(wanted.keys() - given), sorted(given - wanted.keys())
        raise FormatError(f"its hyperparameters do not fit: missing {missing}, unknown {unknown}")
    values = {name: _value(entry[name], field, built) for name, field in wanted.items()}
    if "initializer" in values:
        values["init"] = values.pop("initializer")
    constructor: Callable[..., Layer] = kind
    return constructor(**values)


def _value(given: Any, field: Field[Any], built: list[Layer]) -> Any:
    """One hyperparameter. The annotations of the layers' dataclasses say what it must be."""
    kind = str(field.type)
    if kind == "Layer":
        return built[given]
    if kind == "tuple[Layer, ...]":
        return tuple(built[index] for index in given)
    if kind == "Initializer":
        return _initializer(given)
    if not isinstance(given, PLAIN[kind]) or (isinstance(given, bool) and kind != "bool"):
        raise FormatError(f"{field.name} must be of type {kind}, got {_short(given)}")
    return given


def _references(entry: Entry) -> list[Any]:
    """The indices of the layers within an entry, whatever stands there."""
    if entry["type"] == "Graph":
        return layers_within(entry)
    found: list[Any] = []
    for field in fields(LAYERS[entry["type"]]):  # type: ignore[arg-type]
        if str(field.type) == "Layer" and field.name in entry:
            found.append(entry[field.name])
        elif str(field.type) == "tuple[Layer, ...]" and field.name in entry:
            within = entry[field.name]
            found.extend(within if isinstance(within, list) else [[within]])
    return found


def _within_bounds(entries: list[Entry]) -> None:
    places: list[int] = []
    depth: list[int] = []
    for entry in entries:
        references = _references(entry)
        places.append(1 + sum(places[index] for index in references))
        depth.append(1 + max((depth[index] for index in references), default=0))
        if places[-1] > MOST_PLACES or depth[-1] > DEEPEST:
            raise FormatError(
                f"the architecture must have at most {MOST_PLACES} places for layers, nested {DEEPEST} deep, "
                f"got {_short(places[-1])} places, {depth[-1]} deep"
            )


def _initializer_data(function: Initializer) -> Any:
    if isinstance(function, Constant):
        return {"constant": function.value}
    name = getattr(function, "__name__", "")
    return name if NAMED.get(name) is function else "custom"


def _initializer(given: Any) -> Initializer:
    if given == "custom":
        return Lost()
    if isinstance(given, str) and given in NAMED:
        return NAMED[given]
    if isinstance(given, dict) and given.keys() == {"constant"} and isinstance(given["constant"], int | float):
        return Constant(given["constant"])
    raise FormatError(f"initializer must be one of {', '.join(NAMED)}, custom, or a constant, got {_short(given)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
