"""The gradient of each sample's own loss, against a loop over samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handgrad as hg
import handgrad.ops as ops
from engines.architectures import LOSSES, models, task
from handgrad.errors import ParameterError, ShapeError, ValueRangeError
from handgrad.layers import CrossEntropy, Layer, Linear, SquaredError
from handgrad.models import Graph


def looped(model, loss, params, x, y, weights=None, seed=None):
    """(losses, gradients) of one sample after the other, the mean loss of one sample being its own."""
    losses, flats = [], []
    for i in range(len(x)):
        value, gradient = hg.value_and_grad(model, loss, params, x[i : i + 1], y[i : i + 1])
        w = 1.0 if weights is None else weights[i]
        losses.append(w * float(value))
        flats.append(w * gradient.flat)
    return np.array(losses), np.array(flats)


def drawn(model, dtype=np.float64, seed=5):
    """Parameters of which none is 0."""
    params = model.init(0, dtype)
    params.flat[...] = np.random.default_rng(seed).standard_normal(params.flat.size) * 0.5
    return params


def close(actual, expected, tolerance=1e-12):
    scale = max(float(np.abs(expected).max(initial=0.0)), 1e-300)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * scale)


def check(model, loss, params, x, y, weights=None, tolerance=1e-12):
    losses, flats = looped(model, loss, params, x, y, weights)
    found = hg.per_sample_gradients(model, loss, params, x, y, sample_weight=weights)
    dense = np.concatenate([found[name].reshape(len(x), -1) for name in params], axis=1)
    close(found.losses, losses, tolerance)
    close(dense, flats, tolerance)
    norms = np.linalg.norm(flats, axis=1)
    # a norm is a root, whose error is half of its square's: but where the square is a sum that cancels, not smaller
    close(found.norms(), norms, tolerance**0.5 if norms.min(initial=1.0) < 1e-6 else tolerance)
    close(found.total().flat, flats.sum(0), tolerance)
    limit = float(np.median(norms))
    if limit > 0:
        factors = np.minimum(1, limit / np.where(norms > 0, norms, 1))
        close(found.clipped(limit).flat, factors @ flats, tolerance)


@settings(max_examples=150, derandomize=True, database=None)
@given(models(), st.sampled_from(LOSSES), st.booleans(), st.integers(0, 2**31))
def test_any_model(model, loss, weighted, seed):
    x, y, weights = task(loss, seed, 5)
    check(model, loss, drawn(model, seed=seed), x, y, weights if weighted else None)


SHARED = Linear(6, 6)
PLACES = {
    "linear over places": hg.Sequential([Linear(6, 5), hg.Tanh(), Linear(5, 3), hg.Flatten(), Linear(12, 3)]),
    "outward, few places of many features": hg.Sequential(
        [Linear(6, 40, layout="out_in"), hg.ReLU(), Linear(40, 30, layout="out_in"), hg.Flatten(), Linear(120, 3)]
    ),
    "gated and normalized": hg.Sequential([hg.SwiGLU(6, 5), hg.LayerNorm(5), hg.GLU(5, 2), hg.Flatten(), Linear(8, 3)]),
    "one weight in three places": hg.Sequential(
        [SHARED, hg.Tanh(), hg.Residual(SHARED), hg.Sequential([hg.Tanh(), SHARED]), hg.Flatten(), Linear(24, 3)]
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_samples_of_several_places(name):
    model = PLACES[name]
    rng = np.random.default_rng(3)
    check(model, CrossEntropy(), drawn(model), rng.standard_normal((7, 4, 6)), rng.integers(3, size=7))


@pytest.mark.parametrize("m", [0, 1, 2, 33])
def test_any_number_of_samples(m):
    model, rng = hg.mlp([4, 8, 3]), np.random.default_rng(1)
    params, x, y = drawn(model), rng.standard_normal((m, 4)), rng.integers(3, size=m)
    if m:
        check(model, CrossEntropy(), params, x, y)
    found = hg.per_sample_gradients(model, "cross_entropy", params, x, y)
    assert found.losses.shape == found.norms().shape == (m,)
    assert found["0.weight"].shape == (m, 4, 8)


def test_the_mean_of_the_gradients_is_the_gradient():
    model, rng = hg.mlp([20, 30, 10], "swish"), np.random.default_rng(1)
    params, x, y = drawn(model), rng.standard_normal((64, 20)), rng.integers(10, size=64)
    found = hg.per_sample_gradients(model, "cross_entropy", params, x, y)
    value, gradient = hg.value_and_grad(model, "cross_entropy", params, x, y)
    close(found.total(np.full(64, 1 / 64)).flat, gradient.flat)
    close(found.losses.mean(), float(value))


def test_a_linear_layer_by_the_formula():
    """|dW_i|^2 = |x_i|^2 |dz_i|^2."""
    model, rng = Linear(5, 4), np.random.default_rng(2)
    params, x, y = drawn(model), rng.standard_normal((6, 5)), rng.standard_normal((6, 4))
    found = hg.per_sample_gradients(model, "squared_error", params, x, y, names=["weight"])
    dz = 2 * (x @ params["weight"] + params["bias"] - y) / 4
    close(found.norms() ** 2, (x**2).sum(1) * (dz**2).sum(1))


def test_chosen_parameters():
    model, rng = hg.mlp([4, 8, 3]), np.random.default_rng(1)
    params, x, y = drawn(model), rng.standard_normal((9, 4)), rng.integers(3, size=9)
    whole = hg.per_sample_gradients(model, "hinge", params, x, y)
    found = hg.per_sample_gradients(model, "hinge", params, x, y, names=["2.bias", "0.weight"])
    assert found.names == ("0.weight", "2.bias")
    rows = [whole[name].reshape(9, -1) for name in found.names]
    close(found.norms(), np.linalg.norm(np.concatenate(rows, 1), axis=1))
    total = found.total()
    close(total["0.weight"], whole["0.weight"].sum(0))
    assert not total["0.bias"].any()


def test_float32_stays():
    model, rng = hg.mlp([4, 8, 3]), np.random.default_rng(1)
    x, y = rng.standard_normal((9, 4), np.float32), rng.integers(3, size=9)
    found = hg.per_sample_gradients(model, "hinge", drawn(model, np.float32), x, y)
    for array in (found.losses, found["0.weight"], found.norms(), found.total().flat, found.clipped(0.1).flat):
        assert array.dtype == np.float32


def test_dropout_with_one_stream_of_random_numbers():
    model, rng = hg.mlp([4, 30, 3], dropout=0.5), np.random.default_rng(1)
    params, x, y = drawn(model), rng.standard_normal((9, 4)), rng.integers(3, size=9)
    streams = [np.random.default_rng(7) for _ in range(2)]
    found = hg.per_sample_gradients(model, "hinge", params, x, y, train=True, rng=streams[0])
    _, gradient = hg.value_and_grad(model, "hinge", params, x, y, train=True, rng=streams[1])
    close(found.total(np.full(9, 1 / 9)).flat, gradient.flat)


def test_norms_are_at_most_the_limit_after_clipping():
    model, rng = hg.mlp([4, 8, 3]), np.random.default_rng(1)
    params, x, y = drawn(model), 10 * rng.standard_normal((9, 4)), rng.integers(3, size=9)
    for i in range(9):
        one = hg.per_sample_gradients(model, "hinge", params, x[i : i + 1], y[i : i + 1])
        norm = float(np.linalg.norm(one.clipped(0.25).flat))
        assert norm <= 0.25 * (1 + 1e-12)


@dataclass(frozen=True)
class Shifted(Layer):
    """A layer of a user's own, with no rule for each sample: y = x^2 + shift."""

    n: int

    def parameters(self):
        return {"shift": hg.Parameter((self.n,), hg.initializers.zeros)}

    def forward(self, params, x, *, train=False, rng=None):
        return x * x + params["shift"], x

    def backward(self, dout, cache):
        return dout * 2 * cache, {"shift": dout.sum(0)}


