"""Where the boxes and arrows of a directed acyclic graph stand in a picture: rows from the top down.

Every row of boxes has a row of labels above it. An edge goes through an item of its own in each row between its ends:
its label in the last of them, a lane in the others, which all edges from one box share. Items of a row stand apart, and
lines cross only between rows, so that no line runs across a box or a label.

Order by barycentres: Sugiyama, Tagawa and Toda (1981), "Methods for visual understanding of hierarchical system
structures"; positions by least squares under that order, for each row in turn.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from handgrad.errors import ValueRangeError

GAP_X, GAP_Y, MARGIN, ARROW = 26.0, 24.0, 16.0, 9.0
SWEEPS = 12
STRAIGHT = 8.0  # how much more it counts that an edge has no bend between two rows it passes

Size = tuple[float, float]
Link = tuple[Hashable, Hashable, Size]  # source, target, the label's width and height, (0, 0) for none


@dataclass(frozen=True)
class Box:
    """x and y: of its upper left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """boxes: of the nodes, by their keys. labels: of the edges' labels, in the edges' order. lines: of each edge, the
    points (x, y) it goes through; between the second and third, the fourth and fifth, and so on, it crosses the gap
    between two rows, and is upright elsewhere."""

    boxes: dict[Hashable, Box]
    labels: list[Box]
    lines: list[list[tuple[float, float]]]
    width: float
    height: float


@dataclass
class _Item:
    """What takes a place in a row. port: how far from its left edge its line stands."""

    row: int
    width: float = 0.0
    height: float = 0.0
    port: float = 0.0
    x: float = 0.0  # of the port
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)
    passing: bool = False  # an edge's label or lane, no box


def layout(sizes: Mapping[Hashable, Size], edges: Sequence[Link]) -> Layout:
    """sizes: width and height of each node's box. Raises ValueRangeError for a cycle."""
    level = _levels(sizes, edges)
    items = [_Item(2 * level[key], width, height, width / 2) for key, (width, height) in sizes.items()]
    number = {key: i for i, key in enumerate(sizes)}
    lanes: dict[tuple[int, int], int] = {}
    ways = [_way(items, lanes, number[source], number[target], label) for source, target, label in edges]
    rows: list[list[int]] = [[] for _ in range(max((item.row for item in items), default=-1) + 1)]
    for i, item in enumerate(items):
        rows[item.row].append(i)
    _order(items, rows)
    _position(items, rows)
    left = min((item.x - item.port for item in items), default=0.0)
    for item in items:
        item.x += MARGIN - left
    tops, heights = [], []
    y = MARGIN
    for row in rows:
        tops.append(y)
        heights.append(max(items[i].height for i in row) if row else 0.0)
        y += heights[-1] + GAP_Y
    places = [
        Box(item.x - item.port, tops[item.row] + (heights[item.row] - item.height) / 2, item.width, item.height)
        for item in items
    ]
    leaves, enters = _ports(items, ways, len(sizes))
    lines = []
    for k, way in enumerate(ways):
        start, end = places[way[0]], places[way[-1]]
        points = [(leaves[k], start.y + start.height)]
        for above, below in pairwise(way):
            a, b = items[above], items[below]
            points.append((leaves[k] if above == way[0] else a.x, tops[a.row] + heights[a.row]))
            points.append((enters[k], tops[b.row] - ARROW) if below == way[-1] else (b.x, tops[b.row]))
        lines.append([*points, (enters[k], end.y)])
    right = max((place.x + place.width for place in places), default=0.0)
    boxes = {key: places[i] for key, i in number.items()}
    return Layout(boxes, [places[way[-2]] for way in ways], lines, right + MARGIN, y - GAP_Y + MARGIN)


def _levels(sizes: Mapping[Hashable, Size], edges: Sequence[Link]) -> dict[Hashable, int]:
    """The level of each node: one below the lowest of its sources."""
    levels, into = dict.fromkeys(sizes, 0), dict.fromkeys(sizes, 0)
    out: dict[Hashable, list[Hashable]] = {key: [] for key in sizes}
    for source, target, _ in edges:
        into[target] += 1
        out[source].append(target)
    ready = [key for key in sizes if not into[key]]
    done = 0
    while ready:
        key = ready.pop()
        done += 1
        for target in out[key]:
            levels[target] = max(levels[target], levels[key] + 1)
            into[target] -= 1
            if not into[target]:
                ready.append(target)
    if done < len(sizes):
        raise ValueRangeError(f"the graph has a cycle among {[key for key in sizes if into[key]]}")
    roots = sizes.keys() - {target for _, target, _ in edges}
    for key in roots:  # just above the first that reads it
        levels[key] = min((levels[target] for target in out[key]), default=1) - 1
    return levels


