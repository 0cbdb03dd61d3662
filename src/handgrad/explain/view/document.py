"""Networks as the document that every view is made of; its form is in `handgrad.explain.view.schema`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from handgrad.errors import UnsupportedError
from handgrad.explain.trace.spread import Spread
from handgrad.explain.view.equations import derivation
from handgrad.explain.view.places import Link, Network, Place, saved
from handgrad.explain.view.tensors import as_array
from handgrad.ops.jacobians import (
    Diagonal,
    Jacobian,
    Kronecker,
    Product,
    Reshaped,
    SoftmaxJacobian,
    Stretched,
    Sum,
    Transposed,
)
from handgrad.optim import global_norm

DENSE = 10_000  # numbers of a Jacobian up to which it is formed
STRUCTURES: dict[type[Jacobian], str] = {
    Diagonal: "diagonal",
    Reshaped: "reshape",
    Stretched: "broadcast",
    SoftmaxJacobian: "softmax",
    Kronecker: "kronecker",
    Product: "product",
    Sum: "ways",
}
QUANTILES = (0, 2, 3, 4, 6)  # of a Spread's: 1, 25, 50, 75 and 99 %
WHOLE = "gradient"  # in the place of a downstream gradient: it is the source's whole gradient


def number(value: float | None) -> float | str | None:
    """A number as strict JSON has it; what is not finite as a word."""
    if value is None:
        return None
    value = float(value)
    return value if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def graph(network: Network) -> dict[str, Any]:
    """What does not change from moment to moment: nodes, edges, equations."""
    subjects = dict.fromkeys(place.subject for place in network.places if place.subject is not None)
    keys = {subject: f"equation {i}" for i, subject in enumerate(subjects, 1)}
    shared: dict[str, list[str]] = {}
    for place in network.places:
        for weight in place.weights:
            shared.setdefault(weight.name, []).append(place.id)
    found = {key: derivation(subject) for subject, key in keys.items()}
    equations = {key: each for key, each in found.items() if each is not None}
    nodes = []
    for place in network.places:
        key = None if place.subject is None else keys[place.subject]
        nodes.append(
            {
                "id": place.id,
                "label": place.label,
                "kind": place.kind,
                "role": place.role,
                "group": place.group,
                "shape": list(np.shape(place.value)),
                "formula": place.formula,
                "local": place.local,
                "patterns": list(place.patterns),
                "derivation": key if key in equations else None,
                "worked": None if place.worked is None else {**vars(place.worked), "of": list(place.worked.of)},
                "parameters": [
                    {
                        "name": weight.name,
                        "letter": weight.letter,
                        "shape": list(weight.shape),
                        "shared": shared[weight.name],
                        "local": _local(weight.jacobian),
                    }
                    for weight in place.weights
                ],
                "cache": [
                    {
                        "name": each.name,
                        "shape": list(each.shape),
                        "bytes": each.bytes,
                        "what": each.what,
                        "alias": each.alias,
                    }
                    for each in saved(place, network)
                ],
            }
        )
    edges = [_edge(place, link) for place in network.places for link in place.links]
    return {"nodes": nodes, "edges": edges, "equations": equations}


def _edge(place: Place, link: Link) -> dict[str, Any]:
    return {
        "id": edge_id(place, link),
        "source": link.source,
        "target": place.id,
        "letter": link.letter,
        "shape": list(link.shape),
        "local": _local(link.jacobian, link.parameter),
    }


def edge_id(place: Place, link: Link) -> str:
    """Two places are joined by one edge at most."""
    return f"{link.source} → {place.id}"


def _local(jacobian: Jacobian | None, parameter: str | None = None) -> dict[str, Any] | None:
    if jacobian is None:
        return None
    return {
        "text": jacobian.text,
        "latex": None if jacobian.latex == "J" else jacobian.latex,
        "structure": _structure(jacobian),
        "shape": list(jacobian.shape),
        "note": "one sample's is shown" if jacobian.size > DENSE and _block(jacobian) <= DENSE else None,
        "parameter": parameter,
    }


def _structure(jacobian: Jacobian) -> str:
    if isinstance(jacobian, Reshaped) and jacobian.text == "I":
        return "identity"
    if isinstance(jacobian, Transposed):
        return "sum"
    return STRUCTURES.get(type(jacobian), "dense")


def _block(jacobian: Jacobian) -> float:
    """The numbers of one sample's part; infinity where samples are not apart."""
    return jacobian.size / jacobian.out_shape[0] ** 2 if jacobian.batch and jacobian.out_shape[0] else math.inf


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def frame(network: Network, label: str) -> dict[str, Any]:
    """One moment: every value and gradient, as arrays that are yet to be packed."""
    gradients = [np.asarray(g).reshape(-1) for g in (network.gradients or _of_inputs(network)).values()]
    return {
        "label": label,
        "loss": number(network.loss),
        "gradient_norm": number(global_norm(np.concatenate(gradients)) if gradients else 0.0),
        "nodes": {place.id: _node_values(place, network) for place in network.places},
        "edges": {
            edge_id(p, link): _edge_values(link, network.readers[link.source] == 1)
            for p in network.places
            for link in p.links
        },
        "parameters": {name: _parameter_values(name, network) for name in network.values},
    }


