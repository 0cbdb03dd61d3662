"""Forward through a model with every step kept: Sequential, Residual and Graph are followed inside, however nested."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.errors import HandgradError, ShapeError
from handgrad.explain.trace.counts import counted_as, options
from handgrad.explain.trace.steps import INPUT, Source, Step
from handgrad.layers import Layer, Parameters
from handgrad.models import Graph, Residual, Sequential
from handgrad.models.container import within
from handgrad.models.graph import Node
from handgrad.models.graph.expression import expression, marked
from handgrad.models.graph.nodes import CONSTANT, OP, PARAMETER
from handgrad.models.graph.nodes import INPUT as ENTRY
from handgrad.models.graph.passes import placed

RESERVED = ("X", "loss")  # what a trace calls the input and the loss
WIDEST = 40  # letters of an op as it is written


@dataclass(frozen=True)
class Place:
    """Where in the model: name, "2.layer.0", "" of the model itself; names: the own name of each parameter -> the
    model's; graph: the place of the Graph around it, None outside of one."""

    name: str
    names: dict[str, str]
    graph: str | None = None

    def child(self, name: str, names: dict[str, str]) -> Place:
        """That of a layer or op within, given its own names of the parameters here."""
        inner = {own: self.names[mine] for own, mine in names.items()}
        return Place(f"{self.name}.{name}" if self.name else name, inner, self.graph)


@dataclass
class Follower:
    """One pass: `follow` runs a layer on the output of a step and adds the steps it takes."""

    params: Parameters
    x: np.ndarray
    train: bool
    rng: np.random.Generator | None
    steps: list[Step] = field(default_factory=list)
    taken: set[str] = field(default_factory=lambda: set(RESERVED))

    def value(self, number: int) -> np.ndarray:
        """What step `number` gave; X for INPUT."""
        return self.x if number == INPUT else self.steps[number].out

    def follow(self, layer: Layer, at: int, place: Place) -> int:
        """Run `layer` on the output of step `at`; the number of its last step. Errors name the place within."""
        if type(layer) in (Sequential, Residual):
            return self._contained(layer, at, place)
        if type(layer) is Graph:
            return self._graph(layer, at, replace(place, graph=place.name))
        own = {name: self.params[outer] for name, outer in place.names.items()}
        x = self.value(at)
        out, cache = layer.forward(own, x, train=self.train, rng=self.rng)
        return self._add(
            place,
            kind=type(layer).__name__,
            text=repr(layer),
            function=layer,
            layer=layer,
            sources=(at, *place.names.values()),
            names=place.names,
            out=out,
            cache=cache,
            operands=(x,),
        )

    def _contained(self, layer: Any, at: int, place: Place) -> int:
        start = at
        for name, child in layer.children().items():
            with within(name):
                at = self.follow(child, at, place.child(name, layer._names[name]))
        if type(layer) is Sequential:
            return at
        x, f = self.value(start), self.value(at)
        if x.shape != f.shape:
            raise ShapeError(f"the layer of a Residual must keep its input's shape {x.shape}, got {f.shape}")
        out, cache = ops.add.forward(x, f)
        return self._add(
            place,
            kind="Residual",
            text="x + f(x)",
            function=ops.add,
            layer=layer,
            sources=(start, at),
            names={},
            out=out,
            cache=cache,
            operands=(x, f),
        )

    def _graph(self, graph: Graph, at: int, place: Place) -> int:
        """A step for each layer and op, in the order of the graph's own pass."""
        sources: dict[int, Source] = {}  # what each node is to those that read it
        values: dict[int, Any] = {}
        entry, sink = graph._only_input(), graph.sink
        for i in graph.order:
            node = graph.nodes[i]
            try:
                if node.kind == ENTRY:
                    sources[i] = at
                elif node.kind == PARAMETER:
                    sources[i], values[i] = place.names[node.name], self.params[place.names[node.name]]
                elif node.kind == CONSTANT:
                    sources[i], values[i] = None, node.value
                elif node.kind == OP:
                    sources[i] = self._op(node, sources, values, place.child(node.name, {}))
                else:
                    inner = place.child(node.name, graph._names[node.name])
                    sources[i] = self.follow(node.function, self._lifted(node.args[0], sources, values, place), inner)
            except HandgradError as error:
                raise placed(error, sink, node, values) from error.__cause__
            except Exception as error:  # of a layer or an op of one's own
                error.add_note(f"at node {node.name!r}\n" + "    ".join(("", *marked(sink, node).splitlines(True))))
                raise
            number = sources[i]
            if isinstance(number, int):
                values[i] = self.value(number)
        return at if sink is entry else self._lifted(sink, sources, values, place)

    def _op(self, node: Node, sources: dict[int, Source], values: dict[int, Any], place: Place) -> int:
        op, count = node.function, len(node.function.inputs)
        read = [None if i is None else values[i] for i in node._args]
        keywords = {**{key: values[i] for key, i in node._keywords.items()}, **node.hyper}
        out, cache = op.forward(*read, **keywords)
        of_args: list[Source] = [None if i is None else sources[i] for i in node._args]
        moving = (*of_args[:count], *[None] * (count - len(of_args)))
        operands = (*read[:count], *[None] * (count - len(read)))
        others = (*of_args[count:], *(sources[i] for i in node._keywords.values()))
        hyper = options(op, read[count:], keywords)
        layer, names = counted_as(op, moving, operands, hyper)
        return self._add(
            place,
            kind=type(layer).__name__ if getattr(layer, "op", None) is op else op.name,
            text=expression(node, WIDEST),
            function=op,
            layer=layer,
            sources=moving,
            names=names,
            out=np.asarray(out),
            cache=cache,
            operands=operands,
            hyper=hyper,
            data=tuple(source for source in others if isinstance(source, int)),
        )

    def _lifted(self, node: Node | None, sources: dict[int, Source], values: dict[int, Any], place: Place) -> int:
        """The step of a node that a layer reads, or that is the output: of a parameter or a constant, one that copies
        it."""
        assert node is not None
        source = sources[node.index]
        if isinstance(source, int):
            return source
        out, cache = ops.identity.forward(values[node.index])
        return self._add(
            place.child(node.name, {}),
            kind=node.kind,
            text=node.name,
            function=ops.identity,
            layer=None,
            sources=(source,),
            names={} if source is None else {"x": source},
            out=out,
            cache=cache,
            operands=(out,),
        )

    def _add(self, place: Place, **fields: Any) -> int:
        """A step with these fields, and those that follow from its place and from what it reads; its number."""
        step = Step(name=self._free(place.name), graph=place.graph, **fields)
        step.of_x = any(number == INPUT or self.steps[number].of_x for number in (*step.inputs, *step.data))
        self.steps.append(step)
        return len(self.steps) - 1

    def _free(self, name: str) -> str:
        """The name, marked where it is taken, such as that of a node "h.0" beside a Sequential "h"."""
        while name in self.taken:
            name += "'"
        self.taken.add(name)
        return name
