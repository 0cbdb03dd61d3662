"""In which order the nodes of a graph run for one output, found without recursion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handgrad.models.graph.nodes import LAYER, PARAMETER, Node


@dataclass(frozen=True)
class Plan:
    """order: the numbers of all nodes the output needs, each after what it reads; the output is the last.

    args: what each reads, in the order of its arguments, when the plan was made: a graph may be rebound later.
    learns: those with a parameter in or before them. readers: how often each is read.
    """

    output: int
    order: tuple[int, ...]
    args: dict[int, tuple[Any, ...]]  # numbers of nodes, None for one that was left out
    learns: frozenset[int]
    readers: dict[int, int]


def plan_of(nodes: Sequence[Node], output: int) -> Plan:
    """The plan for one output: depth first, each node after its sources, in the order of its arguments."""
    order: list[int] = []
    entered, done = {output}, set()
    path = [(output, iter(nodes[output].sources))]
    while path:
        index, sources = path[-1]
        ahead = next((s for s in sources if s not in entered), None)
        if ahead is not None:
            entered.add(ahead)
            path.append((ahead, iter(nodes[ahead].sources)))
        else:
            path.pop()
            done.add(index)
            order.append(index)
    learns: set[int] = set()
    readers = dict.fromkeys(order, 0)
    for index in order:
        node = nodes[index]
        own = node.kind == PARAMETER or (node.kind == LAYER and bool(node.function.parameters()))
        if own or any(source in learns for source in node.sources):
            learns.add(index)
        for source in node.sources:
            readers[source] += 1
    args = {index: nodes[index]._args for index in order}
    return Plan(output, tuple(order), args, frozenset(learns), readers)


def way(nodes: Sequence[Node], start: int, end: int) -> list[int]:
    """The numbers of the nodes on a way by which `end` depends on `start`, from start to end, or []."""
    came: dict[int, int] = {end: end}
    ahead = [end]
    while ahead:
        index = ahead.pop()
        if index == start:
            found = [start]
            while found[-1] != end:
                found.append(came[found[-1]])
            return found
        for source in nodes[index].sources:
            if source not in came:
                came[source] = index
                ahead.append(source)
    return []
