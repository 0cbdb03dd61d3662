"""Graphs built by hand: values, gradients on nodes and edges, patterns, names."""

import numpy as np
import pytest

import handgrad as hg
from handgrad import ops
from handgrad.errors import HandgradError, ShapeError
from handgrad.models import Graph
from handgrad.ops.jacobians import Jacobian


def circuit():
    g = Graph()
    x, y, z = g.input("x"), g.input("y"), g.input("z")
    q = x + y
    return g, x, y, z, q, q * z


def test_the_small_graph():
    g, x, y, z, q, f = circuit()
    run = g.run(f, x=-2.0, y=5.0, z=-4.0)
    run.backward()
    values = [run[node].value for node in (x, y, z, q, f)]
    assert values == [-2, 5, -4, 3, -12]
    assert [run[node].gradient for node in (x, y, z, q, f)] == [-4, -4, 3, -4, 1]
    edge = run.edge(q, f)
    assert (edge.upstream, edge.local, edge.downstream) == (1, -4, -4)
    edge = run.edge(x, q)
    assert (edge.upstream, edge.local, edge.downstream) == (-4, 1, -4)
    assert run[q].patterns == ("add distributes",)
    assert run[f].patterns == ("multiply swaps",)
    assert run.value == -12
    assert run.output is f


def test_the_sigmoid_neuron():
    g = Graph()
    w0, x0, w1, x1, w2 = (g.input(name) for name in ("w0", "x0", "w1", "x1", "w2"))
    dot = (w0 * x0 + w1 * x1 + w2).named("dot")
    gates = 1 / (1 + ops.exp(-dot))
    given = {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0}
    by_gates, by_op = g.run(gates, **given).backward(), g.run(ops.sigmoid(dot), **given).backward()
    s = 1 / (1 + np.exp(-1.0))
    expected = s * (1 - s) * np.array([-1, 2, -2, -3, 1])
    for run in (by_gates, by_op):
        assert run[dot].value == 1
        assert run.value == pytest.approx(s, rel=1e-15)
        found = [run[name].gradient for name in ("w0", "x0", "w1", "x1", "w2")]
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert str(gates) == "1 / (1 + exp(-dot))"


def test_gradients_add_where_a_value_forks():
    g = Graph()
    x = g.input("x")
    f = x * x + ops.exp(x)
    run = g.run(f, x=3.0).backward()
    assert run[x].gradient == pytest.approx(6 + np.exp(3), rel=1e-15)
    assert run[x].patterns == ("copy adds",)
    square = run.edge(x, "multiply1")
    assert (square.local, square.downstream) == (6, 6)  # both places of x in x * x
    assert sum(e.downstream for e in run.edges if e.source is x) == run[x].gradient


def test_max_routes():
    g = Graph()
    x, y = g.input("x"), g.input("y")
    run = g.run(ops.maximum(x, y) * 2.0, x=4.0, y=-1.0).backward()
    assert (run["x"].gradient, run["y"].gradient) == (2, 0)
    assert run["maximum1"].patterns == ("max routes",)


def test_every_operator_with_numbers_and_arrays_on_either_side():
    g = Graph()
    x = g.input("x")
    a = np.array([[1.0, 2.0], [3.0, 4.0]])
    given = np.array([[0.5, 1.5], [2.5, 0.25]])
    cases = {
        "x + 1": (x + 1, given + 1),
        "1 + x": (1 + x, 1 + given),
        "x - 1": (x - 1, given - 1),
        "1 - x": (1 - x, 1 - given),
        "x * 3": (x * 3, given * 3),
        "3 * x": (3 * x, 3 * given),
        "x / 4": (x / 4, given / 4),
        "4 / x": (4 / x, 4 / given),
        "x ** 2": (x**2, given**2),
        "2 ** x": (2**x, 2**given),
        "-x": (-x, -given),
        "x @ array(2, 2)": (x @ a, given @ a),
        "array(2, 2) @ x": (a @ x, a @ given),
        "array(2, 2) + x": (a + x, a + given),
        "array(2, 2) / x": (a / x, a / given),
    }
    for text, (node, expected) in cases.items():
        np.testing.assert_allclose(g.run(node, x=given).value, expected, rtol=1e-15)
        assert str(node) == text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda x, y: (x + y) * x, "(x + y) * x"),
        (lambda x, y: x - (y - x), "x - (y - x)"),
        (lambda x, y: x - y - x, "x - y - x"),
        (lambda x, y: -(x + y), "-(x + y)"),
        (lambda x, y: (-x) ** 2, "(-x) ** 2"),
        (lambda x, y: -(x**2), "-x ** 2"),
        (lambda x, y: x ** (y + 1), "x ** (y + 1)"),
        (lambda x, y: (x**y) ** 2, "(x ** y) ** 2"),
        (lambda x, y: x / (x * y), "x / (x * y)"),
        (lambda x, y: ops.softmax(x, temperature=2.0), "softmax(x, temperature=2.0)"),
        (lambda x, y: ops.sum(x * y, axis=0), "sum(x * y, axis=0)"),
        (lambda x, y: hg.Linear(3, 2)(x), "Linear(3, 2)(x)"),
    ],
)
def test_expressions_read_as_python(make, text):
    g = Graph()
    x, y = g.input("x"), g.input("y")
    assert str(make(x, y)) == text


