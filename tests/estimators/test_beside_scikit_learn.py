"""Beside scikit-learn's estimators: the same signature, and from the same seed the same fit, epoch by epoch."""

import inspect
import pickle

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network as theirs
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

import handgrad as hg

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WINE = scale(load_wine().data), np.array(["red", "rosé", "white"])[load_wine().target]
CANCER = scale(load_breast_cancer().data)[:250], load_breast_cancer().target[:250]
DIABETES = scale(load_diabetes().data), scale(load_diabetes().target)
TWO = DIABETES[0], np.column_stack([DIABETES[1], DIABETES[0][:, 0] ** 2])
COUNTS = DIABETES[0], np.round(np.exp(DIABETES[1] + 1))
LABELS = [scale(make_multilabel_classification(n_samples=120, random_state=0)[0])]
LABELS.append(make_multilabel_classification(n_samples=120, random_state=0)[1])
SPARSE = scipy.sparse.csc_array(np.where(np.abs(WINE[0]) > 1, WINE[0], 0)), WINE[1]
SMALL = {"hidden_layer_sizes": (20,), "max_iter": 30, "random_state": 3}

# name -> (estimator, data, options)
FITS = {
    "adam, three classes": ("MLPClassifier", WINE, {}),
    "adam, two classes": ("MLPClassifier", CANCER, {"batch_size": 50}),
    "adam, labels of many": ("MLPClassifier", LABELS, {}),
    "adam, numbers": ("MLPRegressor", DIABETES, {}),
    "adam, two numbers": ("MLPRegressor", TWO, {}),
    "two hidden layers": ("MLPClassifier", WINE, {"hidden_layer_sizes": (20, 10), "activation": "tanh"}),
    "logistic": ("MLPClassifier", CANCER, {"activation": "logistic"}),
    "a linear model": ("MLPRegressor", DIABETES, {"hidden_layer_sizes": (), "learning_rate_init": 0.01}),
    "counts": ("MLPRegressor", COUNTS, {"loss": "poisson"}),
    "single rows": ("MLPRegressor", (DIABETES[0][:40], DIABETES[1][:40]), {"batch_size": 1, "max_iter": 5}),
    "no shuffling": ("MLPClassifier", WINE, {"shuffle": False}),
    "alpha": ("MLPClassifier", WINE, {"alpha": 1.0}),
    "weak moments": ("MLPClassifier", WINE, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-6}),
    "sgd": ("MLPClassifier", WINE, {"solver": "sgd", "learning_rate_init": 0.05}),
    "sgd without Nesterov": ("MLPRegressor", TWO, {"solver": "sgd", "nesterovs_momentum": False}),
    "sgd without momentum": ("MLPRegressor", DIABETES, {"solver": "sgd", "momentum": 0, "learning_rate_init": 0.05}),
    "invscaling": (
        "MLPRegressor",
        DIABETES,
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.05, "power_t": 0.1},
    ),
    "adaptive": (
        "MLPClassifier",
        WINE,
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2, "max_iter": 200},
    ),
    "stopped by tol": ("MLPClassifier", WINE, {"tol": 0.05, "max_iter": 200}),
    "early stopping": ("MLPClassifier", WINE, {"early_stopping": True, "max_iter": 100, "tol": 1e-3}),
    "early stopping, two classes": ("MLPClassifier", CANCER, {"early_stopping": True, "validation_fraction": 0.3}),
    "early stopping, labels of many": ("MLPClassifier", LABELS, {"early_stopping": True}),
    "early stopping, two numbers": ("MLPRegressor", TWO, {"early_stopping": True, "max_iter": 100}),
    "sparse": ("MLPClassifier", SPARSE, {}),
}


def fitted(module, case, **more):
    name, data, options = FITS[case]
    return getattr(module, name)(**SMALL | options | more).fit(*data)


@pytest.mark.parametrize("case", FITS)
def test_the_same_fit_from_the_same_seed(case):
    ours, model = fitted(hg, case), fitted(theirs, case)
    assert (ours.n_iter_, ours.t_, ours.n_layers_, ours.n_outputs_) == (
        *(model.n_iter_, model.t_, model.n_layers_, model.n_outputs_),
    )
    assert ours.out_activation_ == model.out_activation_
    # what differs: the penalty of a shorter last batch, and where in Adam's root epsilon stands, which shows in the
    # weights of units that are never on
    np.testing.assert_allclose(ours.loss_curve_, model.loss_curve_, rtol=2e-3)
    np.testing.assert_allclose(ours.loss_, model.loss_, rtol=2e-3)
    if model.best_loss_ is None:
        assert ours.best_loss_ is None
        np.testing.assert_allclose(ours.validation_scores_, model.validation_scores_, rtol=1e-4)
        np.testing.assert_allclose(ours.best_validation_score_, model.best_validation_score_, rtol=1e-4)
    else:
        np.testing.assert_allclose(ours.best_loss_, model.best_loss_, rtol=2e-3)
        assert ours.validation_scores_ is ours.best_validation_score_ is model.validation_scores_ is None
    for own, other in zip(ours.coefs_ + ours.intercepts_, model.coefs_ + model.intercepts_, strict=True):
        np.testing.assert_allclose(own, other, rtol=0, atol=0.03)
    x = FITS[case][1][0]
    method = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    np.testing.assert_allclose(getattr(ours, method)(x), getattr(model, method)(x), rtol=0.02, atol=5e-3)


