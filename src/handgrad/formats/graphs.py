"""A Graph as plain data, for JSON, and back: an entry of the architecture that lists the graph's nodes.

    {"type": "Graph", "output": 4, "bare": null, "nodes": [
        {"kind": "input", "name": "x", ...},
        {"kind": "parameter", "name": "w", ..., "shape": [3, 2], "initializer": "he_normal", "decays": true},
        {"kind": "constant", "name": "constant1", ..., "value": 2.0},
        {"kind": "op", "name": "matmul1", ..., "op": "matmul", "args": [0, 1], "keywords": {}, "hyper": {}},
        {"kind": "layer", "name": "relu1", ..., "layer": 0, "args": [3]}]}

Each has "expressed" too, whether expressions show its name. Arguments and keywords are numbers of nodes, null for one
that was left out; a layer is the number of an entry. Ops go by their names in `handgrad.ops`. Tuples among constants
and options are {"tuple": [...]}, arrays {"array": [...], "dtype": "float64", "shape": [2]}.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.errors import HandgradError
from handgrad.formats.errors import FormatError
from handgrad.initializers import Initializer
from handgrad.layers.base import Layer
from handgrad.layers.parameters import Parameter
from handgrad.models import Graph
from handgrad.models.graph.calls import placed_arguments
from handgrad.models.graph.graph import RESERVED
from handgrad.models.graph.nodes import Node
from handgrad.ops import Op

OPS: dict[str, Op] = {name: op for name in ops.__all__ if isinstance(op := getattr(ops, name), Op)}
MOST_NUMBERS = 10_000  # of a constant array: an architecture is read as text
DEEPEST = 20  # lists within lists
DTYPES = ("float64", "float32", "int64", "int32", "bool")

Entry = dict[str, Any]
Kinds = tuple[type, ...]
KEYS: dict[str, dict[str, Kinds]] = {
    "input": {},
    "constant": {"value": (object,)},
    "parameter": {"shape": (list,), "initializer": (object,), "decays": (bool,)},
    "op": {"op": (str,), "args": (list,), "keywords": (dict,), "hyper": (dict,)},
    "layer": {"layer": (int,), "args": (list,)},
}


def describe_graph(graph: Graph, add: Callable[[Layer], int], initializer: Callable[[Initializer], Any]) -> Entry:
    """The graph's entry. add: gives the number of a layer's entry.

    Raises FormatError, with the node's name, for a constant, an option or an op that no file can hold.
    """
    nodes = []
    for node in graph.nodes:
        try:
            nodes.append(_describe(node, add, initializer))
        except HandgradError as error:
            raise error.within(node.name) from None
    return {"type": "Graph", "output": graph.state["output"], "bare": graph.state["bare"], "nodes": nodes}


def layers_within(entry: Entry) -> list[Any]:
    """What stands for the layers in a graph's entry, whatever it is."""
    nodes = entry.get("nodes")
    if not isinstance(nodes, list):
        return []
    return [node.get("layer") for node in nodes if isinstance(node, dict) and node.get("kind") == "layer"]


def build_graph(entry: Entry, built: list[Layer], initializer: Callable[[Any], Initializer]) -> Graph:
    """The graph that `describe_graph` gave the entry for. Raises FormatError for anything else."""
    if entry.keys() != {"type", "nodes", "output", "bare"} or not isinstance(entry["nodes"], list):
        raise FormatError(f"it must have type, nodes, output and bare, got {sorted(entry)}")
    nodes, output, bare = entry["nodes"], entry["output"], entry["bare"]
    names: set[str] = set()
    states = []
    for place, each in enumerate(nodes):
        try:
            _check_keys(each)
            if not each["name"] or each["name"] in names or (each["kind"] == "input" and each["name"] in RESERVED):
                raise FormatError("its name must be new, not empty and no keyword of run")
            names.add(each["name"])
            states.append(_state(each, len(nodes), built, initializer))
        except (HandgradError, ArithmeticError, TypeError, ValueError) as error:
            name = each.get("name", place) if isinstance(each, dict) else place
            raise FormatError(f"node {_short(name)}: {error}") from None
    if output is not None:
        _number(output, len(nodes), "output")
    if bare is not None and not any(each["kind"] == "layer" and each["name"] == bare for each in nodes):
        raise FormatError(f"bare must be the name of a layer's node, or null, got {_short(bare)}")
    _check_order([[i for i in (*state[5], *state[6].values()) if i is not None] for state in states])
    graph = Graph()
    graph.__setstate__({"nodes": states, "output": output, "bare": bare})
    return graph


def _describe(node: Node, add: Callable[[Layer], int], initializer: Callable[[Initializer], Any]) -> Entry:
    entry: Entry = {"kind": node.kind, "name": node.name, "expressed": node.expressed}
    args = list(node._args)
    match node.kind:
        case "constant":
            return entry | {"value": _data(node.value)}
        case "parameter":
            spec: Parameter = node.value
            return entry | {
                "shape": list(spec.shape),
                "initializer": initializer(spec.init),
                "decays": bool(spec.decays),
            }
        case "layer":
            return entry | {"layer": add(node.function), "args": args}
        case "op":
            op: Op = node.function
            if type(OPS.get(op.name)) is not type(op):
                raise FormatError(f"{op!r} is not one of the library's ops; a model file holds {', '.join(OPS)}")
            hyper = {key: _data(value) for key, value in node.hyper.items()}
            return entry | {"op": op.name, "args": args, "keywords": dict(node._keywords), "hyper": hyper}
    return entry


