"""Bad input to a graph: the error names the node and shows the expression with the place marked."""

import numpy as np
import pytest

from handgrad import ops
from handgrad.errors import DTypeError, HandgradError, ShapeError, ValueRangeError
from handgrad.layers import Linear, ReLU
from handgrad.models import Graph, Sequential


@pytest.fixture
def g():
    g = Graph()
    x, y, z = g.input("x"), g.input("y"), g.input("z")
    g.output((x + y) * z)
    return g


def test_an_input_never_given(g):
    with pytest.raises(ValueRangeError) as caught:
        g.run("multiply1", x=1.0, y=2.0)
    assert str(caught.value) == (
        "run needs a value for input 'z'; given: 'x', 'y'\n"
        "    (x + y) * z\n"
        "              ^"
    )  # fmt: skip


def test_an_input_that_is_none(g):
    with pytest.raises(ValueRangeError, match="run was given 'w', which is no input; the graph has 'x', 'y', 'z'"):
        g.run("multiply1", x=1.0, y=2.0, z=3.0, w=4.0)
    with pytest.raises(DTypeError, match="input 'x' must be given as a number or an array, got the node"):
        g.run("multiply1", x=g["y"], y=2.0, z=3.0)


def test_shapes_that_do_not_fit_at_a_node(g):
    with pytest.raises(ShapeError) as caught:
        g.run(g.sink, x=np.ones(2), y=np.ones(3), z=1.0)
    assert caught.value.layer == "add1"
    assert str(caught.value) == (
        "layer 'add1': x in shape (2,) and y in shape (3,) do not broadcast together\n"
        "    (x + y) * z\n"
        "     ^^^^^\n"
        "    with x (2,), y (3,)"
    )


def test_shapes_that_do_not_fit_deep_within_a_long_expression():
    g = Graph()
    x, y = g.input("x"), g.input("y")
    node = (x @ y).named("product")
    for _ in range(100):
        node = ops.tanh(node + 1)
    with pytest.raises(ShapeError) as caught:
        g.run(node, x=np.ones((2, 3)), y=np.ones((2, 3)))
    assert "layer 'product'" in str(caught.value)
    assert "\n    x @ y\n    ^^^^^\n    with x (2, 3), y (2, 3)" in str(caught.value)


def test_an_error_of_a_layer_keeps_its_place_within():
    g = Graph()
    g.output(Sequential([ReLU(), Linear(4, 2)])(g.input("x")).named("body"))
    with pytest.raises(ShapeError, match=r"layer 'body\.1'"):
        g.run("body", g.init(0), x=np.ones((2, 3)))


def test_an_error_on_the_way_back_names_the_node(g):
    run = g.run("multiply1", x=np.ones(2), y=np.ones(2), z=1.0)
    with pytest.raises(ShapeError, match=r"dout must have the shape of the output 'multiply1', \(2,\)"):
        run.backward(1.0)


def test_a_cycle_is_refused_and_nothing_changes(g):
    add, product = g["add1"], g["multiply1"]
    with pytest.raises(ValueRangeError) as caught:
        g.rebind(add, product, "y" and g["y"])
    assert str(caught.value) == (
        "node 'add1' would depend on itself, a cycle: 'add1' -> 'multiply1' -> 'add1'\n    (x + y) * z\n     ^^^^^"
    )
    with pytest.raises(ValueRangeError, match="a cycle: 'add1' -> 'add1'"):
        g.rebind(add, add, g["y"])
    assert g.run(g.sink, x=1.0, y=2.0, z=3.0).value == 9


def test_a_long_cycle_is_found_without_recursion():
    g = Graph()
    first = node = -g.input("x")
    for _ in range(20_000):
        node = -node
    with pytest.raises(
        ValueRangeError, match=r"a cycle: 'negative1' -> .* -> 19992 more -> .* -> 'negative1'"
    ) as caught:
        g.rebind(first, node)
    assert len(str(caught.value)) < 500


