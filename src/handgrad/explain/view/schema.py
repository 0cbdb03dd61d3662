"""The form of a document, as data, and its reader: FormatError names the field that is wrong."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handgrad.formats.errors import FormatError

FORMAT, VERSION = "handgrad.view", 1
ADDED: dict[str, Any] = {"worked": None, "bad": 0}  # since version 1 was first written: what they are where missing
SIZES = {"float32": 4, "float64": 8, "int64": 8}  # bytes of a number, little-endian
SHOWN = 60  # characters of a wrong value that an error shows


@dataclass(frozen=True)
class Kind:
    """What a value must be, in words, and what tells whether it is."""

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Maybe:
    """That, or null."""

    of: Any


@dataclass(frozen=True)
class Many:
    """A list of that, of `least` items or more."""

    of: Any
    least: int = 0


@dataclass(frozen=True)
class Named:
    """An object whose values are that, under names of any kind."""

    of: Any


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _integer(value) or isinstance(value, float) or value in ("nan", "inf", "-inf")


def one_of(*words: str) -> Kind:
    """One of those texts."""
    return Kind(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


TEXT = Kind("a text", lambda value: isinstance(value, str))
WHOLE = Kind("a whole number of at least 0", lambda value: _integer(value) and value >= 0)
NUMBER = Kind('a number, or "nan", "inf" or "-inf"', _number)
TRUTH = Kind("true or false", lambda value: isinstance(value, bool))
SHAPE = Many(WHOLE)
TENSOR = object()  # has three forms: see _tensor
DOWNSTREAM = object()  # a tensor, "gradient" or null

LOCAL = {
    "text": TEXT,
    "latex": Maybe(TEXT),
    "structure": one_of(
        "identity", "reshape", "diagonal", "kronecker", "broadcast", "sum", "softmax", "product", "ways", "dense"
    ),
    "shape": SHAPE,
    "note": Maybe(TEXT),
    "parameter": Maybe(TEXT),
}
NODE = {
    "id": TEXT,
    "label": TEXT,
    "kind": one_of("input", "parameter", "constant", "layer", "op", "loss"),
    "role": one_of("weights", "activation", "sum", "product", "data", "loss", "plain"),
    "group": Maybe(TEXT),
    "shape": SHAPE,
    "formula": Maybe(TEXT),
    "local": Maybe(TEXT),
    "patterns": Many(TEXT),
    "derivation": Maybe(TEXT),
    "worked": Maybe({"kind": one_of("linear", "call", "sign"), "text": TEXT, "of": Many(TEXT, 1)}),
    "parameters": Many({"name": TEXT, "letter": TEXT, "shape": SHAPE, "shared": Many(TEXT, 1), "local": Maybe(LOCAL)}),
    "cache": Many({"name": TEXT, "shape": SHAPE, "bytes": WHOLE, "what": TEXT, "alias": Maybe(TEXT)}),
}
EDGE = {"id": TEXT, "source": TEXT, "target": TEXT, "letter": Maybe(TEXT), "shape": SHAPE, "local": Maybe(LOCAL)}
PRODUCT = {"latex": TEXT, "shapes": TEXT, "fits": TRUTH, "chosen": TRUTH, "why": TEXT}
ITEMS = {
    "equation": {"kind": TEXT, "label": TEXT, "latex": TEXT},
    "matching": {"kind": TEXT, "label": TEXT, "products": Many(PRODUCT), "verdict": TEXT},
    "note": {"kind": TEXT, "label": TEXT, "text": TEXT},
}
ITEM = object()  # one of ITEMS, by its kind
SECTION = {
    "formula": TEXT,
    "elements": Maybe(TEXT),
    "where": Many(TEXT),
    "parts": Many({"wrt": TEXT, "shape": TEXT, "items": Many(ITEM)}),
}
GRAPH = {"nodes": Many(NODE, 1), "edges": Many(EDGE), "equations": Named({"title": TEXT, "sections": Many(SECTION)})}
CHECK = {"error": NUMBER, "method": TEXT, "entries": WHOLE, "passed": TRUTH}
STATS = {
    **dict.fromkeys(("mean", "std", "min", "max", "zeros", "gradient_norm"), NUMBER),
    "quantiles": Many(NUMBER, 5),
    "dead": Maybe(WHOLE),
    "units": Maybe(WHOLE),
    "bad": WHOLE,
    "saturation": Maybe(NUMBER),
    "cache_bytes": WHOLE,
}
FRAME = {
    "label": TEXT,
    "loss": Maybe(NUMBER),
    "gradient_norm": NUMBER,
    "nodes": Named(
        {
            "value": TENSOR,
            "gradient": Maybe(TENSOR),
            "numbers": Maybe(TEXT),
            "stats": Maybe(STATS),
            "check": Maybe(CHECK),
            "parts": Named(TENSOR),
        }
    ),
    "edges": Named({"local": Maybe(TENSOR), "diagonal": Maybe(TENSOR), "downstream": DOWNSTREAM}),
    "parameters": Named(
        {
            "value": TENSOR,
            "gradient": TENSOR,
            "update": Maybe(TENSOR),
            "update_ratio": Maybe(NUMBER),
            "gradient_norm": NUMBER,
            "check": Maybe(CHECK),
        }
    ),
}
METRICS = Named(Maybe(NUMBER))
REPORT = {
    "title": TEXT,
    "task": one_of("classification", "regression"),
    "history": Named(Many(Maybe(NUMBER))),
    "best_epoch": Maybe(WHOLE),
    "confusion": Maybe({"labels": Many(TEXT), "counts": Many(Many(WHOLE))}),
    "residuals": Maybe({"predicted": Many(Maybe(NUMBER)), "actual": Many(Maybe(NUMBER))}),
    "baselines": Many({"name": TEXT, "metrics": METRICS}),
    "metrics": METRICS,
    "findings": Many({"title": TEXT, "evidence": TEXT, "cause": TEXT, "advice": TEXT}),
    "facts": Named(TEXT),
}
HEAD = {"format": TEXT, "version": WHOLE, "library": TEXT, "title": TEXT}
DOCUMENT = {
    **HEAD,
    "variants": Many({"label": TEXT, "graph": GRAPH, "frames": Many(FRAME, 1)}, 1),
    "report": Maybe(REPORT),
}


def read(text: str | bytes) -> dict[str, Any]:
    """The document that a text holds. Raises FormatError."""
    try:
        found = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        end = error.pos >= len(text.rstrip())
        why = "it ends in the middle, as a file that was cut short" if end else error.msg
        raise FormatError(f"the view is no JSON, at line {error.lineno}, column {error.colno}: {why}") from None
    except UnicodeDecodeError as error:
        raise FormatError(f"the view is no UTF-8 text: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise FormatError("the view holds lists within lists without an end") from None
    except ValueError as error:  # a number of thousands of digits
        raise FormatError(f"the view is no JSON that can be read: {error}") from None
    check(found)
    return dict(found)


def _refuse(token: str) -> Any:
    raise FormatError(f'the view holds the bare word {token}, which JSON has not; a view writes "nan", "inf" or "-inf"')


def check(found: Any) -> None:
    """Raise FormatError where the document is not of the form above, or parts of it do not belong together."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise FormatError(f"it is no view of handgrad: expected format {FORMAT!r}, got {_shown(_format(found))}")
    if found.get("version") != VERSION:
        raise FormatError(
            f"the view is of version {_shown(found.get('version'))} of its format, and this library reads version "
            f"{VERSION}; write it anew, or read it by the library that wrote it, {_shown(found.get('library'))}"
        )
    if "documents" not in found:
        _document(found, "")
        return
    _hold(found, {**HEAD, "documents": Many(Kind("an object", lambda each: isinstance(each, dict)), 1)}, "")
    for i, document in enumerate(found["documents"]):
        _document(document, f"documents[{i}].")


