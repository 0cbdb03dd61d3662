"""Faults planted inside a Graph are found, with the name of the node; healthy graphs are left in peace."""

import numpy as np
import pytest

import handgrad as hg
from explain.trace.graphs import highway
from handgrad import ops

RNG = np.random.default_rng(4)
X = RNG.normal(size=(240, 6))
Y = (np.tanh(X @ RNG.normal(size=(6, 12))) @ RNG.normal(size=(12, 4))).argmax(1)


def found(graph, params, **options):
    return [(finding.fault, finding.layer) for finding in hg.diagnose(graph, params, X, Y, **options).findings]


def by_hand(activation=ops.relu, width=16, between=None):
    """Two layers of graph.parameter and a head; `between` is put between the two products in place of an activation."""
    g = hg.Graph()
    x = g.input("x")
    init = "glorot_uniform" if activation is ops.sigmoid else "he_normal"
    z = (x @ g.parameter("v", (6, width), init) + g.parameter("c", (width,), "zeros", decays=False)).named("z")
    h = activation(z).named("act") if between is None else between(z)
    z2 = (h @ g.parameter("w", (width, width), init)).named("z2")
    hg.Linear(width, 4)(ops.tanh(z2 + g.parameter("d", (width,), "zeros", decays=False))).named("head")
    return g


@pytest.mark.parametrize("seed", range(12))
def test_a_healthy_graph_is_left_in_peace(seed):
    for graph in (highway(seed, 1 + seed % 6), by_hand((ops.relu, ops.sigmoid, ops.gelu, ops.tanh)[seed % 4])):
        params = graph.init(seed)
        assert found(graph, params) == []
        nested = hg.Sequential([hg.Identity(), graph])
        assert found(nested, nested.init(seed)) == []
        result = hg.fit(
            graph, (X, Y), optimizer=hg.Adam(3e-3), epochs=8, params=params, progress=False, engine="eager", seed=0
        )
        assert found(graph, result.params, optimizer=hg.Adam(3e-3), history=result.history) == []


def test_a_dead_relu_op():
    graph = by_hand()
    params = graph.init(0)
    params["c"][:12] = -99
    (finding,) = hg.diagnose(graph, params, X, Y).findings
    assert (finding.fault, finding.layer) == ("dead_relus", "act")
    assert finding.evidence["dead"].tolist() == list(range(12))
    nested = hg.Sequential([hg.Identity(), graph])
    params = nested.init(0)
    params["1.c"][:12] = -99
    assert found(nested, params) == [("dead_relus", "1.act")]


def test_a_saturated_sigmoid_op():
    graph = by_hand(ops.sigmoid)
    params = graph.init(0)
    params["v"][...] *= 60
    diagnosis = hg.diagnose(graph, params, X, Y)
    (finding,) = diagnosis["saturation"]
    assert finding.layer == "act"
    assert "where Sigmoid is flat" in finding.says
    assert finding.evidence["input_rms"] > 10
    graph = highway(1, 2)
    params = graph.init(0)
    params["c1"][:] = 30  # a gate that is never closed
    assert ("saturation", "carry1") in found(graph, params)


def test_weights_of_0_in_a_parameter_of_a_graph():
    graph = by_hand()
    params = graph.init(0)
    params["w"][:] = 0
    finding, after = hg.diagnose(graph, params, X, Y).findings
    assert (finding.fault, finding.layer, after.layer) == ("zero_gradient", "matmul1", "head")
    assert finding.evidence["parameters"] == ["v", "c"]
    assert "in layer 'z2', are 0" in finding.says
    params.flat[:] = 0
    assert found(graph, params)[0] == ("broken_symmetry", "matmul1")
    params = graph.init(0)
    params["v"][:, 1:4] = params["v"][:, :1]
    params["w"][1:4] = params["w"][:1]
    (finding,) = hg.diagnose(graph, params, X, Y).findings
    assert (finding.fault, finding.layer) == ("broken_symmetry", "matmul1")
    assert finding.evidence["groups"] == [[0, 1, 2, 3]]


