"""mlp: a Sequential from its widths."""

import numpy as np
import pytest

from handgrad.errors import ValueRangeError
from handgrad.layers import (
    GEGLU,
    GELU,
    GLU,
    Bilinear,
    Dropout,
    LayerNorm,
    LeakyReLU,
    Linear,
    ReGLU,
    ReLU,
    Sigmoid,
    Softmax,
    SwiGLU,
    Swish,
    Tanh,
)
from handgrad.models import Sequential, mlp


def test_widths_and_names():
    model = mlp([784, 256, 128, 10])
    assert model == Sequential([Linear(784, 256), ReLU(), Linear(256, 128), ReLU(), Linear(128, 10)])
    assert {name: spec.shape for name, spec in model.parameters().items()} == {
        "0.weight": (784, 256),
        "0.bias": (256,),
        "2.weight": (256, 128),
        "2.bias": (128,),
        "4.weight": (128, 10),
        "4.bias": (10,),
    }
    assert model.output_shape((784,)) == (10,)


@pytest.mark.parametrize("widths", [[3, 2], (3, 2), np.array([3, 2])], ids=["list", "tuple", "array"])
def test_two_widths_are_a_linear_model(widths):
    assert mlp(widths) == Sequential([Linear(3, 2)])


@pytest.mark.parametrize(
    ("activation", "layer"),
    [
        ("relu", ReLU()),
        ("sigmoid", Sigmoid()),
        ("tanh", Tanh()),
        ("gelu", GELU()),
        ("silu", Swish()),
        ("softmax", Softmax()),
        ("leaky_relu", LeakyReLU(0.01)),
        (LeakyReLU(0.3), LeakyReLU(0.3)),
        (Tanh, Tanh()),
        (lambda: Swish(2.0), Swish(2.0)),
    ],
)
def test_activations(activation, layer):
    assert mlp([3, 4, 2], activation) == Sequential([Linear(3, 4), layer, Linear(4, 2)])


@pytest.mark.parametrize(
    ("name", "unit"), [("glu", GLU), ("swiglu", SwiGLU), ("bilinear", Bilinear), ("reglu", ReGLU), ("geglu", GEGLU)]
)
def test_gated_units_take_the_place_of_a_hidden_layer(name, unit):
    model = mlp([3, 4, 5, 2], name, bias=False, dropout=0.1)
    assert model == Sequential(
        [
            unit(3, 4, bias=False),
            Dropout(0.1),
            unit(4, 5, bias=False),
            Dropout(0.1),
            Linear(5, 2, bias=False),
        ]
    )


def test_options_reach_every_layer():
    model = mlp([3, 4, 2], "tanh", dropout=0.2, layer_norm=True, bias=False, layout="out_in", init="glorot_uniform")
    linear = {"bias": False, "layout": "out_in", "init": "glorot_uniform"}
    assert model == Sequential([Linear(3, 4, **linear), LayerNorm(4), Tanh(), Dropout(0.2), Linear(4, 2, **linear)])
    units = {"bias": False, "init": "lecun_normal"}
    assert mlp([3, 4, 2], "glu", layer_norm=True, **units) == Sequential(
        [GLU(3, 4, **units), LayerNorm(4), Linear(4, 2, **units)]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([3],), "widths must list"),
        (([],), "widths must list"),
        (([3, 0, 2],), "n_out must be a whole number of at least 1, got 0"),
        (([3, 4.5, 2],), "4.5"),
        (([3, 4, 2], "rleu"), "did you mean 'relu'"),
        (([3, 4, 2], "swigl"), "did you mean 'swiglu'"),
        (
            ([3, 2], "nothing like it"),
            "activation must be a layer or one of 'identity', .*geglu', got 'nothing like it'",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ValueRangeError, match=message):
        mlp(*arguments)


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_both_layouts_from_one_seed_are_the_same_map(activation):
    inward, outward = (mlp([6, 8, 7, 3], activation, layout=layout) for layout in ("in_out", "out_in"))
    p, q = inward.init(5), outward.init(5)
    for name, values in p.items():
        turned = isinstance(inward.layers[int(name[0])], Linear) and values.ndim == 2  # gated units keep their layout
        np.testing.assert_array_equal(q[name], values.T if turned else values)
    x = np.random.default_rng(0).standard_normal((9, 6))
    np.testing.assert_allclose(inward.forward(p, x)[0], outward.forward(q, x)[0], rtol=1e-12, atol=1e-14)


def signal(model, depth):
    """The mean square of the values after each of `depth` ReLU layers, over that of the input."""
    x = np.random.default_rng(0).standard_normal((200, 128))
    squares = {}
    model.visit(lambda name, _, out: squares.update({int(name): np.mean(out**2)}), model.init(1), x)
    return [squares[2 * i + 1] / np.mean(x**2) for i in range(depth)]


def test_he_keeps_the_signal_through_20_layers_and_small_numbers_lose_it():
    widths = [128] * 21
    kept = signal(mlp([*widths, 1], "relu"), 20)
    # after a ReLU half of He's doubled variance is left: a mean square of about 1, which wanders from layer to layer
    assert all(0.2 < ratio < 5 for ratio in kept)
    lost = signal(mlp([*widths, 1], "relu", init=lambda rng, shape: rng.normal(0, 0.01, shape)), 20)
    np.testing.assert_allclose(np.log(lost[-1]) / 20, np.log(128 * 0.01**2 / 2), rtol=0.05)
    assert lost[-1] < 1e-40


def test_an_activation_for_each_hidden_layer():
    model = mlp([3, 8, 4, 6, 2], ["tanh", "swiglu", LeakyReLU(0.3)], dropout=0.1)
    expected = [Linear(3, 8), Tanh(), SwiGLU(8, 4), Linear(4, 6), LeakyReLU(0.3), Linear(6, 2)]
    assert [layer for layer in model.layers if layer != Dropout(0.1)] == expected
    assert mlp([3, 2], []) == mlp([3, 2])


@pytest.mark.parametrize("activation", [["tanh"], ("tanh", "relu", "relu"), []])
def test_a_list_of_another_length_is_refused(activation):
    with pytest.raises(ValueRangeError, match="one for each of 2 hidden layers"):
        mlp([3, 8, 4, 2], activation)