def _format(found: Any) -> Any:
    return found.get("format") if isinstance(found, dict) else found


def _document(document: Any, at: str) -> None:
    _hold(document, DOCUMENT, at)
    for i, variant in enumerate(document["variants"]):
        _belongs(variant, f"{at}variants[{i}].")


def _belongs(variant: dict[str, Any], at: str) -> None:
    """Edges lead from node to node, and every frame has values for all nodes, edges and parameters, and no others."""
    nodes, edges = variant["graph"]["nodes"], variant["graph"]["edges"]
    ids = [node["id"] for node in nodes]
    for name, each in (("nodes", ids), ("edges", [edge["id"] for edge in edges])):
        if len(set(each)) < len(each):
            twice = next(one for k, one in enumerate(each) if one in each[:k])
            raise FormatError(f"{at}graph.{name} has the id {_shown(twice)} twice")
    order = {node: k for k, node in enumerate(ids)}
    for i, edge in enumerate(edges):
        for end in ("source", "target"):
            if edge[end] not in order:
                raise FormatError(f"{at}graph.edges[{i}].{end} must be the id of a node, got {_shown(edge[end])}")
        if order[edge["source"]] >= order[edge["target"]]:
            raise FormatError(f"{at}graph.edges[{i}] leads back, from {edge['source']!r} to {edge['target']!r}")
    parameters = {each["name"] for node in nodes for each in node["parameters"]}
    for i, node in enumerate(nodes):
        key = node["derivation"]
        if key is not None and key not in variant["graph"]["equations"]:
            raise FormatError(f"{at}graph.nodes[{i}].derivation must be a key of equations, got {_shown(key)}")
        made_of = set((node["worked"] or {"of": ()})["of"])
        if strange := sorted(made_of - order.keys() - parameters):
            raise FormatError(f"{at}graph.nodes[{i}].worked.of must name nodes or parameters, got {_shown(strange[0])}")
    for i, frame in enumerate(variant["frames"]):
        wanted = {"nodes": set(ids), "edges": {edge["id"] for edge in edges}, "parameters": parameters}
        for name, expected in wanted.items():
            if missing := sorted(expected - frame[name].keys()):
                raise FormatError(f"{at}frames[{i}].{name} lacks {_shown(missing[0])}")
            if unknown := sorted(frame[name].keys() - expected):
                raise FormatError(f"{at}frames[{i}].{name} has {_shown(unknown[0])}, which the graph has not")