def _of_inputs(network: Network) -> dict[str, Any]:
    return {p.id: p.gradient for p in network.places if p.kind == "input" and p.gradient is not None}


def _node_values(place: Place, network: Network) -> dict[str, Any]:
    parts = {weight.name: weight.part for weight in place.weights if weight.part is not None}
    return {
        "value": as_array(place.value),
        "gradient": None if place.gradient is None else as_array(place.gradient),
        "numbers": place.numbers,
        "stats": _stats(place, network) if np.size(place.value) else None,
        "check": network.checks.get(place.id) if place.kind == "input" else None,
        "parts": {
            name: as_array(part)
            for name, part in parts.items()
            if not np.array_equal(part, network.gradients[name], equal_nan=True)
        },
    }


def _stats(place: Place, network: Network) -> dict[str, Any]:
    spread = Spread.of(place.value)
    gradient = math.nan if place.gradient is None else global_norm(np.asarray(place.gradient).reshape(-1))
    return {
        "mean": number(spread.mean),
        "std": number(spread.std),
        "min": number(spread.min),
        "max": number(spread.max),
        "quantiles": [number(spread.quantiles[i]) for i in QUANTILES],
        "zeros": number(spread.zeros),
        "bad": spread.bad,
        "gradient_norm": number(gradient),
        "dead": place.units.dead,
        "units": place.units.units,
        "saturation": number(place.units.saturation),
        "cache_bytes": sum(each.bytes for each in saved(place, network)),
    }


def _edge_values(link: Link, whole: bool) -> dict[str, Any]:
    if link.jacobian is None:
        return {"local": None, "diagonal": None, "downstream": None}
    downstream = WHOLE if whole else None if link.downstream is None else as_array(link.downstream)
    diagonal = as_array(link.jacobian.d) if isinstance(link.jacobian, Diagonal) else None
    return {"local": _numbers(link.jacobian), "diagonal": diagonal, "downstream": downstream}


def _numbers(jacobian: Jacobian) -> np.ndarray | None:
    """The Jacobian's numbers where they are few, or one sample's."""
    try:
        if jacobian.size <= DENSE:
            return as_array(jacobian.dense())
        return as_array(jacobian.blocks()[0]) if _block(jacobian) <= DENSE else None
    except UnsupportedError:
        return None


def _parameter_values(name: str, network: Network) -> dict[str, Any]:
    value, gradient = as_array(network.values[name]), as_array(network.gradients[name])
    update = None if network.updates is None else as_array(network.updates[name])
    norm = global_norm(value.reshape(-1))
    ratio = None if update is None or norm == 0 else global_norm(update.reshape(-1)) / norm
    return {
        "value": value,
        "gradient": gradient,
        "update": update,
        "update_ratio": number(ratio),
        "gradient_norm": number(global_norm(gradient.reshape(-1))),
        "check": network.checks.get(name),
    }


def same_structure(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two graphs have the same nodes, with the same edges."""
    return _skeleton(one) == _skeleton(other)


def _skeleton(graph: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    return [(node["id"], node["kind"]) for node in graph["nodes"]], [edge["id"] for edge in graph["edges"]]