def _check_keys(each: Any) -> None:
    kind = each.get("kind") if isinstance(each, dict) else None
    if not isinstance(kind, str) or kind not in KEYS:
        raise FormatError(f"it must be of the kind {', '.join(KEYS)}, got {_short(each)}")
    expected: dict[str, Kinds] = {"kind": (str,), "name": (str,), "expressed": (bool,), **KEYS[kind]}
    if each.keys() != expected.keys():
        raise FormatError(f"it must have {', '.join(expected)}, got {', '.join(map(str, each))}")
    for key, types in expected.items():
        if not isinstance(each[key], types):
            raise FormatError(f"{key} must be of type {types[0].__name__}, got {_short(each[key])}")


def _state(each: Entry, count: int, built: list[Layer], initializer: Callable[[Any], Initializer]) -> tuple[Any, ...]:
    """As Node.state."""
    function: Op | Layer | None = None
    value: Any = None
    args: tuple[int | None, ...] = ()
    keywords: dict[str, int] = {}
    hyper: dict[str, Any] = {}
    match each["kind"]:
        case "constant":
            value = _value(each["value"])
        case "parameter":
            shape = tuple(_number(n, 2**62, "shape", low=1) for n in each["shape"])
            value = Parameter(shape, initializer(each["initializer"]), each["decays"])
        case "layer":
            function, args = built[each["layer"]], tuple(_number(i, count, "args") for i in each["args"])
            if len(args) != 1:
                raise FormatError(f"a layer reads one node, got {len(args)}")
        case "op":
            if each["op"] not in OPS:
                raise FormatError(f"the op {_short(each['op'])} is unknown; this version knows {', '.join(OPS)}")
            function = OPS[each["op"]]
            args = tuple(None if i is None else _number(i, count, "args") for i in each["args"])
            keywords = {key: _number(i, count, "keywords") for key, i in each["keywords"].items()}
            hyper = {key: _value(given) for key, given in each["hyper"].items()}
            if keywords.keys() & hyper.keys():
                raise FormatError("keywords and hyper must differ")
            placed, _ = placed_arguments(function, args, {**hyper, **keywords})
            if placed != args:
                raise FormatError("its inputs must stand among args")
    return each["kind"], each["name"], value, each["expressed"], function, args, keywords, hyper


def _check_order(reads: list[list[int]]) -> None:
    """Raise FormatError where nodes read one another in a circle."""
    waiting = [len(set(sources)) for sources in reads]
    readers: list[list[int]] = [[] for _ in reads]
    for i, sources in enumerate(reads):
        for source in set(sources):
            readers[source].append(i)
    ready = [i for i, count in enumerate(waiting) if not count]
    done = 0
    while ready:
        done += 1
        for reader in readers[ready.pop()]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if done < len(reads):
        raise FormatError("its nodes read one another in a cycle")


def _data(value: Any) -> Any:
    """A constant or an option as JSON's types."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, np.generic) and value.dtype.name in DTYPES:
        return _data(value.item())
    if isinstance(value, list):
        return [_data(each) for each in value]
    if isinstance(value, tuple):
        return {"tuple": [_data(each) for each in value]}
    if isinstance(value, np.ndarray) and value.dtype.name in DTYPES and value.size <= MOST_NUMBERS:
        if not np.isfinite(value).all():
            raise FormatError("a constant that is not finite cannot be kept in a model file")
        return {"array": value.tolist(), "dtype": value.dtype.name, "shape": list(value.shape)}
    raise FormatError(
        f"a model file holds numbers, texts and NumPy arrays of up to {MOST_NUMBERS} numbers as constants and options, "
        f"got {_short(value)}; make it an input or a parameter"
    )


def _value(given: Any, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise FormatError(f"its constants and options hold lists more than {DEEPEST} deep")
    if given is None or isinstance(given, str | bool | int | float):
        return given
    if isinstance(given, list):
        return [_value(each, depth + 1) for each in given]
    if isinstance(given, dict) and given.keys() == {"tuple"} and isinstance(given["tuple"], list):
        return tuple(_value(each, depth + 1) for each in given["tuple"])
    if isinstance(given, dict) and given.keys() == {"array", "dtype", "shape"} and given["dtype"] in DTYPES:
        shape = tuple(_number(n, 2**62, "shape") for n in given["shape"])
        array = np.asarray(given["array"], dtype=given["dtype"])
        if array.tolist() != given["array"] or (array.size and array.shape != shape):
            raise FormatError(f"an array must hold {given['dtype']} in shape {shape}, got {_short(given['array'])}")
        return array.reshape(shape)
    raise FormatError(f"{_short(given)} is no constant or option")


def _number(given: Any, count: int, what: str, low: int = 0) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not low <= given < count:
        raise FormatError(f"{what} must hold whole numbers from {low} to below {count}, got {_short(given)}")
    return given


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
