"""Each reason for a gradient of 0, planted inside a Graph, with the name of the node."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import handgrad as hg
from explain.trace.graphs import WIDTH, drawn
from handgrad import ops
from handgrad.explain.why_zero.reasons import KINDS
from soak import examples

RNG = np.random.default_rng(12)
X, T = RNG.normal(size=(24, WIDTH)), RNG.normal(size=(24, WIDTH))
ONES = hg.initializers.ones


def why(graph, params, parameter, x=X, y=T, loss="squared_error", **options):
    found = hg.why_zero(graph, params, x, y, parameter, loss=loss, **options)
    return found, {(reason.kind, reason.layer): reason for reason in found.reasons}


def graph_of(make):
    """A graph by `make(g, x)`, and its parameters."""
    g = hg.Graph()
    g.output(make(g, g.input("x")))
    return g, g.init(0)


def weights(g, x, name="v"):
    return x @ g.parameter(name, (WIDTH, WIDTH))


def bias(g, x, name="c", init="zeros"):
    return x + g.parameter(name, (WIDTH,), init)


def test_unused_inputs_and_dead_units():
    graph, params = graph_of(lambda g, x: weights(g, ops.relu(bias(g, weights(g, x))).named("act"), "w"))
    params["c"][[0, 2]] = -99
    x = X * (np.arange(WIDTH) != 3)
    found, reasons = why(graph, params, "v", x=x)
    assert found.zeros == WIDTH + 2 * WIDTH - 2
    assert reasons["unused input", "X"].units.tolist() == [3]
    assert reasons["unused input", "X"].entries == WIDTH
    assert reasons["dead unit", "act"].units.tolist() == [0, 2]
    assert reasons["dead unit", "act"].entries == 2 * WIDTH
    found, reasons = why(graph, params, "c")
    assert (found.zeros, list(reasons)) == (2, [("dead unit", "act")])
    assert reasons["dead unit", "act"].entries == 2
    found, reasons = why(graph, params, "w")
    assert reasons["zero input", "act"].units.tolist() == [0, 2]
    assert reasons["zero input", "act"].entries == 2 * WIDTH


def test_weights_of_0_further_on():
    graph, params = graph_of(lambda g, x: weights(g, ops.tanh(bias(g, weights(g, x))), "w").named("z"))
    params["w"][1] = 0
    for name, entries in (("v", WIDTH), ("c", 1)):
        found, reasons = why(graph, params, name)
        assert (found.zeros, list(reasons)) == (entries, [("zero weights", "z")])
        assert reasons["zero weights", "z"].units.tolist() == [1]


def test_a_scale_of_0_and_a_value_of_0():
    graph, params = graph_of(lambda g, x: (bias(g, x) * g.parameter("s", (WIDTH,), ONES)).named("scaled"))
    params["s"][2] = 0
    found, reasons = why(graph, params, "c")
    assert (found.zeros, list(reasons)) == (1, [("zero factor", "scaled")])
    assert reasons["zero factor", "scaled"].units.tolist() == [2]
    assert "what unit 2 is multiplied by in layer 'scaled' is 0" in str(found)
    x = X.copy()
    x[:, 1] = 0
    found, reasons = why(graph, params, "s", x=x)
    assert (found.zeros, list(reasons)) == (1, [("zero input", "add1")])
    assert reasons["zero input", "add1"].units.tolist() == [1]


def test_a_closed_gate():
    graph, params = graph_of(lambda g, x: (ops.relu(bias(g, x)).named("gate") * weights(g, x)).named("gated"))
    params["c"][3] = -99
    found, reasons = why(graph, params, "v")
    assert found.zeros == WIDTH
    assert list(reasons) == [("zero factor", "gated")]
    assert reasons["zero factor", "gated"].units.tolist() == [3]
    found, reasons = why(graph, params, "c")
    assert list(reasons) == [("dead unit", "gate")]


def test_the_smaller_side():
    graph, params = graph_of(lambda g, x: ops.maximum(bias(g, x), weights(g, x)).named("larger"))
    params["c"][0] = -99
    found, reasons = why(graph, params, "c")
    assert (found.zeros, list(reasons)) == (1, [("smaller side", "larger")])
    assert "unit 0 is not the larger in layer 'larger'" in str(found)
    graph, params = graph_of(lambda g, x: ops.max(bias(g, x), axis=-1, keepdims=True).named("top") + 0 * x)
    params["c"][1:3] = -99
    found, reasons = why(graph, params, "c")
    assert (found.zeros, list(reasons)) == (2, [("smaller side", "top")])
    assert reasons["smaller side", "top"].units.tolist() == [1, 2]


def test_saturated_and_flat():
    graph, params = graph_of(lambda g, x: ops.tanh(bias(g, x)).named("act"))
    params["c"][1] = 60
    found, reasons = why(graph, params, "c")
    assert (found.zeros, list(reasons)) == (1, [("saturated unit", "act")])
    graph, params = graph_of(lambda g, x: ops.exp(bias(g, x)).named("act"))
    params["c"][1] = -1e4
    found, reasons = why(graph, params, "c")
    assert (found.zeros, list(reasons)) == (1, [("zero slope", "act")])


def test_dropout_as_an_op():
    graph, params = graph_of(lambda g, x: ops.dropout(bias(g, x), rate=0.9, rng=8).named("dropped"))
    found, reasons = why(graph, params, "c", x=X[:3], y=T[:3])
    assert found.zeros
    assert list(reasons) == [("dropped unit", "dropped")]


def test_through_forks_reductions_and_reshapes():
    def make(g, x):
        h = bias(g, x)
        around = ops.reshape(ops.reshape(h - ops.mean(h, axis=0), (-1, 2, 2)), (-1, WIDTH))
        return (weights(g, around, "w") + ops.relu(h).named("act")).named("sum")

    graph, params = graph_of(make)
    assert why(graph, params, "c")[0].zeros == 0
    params["w"][3], params["c"][3] = 0, -99
    found, reasons = why(graph, params, "c")
    assert found.zeros == 1
    assert set(reasons) == {("zero weights", "matmul1"), ("dead unit", "act")}
    assert reasons["zero weights", "matmul1"].units.tolist() == [3]


def test_terms_that_cancel():
    graph, params = graph_of(lambda g, x: ((h := bias(g, x)) - h).named("nothing") + x)
    found, reasons = why(graph, params, "c")
    assert found.zeros == WIDTH
    assert list(reasons) == [("terms that cancel", "nothing")]


def test_read_as_data_or_not_at_all():
    def make(g, x):
        weight = ops.sum(x * g.parameter("s", (WIDTH,), ONES), axis=-1).named("weight")
        g.parameter("idle", (2,)) * 2.0
        return ops.reshape(
            ops.squared_error(weights(g, x), T, sample_weight=weight * weight, reduction="none"), (-1, 1)
        )

    graph, params = graph_of(make)
    found, reasons = why(graph, params, "s", y=np.zeros((24, 1)))
    assert found.zeros == WIDTH
    assert list(reasons) == [("not passed on", "multiply3")]
    assert "but perhaps as data" in str(found)
    found, reasons = why(graph, params, "idle", y=np.zeros((24, 1)))
    assert (found.zeros, list(reasons)) == (2, [("unused parameter", "")])
    assert why(graph, params, "v", y=np.zeros((24, 1)))[0].zeros == 0


def test_an_inactive_margin_and_a_graph_within():
    graph, params = graph_of(lambda g, x: bias(g, hg.Linear(WIDTH, WIDTH)(x)))
    model = hg.Sequential([hg.Linear(WIDTH, WIDTH), graph])
    params = model.init(0)
    params["1.c"][0] = 1e4
    found, reasons = why(model, params, "0.weight", y=np.zeros(24, int), loss="hinge")
    assert (found.zeros, list(reasons)) == (WIDTH * WIDTH, [("inactive margin", "loss")])
    params["1.c"][0] = 0
    params["1.linear1.weight"][2] = 0
    _, reasons = why(model, params, "0.weight")
    assert list(reasons) == [("zero weights", "1.linear1")]


@pytest.mark.parametrize("make", [ops.linear, ops.glu, ops.reglu, ops.layer_norm])
def test_ops_with_parameters_are_explained_as_their_layers_are(make):
    """ops.linear(x, w, b) as Linear(x)."""
    kind = {ops.linear: hg.Linear, ops.glu: hg.GLU, ops.reglu: hg.ReGLU, ops.layer_norm: hg.LayerNorm}[make]
    layer = kind(WIDTH) if kind is hg.LayerNorm else kind(WIDTH, WIDTH)
    specs = layer.parameters()
    graph, _ = graph_of(
        lambda g, x: hg.Linear(WIDTH, WIDTH)(make(x, *(g.parameter(n, s.shape, s.init) for n, s in specs.items())))
    )
    model = hg.Sequential([layer, hg.Linear(WIDTH, WIDTH)])
    params = model.init(0)
    params["1.weight"][1] = 0
    if "gate.bias" in specs:
        params["0.gate.bias"][2] = -200
    own = dict(zip(graph.parameters(), params.values(), strict=True))
    x = X * (np.arange(WIDTH) != 3)
    for name in specs:
        first, second = why(model, params, f"0.{name}", x=x)[0], why(graph, own, name, x=x)[0]
        assert first.zeros == second.zeros > 0
        assert [(r.kind, r.units.tolist(), r.entries) for r in first.reasons] == [
            (r.kind, r.units.tolist(), r.entries) for r in second.reasons
        ]


@settings(max_examples=examples(15))
@given(st.integers(0, 100_000))
def test_every_zero_has_a_reason(seed):
    rng = np.random.default_rng(seed)
    graph = drawn(seed)
    params = graph.init(seed)
    for name in params:
        if rng.random() < 0.4:
            params[name][...] *= rng.choice([0, -1], size=params[name].shape)
        if rng.random() < 0.2:
            params[name][...] += rng.choice([-60, 0, 60], size=params[name].shape)
    x = rng.normal(size=(6, WIDTH)) * (rng.random((6, WIDTH)) < 0.6)
    y = rng.normal(size=(6, WIDTH))
    _, grads = hg.value_and_grad(graph, "squared_error", params, x, y)
    names = {layer.name for layer in hg.trace(graph, params, x, y, loss="squared_error").layers}
    for name in params:
        found = hg.why_zero(graph, params, x, y, name, loss="squared_error")
        assert found.zeros == np.sum(grads[name] == 0)
        assert bool(found.reasons) == bool(found.zeros)
        assert sum(reason.entries for reason in found.reasons) >= found.zeros
        assert all(reason.kind in KINDS and 0 < reason.entries <= found.zeros for reason in found.reasons)
        assert all(reason.layer in {*names, "X", "loss", ""} for reason in found.reasons)
