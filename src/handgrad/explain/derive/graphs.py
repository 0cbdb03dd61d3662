"""The nodes of a Graph as statements, one for each op, as a person would write them down."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from handgrad.errors import UnsupportedError
from handgrad.explain.derive.parse import parse
from handgrad.models import Graph
from handgrad.models.graph import Node

if TYPE_CHECKING:
    from handgrad.explain.derive.model import _Writer

INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "matmul": "@", "power": "**"}
LETTERS = {"matmul": "Z", "softmax": "P"}
ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "swish", "gelu", "exp")


def write_graph(writer: _Writer, graph: Graph, x: str, place: str) -> str:
    """Writes the nodes that the graph's output needs, from its input on; the name of the output."""
    names: dict[int, str] = {}
    for node in _in_order(graph):
        if node.kind == "input":
            names[node.index] = x
        elif node.kind == "constant":
            names[node.index] = _constant(node, place)
        elif node.kind == "parameter":
            names[node.index] = _parameter(writer, graph, node, place)
        elif node.kind == "layer":
            within = place if node.name == graph._bare else f"{place}{node.name}."
            names[node.index] = writer.layer(node.function, names[node.args[0].index], within)  # type: ignore[union-attr]
        else:
            names[node.index] = _op(writer, node, names, place)
    return names[graph.sink.index]


def _in_order(graph: Graph) -> list[Node]:
    """The nodes that the output needs, as they were made, in which order their parameters are named and drawn too."""
    needed = sorted(graph.order)
    rebound = any(source > i for i in needed for source in graph.nodes[i].sources)
    return [graph.nodes[i] for i in (graph.order if rebound else needed)]


def _constant(node: Node, place: str) -> str:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnsupportedError(
            f"{node.name}, at {place.rstrip('.') or 'the top'}, is a constant that is no number: it cannot be written; "
            "make it a parameter"
        )
    return repr(value) if value >= 0 else f"({value!r})"


def _parameter(writer: _Writer, graph: Graph, node: Node, place: str) -> str:
    """W_name, or b_name for one that does not decay; that of its first place where the graph was met before."""
    key = (id(graph), node.name)
    spec = node.value
    if key not in writer.places:
        name = ("W_" if spec.decays else "b_") + re.sub(r"\W", "_", node.name, flags=re.ASCII)
        while name in writer.written.shapes:
            name += "_"
        writer.places[key] = {node.name: name}
        writer.written.parameters[f"{place}{node.name}"] = name
        writer.written.shapes[name] = spec.shape
        if spec.decays:
            writer.written.decayed.append(name)
    return writer.places[key][node.name]


def _op(writer: _Writer, node: Node, names: dict[int, str], place: str) -> str:
    op = node.function.name
    if node._keywords or None in node.args:
        raise UnsupportedError(f"{node!r}, at {place.rstrip('.') or 'the top'}, reads data: it cannot be written")
    args = [names[arg.index] for arg in node.args if arg is not None]
    options = [f"{key}={value!r}" for key, value in node.hyper.items()]
    if op in INFIX:
        text = f" {INFIX[op]} ".join(args)
    elif op == "negative":
        text = f"-{args[0]}"
    elif op == "linear":
        text = f"{args[0]} @ {args[1]}" + "".join(f" + {bias}" for bias in args[2:])
    else:
        text = f"{op}({', '.join([*args, *options])})"
    letter = LETTERS.get(op, "A" if op in ACTIVATIONS else "T")
    name = writer.say(writer.name(letter), text, title=f"{node.name} = {node}")
    known = writer.written.shapes | writer.ranks
    writer.ranks[name] = parse(f"{name} = {text}", {arg: known[arg] for arg in args if arg in known}).shape(name)
    return name


def layers_from_the_input(graph: Graph) -> list[Any]:
    """The layers within, those first that read the input."""
    inputs = {node.index for node in graph.nodes if node.kind == "input"}
    found = [node for node in graph.nodes if node.kind == "layer"]
    return [node.function for node in sorted(found, key=lambda node: not inputs.intersection(node.sources))]
