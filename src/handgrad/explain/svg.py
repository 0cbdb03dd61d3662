"""Pictures of models and graphs as SVG text: boxes in rows, edges with what flows on them. No Graphviz, no library."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from handgrad.errors import ValueRangeError

if TYPE_CHECKING:
    from handgrad.explain.trace import Trace

CHAR, LINE, PAD = 7.2, 17.0, 10.0  # of a letter, a line and a box's edge, at 12 pixels
GAP_X, GAP_Y, MARGIN, LABEL = 36.0, 46.0, 16.0, 64.0
INK, PAPER, RULE, FAINT = "#22262b", "#ffffff", "#5b6470", "#5b6470"
# fills from Okabe and Ito's palette, which colour-blind people tell apart, thinned so that ink reads on them
FILLS = {"weights": "#cfe6f5", "activation": "#fdeec7", "sum": "#d8efe6", "data": "#eceff1", "plain": "#ffffff"}


@dataclass(frozen=True)
class Node:
    """A box. lines: its text, the first in bold. kind: a key of FILLS."""

    key: Hashable
    lines: tuple[str, ...]
    kind: str = "plain"


@dataclass(frozen=True)
class Edge:
    """An arrow from one node to another, with a label beside it."""

    source: Hashable
    target: Hashable
    label: str = ""


@dataclass(frozen=True)
class Box:
    """Where a node stands."""

    x: float
    y: float
    width: float
    height: float


def graph_svg(nodes: Iterable[Node], edges: Iterable[Edge], title: str = "") -> str:
    """A directed acyclic graph, from the top down: each node a row below the last of those it follows.

    Edges that pass a row go through a lane of their own in it, so that none runs across a box. Raises ValueRangeError
    for an edge to a node that is not there, for a key given twice, and for a cycle.
    """
    nodes, edges = list(nodes), list(edges)
    boxes = {node.key: node for node in nodes}
    if len(boxes) < len(nodes):
        raise ValueRangeError(f"keys of nodes must differ, got {[node.key for node in nodes]}")
    for edge in edges:
        for end in (edge.source, edge.target):
            if end not in boxes:
                raise ValueRangeError(f"an edge names the node {end!r}; the nodes are {list(boxes)}")
    rows = _rows(boxes, edges)
    ways = [_way(edge, rows) for edge in edges]
    places, width, height = _placed(boxes, rows, ways)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12" fill="{INK}">',
        f"<title>{escape(title)}</title>" if title else "",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{RULE}"/></marker></defs>',
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
        *(_arrow(edge, way, places) for edge, way in zip(edges, ways, strict=True)),
        *(_box(node, places[node.key]) for node in nodes),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def trace_svg(trace: Trace) -> str:
    """A model as it was traced: a box for each layer, each edge with the shape of what flows on it."""
    from handgrad.explain.trace_table import times

    shapes = {"X": trace.input_shape} | {layer.name: layer.output_shape for layer in trace.layers}
    # a Residual's place is that of its addition, so that no two layers have one key, but for a model that is one layer
    nodes = [Node("X", ("X",), "data")]
    edges = []
    for layer in trace.layers:
        text = "+" if layer.kind == "Residual" else layer.text
        nodes.append(Node(layer.name, (text, f"at {layer.name}") if layer.name else (text,), _kind(layer)))
        edges += [Edge(source, layer.name, times(shapes[source])) for source in layer.inputs]
    last = trace.layers[-1].name if trace.layers else "X"
    nodes.append(Node("loss", (trace.loss, f"{trace.loss_value:.4g}"), "data"))
    return graph_svg(nodes, [*edges, Edge(last, "loss", times(shapes[last]))], trace.title)


def _kind(layer: object) -> str:
    if layer.kind == "Residual":  # type: ignore[attr-defined]
        return "sum"
    return "weights" if layer.parameters else "activation"  # type: ignore[attr-defined]


def _rows(boxes: Mapping[Hashable, Node], edges: list[Edge]) -> dict[Hashable, int]:
    """The row of each node: one below the lowest of its sources."""
    rows = dict.fromkeys(boxes, 0)
    into = dict.fromkeys(boxes, 0)
    out: dict[Hashable, list[Hashable]] = {key: [] for key in boxes}
    for edge in edges:
        into[edge.target] += 1
        out[edge.source].append(edge.target)
    ready = [key for key in boxes if not into[key]]
    done = 0
    while ready:
        key = ready.pop()
        done += 1
        for target in out[key]:
            rows[target] = max(rows[target], rows[key] + 1)
            into[target] -= 1
            if not into[target]:
                ready.append(target)
    if done < len(boxes):
        raise ValueRangeError(f"the graph has a cycle among {[key for key in boxes if into[key]]}")
    return rows


Stop = tuple[Hashable, Hashable, int]  # an edge's lane in a row: (source, target, row)


def _way(edge: Edge, rows: Mapping[Hashable, int]) -> list[Stop]:
    """The rows an edge passes between its ends."""
    return [(edge.source, edge.target, row) for row in range(rows[edge.source] + 1, rows[edge.target])]


def _placed(
    boxes: Mapping[Hashable, Node], rows: Mapping[Hashable, int], ways: list[list[Stop]]
) -> tuple[dict[Hashable, Box], float, float]:
    """(where each node and lane stands, the picture's width, its height). Each row's boxes are centred."""
    stacked: list[list[Hashable]] = [[] for _ in range(max(rows.values(), default=-1) + 1)]
    sizes: dict[Hashable, tuple[float, float]] = {}
    for key, row in rows.items():
        lines = boxes[key].lines
        sizes[key] = max(map(len, lines)) * CHAR + 2 * PAD, len(lines) * LINE + PAD
        stacked[row].append(key)
    own = [sum(sizes[key][0] for key in row) + GAP_X * max(len(row) - 1, 0) for row in stacked]
    middle = MARGIN + max(own, default=0.0) / 2
    for stop in dict.fromkeys(stop for way in ways for stop in way):
        sizes[stop] = 0.0, 0.0
        stacked[stop[2]].append(stop)  # after the boxes, so that a chain with a way around it stays straight
    places: dict[Hashable, Box] = {}
    y = MARGIN
    for line, width in zip(stacked, own, strict=True):
        x = middle - width / 2
        height = max(sizes[key][1] for key in line)
        for key in line:
            w, h = sizes[key]
            places[key] = Box(x, y + (height - h) / 2, w, h)
            x += w + GAP_X
        y += height + GAP_Y
    right = max((box.x + box.width for box in places.values()), default=0.0)
    return places, right + LABEL + MARGIN, y - GAP_Y + MARGIN


def _arrow(edge: Edge, way: list[Stop], places: Mapping[Hashable, Box]) -> str:
    start, end = places[edge.source], places[edge.target]
    points = [(start.x + start.width / 2, start.y + start.height)]
    if way:  # to its lane, straight down, and back
        lane = max(places[stop].x for stop in way)
        points += [(lane, start.y + start.height + GAP_Y / 2), (lane, end.y - GAP_Y / 2)]
    points.append((end.x + end.width / 2, end.y - 1))
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    if way:
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points
        path += f" C{x0:.1f},{y1:.1f} {x1:.1f},{y0:.1f} {x1:.1f},{y1 + 14:.1f} L{x2:.1f},{y2 - 14:.1f}"
        path += f" C{x2:.1f},{y3:.1f} {x3:.1f},{y2:.1f} {x3:.1f},{y3:.1f}"
        at = (points[1][0] + 6, (y1 + y2) / 2 + 4)
    else:
        path += f" L{points[1][0]:.1f},{points[1][1]:.1f}"
        at = ((points[0][0] + points[1][0]) / 2 + 6, (points[0][1] + points[1][1]) / 2 + 4)
    line = f'<path d="{path}" fill="none" stroke="{RULE}" stroke-width="1.3" marker-end="url(#arrow)"/>'
    if not edge.label:
        return line
    return f'{line}\n<text x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="11" fill="{FAINT}">{escape(edge.label)}</text>'


def _box(node: Node, box: Box) -> str:
    lines = [
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="5" '
        f'fill="{FILLS[node.kind]}" stroke="{RULE}"/>'
    ]
    for i, line in enumerate(node.lines):
        y = box.y + PAD / 2 + (i + 0.72) * LINE
        weight = ' font-weight="bold"' if i == 0 else f' fill="{FAINT}" font-size="11"'
        x = box.x + box.width / 2
        lines.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle"{weight}>{escape(line)}</text>')
    return "\n".join(lines)
