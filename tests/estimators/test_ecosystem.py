"""What scikit-learn's users do with an estimator: pipelines, searches, copies, files, callbacks, changed weights."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import skops.io
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import handgrad as hg
from handgrad.estimators import samples

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WINE = scale(load_wine().data), np.array(["red", "rosé", "white"])[load_wine().target]
CANCER = scale(load_breast_cancer().data)[:150], load_breast_cancer().target[:150]
DIABETES = scale(load_diabetes().data), scale(load_diabetes().target)
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 30, "random_state": 0, "learning_rate_init": 0.01}

MODELS = {
    "classifier": (hg.MLPClassifier(**SMALL), WINE),
    "gated": (hg.MLPClassifier(**SMALL, activation="geglu", dropout=0.1, calibrate=True), WINE),
    "two classes, lbfgs": (hg.MLPClassifier(**SMALL, solver="lbfgs"), CANCER),
    "regressor": (hg.MLPRegressor(**SMALL, early_stopping=True), DIABETES),
    "float32": (hg.MLPRegressor(**SMALL, dtype="float32", solver="sgd"), DIABETES),
}


def probabilities(model, x):
    return model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x)


def by_skops(model):
    data = skops.io.dumps(model)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


def by_joblib(model, path):
    joblib.dump(model, path)
    return joblib.load(path)


COPIES = {
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "joblib": by_joblib,
    "a memory map": lambda model, path: joblib.dump(model, path) and joblib.load(path, mmap_mode="r"),
    "skops": lambda model, path: by_skops(model),
    "deepcopy": lambda model, path: copy.deepcopy(model),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", MODELS)
def test_a_copy_predicts_and_learns_on_as_the_original(name, way, tmp_path):
    estimator, (x, y) = MODELS[name]
    model = clone(estimator).fit(x, y)
    made = COPIES[way](model, tmp_path / "model")
    np.testing.assert_array_equal(probabilities(made, x), probabilities(model, x))
    if name in ("regressor", "gated", "two classes, lbfgs"):
        return
    for each in (model, made):
        for _ in range(3):
            each.partial_fit(x, y)
    np.testing.assert_array_equal(probabilities(made, x), probabilities(model, x))
    halfway = COPIES[way](model, tmp_path / "again")  # between two calls, where an engine is kept
    for each in (model, halfway):
        each.partial_fit(x, y)
    np.testing.assert_array_equal(probabilities(halfway, x), probabilities(model, x))


def test_skops_need_trust_this_alone():
    types = set()
    for name in ("classifier", "gated", "two classes, lbfgs"):
        estimator, data = MODELS[name]
        types |= set(skops.io.get_untrusted_types(data=skops.io.dumps(clone(estimator).fit(*data))))
    assert types == {"handgrad.estimators.classifier.MLPClassifier"}
    data = skops.io.dumps(hg.MLPRegressor(**SMALL).fit(*DIABETES))
    assert skops.io.get_untrusted_types(data=data) == ["handgrad.estimators.regressor.MLPRegressor"]


def test_pipelines_and_searches():
    pipeline = make_pipeline(StandardScaler(), hg.MLPClassifier(**SMALL))
    grid = {"mlpclassifier__hidden_layer_sizes": [(4,), (16,)], "mlpclassifier__optimizer": [None, hg.AdamW(0.02)]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(*WINE)
    assert search.best_score_ > 0.95
    assert search.score(*WINE) > 0.97


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_cross_validation_in_processes(n_jobs):
    scores = cross_val_score(hg.MLPClassifier(**SMALL), *WINE, cv=3, n_jobs=n_jobs, error_score="raise")
    assert scores.min() > 0.8
    np.testing.assert_array_equal(scores, cross_val_score(hg.MLPClassifier(**SMALL), *WINE, cv=3))


def test_within_others():
    assert BaggingClassifier(hg.MLPClassifier(**SMALL), 3, random_state=0).fit(*CANCER).score(*CANCER) > 0.9
    x, y = DIABETES
    assert (
        MultiOutputRegressor(hg.MLPRegressor(**SMALL))
        .fit(x, np.column_stack([y, -y]))
        .score(x, np.column_stack([y, -y]))
        > 0.3
    )


@pytest.mark.parametrize("name", MODELS)
def test_coefs_are_views_that_may_be_changed(name):
    estimator, (x, y) = MODELS[name]
    model = clone(estimator).fit(x, y)
    before = probabilities(model, x)
    model.coefs_[-1] *= 0
    model.intercepts_[-1][...] = 0
    after = probabilities(model, x)
    assert not np.array_equal(after, before)
    assert np.ptp(after, axis=0).max() == 0
    changed = [np.random.default_rng(0).normal(size=coef.shape) for coef in model.coefs_]
    model.coefs_[0] = changed[0]
    model.coefs_[-1] = changed[-1]
    replaced = probabilities(model, x)
    assert not np.array_equal(replaced, after)
    model.coefs_ = [coef.copy() for coef in model.coefs_]
    np.testing.assert_array_equal(probabilities(model, x), replaced)
    np.testing.assert_array_equal(probabilities(pickle.loads(pickle.dumps(model)), x), replaced)
    model.coefs_[0] = changed[0][..., :-1]
    with pytest.raises(ValueError, match=r"coefs_\[0\] must have shape"):
        probabilities(model, x)


def test_training_goes_on_from_changed_weights():
    x, y = WINE
    first, second = (hg.MLPClassifier(**SMALL).partial_fit(x, y, classes=["red", "rosé", "white"]) for _ in range(2))
    first.coefs_[0] *= 2
    second.coefs_[0] = second.coefs_[0] * 2
    for model in (first, second):
        model.partial_fit(x, y)
    np.testing.assert_array_equal(first.coefs_[0], second.coefs_[0])
    other = hg.MLPClassifier(**SMALL).partial_fit(x, y, classes=["red", "rosé", "white"]).partial_fit(x, y)
    assert not np.allclose(first.coefs_[0], other.coefs_[0])


def test_partial_fit_in_parts_of_any_size():
    x, y = WINE
    model = hg.MLPClassifier(**SMALL | {"batch_size": 16})
    order = np.random.default_rng(0).permutation(len(x))
    for _ in range(20):
        for part in np.split(order, [100, 130, 150]):
            model.partial_fit(x[part], y[part], classes=["red", "rosé", "white"])
    assert model.score(x, y) > 0.97


def test_a_schedule_spans_calls_of_partial_fit():
    model, whole = (
        hg.MLPClassifier(
            **SMALL | {"batch_size": 30, "max_iter": 5}, optimizer=hg.Adam(hg.Cosine(0.02)), shuffle=False, tol=0
        )
        for _ in range(2)
    )
    for _ in range(5):
        model.partial_fit(*WINE, classes=["red", "rosé", "white"])
    np.testing.assert_allclose(model.loss_curve_, whole.fit(*WINE).loss_curve_, rtol=1e-9)
    before = model.coefs_[0].copy()
    model.set_params(optimizer=hg.Adam(0.02)).partial_fit(*WINE)  # another rate serves from the next call on
    assert np.abs(model.coefs_[0] - before).max() > 1e-3


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array])
def test_sparse_rows_are_trained_on_in_parts(kind, whole, monkeypatch):
    x = np.where(np.abs(WINE[0]) > 0.8, WINE[0], 0)
    options = SMALL | {"batch_size": 32, "dropout": 0.0}
    dense = hg.MLPClassifier(**options, early_stopping=True).fit(x, WINE[1])
    if not whole:  # as where the whole is too large to be made dense: parts of two batches
        monkeypatch.setattr(samples, "DENSE", 0)
        monkeypatch.setattr(samples, "PART", 13 * 8 * 64)
    sparse = hg.MLPClassifier(**options, early_stopping=True).fit(kind(x), WINE[1])
    np.testing.assert_allclose(sparse.loss_curve_, dense.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(sparse.validation_loss_curve_, dense.validation_loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(sparse.predict_proba(kind(x)), dense.predict_proba(x), atol=1e-9)
    lbfgs = [hg.MLPClassifier(**options, solver="lbfgs").fit(each, WINE[1]) for each in (x, kind(x))]
    np.testing.assert_allclose(lbfgs[0].loss_, lbfgs[1].loss_, rtol=1e-2)


def test_data_frames():
    frame = pd.DataFrame(WINE[0]).rename(columns=lambda i: f"column {i}")
    model = hg.MLPClassifier(**SMALL).fit(frame, pd.Series(WINE[1]))
    assert list(model.feature_names_in_) == list(frame.columns)
    plain = hg.MLPClassifier(**SMALL).fit(*WINE)
    np.testing.assert_array_equal(model.predict_proba(frame), plain.predict_proba(WINE[0]))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(WINE[0])
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"column 0": "another"}))


def test_scorers_are_given_the_columns_names():
    """And none warns, while it is called after each epoch, that they are missing; warnings are errors here."""
    frame = pd.DataFrame(WINE[0]).rename(columns=lambda i: f"column {i}")
    options = SMALL | {"scoring": "accuracy"}
    named = hg.MLPClassifier(**options, early_stopping=True).fit(frame, WINE[1])
    plain = hg.MLPClassifier(**options, early_stopping=True).fit(*WINE)
    assert named.validation_scores_ == plain.validation_scores_
    own = hg.MLPClassifier(**options).fit(frame, WINE[1], X_val=frame[::2], y_val=WINE[1][::2])
    assert own.validation_scores_[-1] == own.score(frame[::2], WINE[1][::2])


@pytest.mark.parametrize("name", MODELS)
def test_rows_that_cannot_be_are_refused_in_scikit_learns_words(name):
    estimator, (x, y) = MODELS[name]
    model = clone(estimator).fit(x, y)
    dtype = model.coefs_[0].dtype
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict(np.full_like(x[:1], np.nan, dtype))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        model.predict(np.full_like(x[:1], np.inf, dtype))
    with pytest.raises(ValueError, match=f"expecting {x.shape[1]} features as input"):
        model.predict(x[:, 1:].astype(dtype))
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        model.predict(x[0].astype(dtype))
    with pytest.raises(ValueError, match="0 sample"):
        model.predict(x[:0].astype(dtype))


def test_single_rows_are_as_many():
    model = hg.MLPClassifier(**SMALL).fit(*WINE)
    together = model.predict_proba(WINE[0])
    for row, expected in zip(WINE[0][:20], together[:20], strict=True):
        np.testing.assert_allclose(model.predict_proba(row[None])[0], expected, rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 3, 178])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e200])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 7.0])
def test_probabilities_are_the_softmax_of_scores(temperature, size, rows):
    model = hg.MLPClassifier(**SMALL | {"hidden_layer_sizes": (), "max_iter": 2}).fit(*WINE)
    x = size * WINE[0][:rows]
    model.predict_proba(x)  # with the temperature as it was
    model.temperature_ = temperature
    expected = softmax((x @ model.coefs_[0] + model.intercepts_[0]) / temperature, axis=1)
    for rows_of in (np.asarray, scipy.sparse.csr_matrix, np.ndarray.tolist):
        np.testing.assert_allclose(model.predict_proba(rows_of(x)), expected, rtol=1e-10, atol=1e-300)


def test_neither_of_two_classes_is_ever_impossible():
    model = hg.MLPClassifier(**SMALL | {"hidden_layer_sizes": (), "max_iter": 2}).fit(*CANCER)
    score = (20 * CANCER[0] @ model.coefs_[0] + model.intercepts_[0])[:, 0]
    assert score.max() > 37  # beyond, 1 minus the probability of yes is 0
    expected = np.stack([expit(-score), expit(score)], axis=1)
    np.testing.assert_allclose(model.predict_proba(20 * CANCER[0]), expected, rtol=1e-10)
    assert np.isfinite(model.predict_log_proba(20 * CANCER[0])).all()


def test_scikit_learns_callbacks():
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")

    class Recorder:
        def __init__(self):
            self.scores, self.begun = [], 0

        def setup(self, estimator, context):
            self.scores, self.begun = [], 0

        def teardown(self, estimator, context):
            self.epochs = [child.task_name for child in context][1:]

        def on_fit_task_begin(self, estimator, context):
            self.begun += 1

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            self.scores.append(fitted_estimator.score(X, y))
            return len(self.scores) == 5

    recorder = Recorder()
    assert isinstance(recorder, callback.FitCallback)
    model = hg.MLPClassifier(**SMALL).set_callbacks(recorder).fit(*WINE)
    assert model.n_iter_ == 5
    assert recorder.begun == len(recorder.scores) == 6  # five epochs and the whole
    assert recorder.epochs == ["epoch"] * 5
    assert recorder.scores[-1] == recorder.scores[-2] == model.score(*WINE)
    model.set_params(solver="lbfgs").fit(*WINE)
    assert model.n_iter_ == 5
    monitor = callback.ScoringMonitor(scoring="accuracy")
    regressor = hg.MLPClassifier(**SMALL).set_callbacks(monitor).fit(*WINE)
    assert len(monitor.get_logs().data) >= regressor.n_iter_


def test_after_a_divergence_partial_fit_starts_afresh():
    """The parameters stay as they were before the call, and the optimizer's state, which is spoilt, is left behind."""
    x, y = DIABETES
    model = hg.MLPRegressor(**SMALL).partial_fit(x, y)
    before = model.predict(x)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        model.partial_fit(x * 1e300, y)
    np.testing.assert_array_equal(model.predict(x), before)
    for _ in range(50):
        model.partial_fit(x, y)
    assert model.score(x, y) > 0.3