def test_a_parameter_that_nothing_reads():
    graph = by_hand()
    graph.parameter("idle", (3, 3)) * 2.0
    graph.output(graph["head"])
    (finding,) = hg.diagnose(graph, graph.init(0), X, Y).findings
    assert (finding.fault, finding.layer) == ("zero_gradient", "")
    assert "nothing that leads to the loss reads it" in finding.says


@pytest.mark.parametrize(
    "between", [lambda z: z, lambda z: -z, lambda z: 1.2 * z + 0.1, lambda z: hg.Identity()(z / 3.0)]
)
def test_linear_layers_with_nothing_between(between):
    graph = by_hand(between=between)
    (finding,) = hg.diagnose(graph, graph.init(0), X, Y).findings
    assert (finding.fault, finding.layer) == ("linear_layers", "z2")
    assert finding.evidence["first"] == "matmul1"
    assert finding.evidence["widths"] == [6, 16, 16]
    assert "collapse(" not in finding.remedy  # which does not enter graphs


def test_linear_layers_across_the_border_of_a_graph():
    g = hg.Graph()
    hg.Linear(16, 4)(ops.relu(hg.Linear(8, 16)(g.input("x"))))
    model = hg.Sequential([hg.Linear(6, 8), g])
    (finding,) = hg.diagnose(model, model.init(0), X, Y).findings
    assert (finding.fault, finding.layer, finding.evidence["first"]) == ("linear_layers", "1.linear1", "0")
    assert "collapse(" not in finding.remedy
    assert hg.collapse(model, model.init(0))[0] is model


@pytest.mark.parametrize(
    "between", [lambda z: z / (1.0 + z * z), lambda z: 1.0 / (z + 9.0), lambda z: ops.maximum(z, 0.0), lambda z: z * z]
)
def test_what_stands_between_is_seen(between):
    graph = by_hand(between=between)
    assert "linear_layers" not in hg.diagnose(graph, graph.init(0), X, Y)


def test_a_value_that_is_read_twice_does_not_collapse():
    g = hg.Graph()
    z = hg.Linear(6, 6)(g.input("x"))
    hg.Linear(6, 4)(ops.tanh(hg.Linear(6, 6)(z)) + z).named("head")
    assert found(g, g.init(0)) == []


@pytest.mark.parametrize(("factor", "fault"), [(0.1, "vanishing_gradients"), (6.0, "exploding_gradients")])
def test_gradients_that_vanish_or_explode(factor, fault):
    g = hg.Graph()
    h = g.input("x")
    for k in range(8):
        h = ops.relu(h @ g.parameter(f"w{k}", (6 if k == 0 else 24, 24)))
    hg.Linear(24, 4)(h).named("head")
    params = g.init(0)
    for k in range(8):
        params[f"w{k}"][...] *= factor
    (finding,) = hg.diagnose(g, params, X, Y)[fault]
    assert finding.layer == "matmul1"
    model = hg.mlp([6, *[24] * 8, 4])
    layers = hg.diagnose(model, dict(zip(model.parameters(), _biased(params), strict=True)), X, Y)
    assert finding.evidence["factor_a_layer"] == pytest.approx(layers[fault][0].evidence["factor_a_layer"])


def _biased(params):
    """The parameters of the same layers as `mlp` has them, with biases of 0."""
    for name, array in params.items():
        if name.startswith("w"):
            yield array
            yield np.zeros(24)
        else:
            yield array


def test_numbers_that_are_not_finite():
    graph = by_hand()
    params = graph.init(0)
    params["v"][:] = params["w"][:] = 1e200
    (finding,) = hg.diagnose(graph, params, X, Y)["not_finite"]
    assert finding.layer == "z2"


def test_figures():
    mpl = pytest.importorskip("matplotlib", reason="figures need matplotlib")
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    graph = by_hand()
    params = graph.init(0)
    params["c"][:12] = -99
    diagnosis = hg.diagnose(graph, params, X, Y)
    figure = diagnosis.plot()
    bold = [tick.get_text() for tick in figure.axes[0].get_yticklabels() if tick.get_fontweight() == "bold"]
    assert bold == ["ReLU  act"]
    plt.close(figure)
    svg = diagnosis.trace.to_svg()
    for text in ("at act", "relu(z)", "x @ v", "240 x 16"):
        assert text in svg
