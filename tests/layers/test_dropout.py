"""Dropout: random in training with a generator that is passed, nothing at all otherwise."""

import numpy as np
import pytest

from handgrad.errors import ValueRangeError
from handgrad.layers import Dropout
from handgrad.models import Sequential, mlp

ONES = np.ones((50, 40))


def drop(layer, seed, x=ONES):
    return layer.forward({}, x, train=True, rng=np.random.default_rng(seed))


def test_at_rest_it_is_the_identity_and_asks_for_no_generator():
    out, cache = Dropout(0.5).forward({}, ONES)
    np.testing.assert_array_equal(out, ONES)
    dx, grads = Dropout(0.5).backward(2 * ONES, cache)
    np.testing.assert_array_equal(dx, 2 * ONES)
    assert grads == {}


def test_in_training_it_needs_a_generator_and_says_where():
    with pytest.raises(ValueRangeError, match="needs rng"):
        Dropout(0.5).forward({}, ONES, train=True)
    model = Sequential([Sequential([Dropout(0.5)])])
    with pytest.raises(ValueRangeError, match=r"layer '0\.0': dropout needs rng"):
        model.forward({}, ONES, train=True)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_kept_values_are_scaled_so_that_the_mean_stays(rate):
    out, cache = drop(Dropout(rate), 0, np.ones((300, 300)))
    kept = out != 0
    np.testing.assert_allclose(out[kept], 1 / (1 - rate), rtol=1e-15)
    # the standard error of the mean of n values is sqrt(rate / (1 - rate) / n)
    assert abs(out.mean() - 1) < 5 * np.sqrt(rate / (1 - rate) / out.size)
    dx, _ = Dropout(rate).backward(np.ones_like(out), cache)
    np.testing.assert_array_equal(dx, out)


def test_the_seed_decides():
    np.testing.assert_array_equal(drop(Dropout(0.5), 3)[0], drop(Dropout(0.5), 3)[0])
    assert not np.array_equal(drop(Dropout(0.5), 3)[0], drop(Dropout(0.5), 4)[0])
    rng = np.random.default_rng(3)
    first, second = (Dropout(0.5).forward({}, ONES, train=True, rng=rng)[0] for _ in range(2))
    assert not np.array_equal(first, second)


def test_two_dropouts_of_a_model_drop_apart():
    seen = {}
    Sequential([Dropout(0.3), Dropout(0.3)]).visit(
        lambda name, _, out: seen.update({name: out}), {}, ONES, train=True, rng=np.random.default_rng(0)
    )
    first_dropped, both_dropped = (seen["0"] == 0).mean(), (seen["1"] == 0).mean()
    assert first_dropped == pytest.approx(0.3, abs=0.05)
    assert both_dropped == pytest.approx(1 - 0.7**2, abs=0.05)


def test_rate_0_draws_nothing():
    rng = np.random.default_rng(0)
    out, _ = Dropout(0.0).forward({}, ONES, train=True, rng=rng)
    np.testing.assert_array_equal(out, ONES)
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("rate", [1.0, -0.1, 2, float("nan")])
def test_rates_outside_the_range_are_refused(rate):
    with pytest.raises(ValueRangeError, match="rate must be a number from 0 to below 1"):
        Dropout(rate)
    with pytest.raises(ValueRangeError, match="rate"):
        mlp([3, 4, 2], dropout=rate)


def test_the_mask_is_the_same_in_every_dtype():
    out, _ = drop(Dropout(0.5), 0, ONES.astype(np.float32))
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, drop(Dropout(0.5), 0)[0])
