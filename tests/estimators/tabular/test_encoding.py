"""The inputs of the network, against their definitions and other libraries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import OneHotEncoder

from handgrad.estimators.tabular.columns import Table, roles_of, table_of
from handgrad.estimators.tabular.encoding import (
    FOLDS,
    HELD,
    MANY_LEVELS,
    MOST_LEVELS,
    PRIOR,
    RARE,
    Encoder,
    Levels,
    Numbers,
)


def levels_of(keys):
    """Fitted without a target worth a mean."""
    return Levels.of(keys, np.zeros((len(keys), 1)), np.ones(len(keys)))


def inputs_of(numbers, x):
    out = np.full((len(x), numbers.width), 7.0, np.float32)
    numbers.encode(x, out)
    return out


def words(*keys):
    return np.array([*keys, ...], object)[:-1]


def test_scaling_by_hand():
    x = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])  # median 2, quartiles 1 and 3
    z = np.array([-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(inputs_of(Numbers.of(x, 0), x)[:, 0], z / np.sqrt(1 + z**2 / 9), rtol=1e-6)
    mostly_one = np.array([[1.0]] * 9 + [[5.0]])  # quartiles equal: 2 over the whole range
    last = 2 / np.sqrt(1 + 4 / 9)
    np.testing.assert_allclose(inputs_of(Numbers.of(mostly_one, 0), mostly_one)[:, 0], [0] * 9 + [last], rtol=1e-6)


@given(arrays(np.float64, (12, 2), elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan), st.integers(0, 2))))
def test_inputs_are_finite_and_bounded_whatever_comes(x):
    numbers = Numbers.of(x, 4)
    for rows in (x, np.full((1, 2), 1e300), np.full((1, 2), -1e300), np.full((1, 2), np.nan)):
        out = inputs_of(numbers, rows)
        assert np.isfinite(out).all()
        assert (np.abs(out) <= 3).all()


@given(arrays(np.float64, 30, elements=st.floats(-100, 100, width=16, allow_subnormal=False)), st.integers(2, 9))
def test_bins_interpolate_between_their_edges(column, bins):
    """The sum of a column's bins is the piecewise-linear rank that numpy.interp gives."""
    x = column[:, None]
    numbers = Numbers.of(x, bins)
    edges = np.append(numbers.low, numbers.low[-1:] + 1 / numbers.inverse[-1:]) if len(numbers.low) else numbers.low
    assert len(numbers.low) <= bins
    more = np.linspace(-120, 120, 50)[:, None]
    for rows in (x, more):
        binned = inputs_of(numbers, rows)[:, numbers.width - len(numbers.low) :]
        expected = np.interp(rows[:, 0], edges, np.arange(len(edges))) if len(edges) else np.zeros(len(rows))
        np.testing.assert_allclose(binned.sum(axis=1), expected, atol=1e-4)


def test_bins_hold_equal_shares_and_few_values_one_each():
    x = np.random.default_rng(0).lognormal(size=(1000, 1))
    edges = Numbers.of(x, 10).low
    np.testing.assert_allclose(edges, np.quantile(x, np.arange(10) / 10))
    few = np.repeat([[1.0], [2.0], [10.0]], 5, axis=0)
    np.testing.assert_allclose(Numbers.of(few, 16).low, [1, 2])
    assert len(Numbers.of(few[:10], 16).low) == 0  # two values: the scaled number says it all


def test_missing_is_the_median_with_a_mark_and_what_never_varies_is_left_out():
    nan = np.nan
    x = np.array([[1.0, 5.0, nan, nan], [2.0, 5.0, nan, 3.0], [nan, 5.0, nan, 3.0], [3.0, 5.0, nan, nan]])
    numbers = Numbers.of(x, 0)
    out = inputs_of(numbers, x)
    assert out.shape == (4, 3)  # the first column, and marks of the first and the last
    np.testing.assert_allclose(out[:, 0], [-1 / np.sqrt(10 / 9), 0, 0, 1 / np.sqrt(10 / 9)], rtol=1e-6)
    np.testing.assert_array_equal(out[:, 1:], [[0, 1], [0, 0], [1, 0], [0, 1]])
    np.testing.assert_array_equal(inputs_of(numbers, np.full((1, 4), nan)), [[0, 1, 1]])


def test_levels_are_one_hot_as_scikit_learn_s():
    keys = words("b", "a", None, "c", "a", "b", "a")
    levels = levels_of(keys)
    out = np.zeros((3, levels.width))
    levels.encode(words("a", "unseen", None), out)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, categories=[["a", "b", None, "c"]])
    expected = encoder.fit(keys[:, None]).transform(words("a", "unseen", None)[:, None])
    np.testing.assert_array_equal(out, expected)


