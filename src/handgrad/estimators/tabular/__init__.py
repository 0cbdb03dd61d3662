"""`TabularClassifier` and `TabularRegressor`: tables straight in, strong defaults, no tuning."""

from handgrad.estimators.tabular.classifier import TabularClassifier
from handgrad.estimators.tabular.regressor import TabularRegressor

__all__ = ["TabularClassifier", "TabularRegressor"]