def test_float32_stays_float32():
    g = Graph()
    x = g.input("x")
    run = g.run(ops.sum(2 * ops.tanh(x) + 1), x=np.ones(3, np.float32)).backward()
    assert run.value.dtype == run[x].gradient.dtype == np.float32


def test_a_loss_with_labels_as_an_input():
    g = Graph()
    scores, y = g.input("scores"), g.input("y")
    loss = ops.cross_entropy(scores, y)
    given = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    for labels in ([1, 0], np.array([1, 0])):
        run = g.run(loss, scores=given, y=labels).backward()
        p = ops.softmax(given)
        np.testing.assert_allclose(run[scores].gradient, (p - np.eye(3)[[1, 0]]) / 2, rtol=1e-14)
        assert run[y].gradient is None
    fixed = g.run(ops.cross_entropy(scores, [1, 0]), scores=given).backward()
    np.testing.assert_array_equal(fixed[scores].gradient, run[scores].gradient)


def test_a_local_gradient_is_an_array_when_small_and_a_structure_otherwise():
    g = Graph()
    x = g.input("x")
    h = ops.tanh(x)
    f = ops.sum(h)
    small = g.run(f, x=np.ones((2, 3))).backward()
    assert small.edge(x, h).local.shape == (2, 3, 2, 3)
    large = g.run(f, x=np.ones((20, 30))).backward().edge(x, h)
    assert isinstance(large.local, Jacobian)
    np.testing.assert_array_equal(large.upstream @ large.local, large.downstream)


def test_downstream_is_upstream_times_local_on_every_edge():
    g = Graph()
    x, w = g.input("x"), g.input("w")
    h = ops.layer_norm(ops.swish(x @ w), np.ones(4), np.zeros(4))
    f = ops.max(ops.softmax(h, axis=0) + h * 0.5, axis=1)
    rng = np.random.default_rng(0)
    run = g.run(f, x=rng.normal(size=(3, 2)), w=rng.normal(size=(2, 4))).backward(rng.normal(size=3))
    edges = list(run.edges)
    assert len(edges) > 8
    for edge in edges:
        product = np.tensordot(edge.upstream, edge.local, np.ndim(edge.upstream))
        np.testing.assert_allclose(product, edge.downstream, rtol=1e-11, atol=1e-13)
    for node in (x, w):
        total = sum(edge.downstream for edge in edges if edge.source is node)
        np.testing.assert_allclose(run[node].gradient, total, rtol=1e-14)


def test_an_output_that_is_no_number_needs_an_upstream_gradient():
    g = Graph()
    x = g.input("x")
    run = g.run((x * 2).named("double"), x=np.ones(3))
    with pytest.raises(ShapeError, match=r"output 'double' has shape \(3,\).*dout"):
        run.backward()
    with pytest.raises(ShapeError, match=r"\(3,\), got \(2,\)"):
        run.backward(np.ones(2))
    np.testing.assert_array_equal(run.backward(np.array([1.0, 0, -1]))[x].gradient, [2, 0, -2])


def test_gradients_before_backward_are_refused():
    g, x, *_, f = circuit()
    run = g.run(f, x=1.0, y=2.0, z=3.0)
    with pytest.raises(HandgradError, match=r"run\.backward\(\)"):
        _ = run[x].gradient


def test_a_run_again_gives_the_same_and_leaves_the_first_alone():
    g, _, y, _, _, f = circuit()
    first = g.run(f, x=-2.0, y=5.0, z=-4.0).backward()
    table = repr(first)
    second = g.run(f, x=1.0, y=1.0, z=1.0).backward()
    assert (first.value, second.value) == (-12, 2)
    again = g.run(f, x=-2.0, y=5.0, z=-4.0).backward()
    assert repr(again) == table == repr(first.backward())
    assert first.backward(2.0)[y].gradient == -8
    assert "x + y" in table
    assert "multiply swaps" in table


def test_another_node_may_be_the_output():
    g, x, _, z, q, _ = circuit()
    run = g.run(q, x=1.0, y=2.0).backward()  # z is not needed
    assert (run.value, run[x].gradient) == (3, 1)
    with pytest.raises(HandgradError, match="not among"):
        _ = run[z]


