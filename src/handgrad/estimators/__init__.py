"""Estimators in the way of scikit-learn: `fit`, `predict`, and all that works with them."""

from handgrad.estimators.classifier import MLPClassifier
from handgrad.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