def test_rebinding_is_surgery():
    model = Sequential([Linear(3, 4), ReLU(), Linear(4, 2)])
    g, x = Graph.of(model), np.random.default_rng(0).standard_normal((5, 3))
    params = model.init(0)
    before = g.run(g.sink, params, x=x).backward(np.ones((5, 2)))
    cache = g.forward(params, x)[1]
    late = g.run(g.sink, params, x=x)
    g.rebind(g["2"], ops.tanh(g["1"] * 0.5))
    np.testing.assert_array_equal(late.backward(np.ones((5, 2)))["x"].gradient, before["x"].gradient)
    np.testing.assert_array_equal(g.backward(np.ones((5, 2)), cache)[0], before["x"].gradient)
    hidden = ops.relu(x @ params["0.weight"] + params["0.bias"])
    expected = np.tanh(hidden * 0.5) @ params["2.weight"] + params["2.bias"]
    np.testing.assert_allclose(g.run(g.sink, params, x=x).value, expected, rtol=1e-14)
    np.testing.assert_array_equal(before.edge("1", "2").downstream, before["1"].gradient)  # as the run was
    with pytest.raises(ValueRangeError, match="reads 1 nodes, got 2"):
        g.rebind(g["2"], g["0"], g["1"])


def test_a_graph_within_itself():
    g = Graph()
    x = g.output(g.input("x"))
    for layer in (g, Sequential([ReLU(), g])):
        with pytest.raises(ValueRangeError, match="a layer within itself, a cycle"):
            layer(x)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda g: g.input("x"), "name must be new, but there is a node 'x' already"),
        (lambda g: g.input("train"), "a keyword of run"),
        (lambda g: g.input(""), "name must be a text that is not empty"),
        (lambda g: g["x"].named("y"), "name must be new"),
        (lambda g: g.parameter("x", (2,)), "name must be new"),
        (lambda g: g["w"], "the graph has no node 'w'; it has 'x', 'y', 'z', 'add1', 'multiply1'"),
        (lambda g: g["x"] + Graph().input("other"), "node of another graph"),
        (lambda g: g.apply(len, g["x"]), "a graph applies ops and layers, got builtin_function_or_method"),
        (lambda g: g.apply(ReLU(), g["x"], g["y"]), "takes one node"),
        (lambda g: g.apply(ReLU(), None), "takes one node"),
        (lambda g: ops.add(g["x"]), "ops.add cannot be called so: missing a required argument: 'y'"),
        (lambda g: ops.add(g["x"], g["y"], g["z"]), "ops.add cannot be called so: too many positional arguments"),
        (lambda g: ops.softmax(g["x"], heat=2), "ops.softmax cannot be called so: got an unexpected keyword argument"),
        (lambda g: g["x"] + None, "ops.add needs y, got None"),
        (lambda g: g["x"] + "1", "y of ops.add must be given as a number or an array, got '1'"),
        (lambda g: g["x"] * 10**400, "y of ops.multiply must be given as a number or an array, got 1000"),
        (lambda g: g["x"] * [[1.0], [1.0, 2.0]], "y of ops.multiply must be given as a number or an array"),
        (lambda g: g.constant({}, "c"), "constant 'c' must be given as a number or an array, got {}"),
        (lambda g: g.rebind(g["add1"], g["x"], None), "reads 'y', and None is no node to read instead"),
        (lambda g: g.rebind(g["x"], g["y"]), "reads 0 nodes, got 1"),
        (lambda g: g[["x"]], r"the graph has no node \['x'\]"),
        (lambda g: g.parameter("w", 3), "shape of parameter 'w' must be whole numbers of at least 1, got 3"),
        (lambda g: g.parameter("w", (2, -1)), r"whole numbers of at least 1, got \(2, -1\)"),
        (lambda g: g.parameter("w", (2.0,)), r"whole numbers of at least 1, got \(2\.0,\)"),
        (lambda g: ops.dropout(g["x"], rng=np.random.default_rng(0)), "rng of ops.dropout in a graph must be a seed"),
        (lambda g: g.run(g.sink, x="a", y=1.0, z=1.0), "input 'x' must be given as a number or an array, got 'a'"),
        (lambda g: g.run(g.sink, x=None, y=1.0, z=1.0), "input 'x' must be given as a number or an array, got None"),
        (lambda g: g.run(g.sink, x=np.array(["a"]), y=1.0, z=1.0), "input 'x' must be given as a number or an array"),
        (lambda g: g.run(g.sink, x=1.0, y=1.0, z=1.0).backward("a"), "dout must be given as a number or an array"),
        (lambda g: g.run(g.sink, x=1.0, y=1.0, z=1.0).backward(g["x"]), "dout must be .*, got the node <input 'x'>"),
        (
            lambda g: ops.linear(g["x"], g["y"], w=g["z"]),
            "ops.linear cannot be called so: multiple values for argument 'w'",
        ),
        (lambda g: ReLU()(np.ones(3)), r"called on a Graph's node, got ndarray; for arrays: forward\(params, x\)"),
        (lambda g: Graph.of(3), "model must be a Layer"),
        (
            lambda g: g.run(g.sink, x=1.0, y=1.0, z=1.0).edge("x", "multiply1"),
            "no edge from 'x' to 'multiply1', which reads 'add1', 'z'",
        ),
    ],
)
def test_a_mistake_in_building_is_named(g, mistake, message):
    count = len(g.nodes)
    with pytest.raises(HandgradError, match=message):
        mistake(g)
    assert len(g.nodes) <= count + 1


