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
    with pytest.raises(ValueRangeError, match="a cycle"):
        g.rebind(first, node)


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
        (lambda g: ops.linear(g["x"], g["y"], w=g["z"]), "was given w twice"),
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
