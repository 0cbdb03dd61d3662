"""`Graph`: built by calling ops and layers on its nodes, run for any of them, and a layer itself."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from handgrad.errors import DTypeError, ParameterError, ShapeError, UnsupportedError, ValueRangeError
from handgrad.initializers import Initializer, initializer
from handgrad.layers.base import Gradients, Layer, Shape, Visit
from handgrad.layers.parameters import Parameter
from handgrad.models.container import Container
from handgrad.models.graph.calls import constant_value, placed_arguments, with_constants
from handgrad.models.graph.expression import expression, marked
from handgrad.models.graph.inputs import given_inputs, listed
from handgrad.models.graph.nodes import CONSTANT, INPUT, LAYER, OP, PARAMETER, Node
from handgrad.models.graph.passes import (
    backward_pass,
    forward_pass,
    layer_backward,
    layer_sample_gradients,
    mixing,
    tangent_pass,
)
from handgrad.models.graph.plan import Plan, plan_of, way
from handgrad.models.graph.run import Run
from handgrad.models.graph.shapes import output_shape
from handgrad.ops.arrays import Array, namespace_of
from handgrad.ops.base import Cache, Op

RESERVED = ("train", "rng")  # keywords of run


class Graph(Container):
    """A directed acyclic graph of ops and layers on named inputs.

        g = Graph()
        x, y, z = g.input("x"), g.input("y"), g.input("z")
        f = (x + y) * z                         operators, ops.sigmoid(x) and layer(x) make nodes
        run = g.run(f, x=-2.0, y=5.0, z=-4.0)   forward in topological order; see Run
        run.backward()
        run[x].gradient, run.edge(x + y, f)     what came back to x; what flows along an edge

    With one input a graph is a layer, which nests and trains: its output is the one node that no other reads, or the
    one given to `output`. A layer's parameters are named after its node, "linear1.weight", and `parameter` makes one
    for ops to read. Running a graph changes nothing in it, so that threads may share one; building it is for one, and
    is done before the graph is placed in another model.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._output: int | None = None
        self._bare: str | None = None  # the node whose parameters have no prefix: all of a graph of a single layer
        self._bind()

    # Building

    def input(self, name: str) -> Node:
        """A value that is given at each run, under that name."""
        if name in RESERVED:
            raise ValueRangeError(f"name must not be {name!r}, which is a keyword of run")
        return self._add(INPUT, name, expressed=True)

    def constant(self, value: Any, name: str | None = None) -> Node:
        """A fixed number or array. Numbers in an expression become constants by themselves."""
        value = constant_value(value, "a constant" if name is None else f"constant {name!r}")
        return self._add(CONSTANT, name, "constant", value=value, expressed=name is not None)

    def parameter(
        self, name: str, shape: tuple[int, ...], init: str | Initializer = "he_normal", decays: bool = True
    ) -> Node:
        """An array that is trained, for ops to read: a weight with no layer around it. decays: whether L2 pulls it."""
        if not isinstance(shape, tuple | list) or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
            raise ShapeError(f"shape of parameter {name!r} must be whole numbers of at least 1, got {shape!r}")
        spec = Parameter(tuple(map(int, shape)), initializer(init), decays)
        if name in self._specs:
            raise ValueRangeError(f"name must be new, but there is a parameter {name!r} already")
        node = self._add(PARAMETER, name, value=spec, expressed=True)
        self._specs[name] = spec
        return node

    def apply(self, function: Op | Layer, *args: Any, name: str | None = None, **hyper: Any) -> Node:
        """The op or layer on nodes, numbers and arrays: what `function(*args)` does, with a name for the new node."""
        if isinstance(function, Layer):
            if len(args) != 1 or args[0] is None or hyper:
                raise ValueRangeError(f"{function!r} takes one node and no options, got {args} and {hyper}")
            self._refuse_itself(function)
            kind, default = LAYER, type(function).__name__.lower()
        elif isinstance(function, Op):
            kind, default = OP, function.name
            args, hyper = placed_arguments(function, args, hyper)
        else:
            raise DTypeError(f"a graph applies ops and layers, got {type(function).__name__}")
        sources = self._sources(function, args)
        keywords = {key: self._node(value) for key, value in hyper.items() if isinstance(value, Node)}
        node = self._add(kind, name, default, function, expressed=name is not None)
        node._args, node._keywords = sources, keywords
        node.hyper = {key: value for key, value in hyper.items() if key not in keywords}
        if kind == LAYER:
            try:
                self._adopt(node)
            except ValueRangeError:  # leaves the graph as it was
                self.nodes.pop()
                del self._numbers[node.name]
                raise
        return node

    def output(self, node: Node) -> Node:
        """Make that node the output that the graph has as a layer. Returns it."""
        self._output = self._node(node)
        return node

    def rename(self, node: Node, name: str) -> Node:
        """As node.named(name). A layer's parameters are renamed with it."""
        self._node(node)
        if name != node.name:
            self._new_name(name)
            before = node.name
            self._call(node, name)
            if node.kind in (LAYER, PARAMETER):
                try:
                    self._bind()
                except ValueRangeError:
                    self._call(node, before)
                    self._bind()
                    raise
        node.expressed = True
        return node

    def rebind(self, node: Node, *args: Any) -> Node:
        """Let an op's or layer's node read other nodes than before: surgery on a graph, such as one from `Graph.of`.

        Raises ValueRangeError, which shows the way round, where it would come to depend on itself.
        """
        self._node(node)
        if len(args) != len(node._args) or node.kind not in (OP, LAYER):
            raise ValueRangeError(f"{node!r} reads {len(node._args)} nodes, got {len(args)} to read instead")
        for old, new in zip(node._args, args, strict=True):
            if new is None and old is not None:
                raise ValueRangeError(f"{node!r} reads {self.nodes[old].name!r}, and None is no node to read instead")
        sources = self._sources(node.function, args)
        for source in sources:
            circle = [] if source is None else way(self.nodes, node.index, source)
            if circle:
                names = " -> ".join(repr(self.nodes[i].name) for i in (*circle, node.index))
                if len(circle) > 10:
                    ends = [repr(self.nodes[i].name) for i in (*circle[:5], *circle[-4:], node.index)]
                    names = " -> ".join([*ends[:5], f"{len(circle) - 9} more", *ends[5:]])
                where = marked(self.nodes[circle[-1]], node).replace("\n", "\n    ")
                raise ValueRangeError(f"node {node.name!r} would depend on itself, a cycle: {names}\n    {where}")
        node._args = sources
        self._plans.clear()
        return node

    @classmethod
    def of(cls, model: Layer) -> Graph:
        """The graph of a model: a node for each layer in its Sequentials and Residuals, named by its place.

        Parameters keep the names they have in the model. The input is "x".
        """
        from handgrad.models.graph.unfold import unfold

        return unfold(cls(), model)

    # Running

    def run(
        self,
        output: Node | str,
        params: Mapping[str, Array] | None = None,
        /,
        *,
        train: bool = False,
        rng: np.random.Generator | int | None = None,
        **inputs: Any,
    ) -> Run:
        """Forward to that node, with the inputs given by name, as numbers or arrays. params: as `init` gives them.

        train and rng matter to Dropout alone. Raises ValueRangeError for an input not given or unknown, and what ops
        and layers raise, with the node's name and its place in the expression.
        """
        node = self[output]
        plan = self._plan(node.index)
        given = given_inputs(self, plan, inputs)
        if params is None and not self._specs:
            params = {}
        if params is None:
            needed = [self.nodes[i].name for i in plan.order if i in plan.learns]
            if needed:
                raise ParameterError(f"params must be given, as init makes them: {needed[0]!r} has parameters")
        values, caches = forward_pass(self, plan, params or {}, given, train, rng)  # type: ignore[arg-type]
        return Run(self, plan, values, caches, params or {})

    def __getitem__(self, name: str | Node) -> Node:
        """The node of that name; a node of this graph is itself."""
        if isinstance(name, Node):
            self._node(name)
            return name
        if not isinstance(name, str) or name not in self._numbers:
            raise ValueRangeError(f"the graph has no node {name!r}; it has {listed([n.name for n in self.nodes])}")
        return self.nodes[self._numbers[name]]

    # As a layer

    @property
    def sink(self) -> Node:
        """The node that is the graph's output as a layer. Raises ValueRangeError where that is not plain."""
        if self._output is not None:
            return self.nodes[self._output]
        read = {source for node in self.nodes for source in node.sources}
        last = [node for node in self.nodes if node.index not in read and node.kind in (OP, LAYER)]
        if len(last) != 1:
            names = listed([node.name for node in last])
            raise ValueRangeError(f"say by g.output(node) which node is the graph's output: {names} are read by none")
        return last[0]

    @property
    def order(self) -> tuple[int, ...]:
        """The numbers of the nodes that make the output, each after what it reads."""
        return self._plan(self.sink.index).order

    def children(self) -> dict[str, Layer]:
        return {node.name: node.function for node in self.nodes if node.kind == LAYER}

    def parameter_keys(self) -> dict[str, Hashable]:
        own: dict[str, Hashable] = {node.name: (id(self), node.name) for node in self.nodes if node.kind == PARAMETER}
        of_layers = super().parameter_keys()
        return {name: of_layers.get(name, own.get(name)) for name in self._specs}

    def output_shape(self, shape: Shape = None) -> Shape:
        self._only_input()
        return output_shape(self, self._plan(self.sink.index), shape)

    def forward(
        self, params: Mapping[str, Array], x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Cache]:
        plan, entry = self._plan(self.sink.index), self._only_input()
        values, caches = forward_pass(self, plan, params, {entry.name: x}, train, rng)
        # where the output does not depend on x, its gradient takes x's shape
        return values[plan.output], (plan, caches, None if entry.index in values else x)

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, Gradients]:
        plan, caches, unread = cache
        gradients, _, of_params = backward_pass(self, plan, caches, dout, layer_backward)
        dx = gradients.get(self._only_input().index) if unread is None else namespace_of(x=unread).zeros_like(unread)
        return dx, of_params

    def parameter_gradients(self, dout: Array, cache: Cache) -> Gradients:
        plan, caches, _ = cache
        return backward_pass(self, plan, caches, dout, layer_backward, learning=True)[2]

    def sample_gradients(self, dout: Array, cache: Cache, dx: bool = True) -> tuple[Array | None, Gradients]:
        plan, caches, _ = cache
        if why := mixing(self, plan, caches):
            raise UnsupportedError(why)
        gradients, _, of_params = backward_pass(self, plan, caches, dout, layer_sample_gradients, learning=not dx)
        return gradients.get(self._only_input().index) if dx else None, of_params

    def keeps_apart(self, cache: Cache) -> bool:
        return not mixing(self, *cache[:2])

    def jvp(self, tangent: Array, tangents: Mapping[str, Array], cache: Cache) -> Array:
        plan, caches, _ = cache
        return tangent_pass(self, plan, caches, {self._only_input().name: tangent}, tangents, tangent)

    def visit(
        self,
        visit: Visit,
        params: Mapping[str, Array],
        x: Array,
        *,
        train: bool = False,
        rng: np.random.Generator | None = None,
        name: str = "",
    ) -> Array:
        plan, entry = self._plan(self.sink.index), self._only_input()
        return forward_pass(self, plan, params, {entry.name: x}, train, rng, visit, name)[0][plan.output]

    def __repr__(self) -> str:
        count = sum(node.kind in (OP, LAYER) for node in self.nodes)
        names = ", ".join(node.name for node in self.nodes if node.kind == INPUT)
        try:
            return f"Graph({names} -> {expression(self.sink)}; {count} ops and layers)"
        except ValueRangeError:  # no output, or several
            return f"Graph({names}; {count} ops and layers)"

    @property
    def state(self) -> dict[str, Any]:
        """All there is to a graph, nodes as tuples: what copies, pickles and files hold."""
        return {"nodes": [node.state for node in self.nodes], "output": self._output, "bare": self._bare}

    def __getstate__(self) -> dict[str, Any]:
        return self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._output, self._bare = state["output"], state["bare"]
        self.nodes = [Node.from_state(self, index, each) for index, each in enumerate(state["nodes"])]
        self._bind()

    # Within

    def _bind(self) -> None:
        """Find anew what follows from the nodes: their numbers by name, the parameters, no plans."""
        self._numbers = {node.name: node.index for node in self.nodes}
        self._counts: dict[str, int] = {}
        self._plans: dict[int, Plan] = {}
        self._specs, self._names = {}, {}
        self._first: dict[Hashable, str] = {}
        for node in self.nodes:
            if node.kind == PARAMETER and node.name in self._specs:
                raise ValueRangeError(f"name must be new, but there is a parameter {node.name!r} already")
            if node.kind == PARAMETER:
                self._specs[node.name] = node.value
            elif node.kind == LAYER:
                self._adopt(node)

    def _adopt(self, node: Node) -> None:
        """Give the parameters of a layer's node their names here; a layer placed before keeps its first ones."""
        layer, keys = node.function, node.function.parameter_keys()
        prefix = "" if node.name == self._bare else f"{node.name}."
        names = {name: self._first.get(key, prefix + name) for name, key in keys.items()}
        taken = [own for name, own in names.items() if keys[name] not in self._first and own in self._specs]
        if taken:
            raise ValueRangeError(
                f"node {node.name!r} would have a parameter {taken[0]!r}, but there is one already; give another name, "
                "as by g.apply(layer, node, name=...)"
            )
        for name, spec in layer.parameters().items():
            self._first.setdefault(keys[name], names[name])
            self._specs.setdefault(names[name], spec)
        self._names[node.name] = names

    def _add(
        self,
        kind: str,
        name: str | None,
        default: str = "",
        function: Any = None,
        value: Any = None,
        expressed: bool = False,
    ) -> Node:
        if name is None:
            count = self._counts.get(default, 0) + 1
            while f"{default}{count}" in self._numbers:
                count += 1
            self._counts[default], name = count, f"{default}{count}"
        self._new_name(name)
        node = Node(self, len(self.nodes), kind, name, function, value)
        node.expressed = expressed
        self.nodes.append(node)
        self._numbers[name] = node.index
        return node

    def _new_name(self, name: Any) -> None:
        if not isinstance(name, str) or not name:
            raise ValueRangeError(f"name must be a text that is not empty, got {name!r}")
        if name in self._numbers:
            raise ValueRangeError(f"name must be new, but there is a node {name!r} already: {self[name]!r}")

    def _call(self, node: Node, name: str) -> None:
        del self._numbers[node.name]
        self._numbers[name] = node.index
        self._bare = name if node.name == self._bare else self._bare
        node.name = name

    def _sources(self, function: Op | Layer, args: Sequence[Any]) -> tuple[int | None, ...]:
        """The numbers of the nodes among the arguments and of new constants for the others; None where left out."""
        return tuple(None if arg is None else self._node(arg) for arg in with_constants(function, args))

    def _node(self, value: Any) -> int:
        """The number of a node of this graph; anything else becomes a constant."""
        if not isinstance(value, Node):
            return self._add(CONSTANT, None, "constant", value=value).index
        if value.graph is not self:
            raise ValueRangeError(f"{value!r} is a node of another graph")
        return value.index

    def _refuse_itself(self, layer: Layer) -> None:
        """Raise ValueRangeError for a layer that holds this graph: a cycle without an end."""
        ahead = [layer]
        while ahead:
            one = ahead.pop()
            if one is self:
                raise ValueRangeError(f"a graph cannot be a layer within itself, a cycle: got {type(layer).__name__}")
            ahead += one.children().values() if isinstance(one, Container) else ()

    def _plan(self, output: int) -> Plan:
        plan = self._plans.get(output)
        if plan is None:  # two threads may find the same one
            plan = self._plans[output] = plan_of(self.nodes, output)
        return plan

    def _only_input(self) -> Node:
        inputs = [node for node in self.nodes if node.kind == INPUT]
        if len(inputs) != 1:
            names = listed([node.name for node in inputs])
            raise ShapeError(f"a Graph that serves as a layer has one input, this one has {names}; see Graph.run")
        return inputs[0]
