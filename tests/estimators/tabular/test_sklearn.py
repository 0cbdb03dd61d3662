"""scikit-learn's own checks, and what its users do with an estimator."""

import pickle

import joblib
import numpy as np
import pytest
import skops.io as sio
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from estimators.checks import run_check
from handgrad import TabularClassifier, TabularRegressor

QUICK = {"epochs": 4, "n_ensemble": 2, "hidden_layer_sizes": (16,), "random_state": 0}
BOTH = pytest.mark.parametrize("kind", [TabularClassifier, TabularRegressor])


@parametrize_with_checks([TabularClassifier(n_ensemble=2), TabularRegressor(n_ensemble=2)])
def test_scikit_learn_s_checks(estimator, check):
    run_check(estimator, check)


def data_for(kind, rows=120):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, 3))
    y = X[:, 0] + X[:, 1] ** 2
    return X, (y > 1).astype(int) if kind is TabularClassifier else y


@BOTH
def test_what_it_is(kind):
    assert is_classifier(kind()) == (kind is TabularClassifier)
    assert is_regressor(kind()) == (kind is TabularRegressor)
    assert repr(kind(n_ensemble=2)) == f"{kind.__name__}(n_ensemble=2)"


@BOTH
def test_copies_of_a_fitted_one_predict_the_same(kind, tmp_path):
    X, y = data_for(kind)
    fitted = kind(**QUICK).fit(X, y)
    joblib.dump(fitted, tmp_path / "model")
    for copy in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "model"), clone(fitted).fit(X, y)):
        np.testing.assert_array_equal(copy.predict(X), fitted.predict(X))
    assert not hasattr(clone(fitted), "members_")


@BOTH
def test_skops_trusts_nothing_but_handgrad_s_own_types(kind):
    X, y = data_for(kind)
    X = np.column_stack([X.astype(object), np.where(y > 0, "a", "b")])
    fitted = kind(**QUICK).fit(X, y)
    data = sio.dumps(fitted)
    types = sio.get_untrusted_types(data=data)
    assert types
    assert all(name.startswith("handgrad.") for name in types)
    np.testing.assert_array_equal(sio.loads(data, trusted=types).predict(X), fitted.predict(X))


@BOTH
def test_in_pipelines_and_searches(kind):
    X, y = data_for(kind)
    pipeline = make_pipeline(StandardScaler(), kind(**QUICK))
    assert cross_val_score(pipeline, X, y, cv=2).shape == (2,)
    search = GridSearchCV(kind(**QUICK), {"n_ensemble": [1, 2], "dropout": [0.0, 0.1]}, cv=2).fit(X, y)
    assert search.best_params_["n_ensemble"] in (1, 2)
    assert len(search.predict(X)) == len(y)


def test_in_processes():
    X, y = data_for(TabularClassifier)
    alone = cross_val_score(TabularClassifier(**QUICK), X, y, cv=2)
    np.testing.assert_array_equal(cross_val_score(TabularClassifier(**QUICK), X, y, cv=2, n_jobs=2), alone)


def test_behind_a_transformed_target():
    X, y = data_for(TabularRegressor)
    model = TransformedTargetRegressor(TabularRegressor(**QUICK), func=np.log1p, inverse_func=np.expm1).fit(X, y + 5)
    assert (model.predict(X) > 0).all()
