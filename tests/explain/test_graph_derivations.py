"""derive and write_source of a Graph, and of models that hold one."""

import numpy as np
import pytest

import handgrad as hg
from explain.test_source import run
from handgrad import Graph, ops
from handgrad.errors import UnsupportedError
from models.graph.test_as_layer import highway


def late():
    """Its output reads in another order than its nodes were made in, and one layer twice."""
    g = Graph()
    x = g.input("x")
    b, shared = g.parameter("b", (3,), "ones", decays=False), hg.Linear(3, 3)
    first, scale = shared(x).named("first"), g.parameter("two-fold", (3, 3))
    second = shared(ops.tanh(x @ scale)).named("second")
    g.output(hg.Linear(3, 2)(-second / 2.0 + ops.maximum(first, -1) * b))
    return g


def within():
    """Graphs in a graph in a Sequential, the inner one twice."""
    inner, g = highway(), Graph()
    x = g.input("x")
    h = ops.softmax(inner(x), temperature=2.0, axis=-1)
    g.output(h - inner(ops.sigmoid(x)) ** 2)
    return hg.Sequential([hg.Linear(3, 3), hg.Tanh(), g, hg.Residual(hg.Linear(2, 2))])


def opened():
    return Graph.of(hg.Sequential([hg.Linear(3, 4), hg.Residual(hg.Sequential([hg.LayerNorm(4), hg.SwiGLU(4, 4)]))]))


MODELS = [highway, late, within, opened, lambda: Graph.of(hg.Linear(3, 2))]


@pytest.mark.parametrize("make", MODELS)
def test_scripts_train_as_fit_does(make, tmp_path):
    model, rng = make(), np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)), np.arange(10) % 2
    options = {"loss": "cross_entropy", "optimizer": hg.Adam(0.01, epsilon=1e-2), "regularizer": hg.L2(0.01)}
    options |= {"epochs": 7, "batch_size": 4, "seed": 3}
    result = hg.fit(model, (x, y), engine="eager", progress=False, **options)
    found, losses = run(hg.write_source(model, sample=(3,), **options), x, y, tmp_path)
    for mine, expected in zip(found.values(), result.params.values(), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(losses, [row["loss"] for row in result.history.rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", MODELS)
def test_derivations_are_checked_and_shown(make):
    text = str(hg.derive(make(), X="m 3"))
    assert "dimension matching" in text
    assert "dX" in text


def test_a_derivation_names_the_nodes():
    assert "T4 = T3 ⊙ X" in str(hg.derive(highway()))  # (1 - t) x
    source = hg.write_source(highway(), "cross_entropy")
    assert "# t = sigmoid(x @ v + c)" in source
    assert '"W_v": rng' in source
    assert "(3,), c" in source


def unused(g, x):
    g.parameter("unused", (2,))
    return ops.tanh(x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda g, x: x * np.ones(3), "constant1, at the top, is a constant that is no number.*make it a parameter"),
        (unused, "parameter 'unused' has no part in the output"),
        (lambda g, x: hg.Tanh()(x) + ops.linear(x, g.parameter("w", (3, 3)), None), "at the top, reads data"),
    ],
)
def test_what_cannot_be_written(build, message):
    g = Graph()
    g.output(build(g, g.input("x")))
    with pytest.raises(UnsupportedError, match=message):
        hg.derive(g, X="m 3")
