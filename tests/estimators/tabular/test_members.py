"""The recipe by the size of a table, and a network's first values."""

import numpy as np
import pytest

from handgrad.estimators.tabular.members import Data, first_values, network, train
from handgrad.estimators.tabular.recipe import CLASSIFICATION, MIDDLE, REGRESSION, SMALL, Recipe
from handgrad.estimators.tabular.regressor import squared_error
from handgrad.layers import SquaredError


@pytest.mark.parametrize(
    ("recipe", "rows", "columns", "bins"),
    [
        (CLASSIFICATION, 100, 9, 16),
        (CLASSIFICATION, 100, 64, 4),
        (CLASSIFICATION, 100, 1000, 0),
        (CLASSIFICATION, 100, 0, 16),
        (CLASSIFICATION, MIDDLE + 1, 9, 32),
        (REGRESSION, 999, 9, 0),
        (REGRESSION, 1000, 9, 16),
    ],
)
def test_bins_by_the_size_of_the_table(recipe, rows, columns, bins):
    assert recipe.bins_for(rows, columns) == bins


def test_batches_by_the_size_of_the_table():
    assert [CLASSIFICATION.batch_size_for(n) for n in (SMALL, SMALL + 1, MIDDLE, MIDDLE + 1)] == [64, 128, 128, 256]
    assert Recipe(batch_size=7).batch_size_for(10**6) == 7


def test_first_values_are_fitted_to_the_rows():
    rng = np.random.default_rng(0)
    x = (100 * rng.standard_normal((500, 5)) + 30).astype(np.float32)
    recipe = Recipe(hidden=(40, 30), dropout=0.5)
    model = network(5, 2, recipe)
    params = first_values(model, x, rng)
    seen = []
    model.visit(lambda name, layer, out: seen.append(out) if type(layer).__name__ == "Linear" else None, params, x)
    for sums in seen[:2]:
        np.testing.assert_allclose(sums.std(axis=0), 1, rtol=1e-5)
        assert ((sums > 0).any(axis=0) & (sums < 0).any(axis=0)).all()  # each hyperplane parts the rows
    assert not seen[2].any()


def test_first_values_where_nothing_varies():
    params = first_values(network(1, 1, Recipe(hidden=(4,))), np.zeros((3, 1), np.float32), np.random.default_rng(0))
    assert np.isfinite(params.flat).all()


def trained(held, epochs=6, seed=3):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 2)).astype(np.float32)
    recipe = Recipe(hidden=(8,), epochs=epochs)
    data = Data(x, x[:, :1] ** 2, None)
    return train(network(2, 1, recipe), data, held, SquaredError(), squared_error, recipe, seed, "auto", lambda: False)


def test_the_best_epoch_of_the_rows_held_out_is_kept():
    member = trained(np.arange(0, 80, 4))
    losses = member.history.column("validation_loss")
    assert member.best_epoch == 1 + int(np.argmin(losses))


def test_with_none_held_out_the_last_epoch_is_kept():
    member = trained(np.arange(0))
    assert "validation_loss" not in member.history.rows[0]
    assert member.best_epoch == len(member.history) == 6
    np.testing.assert_array_equal(member.flat, trained(np.arange(0)).flat)
    assert not np.array_equal(member.flat, trained(np.arange(0), seed=4).flat)