def test_a_layer_without_a_rule_is_run_sample_by_sample():
    model, rng = hg.Sequential([Linear(4, 3), Shifted(3), Linear(3, 2)]), np.random.default_rng(4)
    x, y = rng.standard_normal((6, 4)), rng.standard_normal((6, 2))
    check(model, SquaredError(), drawn(model), x, y, rng.random(6))


@dataclass(frozen=True)
class Centred(Layer):
    """A layer of a user's own that mixes samples: x less the batch's mean."""

    def forward(self, params, x, *, train=False, rng=None):
        return x - x.mean(0), None

    def backward(self, dout, cache):
        return dout - dout.mean(0), {}


def centring_graph(late):
    g = Graph()
    x = g.input("x")
    h = Linear(4, 4)(x) if late else x
    g.output(Linear(4, 3)(h - ops.mean(h, axis=0)))
    return g


MIXING = {
    "softmax over samples": hg.Sequential([Linear(4, 4), hg.Softmax(axis=0), Linear(4, 3)]),
    "softmax over samples, first": hg.Sequential([hg.Softmax(axis=0), Linear(4, 3)]),
    "within a residual, first": hg.Sequential([hg.Residual(hg.Softmax(axis=-2)), Linear(4, 3)]),
    "one's own": hg.Sequential([Linear(4, 4), Centred(), Linear(4, 3)]),
    "one's own, first": hg.Sequential([hg.Sequential([Centred()]), Linear(4, 3)]),
    "a graph": centring_graph(late=True),
    "a graph, first": centring_graph(late=False),
    "a layer of a graph": Graph.of(hg.Sequential([Centred(), Linear(4, 3)])),
}


