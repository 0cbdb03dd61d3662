"""One layer object in several places is one set of parameters, whose gradients add."""

import numpy as np
import pytest

from handgrad.engines import value_and_grad
from handgrad.layers import GLU, L2, LayerNorm, Linear, Swish, Tanh
from handgrad.models import Residual, Sequential
from layers.table import complex_step

A, N, G = Linear(3, 3), LayerNorm(3), GLU(3, 3, bias=False)
OUTWARD = Linear(3, 3, layout="out_in")
BLOCK = Sequential([A, Tanh()])
A_NAMES = ["0.weight", "0.bias"]

SHARED = {
    "directly": (Sequential([A, Tanh(), A]), A_NAMES),
    "thrice": (Sequential([A, A, A]), A_NAMES),
    "out_in": (Sequential([OUTWARD, Swish(), OUTWARD]), A_NAMES),
    "in a container within": (Sequential([A, Sequential([Tanh(), Sequential([A])])]), A_NAMES),
    "within first, then outside": (Sequential([Sequential([Tanh(), A]), A]), ["0.1.weight", "0.1.bias"]),
    "in a residual": (Sequential([A, Residual(A)]), A_NAMES),
    "in two residuals": (Sequential([Residual(A), Residual(A)]), ["0.layer.weight", "0.layer.bias"]),
    "a residual twice": (Sequential([Residual(G)] * 2), ["0.layer.content.weight", "0.layer.gate.weight"]),
    "a sequential twice": (Sequential([BLOCK, N, BLOCK]), ["0.0.weight", "0.0.bias", "1.weight", "1.bias"]),
    "a sequential twice that shares within": (Sequential([Sequential([A, A])] * 2), ["0.0.weight", "0.0.bias"]),
    "a sequential and its layer": (Sequential([BLOCK, A, N, N]), ["0.0.weight", "0.0.bias", "2.weight", "2.bias"]),
    "in two sequentials": (Sequential([Sequential([N, A]), Sequential([A, N])]), None),
}


@pytest.mark.parametrize(("model", "names"), SHARED.values(), ids=SHARED)
def test_one_set_of_parameters_and_gradients_that_add(model, names):
    params = model.init(0)
    assert names is None or list(params) == names
    rng = np.random.default_rng(0)
    params.flat[...] = rng.normal(0, 0.6, params.flat.shape)
    x, upstream = rng.standard_normal((2, 4, 3))
    _, cache = model.forward(params, x)
    dx, grads = model.backward(upstream, cache)

    def scalar(z, x=x + 0j):
        return np.sum(upstream * model.forward(params.like(z), x)[0])

    np.testing.assert_allclose(params.pack(grads).flat, complex_step(scalar, params.flat), rtol=1e-11, atol=1e-12)
    numeric = complex_step(lambda z: scalar(params.flat + 0j, z), x)
    np.testing.assert_allclose(dx, numeric, rtol=1e-11, atol=1e-12)
    alone = model.parameter_gradients(upstream, cache)
    for name, gradient in grads.items():
        np.testing.assert_array_equal(alone[name], gradient)


@pytest.mark.parametrize(("model", "names"), SHARED.values(), ids=SHARED)
def test_a_penalty_counts_a_shared_weight_once(model, names):
    params, x = model.init(1), np.ones((2, 3))
    bare, _ = value_and_grad(model, "squared_error", params, x, x)
    value, grads = value_and_grad(model, "squared_error", params, x, x, regularizer=L2(0.5))
    weights = [view for name, view in params.items() if params.specs[name].decays]
    assert value - bare == pytest.approx(0.5 * sum((w * w).sum() for w in weights), rel=1e-12)
    assert grads.flat.shape == params.flat.shape


def test_equal_layers_are_not_shared():
    first, second = Linear(3, 3), Linear(3, 3)
    assert first == second
    model = Sequential([first, Residual(second), Sequential([Linear(3, 3)])])
    params = model.init(0)
    assert len(params) == 6
    assert not np.array_equal(params["0.weight"], params["1.layer.weight"])
    _, cache = model.forward(params, np.ones((2, 3)))
    _, grads = model.backward(np.ones((2, 3)), cache)
    assert not np.allclose(grads["0.weight"], grads["1.layer.weight"])


def test_a_shared_layer_is_the_sum_over_an_unshared_one():
    apart = Sequential([Linear(3, 3), Tanh(), Linear(3, 3)])
    shared, _ = SHARED["directly"]
    params, x = shared.init(0), np.random.default_rng(1).standard_normal((4, 3))
    both = {f"{place}.{name}": params[f"0.{name}"] for place in (0, 2) for name in ("weight", "bias")}
    (out, cache), (expected, expected_cache) = shared.forward(params, x), apart.forward(both, x)
    np.testing.assert_array_equal(out, expected)
    _, grads = shared.backward(out, cache)
    _, of_each = apart.backward(out, expected_cache)
    for name in ("weight", "bias"):
        np.testing.assert_array_equal(grads[f"0.{name}"], of_each[f"2.{name}"] + of_each[f"0.{name}"])
