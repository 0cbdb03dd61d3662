"""scikit-learn's own checks of an estimator, each of them, none expected to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from estimators.checks import run_check
from handgrad import MLPClassifier, MLPRegressor

ESTIMATORS = [
    MLPClassifier(),
    MLPRegressor(),
    MLPClassifier(loss="hinge"),
    MLPRegressor(solver="lbfgs"),
]


@pytest.mark.filterwarnings("default")  # many checks fit for a few epochs alone, which is warned of
@parametrize_with_checks(ESTIMATORS)
def test_estimator_checks(estimator, check):
    run_check(estimator, check)