@pytest.mark.parametrize("options", [{"hidden_layer_sizes": (5,)}, {"hidden_layer_sizes": (8, 4)}], ids=str)
def test_a_warm_start_that_is_refused_changes_nothing(options):
    model = hg.MLPClassifier(**SMALL, warm_start=True, calibrate=True).fit(*WINE)
    before = model.predict_proba(WINE[0])
    with pytest.raises(ValueError, match="coefs_"):
        model.set_params(**options).fit(*WINE)
    np.testing.assert_array_equal(model.predict_proba(WINE[0]), before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(WINE[0]), before)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_training_by_batches_goes_on_from_lbfgs(early_stopping):
    model = hg.MLPClassifier(**SMALL, solver="lbfgs", warm_start=True).fit(*WINE)
    found = copy.deepcopy(model).set_params(solver="adam").partial_fit(*WINE)
    assert found.loss_curve_ == [found.loss_]
    assert found.loss_ < 0.1
    model.set_params(solver="adam", early_stopping=early_stopping).fit(*WINE)
    assert len(model.loss_curve_) == model.n_iter_
    assert (model.best_loss_ is None) == early_stopping


def test_an_interrupt_keeps_what_was_learnt():
    def interrupt(event):
        if event.row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted by user"):
        model = hg.MLPClassifier(**SMALL, callbacks=interrupt).fit(*WINE)
    assert model.n_iter_ == 3
    assert model.score(*WINE) > 0.3


def test_many_threads_predict_at_once():
    model = hg.MLPClassifier(**SMALL).fit(*WINE)
    expected = model.predict_proba(WINE[0])
    found = joblib.Parallel(8, prefer="threads")(joblib.delayed(model.predict_proba)(WINE[0]) for _ in range(40))
    for each in found:
        np.testing.assert_array_equal(each, expected)
