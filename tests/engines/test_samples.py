"""The gradient of each sample's own loss, against a loop over samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handgrad as hg
from engines.architectures import LOSSES, models, task
from handgrad.errors import ParameterError, ShapeError, ValueRangeError
from handgrad.layers import CrossEntropy, Layer, Linear, SquaredError


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


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
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
