"""A model with a Graph in a file: it comes back whole, and nothing else is taken for one."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handgrad as hg
from handgrad import Graph, ops
from handgrad.formats import FormatError, load, save
from handgrad.formats.architecture import build, describe
from models.graph.test_as_layer import highway
from models.graph.test_random import build as random_graph
from models.graph.test_random import programs
from soak import examples

X = np.random.default_rng(0).normal(size=(5, 3))


def there_and_back(model, path, dtype=np.float64):
    params = model.init(1, dtype)
    params.flat[...] += 0.1
    save(model, params, path)
    loaded, again, _ = load(path)
    np.testing.assert_array_equal(again.flat, params.flat)
    assert list(again) == list(params)
    assert describe(loaded) == describe(model)
    return loaded, again


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(tmp_path, dtype):
    g = highway()
    loaded, params = there_and_back(g, tmp_path / "m.safetensors", dtype)
    x = X.astype(dtype)
    out, cache = g.forward(params, x)
    again, other = loaded.forward(params, x)
    np.testing.assert_array_equal(again, out)
    np.testing.assert_array_equal(loaded.backward(out, other)[0], g.backward(out, cache)[0])
    assert repr(loaded) == repr(g)
    assert [repr(node) for node in loaded.nodes] == [repr(node) for node in g.nodes]
    assert loaded.parameters()["c"] == g.parameters()["c"]
    assert loaded.output_shape((3,)) == (2,)


def test_graphs_in_containers_and_containers_in_graphs(tmp_path):
    shared, inner = hg.Linear(3, 3), highway()
    g = Graph()
    x = g.input("x")
    body = hg.Sequential([hg.Linear(2, 3), hg.ReLU(), shared])
    g.output(shared(body(inner(shared(x)))) + x)
    model = hg.Sequential([g, hg.Residual(g)])
    loaded, params = there_and_back(model, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.forward(params, X)[0], model.forward(params, X)[0])
    assert loaded.layers[0] is loaded.layers[1].layer


def test_the_graph_of_a_single_layer_keeps_bare_names(tmp_path):
    loaded, params = there_and_back(Graph.of(hg.Linear(3, 2)), tmp_path / "m.safetensors")
    assert list(loaded.parameters()) == list(params) == ["weight", "bias"]


def test_constants_options_and_data(tmp_path):
    g = Graph()
    x = g.input("x")
    h = ops.reshape(x * np.array([1.0, 2.0, 3.0]), (-1, 3)) + np.float32(0.5) * g.constant(np.ones((1, 3)), "one")
    h = ops.softmax(h, temperature=2.0) + ops.sum(h, axis=(0, 1)) + ops.max(h, 0)
    g.output(h * [1.0, 2.0, 3.0] + True)
    g.apply(ops.cross_entropy, h, [0, 1, 2, 0, 1], name="loss")
    ops.squared_error(h, g.input("target"), sample_weight=g.input("weight"))
    loaded, params = there_and_back(g, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.run(loaded.sink, x=X).value, g.run(g.sink, x=X).value)
    np.testing.assert_array_equal(loaded.run("loss", x=X).value, g.run("loss", x=X).value)
    given = {"x": X, "target": X, "weight": np.ones(5)}
    last = g.nodes[-1].name
    np.testing.assert_array_equal(loaded.run(last, **given).value, g.run(last, **given).value)
    assert len(params) == 0


def test_a_rebound_graph(tmp_path):
    g = Graph.of(hg.Sequential([hg.Linear(3, 3), hg.ReLU(), hg.Linear(3, 2)]))
    g.rebind(g["2"], ops.tanh(g["1"]))  # reads a node that comes after it
    loaded, params = there_and_back(g, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.forward(params, X)[0], g.forward(params, X)[0])


@settings(max_examples=examples(30))
@given(programs(kinked=True))
def test_random_graphs(program):
    g, _ = random_graph(*program)
    entries = json.loads(json.dumps(describe(g), allow_nan=False))
    assert describe(build(entries)) == describe(g)


class Sine(ops.Elementwise):
    """Of the user's own."""

    name = "sine"
    value = staticmethod(lambda x: (np.sin(x), x))
    local = staticmethod(np.cos)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (lambda x: Sine()(x), r"layer 'sine1': ops\.sine is not one of the library's ops; a model file holds .*add"),
        (lambda x: x + np.ones(10_001), r"layer 'constant1': .*up to 10000 numbers.*make it an input or a parameter"),
        (lambda x: x + float("nan"), "layer 'constant1': .*got nan"),
        (lambda x: x + np.array([np.inf, 1.0, 0.0]), "layer 'constant1': a constant that is not finite"),
        (lambda x: x + np.array([1j, 0, 0]), "layer 'constant1': .*got array"),
    ],
)
def test_what_no_file_holds(tmp_path, node, message):
    g = Graph()
    g.output(node(g.input("x")))
    with pytest.raises(FormatError, match=message):
        save(g, g.init(0), tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


GOOD = describe(Graph.of(hg.Sequential([hg.Linear(3, 2), hg.ReLU()])))
OP = {"kind": "op", "name": "t", "expressed": False, "op": "tanh", "args": [0], "keywords": {}, "hyper": {}}
WEIGHT = {
    "kind": "parameter",
    "name": "w",
    "expressed": True,
    "shape": [2],
    "initializer": "zeros",
    "decays": True,
}
CONSTANT = {"kind": "constant", "name": "c", "expressed": False, "value": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": 3}, "must have type, nodes, output and bare"),
        ({"colour": 1}, "must have type, nodes, output and bare"),
        ({"output": 9}, "output must hold whole numbers from 0 to below 3, got 9"),
        ({"output": True}, "output must hold"),
        ({"output": "2"}, "output must hold"),
        ({"bare": "relu"}, "bare must be the name of a layer's node"),
        ({"bare": ["0"]}, "bare must be"),
        ({"+": 1}, "node 3: it must be of the kind input, constant"),
        ({"+": {"kind": []}}, "it must be of the kind"),
        ({"+": {"kind": "input", "name": "y"}}, "node 'y': it must have kind, name, expressed, got kind, name"),
        ({"+": OP | {"name": 3}}, "name must be of type str"),
        ({"+": OP | {"name": ""}}, "its name must be new, not empty"),
        ({"+": OP | {"name": "0"}}, "node '0': its name must be new"),
        ({"+": {"kind": "input", "name": "train", "expressed": True}}, "no keyword of run"),
        ({"+": OP | {"op": "os.system"}}, "the op 'os.system' is unknown; this version knows"),
        ({"+": OP | {"args": [9]}}, "args must hold whole numbers from 0 to below 4, got 9"),
        ({"+": OP | {"args": [True]}}, "args must hold"),
        ({"+": OP | {"args": [None]}}, "needs x, got None"),
        ({"+": OP | {"args": []}}, "missing a required argument"),
        ({"+": OP | {"args": [], "keywords": {"x": 0}}}, "its inputs must stand among args"),
        ({"+": OP | {"args": [0, 0, 0]}}, "too many positional arguments"),
        ({"+": OP | {"hyper": {"heat": 1}}}, "unexpected keyword argument 'heat'"),
        ({"+": OP | {"args": [3]}}, "its nodes read one another in a cycle"),
        ({"+": WEIGHT | {"shape": [-1]}}, "shape must hold whole numbers from 1"),
        ({"+": WEIGHT | {"shape": 2}}, "shape must be of type list"),
        ({"+": WEIGHT | {"initializer": "os.system"}}, "initializer must be"),
        ({"+": WEIGHT | {"name": "0.weight"}}, "already"),
        (
            {"+": CONSTANT | {"value": {"array": [1, 2], "dtype": "float64", "shape": [3]}}},
            "must hold float64 in shape",
        ),
        ({"+": CONSTANT | {"value": {"array": [1], "dtype": "object", "shape": [1]}}}, "is no constant or option"),
        ({"+": CONSTANT | {"value": {"call": "os.system"}}}, "is no constant or option"),
        ({"+": {"kind": "layer", "name": "l", "expressed": False, "layer": 7, "args": [0]}}, "refers to 7"),
        ({"+": {"kind": "layer", "name": "l", "expressed": False, "layer": None, "args": [0]}}, "refers to None"),
        (
            {"+": {"kind": "layer", "name": "l", "expressed": False, "layer": 0, "args": [0, 1]}},
            "reads one node, got 2",
        ),
        ({"+": {"kind": "layer", "name": "l", "expressed": False, "layer": 0, "args": [None]}}, "args must hold"),
    ],
)
def test_entries_that_are_no_graph(change, message):
    *layers, graph = copy.deepcopy(GOOD)
    more = change.pop("+", None)
    graph |= change
    if more is not None:
        graph["nodes"].append(more)
    with pytest.raises(FormatError, match=message):
        build([*layers, graph])


