"""value_and_grad: the loss of a batch and its gradient on the flat vector."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.architectures import LOSSES, models, task
from handgrad import value_and_grad
from handgrad.errors import DTypeError, ParameterError, ShapeError, ValueRangeError
from handgrad.initializers import ones
from handgrad.layers import L2, Dropout, Layer, LayerNorm, Linear, Parameter, Parameters, Tanh
from handgrad.models import Sequential, mlp
from layers.table import complex_step
from soak import examples

MODEL = Sequential([Linear(3, 4), LayerNorm(4), Tanh(), Linear(4, 2, layout="out_in")])


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((6, 3)), rng.standard_normal((6, 2))


def random_params(model, seed=0, dtype=np.float64):
    params = model.init(0, dtype)
    params.flat[...] = np.random.default_rng(seed).normal(0, 0.6, params.flat.shape)
    return params


@settings(max_examples=examples(80))
@given(
    models(),
    st.sampled_from(LOSSES),
    st.integers(0, 10_000),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_gradients_of_random_models_agree_with_the_complex_step(model, loss, seed, weighted, penalized, train):
    x, y, weights = task(loss, seed)
    params = random_params(model, seed)
    sample_weight = weights if weighted else None
    penalty = L2(0.05) if penalized else None

    def value_at(flat, x):
        """The total, put together here from scores, losses and squares."""
        at = params.like(flat)
        scores, _ = model.forward(at, x, train=train, rng=np.random.default_rng(seed))
        each, _ = loss.forward(scores, y, reduction="none")
        mean = np.sum(each * weights) / np.sum(weights) if weighted else np.sum(each) / len(each)
        squares = sum(np.sum(w**2) for w in at.values() if w.ndim == 2)
        return mean + 0.05 * squares if penalized else mean

    value, grads = value_and_grad(
        model,
        loss,
        params,
        x,
        y,
        sample_weight=sample_weight,
        regularizer=penalty,
        train=train,
        rng=np.random.default_rng(seed),
    )
    assert value == pytest.approx(value_at(params.flat, x), rel=1e-12)
    numeric = complex_step(lambda z: value_at(z, x + 0j), params.flat)
    scale = max(1.0, np.abs(numeric).max())
    np.testing.assert_allclose(grads.flat, numeric, rtol=1e-9, atol=1e-12 * scale)


@settings(max_examples=examples(40))
@given(models(), st.sampled_from(LOSSES), st.integers(0, 10_000))
def test_float32_in_float32_out_near_float64(model, loss, seed):
    x, y, weights = task(loss, seed)
    wide, narrow = random_params(model, seed), random_params(model, seed, np.float32)
    options = {"sample_weight": weights, "regularizer": L2(0.05)}
    value, grads = value_and_grad(model, loss, narrow, x.astype(np.float32), y, **options)
    assert value.dtype == np.float32
    assert {view.dtype for view in grads.values()} == {np.dtype(np.float32)}
    exact, _ = value_and_grad(model, loss, wide, x, y, **options)
    assert value == pytest.approx(float(exact), rel=1e-4, abs=1e-4)


def test_names_shapes_and_dtype_are_those_of_params(data):
    params = random_params(MODEL)
    value, grads = value_and_grad(MODEL, "squared_error", params, *data)
    assert isinstance(grads, Parameters)
    assert {name: g.shape for name, g in grads.items()} == {name: p.shape for name, p in params.items()}
    assert np.ndim(value) == 0
    assert not np.shares_memory(grads.flat, params.flat)


def test_l2_adds_lambda_times_squares_and_leaves_biases_and_norms_free(data):
    params = random_params(MODEL)
    bare, bare_grads = value_and_grad(MODEL, "squared_error", params, *data)
    value, grads = value_and_grad(MODEL, "squared_error", params, *data, regularizer=L2(0.7))
    weights = ("0.weight", "3.weight")
    assert value - bare == pytest.approx(0.7 * sum((params[name] ** 2).sum() for name in weights), rel=1e-12)
    for name in params:
        expected = bare_grads[name] + 1.4 * params[name] if name in weights else bare_grads[name]
        np.testing.assert_allclose(grads[name], expected, rtol=1e-14)


def test_a_plain_mapping_serves_in_any_order(data):
    params = random_params(MODEL)
    plain = dict(reversed([(name, view.copy()) for name, view in params.items()]))
    expected, expected_grads = value_and_grad(MODEL, "huber", params, *data, regularizer=L2(0.1))
    value, grads = value_and_grad(MODEL, "huber", plain, *data, regularizer=L2(0.1))
    assert value == expected
    np.testing.assert_array_equal(grads.flat, expected_grads.flat)


def test_nothing_given_is_written_to(data):
    params, (x, y) = random_params(MODEL), data
    for array in (params.flat, x, y):
        array.setflags(write=False)
    weights = np.ones(6)
    weights.setflags(write=False)
    first = value_and_grad(MODEL, "squared_error", params.like(params.flat), x, y, sample_weight=weights)
    again = value_and_grad(MODEL, "squared_error", params.like(params.flat), x, y, sample_weight=weights)
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1].flat, again[1].flat)


def test_the_gradient_is_the_slope_along_a_path(data):
    """The integral of the gradient from one point to another is the change of the loss (Gauss-Legendre, 20 points)."""
    start, end = random_params(MODEL, 1), random_params(MODEL, 2)
    points, weights = np.polynomial.legendre.leggauss(20)
    along = end.flat - start.flat
    integral = sum(
        w
        / 2
        * value_and_grad(MODEL, "squared_error", start.like(start.flat + (t + 1) / 2 * along), *data)[1].flat
        @ along
        for t, w in zip(points, weights, strict=True)
    )
    change = (
        value_and_grad(MODEL, "squared_error", end, *data)[0] - value_and_grad(MODEL, "squared_error", start, *data)[0]
    )
    assert integral == pytest.approx(change, rel=1e-6)


def test_whole_weights_are_repeated_samples(data):
    params, (x, y) = random_params(MODEL), data
    times = np.array([1, 2, 0, 3, 1, 1])
    value, grads = value_and_grad(MODEL, "squared_error", params, x, y, sample_weight=times)
    repeated, repeated_grads = value_and_grad(
        MODEL, "squared_error", params, np.repeat(x, times, axis=0), np.repeat(y, times, axis=0)
    )
    assert value == pytest.approx(repeated, rel=1e-13)
    np.testing.assert_allclose(grads.flat, repeated_grads.flat, rtol=1e-11, atol=1e-14)


def test_dropout_acts_in_training_alone():
    model = Sequential([Linear(3, 50), Dropout(0.5), Linear(50, 2)])
    params, x, y = random_params(model), np.ones((4, 3)), np.zeros((4, 2))
    at_rest = value_and_grad(model, "squared_error", params, x, y)[0]
    bare = mlp([3, 50, 2], "identity")
    assert at_rest == value_and_grad(bare, "squared_error", dict(params), x, y)[0]
    trained = [
        value_and_grad(model, "squared_error", params, x, y, train=True, rng=np.random.default_rng(seed))[0]
        for seed in (0, 0, 1)
    ]
    assert trained[0] == trained[1] != trained[2]
    assert at_rest not in trained
    with pytest.raises(ValueRangeError, match="layer '1': dropout needs rng"):
        value_and_grad(model, "squared_error", params, x, y, train=True)


@dataclass(frozen=True)
class Slope(Layer):
    """y = a x with one a, whose backward hands out an array that must not be written to."""

    def parameters(self):
        return {"a": Parameter((1,), ones)}

    def forward(self, params, x, *, train=False, rng=None):
        return params["a"] * x, (params["a"], x)

    def backward(self, dout, cache):
        a, x = cache
        gradient = np.sum(dout * x)[None]
        gradient.setflags(write=False)
        return dout * a, {"a": gradient}


def test_what_a_layer_returns_is_not_written_to():
    _, grads = value_and_grad(
        Slope(), "squared_error", {"a": np.array([3.0])}, np.ones((2, 1)), np.ones((2, 1)), regularizer=L2(0.5)
    )
    np.testing.assert_allclose(grads["a"], 2 * (3 - 1) + 3)


def test_a_model_without_parameters():
    value, grads = value_and_grad(Sequential([]), "squared_error", {}, np.ones((2, 3)), np.zeros((2, 3)))
    assert value == 1.0
    assert grads.flat.shape == (0,)


def test_what_does_not_fit_is_refused_and_named(data):
    params, (x, y) = random_params(MODEL), data
    with pytest.raises(ShapeError, match=r"layer '0'.*\(6, 2\)"):
        value_and_grad(MODEL, "squared_error", params, y, y)
    with pytest.raises(ShapeError, match=r"\(6, 2\).*\(5, 2\)"):
        value_and_grad(MODEL, "squared_error", params, x, y[:5])
    with pytest.raises(ShapeError, match=r"sample_weight.*\(6,\).*\(6, 1\)"):
        value_and_grad(MODEL, "squared_error", params, x, y, sample_weight=np.ones((6, 1)))
    with pytest.raises(ShapeError, match="empty batch"):
        value_and_grad(MODEL, "squared_error", params, x[:0], y[:0])
    with pytest.raises(DTypeError, match=r"layer '0'.*float32"):
        value_and_grad(MODEL, "squared_error", params, x.astype(np.float32), y)
    with pytest.raises(ValueRangeError, match="did you mean 'squared_error'"):
        value_and_grad(MODEL, "square_error", params, x, y)
    with pytest.raises(ValueRangeError, match="labels from 0 to 1, got 2 at sample 1"):
        value_and_grad(MODEL, "cross_entropy", params, x, np.array([0, 2, 1, 0, 0, 0]))


def test_parameters_that_are_not_the_models_are_refused(data):
    plain = dict(random_params(MODEL))
    with pytest.raises(ParameterError, match=r"missing \['0.bias'\]"):
        value_and_grad(MODEL, "huber", {name: array for name, array in plain.items() if name != "0.bias"}, *data)
    with pytest.raises(ParameterError, match=r"unknown \['7.bias'\]"):
        value_and_grad(MODEL, "huber", {**plain, "7.bias": np.zeros(2)}, *data)
    with pytest.raises(ParameterError, match=r"missing \['0.bias', "):
        value_and_grad(MODEL, "huber", {}, *data)
    with pytest.raises(ShapeError, match=r"'0.bias' must have shape \(4,\), got \(1,\)"):
        value_and_grad(MODEL, "huber", {**plain, "0.bias": np.zeros(1)}, *data)
    with pytest.raises(DTypeError, match=r"0.bias has dtype float32 and .* has float64"):
        value_and_grad(MODEL, "huber", {**plain, "0.bias": np.zeros(4, np.float32)}, *data)
    with pytest.raises(DTypeError, match=r"0\.bias must be an array, got list"):
        value_and_grad(MODEL, "huber", {**plain, "0.bias": [0.0] * 4}, *data)
    with pytest.raises(DTypeError, match="int64"):
        value_and_grad(MODEL, "huber", {name: np.ones(a.shape, np.int64) for name, a in plain.items()}, *data)
    with pytest.raises(ParameterError):
        value_and_grad(MODEL, "huber", mlp([3, 4, 2]).init(0), *data)
    with pytest.raises(ParameterError, match="unknown"):
        value_and_grad(MODEL, "huber", Sequential([*MODEL.layers, Linear(2, 2)]).init(0), *data)