def test_a_long_chain_needs_no_recursion():
    g = Graph()
    x = node = g.input("x")
    for _ in range(20_000):
        node = ops.tanh(node * 1.0)
    run = g.run(node, x=0.5).backward()
    # tanh^n(x) ~ sqrt(3 / 2n), from x_(k+1) ~ x_k - x_k^3 / 3
    assert run.value == pytest.approx(np.sqrt(3 / (2 * 20_000)), rel=1e-3)
    slope, value = 1.0, 0.5
    for _ in range(20_000):
        value = np.tanh(value)
        slope *= 1 - value**2
    assert run[x].gradient == pytest.approx(slope, rel=1e-9)
    assert len(str(node)) < 120


def test_a_wide_fork_of_a_fork_is_taken_once_each():
    g = Graph()
    x = node = g.input("x")
    for _ in range(200):
        node = node + node  # 2^200 ways
    run = g.run(node, x=1.0).backward()
    assert run[x].gradient == 2.0**200


def test_names():
    g, x, _, _, q, f = circuit()
    assert [node.name for node in g.nodes] == ["x", "y", "z", "add1", "multiply1"]
    assert q.named("q") is q
    assert str(f) == "q * z"
    assert g["q"] is q
    assert repr(x) == "<input 'x'>"
    assert repr(f) == "<op 'multiply1': q * z>"
    assert repr(g) == "Graph(x, y, z -> q * z; 2 ops and layers)"
    assert g.apply(ops.sigmoid, f, name="p").name == "p"


def test_inputs_of_an_op_by_name():
    g = Graph()
    x, b = g.input("x"), g.input("b")
    node = ops.linear(x, np.ones((2, 3)), b=b)
    run = g.run(ops.sum(node), x=np.ones((4, 2)), b=np.zeros(3)).backward()
    np.testing.assert_array_equal(run[b].gradient, [4, 4, 4])
    weighted = ops.squared_error(x, np.zeros((4, 2)), sample_weight=g.input("w"))
    run = g.run(weighted, x=np.ones((4, 2)), w=np.array([1.0, 0, 0, 1])).backward()
    assert run["w"].gradient is None
    np.testing.assert_array_equal(run[x].gradient[1], 0)


def test_ops_on_arrays_are_as_they_were():
    np.testing.assert_array_equal(ops.relu(np.array([-1.0, 2.0])), [0, 2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_numpy_take_the_dtype_beside_them(dtype):
    g = Graph()
    x = g.input("x")
    f = np.sqrt(2.0) * x + np.int64(3) - x / np.float32(2) + x ** np.uint8(2) * np.bool_(True)
    given = np.array([0.5, 1.5], dtype)
    run = g.run(ops.sum(f), x=given).backward()
    np.testing.assert_allclose(run[f].value, 2**0.5 * given + 3 - given / 2 + given**2, rtol=1e-6)
    np.testing.assert_allclose(run[x].gradient, 2**0.5 - 0.5 + 2 * given, rtol=1e-6)
    assert run.value.dtype == run[x].gradient.dtype == dtype
    whole = g.run(f, x=np.int64(2))  # as an input, too
    assert whole.value == pytest.approx(2**0.5 * 2 + 3 - 1 + 4)


def test_complex_numbers_pass():
    g = Graph()
    x = g.input("x")
    run = g.run((x * x).named("f"), x=1 + 2j).backward()
    assert run.value == (1 + 2j) ** 2
    assert run[x].gradient == 2 * (1 + 2j)
    assert "-3+4j" in repr(run)
    assert str(x * np.array(2j)) == "x * 0+2j"


def test_a_value_that_is_broadcast_adds():
    g = Graph()
    x, row, number = g.input("x"), g.input("row"), g.input("number")
    f = (x + row) * number
    run = g.run(f, x=np.ones((2, 3)), row=np.ones(3), number=2.0).backward(np.ones((2, 3)))
    assert (run[row].patterns, run[number].patterns, run[x].patterns) == (("broadcast adds",), ("broadcast adds",), ())
    assert run["add1"].patterns == ("add distributes",)
    np.testing.assert_array_equal(run[row].gradient, [4, 4, 4])
    assert run[number].gradient == 12
    alone = g.run(f, x=1.0, row=1.0, number=2.0)
    assert alone[row].patterns == ()


def test_zeros_of_either_sign_are_written_0():
    g = Graph()
    run = g.run(g.input("x") * -1.0, x=0.0)
    assert "-0" not in repr(run)


def test_what_a_run_went_through():
    g = Graph()
    scores, y = g.input("scores"), g.input("y")
    loss = ops.squared_error(scores, y, sample_weight=g.input("w"))
    run = g.run(loss, scores=np.ones((2, 1)), y=np.zeros((2, 1)), w=None)
    assert [node.name for node in run.nodes] == ["scores", "y", "w", loss.name]
    assert [node.name for node in run.reads(loss)] == ["scores", "y", "w"]
    assert not run.went_back
    assert run.backward().went_back
    equal = g.run(loss, scores=np.ones((2, 1)), y=np.zeros((2, 1)), w=np.ones(2)).backward()
    np.testing.assert_array_equal(run[scores].gradient, equal[scores].gradient)  # no weights are equal ones
