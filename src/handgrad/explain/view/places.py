"""A batch that was run, as places and the links between them: what both a trace and a run of a graph become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from handgrad.explain.view.equations import Subject
from handgrad.models.graph.patterns import COPY, PATTERNS
from handgrad.ops import Loss, Op
from handgrad.ops.base import Elementwise
from handgrad.ops.jacobians import Jacobian

SIGNS = {"add": "+", "subtract": "-", "multiply": "·", "divide": "/"}
ROLES = {"add": "sum", "subtract": "sum", "sum": "sum", "mean": "sum", "multiply": "product", "l2": "loss"}


@dataclass(frozen=True)
class Link:
    """An edge into a place. letter: what the place's formula calls what arrives. jacobian: of the place by the source,
    None where the source is data. downstream: what flows on to the source. parameter: the one that `jacobian` is of."""

    source: str
    letter: str | None
    shape: tuple[int, ...]
    jacobian: Jacobian | None = None
    downstream: Any = None
    parameter: str | None = None


@dataclass(frozen=True)
class Weight:
    """A parameter that a place reads. part: the gradient that arises here, which may not be all of it."""

    name: str
    letter: str
    shape: tuple[int, ...]
    jacobian: Jacobian | None = None
    part: Any = None


@dataclass(frozen=True)
class Worked:
    """How each entry of a value is made of entries of others, so that the page can write it with its numbers.

    kind: "linear", a sum of products, whose `text` is the weights' layout; "call", a function by the name `text`;
    "sign", an operation by the sign `text`. of: what it takes, ids of places and names of parameters in their order.
    """

    kind: str
    text: str
    of: tuple[str, ...]

    @classmethod
    def elementwise(cls, op: Op | None, of: Sequence[str]) -> Worked | None:
        """That of an op which takes entries at the same place; None for any other."""
        if isinstance(op, Elementwise) and len(of) == 1:
            return cls("sign", "-", tuple(of)) if op.name == "negative" else cls("call", op.name, tuple(of))
        name = getattr(op, "name", "")
        return cls("sign", SIGNS[name], tuple(of)) if name in SIGNS and len(of) == 2 else None


@dataclass(frozen=True)
class Units:
    """saturation: the share of outputs where a squashing activation is flat. dead: units that are 0 for every sample,
    of how many `units`. None where that has no meaning."""

    saturation: float | None = None
    dead: int | None = None
    units: int | None = None


@dataclass(frozen=True)
class Place:
    """One node, with what was found there. value, gradient: arrays. cache: what backward will be handed.

    group: the layer it is part of, where that is opened. numbers: its formula with numbers in it, of a single number.
    worked: how to write that for each entry of an array.
    """

    id: str
    label: str
    kind: str
    role: str
    value: Any
    gradient: Any = None
    group: str | None = None
    formula: str | None = None
    local: str | None = None
    patterns: tuple[str, ...] = ()
    subject: Subject | None = None
    links: tuple[Link, ...] = ()
    weights: tuple[Weight, ...] = ()
    cache: Any = None
    numbers: str | None = None
    units: Units = Units()
    worked: Worked | None = None


@dataclass(frozen=True)
class Network:
    """All places in the order they ran, and the parameters. loss: None where the output is no single number.

    checks: by the name of a parameter or the id of an input, what a gradient check found.
    """

    title: str
    places: tuple[Place, ...]
    values: Mapping[str, Any]
    gradients: Mapping[str, Any]
    updates: Mapping[str, Any] | None
    loss: float | None
    checks: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def readers(self) -> Counter[str]:
        """How many links bring a gradient back to each place."""
        links = (link for place in self.places for link in place.links)
        return Counter(link.source for link in links if link.jacobian is not None)

    @cached_property
    def by_id(self) -> dict[str, Place]:
        """The places by their ids."""
        return {place.id: place for place in self.places}

    @cached_property
    def by_address(self) -> dict[tuple[int, int], str]:
        """The id of the first place whose value lies at an address."""
        return {_address(place.value): place.id for place in reversed(self.places) if np.ndim(place.value)}

    @cached_property
    def parameter_at(self) -> dict[tuple[int, int], str]:
        """The name of the parameter that lies at an address."""
        return {_address(array): name for name, array in self.values.items()}


def role(op: Op | None, weights: bool = False) -> str:
    """The colour of a place, by its op."""
    if isinstance(op, Loss):
        return "loss"
    if weights:
        return "weights"
    name = getattr(op, "name", "")
    return ROLES.get(name, "activation" if isinstance(op, Elementwise) else "plain")


def patterns(op: Op | None, readers: int) -> tuple[str, ...]:
    """How gradients flow at a place."""
    own = PATTERNS.get(getattr(op, "name", ""))
    return (*([own] if own else []), *([COPY] if readers > 1 else []))


@dataclass(frozen=True)
class Saved:
    """An array of a cache. what: what it is; alias: the place whose value it is, so that it costs nothing more."""

    name: str
    shape: tuple[int, ...]
    bytes: int
    what: str
    alias: str | None


def saved(place: Place, network: Network) -> Iterator[Saved]:
    """What the place's cache holds, each array once. One that is a value or a parameter already takes no bytes."""
    weights = network.parameter_at
    letters = {link.source: link.letter for link in place.links}
    used = set(filter(None, letters.values()))
    inputs = {source: network.by_id[source].value for source in letters}
    found: set[tuple[int, int]] = set()
    for number, array in enumerate(_arrays(place.cache), 1):
        key = _address(array) if np.ndim(array) else (number, 0)
        if key in found:
            continue
        found.add(key)
        alias = network.by_address.get(key) if np.ndim(array) else _same_number(array, place, inputs)
        shape, size = tuple(np.shape(array)), int(getattr(array, "nbytes", 8))
        if key in weights and np.ndim(array):
            yield Saved(weights[key], shape, 0, "a parameter, by reference", None)
        elif alias == place.id:
            letter = "z" if used & {"y", "Y"} else "y"
            name = letter.upper() if shape else letter
            yield Saved(name if used else place.id, shape, 0, "its output", alias)
        elif alias in letters:
            yield Saved(letters[alias] or alias, shape, 0, "its input", alias)
        elif alias is not None:
            yield Saved(alias, shape, 0, f"the value of {alias}", alias)
        else:
            yield Saved(f"s{number}", shape, size, "kept for backward alone", None)


def _same_number(number: Any, place: Place, inputs: Mapping[str, Any]) -> str | None:
    """The input or output that a single number is; their arrays are not shared, as larger ones are."""
    for name, value in (*inputs.items(), (place.id, place.value)):
        if np.ndim(value) == 0 and value == number:
            return name
    return None


def _arrays(cache: Any) -> Iterator[Any]:
    if isinstance(cache, np.ndarray | np.floating):
        if np.size(cache):
            yield cache
    elif isinstance(cache, Mapping):
        for each in cache.values():
            yield from _arrays(each)
    elif isinstance(cache, tuple | list):
        for each in cache:
            yield from _arrays(each)


def _address(array: Any) -> tuple[int, int]:
    return (array.__array_interface__["data"][0], array.nbytes) if isinstance(array, np.ndarray) else (id(array), 0)