@pytest.mark.parametrize("case", ["adam, three classes", "adam, two numbers", "counts", "logistic"])
def test_the_first_weights_are_the_same_to_the_bit(case):
    """A fit whose rate is next to nothing stays where it starts."""
    options = {"learning_rate_init": 1e-300, "max_iter": 1, "solver": "sgd"}
    ours, model = fitted(hg, case, **options), fitted(theirs, case, **options)
    for own, other in zip(ours.coefs_ + ours.intercepts_, model.coefs_ + model.intercepts_, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("case", ["adam, three classes", "adam, labels of many", "adam, numbers", "counts"])
def test_lbfgs_finds_as_low_a_loss(case):
    options = {"solver": "lbfgs", "max_iter": 300, "alpha": 1.0, "tol": 1e-6}
    ours, model = fitted(hg, case, **options), fitted(theirs, case, **options)
    assert not hasattr(ours, "loss_curve_")
    np.testing.assert_allclose(ours.loss_, model.loss_, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_and_warm_starts_go_on_alike(solver):
    x, y = WINE
    pair = [
        module.MLPClassifier(solver=solver, warm_start=True, learning_rate_init=0.01, **SMALL)
        for module in (hg, theirs)
    ]
    for model in pair:
        model.fit(x, y)
        model.fit(x, y)
        for part in np.array_split(np.random.default_rng(0).permutation(len(x)), 3):
            model.partial_fit(x[part], y[part])
    ours, model = pair
    assert (ours.n_iter_, ours.t_, len(ours.loss_curve_)) == (model.n_iter_, model.t_, len(model.loss_curve_))
    np.testing.assert_allclose(ours.loss_curve_, model.loss_curve_, rtol=5e-3)


@pytest.mark.parametrize("kind", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("sizes", [(100, 100), (100, 30)])
def test_a_learning_rate_goes_on_over_calls_of_partial_fit(kind, sizes):
    """Also where a file, or a batch of another size, takes another engine."""
    options = {"solver": "sgd", "learning_rate": kind, "learning_rate_init": 0.05, "power_t": 0.3, "random_state": 0}
    options |= {"tol": 0.1, "n_iter_no_change": 2}
    ours, model = (module.MLPRegressor(hidden_layer_sizes=(10,), **options) for module in (hg, theirs))
    for i in range(12):
        part = slice(sizes[i % 2])
        ours, model = (pickle.loads(pickle.dumps(each)) for each in (ours, model))
        for each in (ours, model):
            each.partial_fit(DIABETES[0][part], DIABETES[1][part])
    np.testing.assert_allclose(ours.loss_curve_, model.loss_curve_, rtol=1e-4)


@pytest.mark.parametrize("one", ["a", 7])
def test_a_single_label_is_what_is_predicted(one):
    """However few the epochs, after which scores may be of either sign."""
    x, y = WINE[0], np.full(len(WINE[0]), one)
    ours, model = (module.MLPClassifier(max_iter=1, random_state=0).fit(x, y) for module in (hg, theirs))
    np.testing.assert_array_equal(ours.predict(x), model.predict(x))
    np.testing.assert_allclose(ours.predict_proba(x), model.predict_proba(x), atol=1e-3)
    assert (hg.MLPClassifier(max_iter=1, loss="hinge", random_state=0).fit(x, y).predict(x) == one).all()


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_the_signature_is_theirs_with_more_behind(name):
    theirs_first = inspect.signature(getattr(theirs, name)).parameters.values()
    ours = list(inspect.signature(getattr(hg, name)).parameters.values())
    for own, other in zip(ours, theirs_first, strict=False):
        assert (own.name, own.default, own.kind) == (other.name, other.default, other.kind)
    assert all(own.kind is own.KEYWORD_ONLY for own in ours[len(theirs_first) :])


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_all_that_a_fit_leaves_is_there(name):
    data = WINE if name == "MLPClassifier" else DIABETES
    ours, model = (getattr(module, name)(early_stopping=True, **SMALL).fit(*data) for module in (hg, theirs))
    public = {attribute for attribute in vars(model) if attribute.endswith("_") and not attribute.startswith("_")}
    assert public <= vars(ours).keys()


def test_weights_count_as_rows_do():
    """Twice the weight is twice the row, where one batch holds all."""
    x, y = WINE
    counts = np.arange(len(x)) % 3
    options = SMALL | {"batch_size": 10_000, "shuffle": False}
    with pytest.warns(UserWarning, match="clipped"):
        weighted = hg.MLPClassifier(**options).fit(x, y, counts)
    with pytest.warns(UserWarning, match="clipped"):
        repeated = hg.MLPClassifier(**options).fit(np.repeat(x, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-9)


def test_it_is_said_when_max_iter_came_first():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        hg.MLPClassifier(max_iter=2).fit(*WINE)
