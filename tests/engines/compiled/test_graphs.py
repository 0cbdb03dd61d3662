"""Graphs of layers and sums run compiled, as the models they were made from do; other ops are refused by their name."""

import numpy as np
import pytest

import handgrad as hg
from engines.compiled.trainings import Training, assert_agree
from handgrad import ops
from handgrad.errors import UnsupportedError
from handgrad.layers import Dropout, LayerNorm, Linear, ReLU, SwiGLU, Tanh
from handgrad.models import Graph, Residual, Sequential


def forks() -> Graph:
    """Values that are read twice and thrice, by layers and sums, and a layer that is placed twice."""
    g, shared = Graph(), Linear(12, 12)
    h = Tanh()(Linear(20, 12)(g.input("x")))
    a = ReLU()(shared(h))
    b = SwiGLU(12, 12)(h) + a
    c = shared(b + h) + (a + a)
    g.output(Linear(12, 5)(LayerNorm(12)(c + h)))
    return g


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_forks_and_sums(dtype):
    assert_agree(Training(forks(), dtype=dtype))


def test_the_graph_of_a_model_gives_its_bits():
    block = Sequential([LayerNorm(16), Linear(16, 16), ReLU(), Dropout(0.2)])
    model = Sequential([Linear(20, 16), Residual(block), Residual(block), Linear(16, 5)])
    runs = [each.run(each.compiled()) for each in (Training(model), Training(Graph.of(model)))]
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1].flat, runs[1][1].flat)


def test_a_graph_within_a_model_and_prediction():
    inner = Graph()
    x = inner.input("x")
    inner.output(x + Tanh()(Linear(6, 6)(x)))
    model = Sequential([Linear(20, 6), Residual(inner), Linear(6, 5)])
    assert_agree(Training(model))
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 20)), rng.integers(5, size=40)
    result = hg.fit(model, (X, y), epochs=2, engine="compiled", progress=False)
    np.testing.assert_allclose(result.predict(X), model.forward(result.params, X)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "node"),
    [
        (lambda x: ops.exp(x), r"<op 'exp1': exp\(x\)>"),
        (lambda x: x + 1.0, "<op 'add1': x \\+ 1>"),
        (lambda x: x * x, "<op 'multiply1': x \\* x>"),
        (lambda x: x + Linear(5, 5)(x.graph.constant(np.ones((1, 5)))), "<layer 'linear1'"),
        (lambda x: x.graph.parameter("w", (5,)), "<parameter 'w'>"),
    ],
)
def test_other_ops_are_refused_by_their_name(make, node):
    inner = Graph()
    inner.output(make(inner.input("x")))
    with pytest.raises(
        UnsupportedError, match=f"layer '1': the compiled engine runs layers and sums in a Graph, not {node}"
    ):
        Training(Sequential([Linear(20, 5), inner])).compiled()
