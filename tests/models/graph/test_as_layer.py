"""A graph is a layer: from any model it computes what the model does, and it trains, nests, shares and is copied."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import handgrad as hg
from handgrad import ops
from handgrad.check import check_gradients
from handgrad.engines import value_and_grad
from handgrad.errors import ParameterError, ShapeError, UnsupportedError, ValueRangeError
from handgrad.layers import L2, Dropout, LayerNorm, Linear, ReLU, Tanh
from handgrad.models import Graph, Residual, Sequential
from layers.table import LAYERS, complex_step
from layers.test_contract import arrays_in

every_layer = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 3)), RNG.integers(2, size=40)


@every_layer
def test_the_graph_of_a_model_is_the_model(case):
    graph, params, x, upstream = Graph.of(case.layer), case.params(), case.x(), case.upstream()
    assert list(graph.parameters()) == list(params)
    out, cache = case.forward(params, x)
    found, found_cache = graph.forward(params, x, train=case.train, rng=np.random.default_rng(4))
    np.testing.assert_array_equal(found, out)
    (dx, grads), (found_dx, found_grads) = case.layer.backward(upstream, cache), graph.backward(upstream, found_cache)
    np.testing.assert_array_equal(found_dx, dx)
    alone = graph.parameter_gradients(upstream, found_cache)
    assert grads.keys() == found_grads.keys() == alone.keys()
    for name, gradient in grads.items():
        np.testing.assert_array_equal(found_grads[name], gradient)
        np.testing.assert_array_equal(alone[name], gradient)
    assert graph.output_shape(case.sample) == case.layer.output_shape(case.sample)


@every_layer
def test_tangents_pass_as_they_do_in_the_model(case):
    graph, params, x = Graph.of(case.layer), case.params(), case.x()
    moved = params.like(np.random.default_rng(5).standard_normal(params.flat.shape))
    _, cache = case.forward(params, x)
    _, found = graph.forward(params, x, train=case.train, rng=np.random.default_rng(4))
    expected = case.layer.jvp(x + 1, moved, cache)
    np.testing.assert_array_equal(graph.jvp(x + 1, moved, found), expected)
    upstream = case.upstream()
    dx, grads = graph.backward(upstream, found)
    inner = np.sum(dx * (x + 1)) + sum(np.sum(grads[name] * moved[name]) for name in grads)
    assert np.sum(upstream * expected) == pytest.approx(inner, rel=1e-11, abs=1e-11)


@every_layer
def test_a_layer_called_on_a_node_is_the_layer(case):
    graph = Graph()
    graph.input("x")
    graph.apply(case.layer, graph["x"], name="it")
    params = case.params()
    assert list(graph.parameters()) == [f"it.{name}" for name in params]
    named = {f"it.{name}": array for name, array in params.items()}
    out, cache = graph.forward(named, case.x(), train=case.train, rng=np.random.default_rng(4))
    np.testing.assert_array_equal(out, case.forward(params, case.x())[0])
    expected, grads = case.layer.backward(case.upstream(), case.forward(params, case.x())[1])
    dx, found = graph.backward(case.upstream(), cache)
    np.testing.assert_array_equal(dx, expected)
    assert {name.removeprefix("it.") for name in found} == grads.keys()


def highway() -> Graph:
    """y = t f(x) + (1 - t) x, the carry t = sigmoid(x V + c): ops, layers, parameters and forks."""
    g = Graph()
    x = g.input("x")
    v, c = g.parameter("v", (3, 3), "glorot_uniform"), g.parameter("c", (3,), "zeros", decays=False)
    t = ops.sigmoid(x @ v + c).named("t")
    f = Linear(3, 3)(x).named("f")
    h = t * ops.tanh(f) + (1 - t) * x
    g.output(Linear(3, 2)(h).named("head"))
    return g


def test_a_graph_with_parameters_of_its_own():
    g = highway()
    assert list(g.parameters()) == ["v", "c", "f.weight", "f.bias", "head.weight", "head.bias"]
    assert [name for name, spec in g.parameters().items() if not spec.decays] == ["c", "f.bias", "head.bias"]
    assert g.output_shape((3,)) == (2,)
    params = g.init(0)
    params.flat[...] = np.random.default_rng(1).normal(0, 0.7, params.flat.shape)
    upstream = np.random.default_rng(2).standard_normal((40, 2))
    dx, grads = g.backward(upstream, g.forward(params, X)[1])
    numeric = complex_step(lambda z: np.sum(upstream * g.forward(params.like(z), X + 0j)[0]), params.flat)
    np.testing.assert_allclose(params.pack(grads).flat, numeric, rtol=1e-11, atol=1e-12)
    complex_params = params.like(params.flat + 0j)
    numeric = complex_step(lambda z: np.sum(upstream * g.forward(complex_params, z)[0]), X)
    np.testing.assert_allclose(dx, numeric, rtol=1e-11, atol=1e-12)
    alone = g.parameter_gradients(upstream, g.forward(params, X)[1])
    np.testing.assert_array_equal(params.pack(alone).flat, params.pack(grads).flat)
    assert check_gradients(g, params, X, Y, loss="cross_entropy", regularizer=L2(1e-2)).ok
    run = g.run(g.sink, params, x=X).backward(upstream)
    np.testing.assert_array_equal(params.pack(run.gradients).flat, params.pack(grads).flat)


def test_fit_trains_it():
    g = highway()
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    result = hg.fit(g, (X, y), optimizer=hg.Adam(0.03), epochs=60, batch_size=8, progress=False)
    losses = [row["loss"] for row in result.history.rows]
    assert losses[-1] < 0.5 * losses[0]
    assert (result.predict(X).argmax(1) == y).mean() > 0.85
    assert "in a Graph, not <op 'matmul1': x @ v>" in result.note


def test_fit_gives_the_bits_of_the_model_it_was_made_from():
    model = Sequential([Linear(3, 5), Residual(Sequential([LayerNorm(5), Tanh()])), Dropout(0.2), Linear(5, 2)])
    runs = [
        hg.fit(each, (X, Y), epochs=3, engine="eager", regularizer=L2(1e-3), progress=False)
        for each in (model, Graph.of(model))
    ]
    np.testing.assert_array_equal(runs[0].params.flat, runs[1].params.flat)


def test_the_compiled_engine_refuses_ops_that_it_lacks():
    with pytest.raises(UnsupportedError, match="not <op 'matmul1': x @ v>"):
        hg.fit(highway(), (X, Y), epochs=1, engine="compiled", progress=False)


def test_layers_share_parameters_as_in_containers():
    shared = Linear(3, 3)
    g = Graph()
    x = g.input("x")
    g.output(shared(ops.tanh(shared(x))) + x)
    assert list(g.parameters()) == ["linear1.weight", "linear1.bias"]
    model = Residual(Sequential([shared, Tanh(), shared]))
    params, of_model = g.init(3), model.init(3)
    np.testing.assert_array_equal(params.flat, of_model.flat)
    value, grads = value_and_grad(g, "squared_error", params, X, X, regularizer=L2(0.1))
    expected, expected_grads = value_and_grad(model, "squared_error", of_model, X, X, regularizer=L2(0.1))
    assert value == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(grads.flat, expected_grads.flat, rtol=1e-12, atol=1e-14)
    outer = Sequential([shared, g])  # shared with what stands outside, too
    assert list(outer.parameters()) == ["0.weight", "0.bias"]
    assert list(Graph.of(outer).parameters()) == ["0.weight", "0.bias"]


def test_graphs_nest_and_unfold():
    inner = highway()
    model = Sequential([Linear(3, 3), inner, Residual(Sequential([Linear(2, 2), ReLU()]))])
    params, flat = model.init(0), Graph.of(model)
    assert list(flat.parameters()) == list(params)
    assert "1.f.weight" in params
    assert "1.v" in params
    upstream = np.random.default_rng(1).standard_normal((40, 2))
    (out, cache), (found, found_cache) = model.forward(params, X), flat.forward(params, X)
    np.testing.assert_array_equal(found, out)
    dx, grads = model.backward(upstream, cache)
    found_dx, found_grads = flat.backward(upstream, found_cache)
    np.testing.assert_allclose(found_dx, dx, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(params.pack(found_grads).flat, params.pack(grads).flat, rtol=1e-12, atol=1e-14)
    assert model.output_shape((3,)) == (2,)
    twice = Sequential([ring := square_graph(), ring])
    assert list(Graph.of(twice).parameters()) == list(twice.parameters()) == ["0.a"]
    value, grads = value_and_grad(twice, "squared_error", twice.init(0), X, X)
    other, other_grads = value_and_grad(Graph.of(twice), "squared_error", twice.init(0), X, X)
    assert value == other
    np.testing.assert_allclose(grads.flat, other_grads.flat, rtol=1e-13)


def square_graph() -> Graph:
    g = Graph()
    g.output(g.input("x") ** 2 * g.parameter("a", (3,), "ones"))
    return g


def test_copies_stand_alone():
    for twin in (g := highway(), copy.copy(g), copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        assert repr(twin) == repr(g)
        assert list(twin.parameters()) == list(g.parameters())
        np.testing.assert_array_equal(twin.forward(g.init(0), X)[0], g.forward(g.init(0), X)[0])
        assert all(node.graph is twin for node in twin.nodes)
    (node, twin), (first, of_first) = copy.deepcopy((g["t"], g)), pickle.loads(pickle.dumps((g["t"], g)))
    assert node is twin["t"]
    assert first is of_first["t"]
    assert copy.copy(g["t"]) is g["t"]
    shallow = copy.copy(g)
    shallow.input("new")
    assert "new" not in [each.name for each in g.nodes]
    run = g.run("head", g.init(0), x=X).backward(np.ones((40, 2)))
    again = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(again[again.graph["x"]].gradient, run["x"].gradient)
    long = Graph()
    node = long.input("x")
    for _ in range(5_000):
        node = -node
    again = pickle.loads(pickle.dumps(long))
    assert again.run(again.sink, x=1.0).value == 1


def test_threads_share_one():
    g = highway()
    params = g.init(0)

    def step(seed):
        x = np.random.default_rng(seed).standard_normal((8, 3))
        out, cache = g.forward(params, x)
        return g.backward(out, cache)[0]

    expected = [step(seed) for seed in range(32)]
    g._plans.clear()
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(pool.map(step, range(32)), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_nothing_given_is_written_to_and_a_cache_serves_twice():
    g = highway()
    params, x, upstream = g.init(0), X.copy(), np.random.default_rng(1).standard_normal((40, 2))
    params.flat[...] += 0.1
    for array in (params.flat, x, upstream):
        array.setflags(write=False)
    params = params.like(params.flat)
    _, cache = g.forward(params, x)
    held = arrays_in(list(cache[1].values()))
    assert held
    for array in held:
        array.setflags(write=False)
    before, nodes = [array.copy() for array in held], list(g.nodes)
    first, second = g.backward(upstream, cache), g.backward(upstream, cache)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(params.pack(first[1]).flat, params.pack(second[1]).flat)
    for array, old in zip(held, before, strict=True):
        np.testing.assert_array_equal(array, old)
    assert g.nodes == nodes


def test_visit_sees_ops_and_layers():
    g, seen = highway(), []
    out = g.visit(lambda name, layer, value: seen.append((name, type(layer).__name__)), g.init(0), X, name="2")
    np.testing.assert_array_equal(out, g.forward(g.init(0), X)[0])
    assert ("2.t", "Sigmoid") in seen
    assert seen[-1] == ("2.head", "Linear")


def test_each_samples_own_gradient():
    model = Sequential([Linear(3, 4), Tanh(), Residual(Linear(4, 4)), Linear(4, 2)])
    params = model.init(0)
    mine, theirs = (hg.per_sample_gradients(each, "cross_entropy", params, X, Y) for each in (Graph.of(model), model))
    for name in params:
        np.testing.assert_array_equal(mine[name], theirs[name])
    g = highway()  # its own parameters have no such rule, so that the samples run one by one
    _, cache = g.forward(g.init(0), X)
    with pytest.raises(UnsupportedError, match="parameter 'v'"):
        g.sample_gradients(np.ones((40, 2)), cache)
    found = hg.per_sample_gradients(g, "cross_entropy", g.init(0), X, Y)
    _, grads = value_and_grad(g, "cross_entropy", g.init(0), X, Y)
    np.testing.assert_allclose(found["v"].mean(axis=0), grads["v"], rtol=1e-11, atol=1e-13)


def test_what_an_output_does_not_need_has_no_gradient():
    g = Graph()
    x = g.input("x")
    g.parameter("unused", (2,), "ones")
    g.output(ops.tanh(g.parameter("used", (4, 3), "ones") * 1.0))
    assert g.sink.name == "tanh1"
    params = g.init(0)
    _, cache = g.forward(params, X)
    dx, grads = g.backward(np.ones((4, 3)), cache)
    np.testing.assert_array_equal(dx, np.zeros_like(X))
    assert grads["unused"] is None
    run = g.run(g.sink, params, x=X).backward(np.ones((4, 3)))
    np.testing.assert_array_equal(run.gradients["unused"], [0, 0])
    assert x.name == "x"


def test_an_output_that_is_not_plain_is_asked_for():
    g = Graph()
    x = g.input("x")
    _, b = x + 1, x * 2
    with pytest.raises(ValueRangeError, match=r"g\.output\(node\).*'add1', 'multiply1'"):
        g.forward({}, X)
    g.output(b)
    np.testing.assert_array_equal(g.forward({}, X)[0], X * 2)
    g.input("y")
    with pytest.raises(ShapeError, match="one input, this one has 'x', 'y'"):
        g.forward({}, X)


def test_an_output_without_a_row_for_each_sample_is_no_layer():
    g = Graph()
    ops.mean(g.input("x"))
    with pytest.raises(ShapeError, match=r"one row a sample, but 'mean1' has shape \(\)"):
        hg.fit(g, (X, X), loss="squared_error", epochs=1, progress=False)


def test_widths_that_do_not_fit_are_found_before_any_data():
    g = Graph()
    x = g.input("x")
    g.output(Linear(4, 2)(Linear(3, 5)(x)))
    with pytest.raises(ShapeError, match=r"(?s)layer '1\.linear2': Linear takes 4.*Linear\(4, 2\)\(Linear"):
        Sequential([Linear(3, 3), g])
    h = Graph()
    x = h.input("x")
    h.output(x @ np.ones((4, 2)))
    with pytest.raises(ShapeError, match=r"(?s)layer 'matmul1': .*\n    x @ array\(4, 2\)\n    \^+"):
        h.output_shape((3,))


def test_parameters_are_asked_for():
    with pytest.raises(ParameterError, match="params must be given"):
        highway().run("head", x=X)
    with pytest.raises(ParameterError, match="params has no 'v'"):
        highway().run("head", {}, x=X)


def test_a_node_called_as_the_input_would_be():
    class X(Tanh):
        pass

    g = Graph()
    g.output(Linear(3, 2)(g.input("given")).named("x"))
    assert list(Graph.of(g).parameters()) == ["x.weight", "x.bias"]
    assert [node.name for node in Graph.of(g).nodes] == ["given", "x"]
    of_layer = Graph.of(X())
    assert [node.name for node in of_layer.nodes] == ["x", "X"]
    np.testing.assert_array_equal(of_layer.forward({}, X_ := np.ones((2, 2)))[0], np.tanh(X_))


def test_a_deep_graph_of_layers_trains():
    g = Graph()
    node = g.input("x")
    for _ in range(3_000):
        node = ops.tanh(Linear(2, 2, init="glorot_normal")(node) + node)
    g.output(node)
    assert len(g.parameters()) == 6_000
    data = np.array([[0.1, 0.2], [-0.3, 0.4]]), np.array([0, 1])
    result = hg.fit(g, data, epochs=1, engine="eager", progress=False)
    assert not np.array_equal(result.params.flat, g.init(0).flat)
    samples = hg.per_sample_gradients(g, "cross_entropy", g.init(0), *data)
    assert len(samples.names) == 6_000
    assert samples.names[-1] == "linear3000.bias"
