"""Pictures of models and graphs as SVG text: boxes in rows, edges with what flows on them. No Graphviz, no library."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from handgrad.errors import ValueRangeError
from handgrad.explain.layout import MARGIN, Box, layout

if TYPE_CHECKING:
    from handgrad.explain.trace import Trace

CHAR, SMALL, LINE, PAD = 7.3, 6.7, 16.0, 10.0  # widths of a letter in bold and small, of a line, of a box's edge
LABEL_LINE, LABEL_PAD = 13.0, 6.0
INK, PAPER, RULE, FAINT = "#22262b", "#ffffff", "#5b6470", "#4d5661"
# fills from Okabe and Ito's palette, which colour-blind people tell apart, thinned so that ink reads on them
FILLS = {"weights": "#cfe6f5", "activation": "#fdeec7", "sum": "#d8efe6", "data": "#eceff1", "plain": "#ffffff"}


class Picture(str):
    """The text of an SVG file, which notebooks show as the picture."""

    def _repr_svg_(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Node:
    """A box. lines: its text, the first in bold. kind: a key of FILLS."""

    key: Hashable
    lines: tuple[str, ...]
    kind: str = "plain"


@dataclass(frozen=True)
class Edge:
    """An arrow from one node to another, with a label beside it, of one line or several."""

    source: Hashable
    target: Hashable
    label: str = ""


def graph_svg(nodes: Iterable[Node], edges: Iterable[Edge], title: str = "", note: str = "") -> Picture:
    """A directed acyclic graph, from the top down, with a note below it; see `layout` for what stands where.

    Raises ValueRangeError for an edge to a node that is not there, for a key given twice, and for a cycle.
    """
    nodes, edges = list(nodes), list(edges)
    boxes = {node.key: node for node in nodes}
    if len(boxes) < len(nodes):
        raise ValueRangeError(f"keys of nodes must differ, got {[node.key for node in nodes]}")
    for edge in edges:
        for end in (edge.source, edge.target):
            if end not in boxes:
                raise ValueRangeError(f"an edge names the node {end!r}; the nodes are {list(boxes)}")
    plan = layout(
        {key: _size(node) for key, node in boxes.items()},
        [(edge.source, edge.target, _label_size(edge.label)) for edge in edges],
    )
    width, height = max(plan.width, len(note) * SMALL + 2 * MARGIN), plan.height + (LINE + PAD) * bool(note)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12" fill="{INK}">',
        f"<title>{escape(title)}</title>" if title else "",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{RULE}"/></marker></defs>',
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
        *map(_arrow, plan.lines),
        *(_label(edge.label, box) for edge, box in zip(edges, plan.labels, strict=True) if edge.label),
        *(_box(node, plan.boxes[node.key]) for node in nodes),
        _text(MARGIN, height - MARGIN, note, f' fill="{FAINT}" font-size="11"') if note else "",
        "</svg>",
    ]
    return Picture("\n".join(part for part in parts if part) + "\n")


def trace_svg(trace: Trace) -> Picture:
    """A model as it was traced: a box for each layer, each edge with the shape of what flows on it."""
    from handgrad.explain.trace.table import times

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
    if layer.kind in ("Residual", "add", "subtract"):  # type: ignore[attr-defined]
        return "sum"
    return "weights" if layer.parameters else "activation"  # type: ignore[attr-defined]


def _size(node: Node) -> tuple[float, float]:
    first, *rest = node.lines
    width = max(len(first) * CHAR, *(len(line) * SMALL for line in rest), 0.0)
    return width + 2 * PAD, len(node.lines) * LINE + PAD


def _label_size(label: str) -> tuple[float, float]:
    lines = label.splitlines()
    return (max(map(len, lines)) * SMALL + LABEL_PAD, len(lines) * LABEL_LINE) if lines else (0.0, 0.0)


def _arrow(points: list[tuple[float, float]]) -> str:
    """Upright within a row, a curve with upright ends from one row to the next."""
    (x, y), *rest = points
    path = f"M{x:.1f},{y:.1f}"
    for to_x, to_y in rest:
        if abs(to_x - x) > 0.05:
            middle = (y + to_y) / 2
            path += f" L{x:.1f},{y:.1f} C{x:.1f},{middle:.1f} {to_x:.1f},{middle:.1f} {to_x:.1f},{to_y:.1f}"
            x = to_x
        y = to_y
    path += f" L{x:.1f},{y:.1f}"
    return f'<path d="{path}" fill="none" stroke="{RULE}" stroke-width="1.3" marker-end="url(#arrow)"/>'


def _label(label: str, box: Box) -> str:
    style = f' fill="{FAINT}" font-size="11"'
    lines = label.splitlines()
    return "\n".join(
        _text(box.x + LABEL_PAD, box.y + (i + 0.77) * LABEL_LINE, line, style) for i, line in enumerate(lines)
    )


def _box(node: Node, box: Box) -> str:
    lines = [
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="5" '
        f'fill="{FILLS[node.kind]}" stroke="{RULE}"/>'
    ]
    for i, line in enumerate(node.lines):
        style = ' font-weight="bold"' if i == 0 else f' fill="{FAINT}" font-size="11"'
        y = box.y + PAD / 2 + (i + 0.72) * LINE
        lines.append(_text(box.x + box.width / 2, y, line, f' text-anchor="middle"{style}'))
    return "\n".join(lines)


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{style}>{escape(text)}</text>'
