"""The document holds the library's own numbers, whatever the model is made of."""

import json

import numpy as np
import pytest

import handgrad as hg
from explain.view.batches import array, neuron, only, traced
from handgrad import ops

GATES = (hg.GLU, hg.SwiGLU, hg.Bilinear, hg.ReGLU, hg.GEGLU)


def same(tensor, expected):
    assert tensor["shape"] == list(np.shape(expected))
    np.testing.assert_array_equal(array(tensor), expected)


MODELS = {
    "mlp": lambda: traced([hg.Linear(4, 5), hg.ReLU(), hg.Linear(5, 3)], 4),
    "out_in": lambda: traced([hg.Linear(4, 5, layout="out_in", bias=False), hg.Tanh(), hg.Linear(5, 3)], 4),
    "norm": lambda: traced([hg.LayerNorm(4), hg.Linear(4, 3), hg.Softmax(2.0)], 4, loss="hinge"),
    "flattened": lambda: traced([hg.Linear(6, 3, flatten=True)], (2, 3)),
    "images": lambda: traced([hg.Flatten(), hg.Linear(6, 3)], (2, 3)),
    "residual": lambda: traced([hg.Residual(hg.Sequential([hg.Linear(4, 4), hg.Sigmoid()])), hg.Linear(4, 3)], 4),
    "dropout": lambda: traced([hg.Linear(4, 5), hg.Dropout(0.5), hg.Linear(5, 3)], 4, train=True, rng=3),
    "float32": lambda: traced([hg.Linear(4, 5), hg.GELU(), hg.Linear(5, 3)], 4, dtype=np.float32),
    "decayed": lambda: traced([hg.Linear(4, 3)], 4, regularizer=hg.L2(0.1)),
    **{kind.__name__: (lambda kind=kind: traced([kind(4, 5), hg.Linear(5, 3)], 4)) for kind in GATES},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_number_is_the_traces(name):
    trace = MODELS[name]()
    tape = trace.tape
    view = trace.view()
    nodes, edges, frame = only(view)
    assert frame["loss"] == trace.loss_value
    same(frame["nodes"]["X"]["value"], tape.x)
    same(frame["nodes"]["X"]["gradient"], tape.dx)
    for step in tape.steps:
        place = step.name if step.name in nodes else f"{step.name}.product"
        same(frame["nodes"][place]["value"], step.out)
        same(frame["nodes"][place]["gradient"], step.dout)
    assert frame["parameters"].keys() == tape.params.keys()
    for p in trace.parameters:
        found = frame["parameters"][p.name]
        same(found["value"], tape.params[p.name])
        same(found["gradient"], tape.gradients[p.name])
        same(found["update"], trace.updates[p.name])
        assert found["update_ratio"] == (None if np.isnan(p.update_ratio) else pytest.approx(p.update_ratio))
        assert found["gradient_norm"] == pytest.approx(p.gradient.norm)
        assert found["check"]["passed"], p.name
        assert found["check"]["error"] < 1e-8
    assert frame["gradient_norm"] == pytest.approx(trace.gradient_norm)
    assert hg.View.from_json(view.to_json()).document == view.document
    assert all(edge["source"] in nodes for edge in edges.values())


@pytest.mark.parametrize("name", MODELS)
def test_upstream_times_local_is_downstream(name):
    """Along every edge, by the numbers on the page; and what comes back along all edges is the node's gradient."""
    _, edges, frame = only(MODELS[name]().view(checks=False))
    received = {}
    for key, edge in edges.items():
        values = frame["edges"][key]
        if edge["local"] is None:
            assert values == {"local": None, "diagonal": None, "downstream": None}
            continue
        upstream = array(frame["nodes"][edge["target"]]["gradient"])
        whole = values["downstream"] == "gradient"
        downstream = array(frame["nodes"][edge["source"]]["gradient"] if whole else values["downstream"])
        if values["diagonal"] is not None:
            np.testing.assert_allclose(upstream * array(values["diagonal"]), downstream, rtol=1e-6, atol=1e-12)
        local = array(values["local"])
        assert list(local.shape) == edge["local"]["shape"]
        found = np.tensordot(upstream, local, upstream.ndim)
        np.testing.assert_allclose(found, downstream, rtol=1e-5, atol=1e-7)
        received.setdefault(edge["source"], []).append(downstream)
    for source, parts in received.items():
        gradient = array(frame["nodes"][source]["gradient"])
        np.testing.assert_allclose(sum(parts), gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", GATES)
def test_a_gated_layer_is_opened_into_its_branches(kind):
    trace = traced([kind(4, 5), hg.Linear(5, 3)], 4)
    nodes, edges, frame = only(trace.view())
    branches = ["content", "gate", *([] if kind is hg.Bilinear else ["activation"]), "product"]
    assert [n for n in nodes if nodes[n]["group"] == "0"] == [f"0.{branch}" for branch in branches]
    x, c, g, *_ = trace.tape.steps[0].cache
    for branch, value in (("content", c), ("gate", g)):
        same(frame["nodes"][f"0.{branch}"]["value"], value)
        assert [p["name"] for p in nodes[f"0.{branch}"]["parameters"]] == [f"0.{branch}.weight", f"0.{branch}.bias"]
        own = array(frame["nodes"][f"0.{branch}"]["gradient"])
        np.testing.assert_allclose(x.T @ own, trace.tape.gradients[f"0.{branch}.weight"], rtol=1e-12)
        assert edges[f"X → 0.{branch}"]["local"]["parameter"] == f"0.{branch}.weight"
        assert frame["nodes"][f"0.{branch}"]["parts"] == {}
    assert "X" in nodes
    assert nodes["X"]["patterns"] == []


def test_dead_and_saturated_units_are_counted_as_the_trace_counts_them():
    trace = traced([hg.Linear(4, 5), hg.ReLU(), hg.GLU(5, 6), hg.Tanh(), hg.Linear(6, 3)], 4)
    trace.tape.params["0.bias"][1] = -100
    trace.tape.params["2.gate.bias"][2] = 100
    trace = hg.trace(trace.tape.model, trace.tape.params, trace.tape.x, trace.tape.y)
    _, _, frame = only(trace.view(checks=False))
    assert frame["nodes"]["1"]["stats"]["dead"] == len(trace["1"].dead) >= 1
    assert frame["nodes"]["1"]["stats"]["units"] == 5
    assert frame["nodes"]["2.activation"]["stats"]["saturation"] == trace["2"].saturation >= 1 / 6
    assert frame["nodes"]["3"]["stats"]["saturation"] == trace["3"].saturation
    for name in ("0", "1", "3"):
        found, expected = frame["nodes"][name]["stats"], trace[name].values
        assert (found["mean"], found["std"], found["min"], found["max"]) == (
            expected.mean, expected.std, expected.min, expected.max,
        )  # fmt: skip
        assert found["quantiles"] == [expected.quantiles[i] for i in (0, 2, 3, 4, 6)]
        assert found["gradient_norm"] == trace[name].gradient.norm


def test_a_shared_parameter_names_all_its_places():
    layer = hg.Linear(4, 4)
    trace = traced([layer, hg.Tanh(), layer, hg.Linear(4, 3)], 4)
    nodes, _, frame = only(trace.view())
    assert nodes["0"]["parameters"][0]["name"] == nodes["2"]["parameters"][0]["name"] == "0.weight"
    assert nodes["2"]["parameters"][0]["shared"] == ["0", "2"]
    parts = [array(frame["nodes"][place]["parts"]["0.weight"]) for place in ("0", "2")]
    np.testing.assert_allclose(sum(parts), trace.tape.gradients["0.weight"], rtol=1e-12)
    assert "3.weight" not in frame["nodes"]["3"]["parts"]


def test_a_penalty_is_a_node_of_its_own():
    trace = traced([hg.Linear(4, 5), hg.ReLU(), hg.Linear(5, 3)], 4, regularizer=hg.L2(0.1))
    nodes, edges, frame = only(trace.view())
    assert list(nodes)[-4:] == ["y", "loss", "penalty", "total"]
    value = {name: array(frame["nodes"][name]["value"]) for name in ("loss", "penalty", "total")}
    assert value["loss"] + value["penalty"] == pytest.approx(value["total"])
    assert value["total"] == trace.loss_value
    assert nodes["0"]["parameters"][0]["shared"] == ["0", "penalty"]
    pull, own = (array(frame["nodes"][place]["parts"]["0.weight"]) for place in ("penalty", "0"))
    np.testing.assert_allclose(pull, 0.2 * trace.tape.params["0.weight"])
    np.testing.assert_allclose(pull + own, trace.tape.gradients["0.weight"])
    assert "penalty → total" in edges


def test_caches_are_named_for_what_they_are():
    trace = traced([hg.Linear(4, 5), hg.ReLU(), hg.LayerNorm(5), hg.Linear(5, 3)], 4)
    nodes, _, frame = only(trace.view(checks=False))
    linear, relu, norm = (nodes[name]["cache"] for name in "012")
    assert [(c["what"], c["alias"], c["bytes"]) for c in linear] == [
        ("its input", "X", 0),
        ("a parameter, by reference", None, 0),
    ]
    assert [(c["what"], c["alias"]) for c in relu] == [("its output", "1")]
    assert sum(c["bytes"] for c in norm) == frame["nodes"]["2"]["stats"]["cache_bytes"] == 6 * 5 * 8 + 6 * 8


def test_equations_and_their_derivations():
    view = traced([hg.Linear(4, 5), hg.Sigmoid(), hg.Linear(5, 3)], 4).view(checks=False)
    nodes, _, _ = only(view)
    equations = view.document["variants"][0]["graph"]["equations"]
    assert nodes["0"]["derivation"] == nodes["2"]["derivation"]  # one derivation serves both
    assert equations[nodes["0"]["derivation"]]["title"] == "Z = X @ W + b"
    assert r"\sigma" in nodes["1"]["formula"]
    (section,) = equations[nodes["0"]["derivation"]]["sections"]
    by_weights = next(part for part in section["parts"] if part["wrt"] == "W")
    (matching,) = [item for item in by_weights["items"] if item["kind"] == "matching"]
    assert len(matching["products"]) == 8
    (chosen,) = [product for product in matching["products"] if product["chosen"]]
    assert chosen["fits"]
    assert chosen["shapes"] == "(n_in, m) (m, n_out)"
    assert "differ" in next(p["why"] for p in matching["products"] if not p["fits"])
    assert nodes["loss"]["derivation"] in equations


def test_a_run_of_a_graph():
    run = neuron()
    nodes, edges, frame = only(hg.view(run))
    assert list(nodes)[-1] == "f"
    for node in run.nodes:
        same(frame["nodes"][node.name]["value"], run[node].value)
        same(frame["nodes"][node.name]["gradient"], run[node].gradient)
    for edge in run.edges:
        values = frame["edges"][f"{edge.source.name} → {edge.target.name}"]
        same(values["local"], edge.local)
    assert frame["nodes"]["add2"]["numbers"] == "4 + (-3) = 1"
    assert frame["nodes"]["f"]["numbers"] == "sigmoid(1) = 0.731059"
    assert frame["nodes"]["w0"]["check"]["error"] < 1e-8
    assert nodes["f"]["label"] == "f = sigmoid(w0 * x0 + w1 * x1 + w2)"
    assert nodes["multiply1"]["label"] == "w0 * x0"
    assert nodes["multiply1"]["patterns"] == ["multiply swaps"]
    assert edges["w0 → multiply1"]["letter"] is None  # the op calls it x, the graph w0
    same(frame["nodes"]["x0"]["gradient"], run["x0"].gradient)


def test_a_run_with_layers_parameters_labels_and_a_value_read_twice():
    g = hg.Graph()
    x, y = g.input("x"), g.input("y")
    w = g.parameter("w", (5, 3))
    h = g.apply(hg.SwiGLU(4, 5), x, name="hidden")
    loss = ops.cross_entropy((h + h) @ w, y).named("loss")
    rng = np.random.default_rng(0)
    params = g.init(0)
    run = g.run(loss, params, x=rng.standard_normal((6, 4)), y=rng.integers(3, size=6)).backward()
    nodes, edges, frame = only(hg.view(run))
    assert nodes["y"]["role"] == "data"
    assert edges["y → loss"]["local"] is None
    assert frame["nodes"]["y"]["gradient"] is None
    assert edges["hidden.product → add1"]["letter"] is None
    assert edges["x → hidden.gate"]["letter"] == "X"
    assert frame["loss"] == run.value
    assert frame["parameters"].keys() == run.gradients.keys() == params.keys()
    for name, gradient in run.gradients.items():
        same(frame["parameters"][name]["gradient"], gradient)
        assert frame["parameters"][name]["check"]["passed"]
        assert frame["parameters"][name]["update"] is None
        assert frame["parameters"][name]["update_ratio"] is None
    same(frame["nodes"]["x"]["gradient"], run["x"].gradient)


def test_a_run_that_does_not_read_all_parameters():
    g = hg.Graph()
    x = g.input("x")
    one, other = g.apply(hg.Linear(3, 2), x, name="one"), g.apply(hg.Linear(3, 2), x, name="other")
    run = g.run(ops.sum(one), g.init(0), x=np.ones((2, 3))).backward()
    view = hg.view(run)
    nodes, _, frame = only(hg.View.from_json(view.to_json()))
    assert other.name not in nodes
    assert frame["parameters"].keys() == {"one.weight", "one.bias"}
    assert all(each["check"]["passed"] for each in frame["parameters"].values())


def test_a_run_to_an_array():
    g = hg.Graph()
    run = g.run(ops.tanh(g.input("x")), x=np.ones((2, 3))).backward(np.full((2, 3), 2.0))
    _, _, frame = only(hg.view(run))
    assert frame["loss"] is None
    same(frame["nodes"]["x"]["gradient"], run["x"].gradient)


def test_a_graph_within_a_model_is_opened():
    g = hg.Graph()
    x = g.input("x")
    g.output((hg.GLU(5, 5)(x) * x).named("mixed"))
    trace = traced([hg.Linear(4, 5), g, hg.Linear(5, 3)], 4)
    nodes, edges, frame = only(trace.view())
    opened = [place for place in nodes if place.startswith("1.")]
    assert opened == ["1.glu1.content", "1.glu1.gate", "1.glu1.activation", "1.glu1.product", "1.mixed"]
    assert nodes["1.mixed"]["group"] == "1"
    same(frame["nodes"]["1.mixed"]["value"], trace.tape.steps[2].out)
    same(frame["nodes"]["0"]["gradient"], trace.tape.steps[0].dout)
    parts = [frame["edges"][key]["downstream"] for key in edges if key.startswith("0 → ")]
    assert len(parts) == 3
    np.testing.assert_allclose(sum(map(array, parts)), trace.tape.steps[0].dout, rtol=1e-12)
    assert [p["name"] for p in nodes["1.glu1.gate"]["parameters"]] == ["1.glu1.gate.weight", "1.glu1.gate.bias"]
    alone, _, _ = only(hg.trace(g, g.init(0), np.ones((2, 5)), [0, 1]).view())
    assert list(alone) == ["X", *(f"model{place[1:]}" for place in opened), "y", "loss"]


class Doubled(hg.Layer):
    """A layer of a user's own, without an op."""

    def forward(self, params, x, *, train=False, rng=None):
        return 2 * x, x.shape

    def backward(self, dout, cache):
        return 2 * dout, {}


def test_a_layer_of_ones_own():
    nodes, _, frame = only(traced([Doubled(), hg.Linear(4, 3)], 4).view())
    assert nodes["0"]["label"] == "Doubled"
    assert nodes["0"]["formula"] is None
    assert nodes["0"]["derivation"] is None
    np.testing.assert_array_equal(array(frame["edges"]["X → 0"]["local"]).reshape(24, 24), 2 * np.eye(24))


class Small(hg.Loss):
    """A loss of a user's own, without targets."""

    def forward(self, scores, y, sample_weight=None, reduction="mean"):
        return np.mean(scores**2), scores

    def backward(self, dout, cache):
        return dout * 2 * cache / cache.size


def test_a_loss_of_ones_own():
    model = hg.Linear(3, 2)
    trace = hg.trace(model, model.init(0), np.ones((4, 3)), None, loss=Small())
    nodes, edges, frame = only(trace.view())
    assert list(nodes) == ["X", "model", "loss"]
    assert edges["model → loss"]["local"] is None
    same(frame["nodes"]["model"]["gradient"], trace.tape.dscores)
    assert frame["parameters"]["weight"]["check"]["passed"]


def test_numbers_that_are_not_finite_are_words():
    trace = traced([hg.Linear(4, 5), hg.ReLU(), hg.Linear(5, 3)], 4)
    params = trace.tape.params
    params["0.bias"][1], params["2.bias"][0] = np.nan, np.inf
    view = hg.view(hg.trace(trace.tape.model, params, trace.tape.x, trace.tape.y))
    _, _, frame = only(view)
    assert frame["loss"] == "nan"
    assert np.isnan(array(frame["nodes"]["0"]["value"])[:, 1]).all()
    assert np.isfinite(frame["nodes"]["0"]["stats"]["mean"])  # of the others
    assert frame["parameters"]["0.weight"]["check"] is None
    json.loads(view.to_json(), parse_constant=lambda token: pytest.fail(token))


def test_a_trace_keeps_its_batch_when_the_parameters_go_on():
    model = hg.mlp([4, 5, 3])
    params, x = model.init(0), np.ones((2, 4))
    trace = hg.trace(model, params, x, [0, 1])
    before = hg.view(trace, checks=False).to_json()
    params.flat[...] = 0
    x[...] = 7
    assert hg.view(trace, checks=False).to_json() == before


def test_what_can_not_be_viewed_is_refused():
    trace = traced([hg.Linear(4, 3)], 4)
    with pytest.raises(hg.errors.DTypeError, match="what must be a trace, a run of a graph or a mapping"):
        hg.view(trace.tape.model)
    g = hg.Graph()
    with pytest.raises(hg.errors.ValueRangeError, match=r"call run.backward\(\) first"):
        hg.view(g.run(g.input("x") * 2.0, x=1.0))
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(hg.errors.DTypeError, match="run on NumPy arrays, got Array at node 'x'"):
        hg.view(g.run(ops.tanh(g["x"]), x=strict.asarray([0.5])).backward(strict.asarray([1.0])))
    with pytest.raises(hg.errors.ValueRangeError, match="what must name one trace or more"):
        hg.view({})
    with pytest.raises(hg.errors.ValueRangeError, match="of one model, but 'before' has other nodes"):
        hg.view(trace, frames=[("before", traced([hg.Linear(4, 3), hg.Tanh()], 4))])


def test_variants_stand_side_by_side():
    traces = {name: traced([hg.Linear(4, 3, init=name)], 4) for name in ("zeros", "he_normal")}
    view = hg.view(traces, title="two")
    assert [variant["label"] for variant in view.document["variants"]] == ["zeros", "he_normal"]
    first = view.document["variants"][0]["frames"][0]["parameters"]["0.weight"]
    assert first["update_ratio"] is None  # of weights that are all 0
    assert not array(first["value"]).any()