def _way(items: list[_Item], lanes: dict[tuple[int, int], int], source: int, target: int, label: Size) -> list[int]:
    """The items an edge goes through, its ends among them. lanes: by source and row; new items are added to all."""
    way, last = [source], items[target].row - 1
    for row in range(items[source].row + 1, items[target].row):
        labelled = row == last and label != (0.0, 0.0)
        place = len(items) if labelled else lanes.setdefault((source, row), len(items))
        if place == len(items):
            width, height = label if row == last else (0.0, 0.0)
            items.append(_Item(row, width, height, passing=True))
        way.append(place)
    way.append(target)
    for above, below in pairwise(way):
        if below not in items[above].below:
            items[above].below.append(below)
            items[below].above.append(above)
    return way


def _order(items: list[_Item], rows: list[list[int]]) -> None:
    """Sort each row by the mean place of what its items are linked to, down and up again, and keep the best."""
    best, fewest = [list(row) for row in rows], _crossings(items, rows)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for r in range(1, len(rows)) if down else reversed(range(len(rows) - 1)):
            beside = {i: k for k, i in enumerate(rows[r - 1 if down else r + 1])}
            mean = {}
            for k, i in enumerate(rows[r]):
                near = items[i].above if down else items[i].below
                mean[i] = sum(beside[j] for j in near) / len(near) if near else k
            rows[r].sort(key=mean.__getitem__)
        found = _crossings(items, rows)
        if found < fewest:
            best, fewest = [list(row) for row in rows], found
    rows[:] = best


def _crossings(items: list[_Item], rows: list[list[int]]) -> int:
    """How many pairs of lines cross, rows in this order: inversions, counted by insertion."""
    count = 0
    for above, below in pairwise(rows):
        place = {i: k for k, i in enumerate(below)}
        seen: list[int] = []
        for i in above:
            ends = sorted(place[j] for j in items[i].below)
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _position(items: list[_Item], rows: list[list[int]]) -> None:
    """Give every item its x: as near to the mean of what it is linked to as the others of its row let it."""
    for row in rows:
        _set(items, row, [0.0] * len(row))
    for sweep in range(SWEEPS):
        down = sweep % 2 == 1
        for row in rows if down else reversed(rows):
            wanted = []
            for i in row:
                item = items[i]
                near = (item.above or item.below) if down else (item.below or item.above)
                near = near if sweep >= SWEEPS // 2 else [*item.above, *item.below]
                pulls = [STRAIGHT if item.passing and items[j].passing else 1.0 for j in near]
                total = sum(pull * items[j].x for pull, j in zip(pulls, near, strict=True))
                wanted.append(total / sum(pulls) if near else item.x)
            _set(items, row, wanted)


def _set(items: list[_Item], row: list[int], wanted: list[float]) -> None:
    """The least-squares solution with each item right of the one before: neighbours that collide share their mean."""
    offset, offsets = 0.0, []
    for k, i in enumerate(row):
        if k:
            before = items[row[k - 1]]
            offset += before.width - before.port + GAP_X + items[i].port
        offsets.append(offset)
    blocks: list[tuple[float, int]] = []  # (mean, count)
    for want, own in zip(wanted, offsets, strict=True):
        mean, count = want - own, 1
        while blocks and blocks[-1][0] > mean:
            other, others = blocks.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        blocks.append((mean, count))
    means = [mean for mean, count in blocks for _ in range(count)]
    for i, mean, own in zip(row, means, offsets, strict=True):
        items[i].x = mean + own


def _ports(items: list[_Item], ways: list[list[int]], nodes: int) -> tuple[list[float], list[float]]:
    """(where each edge leaves its source, where it enters its target), spread over a box's width from left to right."""
    leaves, enters = [0.0] * len(ways), [0.0] * len(ways)
    for ports, end, beside in ((leaves, 0, 1), (enters, -1, -2)):
        at: list[list[int]] = [[] for _ in range(nodes)]
        for way in ways:
            if way[beside] not in at[way[end]]:
                at[way[end]].append(way[beside])
        places = {}
        for node, near in enumerate(at):
            near.sort(key=lambda i: items[i].x)
            for place, i in enumerate(near, 1):
                places[node, i] = items[node].x - items[node].port + items[node].width * place / (len(near) + 1)
        ports[:] = [places[way[end], way[beside]] for way in ways]
    return leaves, enters