def test_a_name_that_is_taken_leaves_the_graph_as_it_was(g):
    nodes = list(g.nodes)
    with pytest.raises(ValueRangeError):
        g.apply(ops.tanh, g["x"], name="y")
    assert g.nodes == nodes


def test_a_whole_number_makes_no_integer_array():
    g = Graph()
    x = g.input("x")
    run = g.run(x * 2, x=3).backward()
    assert (run.value, run[x].gradient) == (6.0, 2.0)
    with pytest.raises(DTypeError, match="layer 'multiply1'"):
        g.run("multiply1", x=np.array([1, 2]))


def test_an_input_that_is_missing_deep_within_is_shown_where_it_is_read():
    g = Graph()
    node = g.input("x") * g.input("y")
    for _ in range(100):
        node = ops.tanh(node + 1)
    with pytest.raises(ValueRangeError, match=r"input 'y'; given: 'x'\n    x \* y\n        \^$"):
        g.run(node, x=1.0)


def test_names_of_parameters_do_not_meet():
    g = Graph()
    x = g.input("x")
    g.parameter("linear1.weight", (3,))
    with pytest.raises(ValueRangeError, match=r"'linear1' would have a parameter 'linear1\.weight'.*g\.apply"):
        Linear(2, 2)(x)
    assert [node.name for node in g.nodes] == ["x", "linear1.weight"]
    other = g.apply(Linear(2, 2), x, name="other")
    with pytest.raises(ValueRangeError, match=r"'linear1' would have a parameter 'linear1\.weight'"):
        other.named("linear1")
    with pytest.raises(ValueRangeError, match=r"already"):
        g["linear1.weight"].named("other.bias")
    assert list(g.parameters()) == ["linear1.weight", "other.weight", "other.bias"]
    assert g["other"] is other
    g.apply(Sequential([ReLU(), Linear(2, 3)]), other, name="a")
    with pytest.raises(ValueRangeError, match=r"'a\.1' would have a parameter 'a\.1\.weight'"):
        g.apply(Linear(3, 1), g["a"], name="a.1")
    assert g.sink is g["a"]


def test_an_error_that_is_not_the_librarys_says_where_it_arose():
    class Broken(ReLU):
        def forward(self, params, x, *, train=False, rng=None):
            return x, None

        def backward(self, dout, cache):
            raise KeyError("lost")

    g = Graph()
    x = g.input("x")
    run = g.run((Broken()(x * 2).named("bad") + 1), x=1.0)
    with pytest.raises(KeyError) as caught:
        run.backward()
    assert caught.value.__notes__ == ["at node 'bad', on the way back\n    bad + 1\n    ^^^"]
    with np.errstate(all="raise"), pytest.raises(FloatingPointError) as caught:
        g.run(ops.exp(x), x=1e5)
    assert caught.value.__notes__[0].startswith("at node 'exp1'\n    exp(x)\n    ^^^^^^")