def test_two_levels_share_an_input_and_one_needs_none():
    levels = levels_of(words("no", "yes", "no"))
    out = np.zeros((3, 1))
    levels.encode(words("yes", "no", "perhaps"), out)
    np.testing.assert_array_equal(out, [[1], [-1], [0]])
    assert levels_of(words("same", "same")).width == 0


def test_rare_levels_share_an_input_where_there_are_many():
    often = [f"often {i}" for i in range(MANY_LEVELS)]
    keys = words(*often * RARE, "rare 1", "rare 2")
    target = np.zeros((len(keys), 0))
    levels = Levels.of(keys, target, np.ones(len(keys)))
    out = np.zeros((4, levels.width))
    levels.encode(words("often 0", "rare 1", "rare 2", "unseen"), out)
    assert levels.width == MANY_LEVELS + 1
    np.testing.assert_array_equal(out[1], out[2])
    np.testing.assert_array_equal(out.sum(axis=1), [1, 1, 1, 0])


def test_the_width_of_very_many_levels_is_bounded():
    keys = words(*np.repeat(np.arange(5 * MOST_LEVELS), RARE).tolist())
    levels = Levels.of(keys, np.zeros((len(keys), 1)), np.ones(len(keys)))
    assert levels.width == MOST_LEVELS + 1 + 1


def test_means_of_the_target_are_drawn_to_the_overall_one():
    keys = words(*[i % 20 for i in range(100)])
    target, weight = np.arange(100.0)[:, None], np.linspace(1, 2, 100)
    levels = Levels.of(keys, target, weight)
    out = np.zeros((2, levels.width))
    levels.encode(words(3, "unseen"), out)
    overall, mine = np.average(target[:, 0], weights=weight), np.array([i % 20 == 3 for i in range(100)])
    prior = PRIOR * weight.mean()
    expected = (weight[mine] @ target[mine, 0] + prior * overall) / (weight[mine].sum() + prior)
    np.testing.assert_allclose(out[:, -1], [expected, overall])


def test_a_row_s_own_target_is_no_part_of_its_mean():
    rng = np.random.default_rng(0)
    keys = words(*[i % 20 for i in range(200)])
    target, weight, folds = rng.standard_normal((200, 1)), np.ones(200), rng.permutation(200) % FOLDS
    levels = Levels.of(keys, target, weight)
    before, after = np.zeros((200, levels.width)), np.zeros((200, levels.width))
    levels.encode_fitted(keys, target, weight, folds, before)
    changed = np.where((folds == 2)[:, None], 100.0, target)
    levels.encode_fitted(keys, changed, weight, folds, after)
    np.testing.assert_array_equal(before[folds == 2], after[folds == 2])
    assert (before[folds != 2, -1] != after[folds != 2, -1]).any()


def test_the_target_of_a_row_held_out_is_no_part_of_any_mean():
    rng = np.random.default_rng(0)
    table = Table(np.zeros((200, 0)), [words(*[i % 20 for i in range(200)])])
    target, weight, folds = rng.standard_normal((200, 1)), np.ones(200), rng.permutation(200) % FOLDS
    held = rng.permutation(200) < 40
    folds[held] = HELD
    encoder = Encoder.of(table, target, weight, 0)
    x = encoder.encode(table)
    before = encoder.encode_fitted(x, table, target, weight, folds)
    after = encoder.encode_fitted(x, table, np.where(held[:, None], 100.0, target), weight, folds)
    np.testing.assert_array_equal(before, after)
    # what is held out is given the means of all the others, as rows that come later are
    rest = table.take(~held)
    others = Encoder.of(rest, target[~held], weight[~held], 0)
    np.testing.assert_allclose(before[held, -1], others.encode(table.take(held))[:, -1], rtol=1e-6)
    np.testing.assert_array_equal(x, encoder.encode(table))


def test_an_encoder_of_all_of_it():
    X = np.array([[1.0, "a", "x"], [2.0, "b", "y"], [None, "c", "x"], [4.0, "a", None]], object)
    table = table_of(X, roles_of(X))
    target, weight = np.zeros((4, 1)), np.ones(4)
    encoder = Encoder.of(table, target, weight, 2)
    out = encoder.encode(table)
    assert out.dtype == np.float32
    assert out.shape == (4, encoder.width) == (4, 2 + 2 + 3 + 3)
    assert encoder.encode_fitted(out, table, target, weight, np.arange(4)) is out  # no means of the target
    np.testing.assert_array_equal(out[1:3], encoder.encode(table.take(slice(1, 3))))


@pytest.mark.parametrize("rows", [1, 3])
def test_a_table_in_which_nothing_varies_still_has_an_input(rows):
    table = Table(np.ones((rows, 2)), [])
    encoder = Encoder.of(table, np.zeros((rows, 1)), np.ones(rows), 16)
    np.testing.assert_array_equal(encoder.encode(table), np.zeros((rows, 1)))
