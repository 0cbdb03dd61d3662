"""Fitted estimators as ONNX files, preprocessing included: the same labels, probabilities and numbers."""

import warnings

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import handgrad as hg
from formats.layers import close
from formats.test_to_onnx import run

RNG = np.random.default_rng(0)
X = RNG.normal(2, 3, (90, 4)).astype(np.float32)
Y = (X[:, 0] > 2).astype(int) + (X[:, 1] > 3)
TARGETS = {
    "numbers": Y,
    "text": np.array(["a", "b", "c"])[Y],
    "truth": Y > 0,
    "floats": Y.astype(float),
    "objects": np.array(["a", "b", "c"], object)[Y],
    "multilabel": np.stack([Y > 0, Y > 1], 1).astype(int),
}
BEFORE = {"none": (), "scaler": (StandardScaler(),), "several": (SimpleImputer(), "passthrough", MinMaxScaler())}


def fitted(estimator, *given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*given)


@pytest.mark.parametrize("kind", [MLPClassifier, hg.MLPClassifier])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("before", BEFORE)
def test_classifiers(kind, target, before):
    estimator = make_pipeline(*BEFORE[before], kind((8,), max_iter=5, random_state=0))
    fitted(estimator, X, TARGETS[target])
    made = hg.to_onnx(estimator)
    assert [each.name for each in made.graph.output] == ["label", "probabilities"]
    out = run(made, x=X)
    close(out["probabilities"], estimator.predict_proba(X), 2e-6)
    np.testing.assert_array_equal(out["label"], estimator.predict(X))


@pytest.mark.parametrize("kind", [MLPRegressor, hg.MLPRegressor])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_regressors(kind, outputs, loss):
    y = np.stack([Y, Y + 1], 1)[:, :outputs].squeeze()
    estimator = fitted(kind(loss=loss, hidden_layer_sizes=(8,), max_iter=5, random_state=0), X, y)
    close(run(hg.to_onnx(estimator), x=X)["prediction"], estimator.predict(X), 2e-6)


@pytest.mark.parametrize("y", [Y, Y > 0], ids=["three", "two"])
def test_a_calibrated_classifier_with_a_unit_of_ours(y):
    estimator = fitted(hg.MLPClassifier((8,), "swiglu", calibrate=True, max_iter=30, random_state=0), X, y)
    assert estimator.temperature_ != 1
    close(run(hg.to_onnx(estimator), x=X)["probabilities"], estimator.predict_proba(X), 2e-6)


def test_a_hinge_gives_scores():
    estimator = fitted(hg.MLPClassifier((8,), loss="hinge", max_iter=5, random_state=0), X, Y)
    out = run(hg.to_onnx(estimator), x=X)
    close(out["scores"], estimator.decision_function(X), 2e-6)
    np.testing.assert_array_equal(out["label"], estimator.predict(X))


TABLE = pd.DataFrame(
    {
        "height": RNG.normal(1e6, 3, 240),
        "colour": RNG.choice(np.array(["red", "green", "blue", None], object), 240),
        "street": pd.Categorical(RNG.integers(0, 30, 240)),
        "count": RNG.choice([1.0, 2.0, np.nan], 240),
        "nothing": [None] * 240,
        "flag": RNG.choice([True, False], 240),
    }
)
TARGET = (TABLE["height"] > 1e6).to_numpy().astype(int) + (TABLE["colour"] == "red").to_numpy()


def feeds(table):
    """What the graph's inputs are given."""
    values = {
        "height": table["height"].to_numpy(float),
        "colour": table["colour"].fillna("").to_numpy(object),
        "street": table["street"].to_numpy(np.int64),
        "count": table["count"].to_numpy(float),
        "nothing": np.full(len(table), np.nan),
        "flag": table["flag"].to_numpy(float),
    }
    return {name: value[:, None] for name, value in values.items()}


@pytest.fixture(scope="module")
def classifier():
    return hg.TabularClassifier(epochs=3, n_ensemble=2, random_state=0).fit(TABLE, TARGET)


def test_a_table_with_text_categories_and_gaps(classifier):
    made = hg.to_onnx(classifier)
    onnx.checker.check_model(made, full_check=True)
    assert [each.name for each in made.graph.input] == list(TABLE.columns)
    assert [(each.domain, each.version) for each in made.opset_import] == [("", 20), ("ai.onnx.ml", 3)]
    out = run(made, **feeds(TABLE))
    close(out["probabilities"], classifier.predict_proba(TABLE), 2e-6)
    np.testing.assert_array_equal(out["label"], classifier.predict(TABLE))


def test_levels_never_seen_and_numbers_far_away(classifier):
    odd = TABLE[:3].assign(colour="violet", height=[1e18, -1e18, np.nan], street=pd.Categorical([99, 98, 97]))
    close(run(hg.to_onnx(classifier), **feeds(odd))["probabilities"], classifier.predict_proba(odd), 2e-6)


@pytest.mark.parametrize("members", [1, 3])
def test_numbers_from_a_plain_array(members):
    x = X.astype(float)
    estimator = hg.TabularRegressor(epochs=3, n_ensemble=members, random_state=0).fit(x, 100.0 * Y)
    out = run(hg.to_onnx(estimator), x=x)["prediction"]
    close(out, estimator.predict(x), 2e-6)
    wide = run(hg.to_onnx(estimator, dtype="float64"), x=x * 5)["prediction"]
    close(wide, estimator.predict(x * 5), 1e-6)


def table_of(**columns):
    x = pd.DataFrame({"a": RNG.normal(size=40)} | columns)
    return hg.TabularRegressor(epochs=1, n_ensemble=1, random_state=0).fit(x, RNG.normal(size=40))


MIXED, GAPS, WORDS = (np.array(pair, object)[np.arange(40) % 2] for pair in ([1, "x"], ["", None], ["u", "v"]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogisticRegression().fit(X, Y), "takes an MLPClassifier or MLPRegressor, got LogisticRegression"),
        (lambda: make_pipeline(StandardScaler(), MLPClassifier()), "MLPClassifier is not fitted"),
        (lambda: hg.MLPClassifier(), "MLPClassifier is not fitted"),
        (lambda: hg.TabularClassifier(), "TabularClassifier"),
        (lambda: table_of(day=pd.date_range("2020-01-01", periods=40)), "column 'day' holds dates"),
        (lambda: table_of(mixed=MIXED), "levels of column 'mixed' must be all text, or all whole numbers"),
        (lambda: table_of(gap=GAPS), "'' and missing"),
        (
            lambda: table_of(prediction=WORDS),
            "name of its own, not empty, got 'prediction'",
        ),
    ],
)
def test_estimators_that_cannot_be_written(make, message):
    with pytest.raises(hg.FormatError, match=message):
        hg.to_onnx(make())
