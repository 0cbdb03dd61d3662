"""Likely mistakes in building a model get an error that names the argument; what is harmless is taken."""

from dataclasses import dataclass

import numpy as np
import pytest

from handgrad.errors import HandgradError, ParameterError, ShapeError
from handgrad.initializers import ones
from handgrad.layers import Dropout, Hinge, Layer, LeakyReLU, Linear, Parameter, ReLU, Softmax, activation, loss
from handgrad.models import Residual, Sequential, mlp


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Softmax(None), "temperature"),
        (lambda: Softmax(1.0, "last"), "axis"),
        (lambda: LeakyReLU("a"), "alpha"),
        (lambda: Dropout("x"), "rate"),
        (lambda: Linear(2, 2, init=[1]), "init"),
        (lambda: loss(["hinge"]), "loss"),
        (lambda: activation(["relu"]), "activation"),
        (lambda: activation(dict), "activation"),
        (lambda: Sequential(Linear(2, 2)), "layers"),
        (lambda: Sequential(3), "layers"),
        (lambda: mlp(5), "widths"),
        (lambda: mlp("34"), "widths"),
    ],
)
def test_a_mistake_names_its_argument(make, argument):
    with pytest.raises(HandgradError, match=f"{argument} must be|{argument} must list"):
        make()


def test_the_class_of_a_loss_serves():
    assert loss(Hinge) == Hinge()


def test_numbers_of_numpy_become_pythons():
    assert type(LeakyReLU(np.float64(0.1)).alpha) is float
    assert type(Dropout(np.float32(0.5)).rate) is float
    assert type(Hinge(np.float64(2)).margin) is float


def test_flat_stays_the_vector_of_the_views():
    params = Linear(2, 2).init(0)
    before = params["weight"].copy()
    params.flat -= np.ones(6)
    np.testing.assert_array_equal(params["weight"], before - 1)
    with pytest.raises(ParameterError, match=r"params\.flat\[\.\.\.\] = vector"):
        params.flat = params.flat - 1


def test_layers_of_a_sequential_share_one_stream_from_a_seed():
    x = np.ones((1, 64))
    model = Sequential([Dropout(0.5), Dropout(0.5)])
    out, _ = model.forward({}, x, train=True, rng=3)
    assert 0 < np.count_nonzero(out) < np.count_nonzero(Dropout(0.5).forward({}, x, train=True, rng=3)[0])
    np.testing.assert_array_equal(out, model.visit(lambda *_: None, {}, x, train=True, rng=3))


@dataclass(frozen=True, eq=False, repr=False)
class Widen(Layer):
    """Twice its input side by side; a layer of one's own, which holds an array and has a frozen parameter."""

    table: np.ndarray = None

    def parameters(self):
        return {"a": Parameter((), ones)}

    def forward(self, params, x, *, train=False, rng=None):
        return np.concatenate([x, x], -1), x.shape[-1]

    def backward(self, dout, n):
        return dout[:, :n] + dout[:, n:], {"a": None}


def test_a_layer_that_changes_its_width_fits():
    model = Sequential([Linear(2, 3), Widen(), Linear(6, 1)])
    assert model.forward(model.init(0), np.ones((4, 2)))[0].shape == (4, 1)
    with pytest.raises(ShapeError):
        Sequential([Linear(2, 3), ReLU(), Dropout(), Linear(6, 1)])
    assert "Widen" in repr(Widen(np.ones(3)))


def test_no_gradient_of_a_shared_layer_is_no_contribution():
    widen = Widen()
    model = Sequential([widen, widen])
    _, cache = model.forward(model.init(0), np.ones((4, 2)))
    assert model.backward(np.ones((4, 8)), cache)[1] == {"0.a": None}


def test_errors_on_the_way_back_say_where():
    model = Sequential([Linear(2, 2), Residual(Sequential([Linear(2, 2)]))])
    _, cache = model.forward(model.init(0), np.ones((4, 2)))
    for backward in (model.backward, model.parameter_gradients):
        with pytest.raises(ShapeError, match=r"layer '1\.layer\.0': dout"):
            backward(np.ones((4, 3)), cache)