@pytest.mark.parametrize("name", MIXING)
def test_a_model_that_mixes_samples_has_each_run_alone(name):
    """Else what one sample does to the others' rows would be bounded by no clipping."""
    rng = np.random.default_rng(4)
    check(MIXING[name], CrossEntropy(), drawn(MIXING[name]), rng.standard_normal((6, 4)), rng.integers(3, size=6))


def test_a_graph_that_keeps_samples_apart_needs_one_pass():
    g = Graph()
    x = g.input("x")
    h = hg.Tanh()(Linear(4, 4)(x * np.linspace(1, 2, 4)))
    g.output(Linear(4, 3)(ops.softmax(h + x) * ops.sum(h, axis=1, keepdims=True)))
    params, rng = drawn(g), np.random.default_rng(4)
    x, y = rng.standard_normal((4, 4)), rng.integers(3, size=4)
    check(g, CrossEntropy(), params, x, y)
    scores, cache = g.forward(params, x)
    assert g.sample_gradients(np.ones_like(scores), cache, False)[0] is None  # no UnsupportedError


@dataclass(frozen=True)
class Shortened(Layer):
    """y = s x of a user's own, for samples with any number of places."""

    def parameters(self):
        return {"s": hg.Parameter((1,), hg.initializers.ones)}

    def forward(self, params, x, *, train=False, rng=None):
        return params["s"] * x, (params["s"], x)

    def backward(self, dout, cache):
        s, x = cache
        return s * dout, {"s": np.reshape((x * dout).sum(), (1,))}


@pytest.mark.parametrize("loss", [CrossEntropy(), SquaredError()], ids=repr)
@pytest.mark.parametrize("layer", [hg.Tanh(), Shortened()], ids=repr)
def test_scores_in_several_places_of_a_sample(loss, layer):
    """Its own loss is their mean, as value_and_grad has it, in one pass and where the samples run one by one."""
    model, rng = hg.Sequential([Linear(4, 3), layer, Linear(3, 3)]), np.random.default_rng(4)
    params, x = drawn(model), rng.standard_normal((6, 5, 4))
    y = rng.integers(3, size=(6, 5)) if isinstance(loss, CrossEntropy) else rng.standard_normal((6, 5, 3))
    check(model, loss, params, x, y)
    value, gradient = hg.value_and_grad(model, loss, params, x, y)
    found = hg.per_sample_gradients(model, loss, params, x, y)
    close(found.losses.mean(), float(value))
    close(found.total().flat / 6, gradient.flat)
    weights = rng.random((6, 5))
    found = hg.per_sample_gradients(model, loss, params, x, y, sample_weight=weights)
    each, _ = loss.forward(model.forward(params, x)[0], y, weights, reduction="none")
    close(found.losses, each.mean(1))
    value, gradient = hg.value_and_grad(model, loss, params, x, y, sample_weight=weights)
    close(found.total().flat / 6 / weights.mean(), gradient.flat)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [1e3, 1e6, 1e9])
