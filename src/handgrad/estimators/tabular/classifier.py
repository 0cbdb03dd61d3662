"""Classes from tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y

from handgrad.errors import ValueRangeError
from handgrad.estimators.tabular.base import Given, TabularEstimator, weights
from handgrad.estimators.tabular.calibration import calibrated_log_loss, sharpness, softmax
from handgrad.estimators.tabular.recipe import CLASSIFICATION
from handgrad.layers import CrossEntropy

TINY = 1e-15  # the least variance that a class is given


class TabularClassifier(ClassifierMixin, TabularEstimator):
    """Classes from a table as it is: text, categories, dates, missing values; strong defaults, no tuning.

    An ensemble of small networks, trained at once on the cores, each up to its best epoch on the part of the rows that
    it does not see; probabilities are their mean, at a temperature taken from those parts. Arguments that are None
    follow the recipe (`handgrad.estimators.tabular.recipe`), which is RealMLP's where it can be.

    hidden_layer_sizes: widths of the hidden layers. epochs, batch_size, learning_rate, dropout: of each member's
        training; the learning rate is the highest of its schedule.
    n_ensemble: members. validation_fraction: of the rows, held out by each, above 0 and at most 0.5.
    random_state: a seed or a RandomState; the same seed gives the same bits, however many threads.
    engine: as in `handgrad.fit`. threads: members at work at once, "auto" for the number of cores.
    progress: a bar on the terminal, of the first member.

    classes_: labels, sorted. columns_: what each column was found to be. members_: parameters and history of each.
    sharpness_: 1 / temperature. n_features_in_, feature_names_in_: as everywhere in scikit-learn.
    """

    _recipe = CLASSIFICATION

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TabularClassifier:
        """Train the members. X: a DataFrame or an array (m, columns); y: labels (m,), of two classes or more.

        sample_weight: (m,), at least 0. Raises ValueError or TypeError for what cannot be learnt from, by name.
        """
        recipe = self._settings()
        X = self._rows(X, reset=True)
        labels = _check_y(y)
        check_classification_targets(labels)
        weight = weights(sample_weight, len(labels))
        classes = np.unique(labels[weight > 0])
        k = len(classes)
        if k < 2:
            raise ValueRangeError(f"y must hold two classes or more, got one class: {classes.tolist()}")
        given = Given.of(X, np.searchsorted(classes, labels), weight)
        y = given.y
        shares = np.bincount(y, given.weight, k) / given.weight.sum()
        told = np.arange(k == 2, k if given.table.categories else k == 2)  # of two classes one says all
        known = (y[:, None] == told) - shares[told]
        known /= np.sqrt(np.maximum(shares * (1 - shares), TINY))[told]
        loss = CrossEntropy(recipe.label_smoothing)
        unseen = self._train(given, known, y, y, k, loss, calibrated_log_loss, recipe)
        rows, scores = (np.concatenate(parts) for parts in zip(*unseen, strict=True))
        self.sharpness_ = sharpness(scores, y[rows], given.weight[rows]) if len(rows) else 1.0
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (m, classes): the members' mean."""
        scores = self._scores(X)
        return np.concatenate([softmax(self.sharpness_ * part).mean(axis=0) for part in scores])

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, (m,)."""
        p = self.predict_proba(X)
        return self.classes_[p.argmax(axis=1)]
