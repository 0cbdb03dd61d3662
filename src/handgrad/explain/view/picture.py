"""A document as an SVG picture: the graph, shapes on its edges, the norm of the gradient at each node."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from handgrad.explain.svg import Edge, Node, graph_svg

COLOURS = {"weights": "weights", "activation": "activation", "sum": "sum", "product": "sum", "data": "data"}
DTYPES = {"float32": "<f4", "float64": "<f8", "int64": "<i8"}
MOST = 400  # nodes of a picture
WIDEST = 40  # letters of a line


def picture(document: dict[str, Any]) -> str:
    """Of the first variant, at the moment that is shown first."""
    variant = document["variants"][0]
    nodes, frame = variant["graph"]["nodes"], variant["frames"][-1]
    shown = nodes[:MOST]
    known = {node["id"] for node in shown}
    boxes = [Node(node["id"], _lines(node, frame), COLOURS.get(node["role"], "plain")) for node in shown]
    edges = [
        Edge(edge["source"], edge["target"], " x ".join(map(str, edge["shape"])))
        for edge in variant["graph"]["edges"]
        if edge["source"] in known and edge["target"] in known
    ]
    note = f"the first {MOST} of {len(nodes)} nodes" if len(nodes) > MOST else ""
    return graph_svg(boxes, edges, document["title"], note)


def _lines(node: dict[str, Any], frame: dict[str, Any]) -> tuple[str, ...]:
    values = frame["nodes"][node["id"]]
    place = "" if node["label"] == node["id"] else node["id"]
    value = _single(values["value"])
    said = values["numbers"] or ("" if value is None else f"value {value:.6g}")
    return tuple(_cut(line) for line in (node["label"], place, said, _gradient(values)) if line)


def _gradient(values: dict[str, Any]) -> str:
    """The gradient, where it is one number, or its norm."""
    if values["gradient"] is None or values["stats"] is None:
        return ""
    single, norm = _single(values["gradient"]), values["stats"]["gradient_norm"]
    if single is not None:
        return f"gradient {single:.3g}"
    return f"norm of the gradient {norm if isinstance(norm, str) else format(norm, '.3g')}"


def _single(tensor: dict[str, Any]) -> float | None:
    """The number of a tensor without axes."""
    if tensor["shape"] or "data" not in tensor:
        return None
    return float(np.frombuffer(base64.b64decode(tensor["data"]), DTYPES[tensor["dtype"]])[0])


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
