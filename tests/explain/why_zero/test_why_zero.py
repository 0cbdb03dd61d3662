"""Each reason for a gradient of 0, planted; and that what why_zero says is enough: mended, the entry is 0 no more."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import handgrad as hg
from handgrad.errors import ValueRangeError
from handgrad.explain.why_zero.reasons import KINDS, listed

RNG = np.random.default_rng(11)
X, Y = RNG.normal(size=(48, 5)), RNG.integers(3, size=48)


def why(model, params, parameter="0.weight", x=X, y=Y, **options):
    found = hg.why_zero(model, params, x, y, parameter, **options)
    return found, {(reason.kind, reason.layer): reason for reason in found.reasons}


def test_no_zeros():
    model = hg.mlp([5, 8, 3], "tanh")
    found, reasons = why(model, model.init(0))
    assert (found.zeros, reasons) == (0, {})
    assert str(found) == "no entry of the gradient of 0.weight is 0"


@pytest.mark.parametrize("layout", ["in_out", "out_in"])
def test_unused_input_and_dead_unit(layout):
    model = hg.Sequential([hg.Linear(5, 8, layout=layout), hg.ReLU(), hg.Linear(8, 3)])
    params, x = model.init(0), X.copy()
    params["0.bias"][[2, 6]] = -99
    x[:, 4] = 0
    found, reasons = why(model, params, x=x)
    assert found.zeros == 8 + 5 + 5 - 2
    assert reasons["unused input", "X"].units.tolist() == [4]
    assert reasons["unused input", "X"].entries == 8
    assert reasons["dead unit", "1"].units.tolist() == [2, 6]
    assert reasons["dead unit", "1"].entries == 10
    assert "units 2 and 6 of layer '1' are dead" in str(found)
    found, reasons = why(model, params, "0.bias", x=x)
    assert (found.zeros, list(reasons)) == (2, [("dead unit", "1")])
    found, reasons = why(model, params, "2.weight", x=x)
    assert reasons["zero input", "1"].units.tolist() == [2, 6]
    assert reasons["zero input", "1"].entries == 6


def test_zero_weights_further_on():
    model = hg.mlp([5, 8, 6, 3], "tanh")
    params = model.init(0)
    params["2.weight"][3] = 0
    _, reasons = why(model, params)
    assert list(reasons) == [("zero weights", "2")]
    assert reasons["zero weights", "2"].units.tolist() == [3]
    params = model.init(0)
    params["4.weight"][:] = 0
    found, reasons = why(model, params)
    assert found.zeros == 40
    assert reasons["zero weights", "4"].entries == 40


def test_saturated_units():
    model = hg.mlp([5, 8, 3], "tanh")
    params = model.init(0)
    params["0.bias"][1] = 60
    _, reasons = why(model, params)
    assert list(reasons) == [("saturated unit", "1")]
    assert reasons["saturated unit", "1"].units.tolist() == [1]


def test_inactive_margins():
    model = hg.Linear(5, 3)
    params = model.init(0)
    params["bias"][:] = [90, 0, 0]
    found, reasons = why(model, params, "weight", y=np.zeros(48, int), loss="hinge")
    assert found.zeros == 15
    assert reasons["inactive margin", "loss"].entries == 15
    params["bias"][:] = [90, 0, 90]  # the third class is near, the second is not
    found, reasons = why(model, params, "weight", y=np.zeros(48, int), loss="hinge")
    assert found.zeros == 5
    assert reasons["inactive margin", "loss"].units.tolist() == [1]
    assert "score 1 has no active margin" in str(found)


def test_a_unit_that_is_closed_for_the_rows_that_count():
    model = hg.Sequential([hg.Linear(2, 1), hg.ReLU(), hg.Linear(1, 2)])
    params = model.init(0)
    params["0.weight"][:, 0] = [1, -5]
    x = np.array(
        [[1.0, 0.0], [1.0, 0.0], [0.1, 1.0], [0.2, 2.0]]
    )  # where the second input is not 0, the unit is closed
    found, reasons = why(model, params, x=x, y=np.array([0, 1, 1, 1]))
    assert found.zeros == 1
    assert list(reasons) == [("inactive unit", "1")]


def test_terms_that_cancel():
    model = hg.Linear(1, 2)
    params = {"weight": np.zeros((1, 2)), "bias": np.zeros(2)}
    x = np.ones((2, 1))
    found, reasons = why(model, params, "weight", x=x, y=np.array([0, 1]))
    assert found.zeros == 2
    assert list(reasons) == [("terms that cancel", "")]


def test_gates():
    model = hg.Sequential([hg.ReGLU(5, 4), hg.Linear(4, 3)])
    params = model.init(0)
    params["0.gate.bias"][2] = -99
    found, reasons = why(model, params, "0.content.weight")
    assert found.zeros == 5
    assert reasons["closed gate", "0"].units.tolist() == [2]
    found, reasons = why(model, params, "0.gate.bias")
    assert list(reasons) == [("closed gate", "0")]


def test_weights_of_0_in_a_gated_layer_further_on():
    model = hg.Sequential([hg.SwiGLU(5, 6), hg.GEGLU(6, 4), hg.Linear(4, 3)])
    params = model.init(0)
    params["1.content.weight"][2] = params["1.gate.weight"][2] = 0
    found, reasons = why(model, params, "0.content.weight")
    assert found.zeros == 5
    assert list(reasons) == [("zero weights", "1")]
    assert reasons["zero weights", "1"].units.tolist() == [2]
    params["1.gate.weight"][2] = 1
    assert why(model, params, "0.content.weight")[0].zeros == 0


def test_a_layer_that_is_alone_has_no_place():
    x = np.ones((2, 5))
    found, _ = why(hg.Linear(5, 2), hg.Linear(5, 2).init(0), "weight", x=x * 0, y=np.array([0, 1]))
    assert "columns 0, 1, 2, 3 and 4 of X are 0" in str(found)
    found, _ = why(
        hg.Linear(5, 2), {"weight": np.zeros((5, 2)), "bias": np.zeros(2)}, "weight", x=x, y=np.array([0, 1])
    )
    assert "in the only layer" in str(found)


def test_through_containers_and_other_layers():
    block = hg.Residual(hg.Sequential([hg.LayerNorm(4), hg.Linear(4, 4), hg.ReLU()]))
    model = hg.Sequential([hg.Linear(5, 4), block, hg.Flatten(), hg.Dropout(0.5), hg.Linear(4, 3)])
    params = model.init(0)
    params["4.weight"][:] = 0
    for name in ("0.weight", "0.bias", "1.layer.0.weight", "1.layer.1.weight"):
        found, reasons = why(model, params, name)
        assert found.zeros == found.size
        assert ("zero weights", "4") in reasons
    params = model.init(0)
    params["1.layer.1.bias"][1] = -99
    _, reasons = why(model, params, "1.layer.1.weight")
    assert list(reasons) == [("dead unit", "1.layer.2")]
    assert why(model, params)[0].zeros == 0  # the way around is open


def test_a_gradient_of_a_parameter_that_nothing_uses():
    class Idle(hg.Layer):
        def parameters(self):
            return {"a": hg.Parameter((2, 2), hg.initializers.ones)}

        def forward(self, params, x, *, train=False, rng=None):
            return x, None

        def backward(self, dout, cache):
            return dout, {"a": None}

    model = hg.Sequential([Idle(), hg.Linear(5, 3)])
    found, reasons = why(model, model.init(0), "0.a")
    assert found.zeros == 4
    assert list(reasons) == [("no gradient", "0")]


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_every_zero_has_a_reason(seed):
    rng = np.random.default_rng(seed)
    activation = str(rng.choice(["relu", "tanh", "gelu", "reglu", "glu"]))
    model = hg.mlp([4, *map(int, rng.integers(1, 6, rng.integers(1, 4))), 3], activation)
    params = model.init(seed)
    for name in params:
        if rng.random() < 0.4:
            params[name][...] *= rng.choice([0, -1], size=params[name].shape)
        if name.endswith("bias") and rng.random() < 0.3:
            params[name][...] = rng.choice([-60, 0, 60], size=params[name].shape)
    x = rng.normal(size=(6, 4)) * (rng.random((6, 4)) < 0.6)
    y = rng.integers(3, size=6)
    loss = str(rng.choice(["cross_entropy", "hinge"]))
    _, grads = hg.value_and_grad(model, loss, params, x, y)
    for name in params:
        found = hg.why_zero(model, params, x, y, name, loss=loss)
        assert found.zeros == np.sum(grads[name] == 0)
        assert bool(found.reasons) == bool(found.zeros)
        assert sum(reason.entries for reason in found.reasons) >= found.zeros
        assert all(reason.kind in KINDS and 0 < reason.entries <= found.zeros for reason in found.reasons)


def test_lists_of_units():
    assert listed("unit", [3]) == "unit 3"
    assert listed("unit", [3, 5]) == "units 3 and 5"
    assert listed("column", list(range(40))) == "columns 0, 1, 2, ... (40 in all)"


def test_bad_input():
    model = hg.mlp([5, 8, 3])
    with pytest.raises(ValueRangeError, match=r"parameter must be one of '0.weight'.*did you mean '0.weight'"):
        why(model, model.init(0), "0.weights")
