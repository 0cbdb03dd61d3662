"""Activations and losses by name, the options they refuse, and layers a user writes."""

from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar

import numpy as np
import pytest

import handgrad.ops as ops
from handgrad.errors import ValueRangeError
from handgrad.initializers import constant
from handgrad.layers import (
    GEGLU,
    GELU,
    GLU,
    L2,
    Bilinear,
    CrossEntropy,
    Hinge,
    Huber,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    Loss,
    Parameter,
    Poisson,
    Quantile,
    ReGLU,
    ReLU,
    Softmax,
    SwiGLU,
    Swish,
    activation,
    loss,
)
from handgrad.layers.activations import ACTIVATIONS
from handgrad.layers.losses import LOSSES
from handgrad.models import Residual, Sequential
from layers.table import complex_step


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_by_name_class_and_layer(name):
    layer = activation(name)
    assert layer == activation(type(layer)) == activation(layer)
    assert activation(layer) is layer
    if name != "silu":
        assert layer.op is getattr(ops, name)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_by_name_and_object(name):
    assert loss(name).op is getattr(ops, name)
    assert loss(loss(name)) == loss(name)
    assert hash(loss(name)) == hash(loss(name))
    with pytest.raises(FrozenInstanceError):
        loss(name).anything = 1


def test_unknown_names_are_met_with_the_nearest():
    with pytest.raises(ValueRangeError, match="did you mean 'sigmoid'"):
        activation("sigmiod")
    with pytest.raises(ValueRangeError, match="did you mean 'cross_entropy'"):
        loss("crossentropy")
    with pytest.raises(ValueRangeError, match=r"one of 'identity', .*, got 'qqq'$"):
        activation("qqq")
    assert loss(CrossEntropy) == CrossEntropy()  # its class serves too


@pytest.mark.parametrize(
    ("make", "argument", "wrong"),
    [
        (Softmax, "temperature", 0.0),
        (Softmax, "temperature", -1.0),
        (Softmax, "temperature", float("inf")),
        (LeakyReLU, "alpha", float("nan")),
        (Swish, "beta", float("inf")),
        (GELU, "approximate", "erf"),
        (Hinge, "margin", float("nan")),
        (CrossEntropy, "label_smoothing", 1.5),
        (CrossEntropy, "label_smoothing", float("nan")),
        (Huber, "delta", 0.0),
        (Quantile, "q", 1.0),
        (Quantile, "q", 0.0),
        (L2, "strength", -0.1),
        (L2, "strength", float("nan")),
    ],
)
def test_options_out_of_range_are_refused_at_once(make, argument, wrong):
    with pytest.raises(ValueRangeError, match=argument):
        make(**{argument: wrong})


@pytest.mark.parametrize(
    ("layer", "op", "hyper"),
    [
        (LeakyReLU(0.3), ops.leaky_relu, {"alpha": 0.3}),
        (Swish(2.0), ops.swish, {"beta": 2.0}),
        (GELU(), ops.gelu, {}),
        (GELU("tanh"), ops.gelu, {"approximate": "tanh"}),
        (Softmax(0.3, axis=1), ops.softmax, {"temperature": 0.3, "axis": 1}),
        (LayerNorm(4, 0.5), ops.layer_norm, {"epsilon": 0.5}),
        (Linear(4, 3, layout="out_in"), ops.linear, {"layout": "out_in"}),
        (Linear(12, 3, flatten=True), ops.linear, {"flatten": True}),
        (GLU(4, 3), ops.glu, {}),
        (SwiGLU(4, 3), ops.swiglu, {}),
        (Bilinear(4, 3), ops.bilinear, {}),
        (ReGLU(4, 3), ops.reglu, {}),
        (GEGLU(4, 3), ops.geglu, {}),
    ],
    ids=lambda part: getattr(part, "name", type(part).__name__),
)
def test_a_layer_is_its_op_with_its_parameters_and_options(layer, op, hyper):
    params = layer.init(0)
    params.flat[...] = np.random.default_rng(1).standard_normal(params.flat.shape)
    x = np.random.default_rng(2).standard_normal((5, 3, 4))
    order = ("content.weight", "gate.weight", "content.bias", "gate.bias") if len(params) == 4 else ("weight", "bias")
    expected = op(x, *(params[name] for name in order if name in params), **hyper)
    np.testing.assert_array_equal(layer.forward(params, x)[0], expected)


def test_layer_norm_refuses_an_epsilon_of_0():
    with pytest.raises(ValueRangeError, match="epsilon"):
        LayerNorm(3, epsilon=0.0)


@pytest.mark.parametrize(
    ("bound", "op", "hyper"),
    [
        (Hinge(2.0), ops.hinge, {"margin": 2.0}),
        (CrossEntropy(0.2), ops.cross_entropy, {"label_smoothing": 0.2}),
        (Huber(0.3), ops.huber, {"delta": 0.3}),
        (Quantile(0.9), ops.quantile, {"q": 0.9}),
        (Poisson(), ops.poisson, {}),
    ],
)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_loss_is_its_op_with_its_options(bound, op, hyper, reduction):
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((6, 3))
    y = rng.integers(3, size=6) if bound.classifies else rng.random((6, 3))
    weight = rng.random(6)
    value, cache = bound.forward(scores, y, sample_weight=weight, reduction=reduction)
    expected, expected_cache = op.forward(scores, y, sample_weight=weight, reduction=reduction, **hyper)
    np.testing.assert_array_equal(value, expected)
    upstream = 1.0 if reduction == "mean" else rng.standard_normal(6)
    np.testing.assert_array_equal(bound.backward(upstream, cache), op.backward(upstream, expected_cache)[0])
    assert isinstance(bound, Loss)


def test_l2_is_the_sum_of_squares_of_weights_alone():
    params = Sequential([Linear(3, 4), LayerNorm(4), Linear(4, 2)]).init(0)
    params.flat[...] = np.random.default_rng(0).standard_normal(params.flat.shape)
    value, grads = L2(0.3).value_and_grad(params)
    assert value == pytest.approx(0.3 * (np.sum(params["0.weight"] ** 2) + np.sum(params["2.weight"] ** 2)), rel=1e-14)
    assert grads.keys() == {"0.weight", "2.weight"}
    for name, gradient in grads.items():
        np.testing.assert_allclose(gradient, 0.6 * params[name], rtol=1e-15)
    assert L2(1.0).value_and_grad(ReLU().init(0)) == (0.0, {})


@dataclass(frozen=True)
class Scale(Layer):
    """y = a x with one number a, written without an op."""

    start: float = 2.0
    calls: ClassVar[list[str]] = []

    def parameters(self):
        return {"a": Parameter((), constant(self.start))}

    def forward(self, params, x, *, train=False, rng=None):
        return params["a"] * x, (params["a"], x)

    def backward(self, dout, cache):
        a, x = cache
        return dout * a, {"a": (dout * x).sum()}


def test_a_layer_of_ones_own_fits_everywhere():
    scale = Scale()
    model = Sequential([Linear(3, 3), scale, Residual(scale)])
    params = model.init(0)
    assert {name: view.shape for name, view in params.items()} == {"0.weight": (3, 3), "0.bias": (3,), "1.a": ()}
    x, upstream = np.random.default_rng(0).standard_normal((2, 4, 3))
    _, cache = model.forward(params, x)
    _, grads = model.backward(upstream, cache)
    numeric = complex_step(lambda z: np.sum(upstream * model.forward(params.like(z), x + 0j)[0]), params.flat)
    np.testing.assert_allclose(params.pack(grads).flat, numeric, rtol=1e-12)
