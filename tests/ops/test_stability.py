"""Any finite input gives the right, finite number, without a warning; a NaN is never hidden."""

import mpmath
import numpy as np
import pytest

from handgrad import ops

mpmath.mp.dps = 60
DTYPES = {np.float64: 1e300, np.float32: 3e38}
POINTS = [-1e4, -745.0, -88.0, -40.0, -30.0, -9.0, -1.0, -1e-3, 0.0, 1e-8, 0.5, 8.0, 20.0, 38.0, 88.0, 710.0, 1e4]


def mp_sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


EXACTLY = {
    "sigmoid": (ops.sigmoid, {}, mp_sigmoid),
    "tanh": (ops.tanh, {}, mpmath.tanh),
    "swish": (ops.swish, {}, lambda x: x * mp_sigmoid(x)),
    "swish 3": (ops.swish, {"beta": 3.0}, lambda x: x * mp_sigmoid(3 * x)),
    "gelu": (ops.gelu, {}, lambda x: x * mpmath.ncdf(x)),
    "gelu tanh": (
        ops.gelu,
        {"approximate": "tanh"},
        lambda x: x * mp_sigmoid(mpmath.sqrt(8 / mpmath.pi) * (x + mpmath.mpf(0.044715) * x**3)),
    ),
}


@pytest.mark.parametrize("name", EXACTLY)
def test_activation_equals_sixty_digits_in_both_tails(name: str) -> None:
    op, hyper, exact = EXACTLY[name]
    y, cache = op.forward(np.array(POINTS), **hyper)
    (dx,) = op.backward(np.ones(len(POINTS)), cache)
    for x, value, slope in zip(POINTS, y, dx, strict=True):
        assert value == pytest.approx(float(exact(mpmath.mpf(x))), rel=5e-13, abs=1e-300)
        assert slope == pytest.approx(float(mpmath.diff(exact, mpmath.mpf(x))), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("op", "hyper", "limits", "slopes"),
    [
        (ops.sigmoid, {}, (0, 1), (0, 0)),
        (ops.tanh, {}, (-1, 1), (0, 0)),
        (ops.relu, {}, (0, "x"), (0, 1)),
        (ops.leaky_relu, {"alpha": 0.0}, (0, "x"), (0, 1)),
        (ops.swish, {}, (0, "x"), (0, 1)),
        (ops.swish, {"beta": 50.0}, (0, "x"), (0, 1)),
        (ops.gelu, {}, (0, "x"), (0, 1)),
        (ops.gelu, {"approximate": "tanh"}, (0, "x"), (0, 1)),
        (ops.softmax, {}, (0, 1), (0, 0)),
        (ops.softmax, {"temperature": 0.1}, (0, 1), (0, 0)),
    ],
)
def test_activation_at_the_ends_of_the_numbers(op, hyper, limits, slopes, dtype) -> None:
    large = np.finfo(dtype).max
    for huge in (dtype(DTYPES[dtype]), large):
        x = np.array([-huge, huge], dtype=dtype)
        y, cache = op.forward(x, **hyper)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, [huge if limit == "x" else limit for limit in limits])
        np.testing.assert_array_equal(op.backward(np.ones(2, dtype), cache)[0], slopes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_and_cross_entropy_of_ten_thousand_wide_logits(dtype) -> None:
    x = np.linspace(-1e4, 1e4, 10_000, dtype=dtype)[None]
    p = ops.softmax(x)
    assert p.sum() == pytest.approx(1, rel=1e-5)
    loss, cache = ops.cross_entropy.forward(x, [0])
    step = float(x[0, -1] - x[0, -2])
    assert loss == pytest.approx(2e4 - np.log1p(-np.exp(-2.0)) if step == 2 else 2e4, rel=1e-4)
    assert loss.dtype == dtype
    (dx,) = ops.cross_entropy.backward(1.0, cache)
    assert dx[0, 0] == -1
    assert abs(dx.sum()) < 1e-5


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_at_the_largest_number(dtype) -> None:
    top = np.finfo(dtype).max
    s = np.array([[top, 0.0], [0.0, top], [-top, top], [0.0, 0.0]], dtype=dtype)
    losses, cache = ops.cross_entropy.forward(s, [1, 1, 1, 0], reduction="none")
    np.testing.assert_array_equal(losses, np.array([top, 0, 0, np.log(2)], dtype=dtype))
    gradient = ops.cross_entropy.backward(np.ones(4, dtype), cache)[0]
    np.testing.assert_array_equal(gradient, [[1, -1], [0, 0], [0, 0], [-0.5, 0.5]])
    losses, cache = ops.hinge.forward(s, [1, 1, 1, 0], reduction="none")
    np.testing.assert_array_equal(losses, np.array([top, 0, 0, 1], dtype=dtype))
    np.testing.assert_array_equal(ops.hinge.backward(np.ones(4, dtype), cache)[0], [[1, -1], [0, 0], [0, 0], [-1, 1]])
    s = np.array([-top, -top, top, top], dtype=dtype)
    losses, cache = ops.binary_cross_entropy.forward(s, [0, 1, 0, 1], reduction="none")
    np.testing.assert_array_equal(losses, [0, top, top, 0])
    np.testing.assert_array_equal(ops.binary_cross_entropy.backward(np.ones(4, dtype), cache)[0], [0, -1, 1, 0])
    losses, cache = ops.huber.forward(s, np.zeros(4, dtype), reduction="none")
    np.testing.assert_array_equal(losses, [top] * 4)
    np.testing.assert_array_equal(ops.huber.backward(np.ones(4, dtype), cache)[0], [-1, -1, 1, 1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm_of_huge_tiny_and_constant_rows(dtype) -> None:
    huge = DTYPES[dtype]
    x = np.array([[-huge, huge], [huge, huge], [1e-30, -1e-30], [0, 0]], dtype=dtype)
    y, cache = ops.layer_norm.forward(x, np.ones(2, dtype), np.zeros(2, dtype))
    assert y.dtype == dtype
    np.testing.assert_allclose(y[:2], [[-1, 1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(y[2:], x[2:] / np.sqrt(1e-5), rtol=1e-6)
    for gradient in ops.layer_norm.backward(np.array([[1, 2]] * 4, dtype), cache):
        assert np.isfinite(gradient).all()


def test_softmax_keeps_its_sum_for_any_temperature() -> None:
    for temperature in (1e-300, 1e-9, 1e9, 1e300):
        p, cache = ops.softmax.forward(np.array([-1e4, 0.0, 1e4]), temperature=temperature)
        assert p.sum() == pytest.approx(1)
        assert np.isfinite(ops.softmax.backward(np.ones(3), cache)[0]).all()


ONE_INPUT = [
    *(ops.sigmoid, ops.tanh, ops.relu, ops.leaky_relu, ops.swish, ops.gelu, ops.identity, ops.softmax),
    *(ops.exp, ops.log, ops.negative, ops.sum, ops.mean, ops.max, ops.l2),
]
BY_TARGET = [ops.binary_cross_entropy, ops.squared_error, ops.huber, ops.poisson, ops.quantile]
PAIRS = [ops.add, ops.subtract, ops.multiply, ops.divide, ops.power, ops.maximum]
THREE = np.ones(3)
TAKES_NAN = [
    *((op, (), {}) for op in ONE_INPUT),
    *((op, (THREE,), {}) for op in PAIRS),
    *((op, ([label],), {}) for op in (ops.hinge, ops.cross_entropy) for label in (0, 1)),
    *((op, (THREE[None],), {}) for op in BY_TARGET),
    (ops.gelu, (), {"approximate": "tanh"}),
    (ops.layer_norm, (THREE, THREE), {}),
    (ops.linear, (np.ones((3, 2)),), {}),
    (ops.swiglu, (np.ones((3, 2)), np.ones((3, 2))), {}),
]


@pytest.mark.parametrize(("op", "others", "hyper"), TAKES_NAN, ids=str)
def test_nan_comes_through(op, others, hyper) -> None:
    assert np.isnan(op(np.array([[1.0, np.nan, 2.0]]), *others, **hyper)).any()
