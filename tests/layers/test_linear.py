"""Linear in its two layouts, over leading axes and flattened."""

import numpy as np
import pytest

from handgrad.errors import DeviceError, DTypeError, ShapeError, ValueRangeError
from handgrad.initializers import constant, glorot_normal
from handgrad.layers import GLU, LayerNorm, Linear


@pytest.mark.parametrize("kind", ["he_normal", "glorot_uniform", glorot_normal])
def test_both_layouts_are_one_map(kind):
    inward, outward = Linear(5, 3, init=kind), Linear(5, 3, layout="out_in", init=kind)
    p, q = inward.init(0), outward.init(0)
    np.testing.assert_array_equal(p["weight"], q["weight"].T)
    x, upstream = np.random.default_rng(1).standard_normal((7, 5)), np.random.default_rng(2).standard_normal((7, 3))
    out, cache = inward.forward(p, x)
    other, other_cache = outward.forward(q, x)
    np.testing.assert_allclose(other, out, rtol=1e-14, atol=1e-15)
    dx, grads = inward.backward(upstream, cache)
    other_dx, other_grads = outward.backward(upstream, other_cache)
    np.testing.assert_allclose(other_dx, dx, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(other_grads["weight"], grads["weight"].T, rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(other_grads["bias"], grads["bias"])


def test_values_by_hand():
    params = {"weight": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "bias": np.array([10.0, 20.0])}
    out, cache = Linear(3, 2).forward(params, np.array([[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(out, [[6.0, 16.0], [15.0, 28.0]])
    dx, grads = Linear(3, 2).backward(np.array([[1.0, 0.0], [0.0, 2.0]]), cache)
    np.testing.assert_array_equal(dx, [[1.0, 3.0, 5.0], [4.0, 8.0, 12.0]])
    np.testing.assert_array_equal(grads["weight"], [[1.0, 4.0], [0.0, 2.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(grads["bias"], [1.0, 2.0])


def test_flatten_is_linear_on_rows():
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    flat, plain = Linear(6, 2, flatten=True), Linear(6, 2)
    params = plain.init(1)
    out, cache = flat.forward(params, x)
    expected, expected_cache = plain.forward(params, x.reshape(4, 6))
    np.testing.assert_array_equal(out, expected)
    dx, grads = flat.backward(out, cache)
    expected_dx, expected_grads = plain.backward(out, expected_cache)
    np.testing.assert_array_equal(dx, expected_dx.reshape(4, 2, 3))
    np.testing.assert_array_equal(grads["weight"], expected_grads["weight"])


def test_bias_starts_at_0_and_init_is_for_the_weight():
    params = Linear(3, 2, init=constant(0.5)).init(0)
    assert np.all(params["weight"] == 0.5)
    assert np.all(params["bias"] == 0)
    gated = GLU(3, 2, init="ones").init(0)
    assert np.all(gated["gate.weight"] == 1)
    assert np.all(gated["content.bias"] == 0)


def test_an_init_of_the_wrong_shape_is_refused():
    with pytest.raises(ShapeError, match=r"init of 'weight' must give shape \(3, 2\), got \(2, 3\)"):
        Linear(3, 2, init=lambda rng, shape: rng.random(shape[::-1])).init(0)


@pytest.mark.parametrize("make", [Linear, GLU])
@pytest.mark.parametrize("wrong", [0, -1, 2.0, "3", None, True, np.float64(3)])
def test_widths_are_whole_numbers_of_at_least_1(make, wrong):
    with pytest.raises(ValueRangeError, match="n_in"):
        make(wrong, 3)
    with pytest.raises(ValueRangeError, match="n_out"):
        make(3, wrong)
    with pytest.raises(ValueRangeError, match="n must"):
        LayerNorm(wrong)


def test_numpy_widths_are_plain_numbers_afterwards():
    assert Linear(np.int64(3), np.int32(2)) == Linear(3, 2)
    assert type(Linear(np.int64(3), 2).n_in) is int


def test_unknown_layout_and_init_are_named():
    with pytest.raises(ValueRangeError, match="layout must be"):
        Linear(3, 2, layout="io")
    with pytest.raises(ValueRangeError, match="did you mean 'he_normal'"):
        Linear(3, 2, init="he_norml")


@pytest.mark.parametrize("dtype", [np.int64, np.complex128, bool, "U3"])
def test_parameters_are_drawn_as_floating_point_numbers(dtype):
    with pytest.raises(DTypeError, match="dtype must be a floating-point type"):
        Linear(3, 2).init(0, dtype)


def test_mixed_dtypes_and_libraries_are_refused():
    params = Linear(3, 2).init(0)
    with pytest.raises(DTypeError, match=r"float64.*float32|float32.*float64"):
        Linear(3, 2).forward(params, np.ones((4, 3), np.float32))
    with pytest.raises(DTypeError, match="int64"):
        Linear(3, 2).forward(params, np.ones((4, 3), np.int64))
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
    with pytest.raises(DeviceError, match="torch"):
        Linear(3, 2).forward(params, torch.ones(4, 3, dtype=torch.float64))


def test_a_wrong_width_shows_both_shapes():
    with pytest.raises(ShapeError, match=r"x has 5 features, in shape \(4, 5\), but w, in shape \(3, 2\)"):
        Linear(3, 2).forward(Linear(3, 2).init(0), np.ones((4, 5)))
    with pytest.raises(ShapeError, match=r"takes 3 features on the last axis, got samples of shape \(2, 5\)"):
        Linear(3, 2).output_shape((2, 5))
    with pytest.raises(ShapeError, match=r"takes 6 features after flattening, got samples of shape \(2, 5\)"):
        Linear(6, 2, flatten=True).output_shape((2, 5))