def test_rounding_hides_no_gradient_from_the_clipping(dtype, scale):
    """Terms that all but cancel: what is left of their squared norm is rounding, of either sign."""
    rng, tiny = np.random.default_rng(0), 1e-9 if dtype == np.float64 else 1e-4
    w = rng.standard_normal(40)
    model = hg.Sequential([Linear(40, 40, bias=False), hg.Flatten(), Linear(80, 1, bias=False)])
    params = model.init(0, dtype)
    params["0.weight"][...] = 0
    params["2.weight"][...] = np.concatenate([w, -w])[:, None]
    for _ in range(20):
        x = scale * rng.standard_normal(40)
        near = x * (1 + tiny * rng.standard_normal(40))
        x = np.stack([x, near])[None].astype(dtype)
        found = hg.per_sample_gradients(model, "squared_error", params, x, np.ones((1, 1), dtype), names=["0.weight"])
        assert np.linalg.norm(found.clipped(1.0).flat.astype(np.float64)) <= 1 + 1e-6
    # one weight in two places, whose outputs are subtracted: x^T dz - near^T dz
    shared, g = Linear(40, 40, bias=False), Graph()
    entry = g.input("x")
    g.output(Linear(40, 1, bias=False)(shared(entry) - shared(entry * (1 + tiny * rng.standard_normal(40)))))
    params = g.init(0)
    first, last = params
    params[first][...] = 0
    params[last][...] = w[:, None]
    for _ in range(20):
        x = scale * rng.standard_normal((1, 40))
        found = hg.per_sample_gradients(g, "squared_error", params, x, np.ones((1, 1)), names=[first])
        assert np.linalg.norm(found.clipped(1.0).flat) <= 1 + 1e-6


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_norm_that_is_no_number_is_not_taken_for_0():
    """|x|^2 = 0 times |dz|^2 = inf: the bias's gradient, 1e20, would pass any bound."""
    model = Linear(3, 2)
    params, x = model.init(0, np.float32), np.zeros((2, 3), np.float32)
    y = np.array([[1.7e19, 1.7e19], [0, 0]], np.float32)
    found = hg.per_sample_gradients(model, "squared_error", params, x, y)
    assert np.isnan(found.norms()[0])
    assert np.isnan(found.clipped(1.0).flat).any()
    x[0] = 1  # the norm overflows: such a sample counts for nothing
    found = hg.per_sample_gradients(model, "squared_error", params, x, y)
    assert found.norms()[0] == np.inf
    assert not found.clipped(1.0).flat.any()


def test_against_torch():
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
    model, rng = hg.mlp([6, 9, 3], "tanh"), np.random.default_rng(4)
    params, x, y = drawn(model), rng.standard_normal((8, 6)), rng.integers(3, size=8)

    def one(weights, xi, yi):
        h = torch.tanh(xi @ weights["0.weight"] + weights["0.bias"])
        return torch.nn.functional.cross_entropy((h @ weights["2.weight"] + weights["2.bias"])[None], yi[None])

    weights = {name: torch.from_numpy(value) for name, value in params.items()}
    gradients = torch.func.vmap(torch.func.grad(one), (None, 0, 0))(weights, torch.from_numpy(x), torch.from_numpy(y))
    found = hg.per_sample_gradients(model, "cross_entropy", params, x, y)
    for name, gradient in gradients.items():
        close(found[name], gradient.numpy())
    # and arrays of torch themselves
    own = hg.per_sample_gradients(model, "cross_entropy", weights, torch.from_numpy(x), torch.from_numpy(y))
    assert isinstance(own.norms(), torch.Tensor)
    close(own.norms().numpy(), found.norms())
    close(own.clipped(0.1).flat.numpy(), found.clipped(0.1).flat)


def test_bad_input():
    model = hg.mlp([4, 8, 3])
    params, x, y = model.init(0), np.ones((2, 4)), np.array([0, 1])
    with pytest.raises(ParameterError, match=r"names hold '0\.weigth', the model has \['0\.weight'"):
        hg.per_sample_gradients(model, "hinge", params, x, y, names=["0.weigth"])
    with pytest.raises(ParameterError, match="a parameter or more, got none"):
        hg.per_sample_gradients(model, "hinge", params, x, y, names=[])
    found = hg.per_sample_gradients(model, "hinge", params, x, y, names=["0.weight"])
    with pytest.raises(ParameterError, match=r"no gradients by '2\.bias'; there are those by \['0\.weight'\]"):
        found["2.bias"]
    with pytest.raises(ShapeError, match=r"weights must have shape \(2,\), got \(3,\)"):
        found.total(np.ones(3))
    for limit in (0, -1.0, np.nan):
        with pytest.raises(ValueRangeError, match="max_norm"):
            found.clipped(limit)
    with pytest.raises(ShapeError, match="features"):
        hg.per_sample_gradients(model, "hinge", params, np.ones((2, 5)), y)


@pytest.mark.parametrize("name", PLACES)
def test_no_samples(name):
    params = drawn(PLACES[name])
    found = hg.per_sample_gradients(PLACES[name], "hinge", params, np.zeros((0, 4, 6)), np.zeros(0, int))
    assert not found.clipped(1.0).flat.any()
    assert found.norms().shape == (0,)
