"""`draw`: a graph, or a run of it with every value and gradient, as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from handgrad.errors import DTypeError, ValueRangeError
from handgrad.explain.svg import Edge, Node, Picture, graph_svg
from handgrad.layers import Layer
from handgrad.models import Graph
from handgrad.models.graph import Edge as Flow
from handgrad.models.graph import Node as Place
from handgrad.models.graph import Run
from handgrad.models.graph.expression import expression
from handgrad.models.graph.run import shown as all_digits
from handgrad.ops.base import Elementwise

MOST = 1_000  # nodes
WIDEST = 34  # letters of a line


def draw(graph: Run | Layer) -> Picture:
    """A picture as SVG text, which needs neither Graphviz nor any other library, and which notebooks show.

    graph: a Graph, or any model, as a graph of its layers; or a run, whose boxes then have the value and the gradient
    of each node, as numbers or shapes, and its patterns. After `backward` the label of an edge is what flows on it:
    the upstream gradient times the local one is the downstream one. Constants stand in the expressions alone.

        Path("circuit.svg").write_text(draw(run))

    Raises ValueRangeError for more than 1,000 nodes, which no picture can show.
    """
    if isinstance(graph, Run):
        return _of_run(graph)
    if not isinstance(graph, Layer):
        raise DTypeError(f"graph must be a run, a Graph or another model, got {type(graph).__name__}")
    graph = graph if isinstance(graph, Graph) else Graph.of(graph)
    nodes = _drawn(graph.nodes)
    reads = ((source, node) for node in nodes for i in dict.fromkeys(node.sources) for source in [graph.nodes[i]])
    edges = [Edge(source.name, node.name) for source, node in reads if source.kind != "constant"]
    return graph_svg([_box(node) for node in nodes], edges, repr(graph))


def _of_run(run: Run) -> Picture:
    flows = {(edge.source.name, edge.target.name): edge for edge in run.edges} if run.went_back else {}
    boxes, edges = [], []
    for node in _drawn(run.nodes):
        at = run[node]
        lines = {"value": shown(at.value), "gradient": shown(at.gradient) if run.went_back else ""}
        boxes.append(_box(node, *(f"{what} {text}" for what, text in lines.items() if text), *at.patterns))
        for source in run.reads(node):
            if source.kind != "constant":
                flow = flows.get((source.name, node.name))
                edges.append(Edge(source.name, node.name, _flow(flow) if flow else ""))
    title = f"{run.output.name} = {expression(run.output)}"
    return graph_svg(boxes, edges, title, "on an edge: upstream · local = downstream" if flows else "")


def _drawn(nodes: Iterable[Place]) -> list[Place]:
    nodes = [node for node in nodes if node.kind != "constant"]
    if len(nodes) > MOST:
        raise ValueRangeError(
            f"a picture holds at most {MOST:,} nodes, this graph has {len(nodes):,}; draw a run of a part of it"
        )
    return nodes


def _box(node: Place, *lines: str) -> Node:
    text = {"op": expression(node, WIDEST), "layer": repr(node.function)}.get(node.kind)
    own = (_cut(node.name, WIDEST), *([_cut(text, WIDEST)] if text else []))
    return Node(node.name, (*own, *lines), _kind(node))


def _kind(node: Place) -> str:
    if node.kind in ("input", "parameter"):
        return "data"
    if node.kind == "layer" and node.function.parameters():
        return "weights"
    name = getattr(node.op, "name", "")
    return "sum" if name == "add" else "activation" if isinstance(node.op, Elementwise) else "plain"


def _flow(edge: Flow) -> str:
    """upstream · local = downstream: on one line where they are numbers; else shapes, and the local one's structure."""
    upstream, downstream = shown(edge.upstream), shown(edge.downstream)
    jacobian = edge.jacobian
    local = shown(jacobian.dense()) if jacobian.size == 1 else _cut(jacobian.text, WIDEST)
    short = f"{upstream} · {local} = {downstream}"
    return short if len(short) <= 24 else f"{upstream}\n· {local}\n= {downstream}"


def shown(value: Any) -> str:
    """A number in four digits, which is what a picture has room for, an array as its shape."""
    return all_digits(value, 4)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
