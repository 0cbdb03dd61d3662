"""Numbers from tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_y

from handgrad.estimators.tabular.base import Given, TabularEstimator, weights
from handgrad.estimators.tabular.recipe import REGRESSION
from handgrad.layers import SquaredError

STRATA = 10  # parts of equal size that y is cut into, so that each member's held-out rows are like all


class TabularRegressor(RegressorMixin, TabularEstimator):
    """Numbers from a table as it is: text, categories, dates, missing values; strong defaults, no tuning.

    An ensemble of small networks, trained at once on the cores, each up to its best epoch on the part of the rows that
    it does not see; what it predicts is their mean, within the range of y that was seen. Arguments are those of
    `TabularClassifier`, and so are the attributes; besides:

    center_, spread_: y's mean and standard deviation, by which it is scaled. range_: its least and greatest value.
    """

    _recipe = REGRESSION

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TabularRegressor:
        """Train the members. X: a DataFrame or an array (m, columns); y: numbers (m,).

        sample_weight: (m,), at least 0. Raises ValueError or TypeError for what cannot be learnt from, by name.
        """
        recipe = self._settings()
        X = self._rows(X, reset=True)
        numbers = _check_y(y, y_numeric=True).astype(np.float64)
        given = Given.of(X, numbers, weights(sample_weight, len(numbers)))
        y, m = given.y, len(given.y)
        power = int(np.frexp(np.abs(y).max())[1])  # squares of y / 2**power stay within what floats hold
        unit = np.ldexp(y, -power)
        center = np.average(unit, weights=given.weight)
        spread = np.sqrt(np.average((unit - center) ** 2, weights=given.weight))
        z = ((unit - center) / (spread or 1.0))[:, None]
        rank = np.argsort(np.argsort(y, kind="stable"), kind="stable")
        strata = rank * min(STRATA, max(1, m // STRATA)) // m
        self._train(given, z, z.astype(np.float32), strata, 1, SquaredError(), squared_error, recipe)
        self.center_, self.spread_ = float(np.ldexp(center, power)), float(np.ldexp(spread, power)) or 1.0
        self.range_ = float(y.min()), float(y.max())
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The number of each row, (m,): the members' mean, within the range seen."""
        parts = [scores[:, :, 0].mean(axis=0) for scores in self._scores(X)]
        with np.errstate(over="ignore"):  # what is infinite is clipped as well
            return np.clip(self.center_ + self.spread_ * np.concatenate(parts), *self.range_)


def squared_error(scores: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The mean of (scores - y)²."""
    return float(np.average((np.asarray(scores, np.float64) - y)[:, 0] ** 2, weights=weight))