def _hold(value: Any, form: Any, at: str) -> None:
    """Raise FormatError where the value is not of the form; `at` is the way to it."""
    place = at.rstrip(".")
    if isinstance(form, Maybe):
        if value is not None:
            _hold(value, form.of, at)
    elif isinstance(form, Kind):
        if not form.holds(value):
            raise FormatError(f"{place} must be {form.words}, got {_shown(value)}")
    elif isinstance(form, Many):
        if not isinstance(value, list) or len(value) < form.least:
            least = f" of {form.least} or more" if form.least else ""
            raise FormatError(f"{place} must be a list{least}, got {_shown(value)}")
        for i, each in enumerate(value):
            _hold(each, form.of, f"{place}[{i}].")
    elif form is DOWNSTREAM:
        if value is not None and value != "gradient":
            _tensor(value, place)
    elif form is TENSOR:
        _tensor(value, place)
    elif not isinstance(value, dict):
        raise FormatError(f"{place or 'the view'} must be an object, got {_shown(value)}")
    elif isinstance(form, Named):
        for name, each in value.items():
            _hold(each, form.of, f"{place}[{name!r}].")
    else:
        if form is ITEM:
            _hold(value.get("kind"), one_of(*ITEMS), f"{at}kind.")
        fields: Any = ITEMS[value["kind"]] if form is ITEM else form
        for name, inner in fields.items():
            if name not in value and name in ADDED:
                value[name] = ADDED[name]
            if name not in value:
                raise FormatError(f"{at}{name} is missing")
            _hold(value[name], inner, f"{at}{name}.")


def _tensor(value: Any, at: str) -> None:
    _hold(value, {"shape": SHAPE, "dtype": one_of(*SIZES)}, f"{at}.")
    count = math.prod(value["shape"])
    if "data" in value:
        _numbers(value["data"], count * SIZES[value["dtype"]], f"{at}.data")
        return
    _hold(value, {"why": TEXT}, f"{at}.")
    if "pooled" in value:
        _hold(value["pooled"], {"rows": WHOLE, "cols": WHOLE}, f"{at}.pooled.")
        blocks = value["pooled"]["rows"] * value["pooled"]["cols"]
        for name in ("mean", "low", "high"):
            _numbers(value["pooled"].get(name), blocks * SIZES["float32"], f"{at}.pooled.{name}")
    elif value.get("omitted") is not True:
        raise FormatError(f"{at} must have data, pooled or omitted")


def _numbers(text: Any, size: int, at: str) -> None:
    try:
        found = len(base64.b64decode(text, validate=True))
    except (TypeError, ValueError, binascii.Error):
        raise FormatError(f"{at} must be base64, got {_shown(text)}") from None
    if found != size:
        raise FormatError(f"{at} must hold {size} bytes for its shape, got {found}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