def test_deep_constants_and_many_nodes_are_refused():
    *layers, graph = copy.deepcopy(GOOD)
    deep = 1
    for _ in range(500):
        deep = [deep]
    graph["nodes"].append(CONSTANT | {"value": deep})
    with pytest.raises(FormatError, match="lists more than 20 deep"):
        build([*layers, graph])
    entries = copy.deepcopy(GOOD)
    for _ in range(40):
        nodes = [{"kind": "input", "name": "x", "expressed": True}]
        nodes += [
            {"kind": "layer", "name": name, "expressed": False, "layer": len(entries) - 1, "args": [0]} for name in "ab"
        ]
        entries.append({"type": "Graph", "nodes": nodes, "output": 1, "bare": None})
    with pytest.raises(FormatError, match="at most 100000 places"):
        build(entries)


@settings(max_examples=examples(200))
@given(st.data())
def test_a_damaged_graph_is_refused_or_right(data):
    """Any one value within the entries replaced by another."""
    entries = json.loads(json.dumps(describe(highway())))
    places = list(paths(entries))
    *way, last = data.draw(st.sampled_from(places))
    at = entries
    for step in way:
        at = at[step]
    at[last] = data.draw(st.sampled_from([None, True, -1, 0, 2, 3.5, "x", "head", [], [0], {}, {"tuple": [1]}, 10**30]))
    try:
        model = build(entries)
    except FormatError:
        return
    assert isinstance(model, hg.Layer)
    repr(model)


def paths(value, path=()):
    if path:
        yield path
    each = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in each:
        yield from paths(inner, (*path, key))


def test_a_long_chain_is_kept(tmp_path):
    g = Graph()
    node = g.input("x")
    for _ in range(20_000):
        node = -node
    loaded, _ = there_and_back(g, tmp_path / "m.safetensors")
    assert loaded.run(loaded.sink, x=1.0).value == 1
