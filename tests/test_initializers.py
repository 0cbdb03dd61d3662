"""Initializers: pure functions of a generator and a shape, with the spread that they promise."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handgrad.errors import ValueRangeError
from handgrad.initializers import NAMED, constant, he_normal, initializer
from handgrad.layers import GLU, Linear

VARIANCES = {
    "he": lambda n_in, n_out: 2 / n_in,
    "glorot": lambda n_in, n_out: 2 / (n_in + n_out),
    "lecun": lambda n_in, n_out: 1 / n_in,
}
RANDOM = [name for name in NAMED if name not in ("zeros", "ones")]
shapes = st.tuples(st.integers(0, 6), st.integers(0, 6))


def draw(name, shape, seed=0):
    return NAMED[name](np.random.default_rng(seed), shape)


def test_every_random_initializer_is_known_here():
    assert {name.split("_")[0] for name in RANDOM} == VARIANCES.keys()


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("shape", [(400, 500), (900, 200), (100, 2000)], ids=str)
def test_mean_and_spread(name, shape):
    values = draw(name, shape)
    family, kind = name.split("_")
    variance = VARIANCES[family](*shape)
    # both within 5 standard errors: of the mean, sqrt(v / n); of the variance, v sqrt((kurtosis - 1) / n)
    kurtosis = 3 if kind == "normal" else 9 / 5
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    assert abs(values.var() / variance - 1) < 5 * math.sqrt((kurtosis - 1) / values.size)


@pytest.mark.parametrize("name", RANDOM)
def test_shape_of_the_distribution(name):
    shape = (300, 400)
    values = draw(name, shape)
    variance = VARIANCES[name.split("_")[0]](*shape)
    bound = math.sqrt(3 * variance)
    if name.endswith("uniform"):
        assert np.all(np.abs(values) <= bound)
        assert np.abs(values).max() > 0.999 * bound
        shares = np.histogram(values, bins=10, range=(-bound, bound))[0] / values.size
        np.testing.assert_allclose(shares, 0.1, rtol=0.06)
    else:
        beyond = [np.mean(np.abs(values) > k * math.sqrt(variance)) for k in (1, 2, 3)]
        np.testing.assert_allclose(beyond, [0.3173, 0.0455, 0.0027], rtol=0.2)


@pytest.mark.parametrize("name", NAMED)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_pure(name, shape, seed):
    global_state = np.random.get_state()[1].copy()  # noqa: NPY002
    values = draw(name, shape, seed)
    np.testing.assert_array_equal(values, draw(name, shape, seed))
    np.testing.assert_array_equal(np.random.get_state()[1], global_state)  # noqa: NPY002
    assert values.shape == shape
    assert values.dtype == np.float64
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_gives_other_values(name):
    assert not np.array_equal(draw(name, (3, 3), 0), draw(name, (3, 3), 1))


@pytest.mark.parametrize("layout", ["in_out", "out_in"])
@pytest.mark.parametrize("name", RANDOM)
def test_fan_in_is_the_number_of_inputs_in_both_layouts(name, layout):
    n_in, n_out = 1000, 50
    weight = Linear(n_in, n_out, layout=layout, init=name).init(0)["weight"]
    assert weight.var() == pytest.approx(VARIANCES[name.split("_")[0]](n_in, n_out), rel=0.05)


def test_he_is_what_layers_take_unless_told():
    np.testing.assert_array_equal(Linear(7, 5).init(3)["weight"], he_normal(np.random.default_rng(3), (7, 5)))
    params = GLU(600, 400).init(0)
    for name in ("content.weight", "gate.weight"):
        assert params[name].std() == pytest.approx(math.sqrt(2 / 600), rel=0.02)
    assert not np.array_equal(params["content.weight"], params["gate.weight"])


@given(st.floats(allow_nan=False, allow_infinity=False), shapes)
def test_constants(value, shape):
    draw_constant = constant(value)
    np.testing.assert_array_equal(draw_constant(np.random.default_rng(0), shape), np.full(shape, value))
    assert draw_constant == constant(value) == pickle.loads(pickle.dumps(draw_constant))
    assert hash(draw_constant) == hash(constant(value))
    assert draw_constant != constant(value + 1) or value + 1 == value
    assert repr(value) in repr(draw_constant)


@pytest.mark.parametrize("name", ["zeros", "ones", "constant"])
def test_what_is_not_random_draws_nothing(name):
    rng = np.random.default_rng(0)
    values = (constant(0.5) if name == "constant" else NAMED[name])(rng, (2, 3))
    np.testing.assert_array_equal(values, np.full((2, 3), {"zeros": 0, "ones": 1, "constant": 0.5}[name]))
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_constants_are_finite(value):
    with pytest.raises(ValueRangeError, match="value must be a finite number"):
        constant(value)


def test_by_name_or_function():
    assert initializer("he_normal") is he_normal
    assert initializer(he_normal) is he_normal
    with pytest.raises(ValueRangeError, match="did you mean 'glorot_normal'"):
        initializer("glorot_norml")
    with pytest.raises(ValueRangeError, match=r"must be a function or one of 'he_normal', .*, got 3$"):
        initializer(3)
