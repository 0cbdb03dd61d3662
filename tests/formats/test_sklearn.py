"""scikit-learn's MLPs and ours: the same predictions both ways, and what one of them lacks refused."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

import handgrad as hg
from formats.layers import close
from handgrad.errors import ParameterError, ShapeError
from soak import examples

X, Y = load_iris(return_X_y=True)
TARGETS = {
    "binary": Y > 0,
    "classes": np.array(["a", "b", "c"])[Y],
    "multilabel": np.stack([Y > 0, Y > 1], 1).astype(int),
}


def fitted(estimator, y, x=X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(x, y)


def given_out(model, params, x=X):
    return model.forward(params, x)[0]


@pytest.mark.parametrize("kind", [MLPClassifier, hg.MLPClassifier])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classifiers(kind, target, activation, dtype):
    x = X.astype(dtype)
    estimator = fitted(kind((6, 5), activation, max_iter=5, random_state=0), TARGETS[target], x)
    model, params = hg.from_sklearn(estimator, output_activation=True)
    assert params.flat.dtype == dtype
    found = given_out(model, params, x)
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    close(found, estimator.predict_proba(x)[:, 1:] if target == "binary" else estimator.predict_proba(x), tolerance)

    back = hg.to_sklearn(model, params, estimator.classes_)
    close(back.predict_proba(x), estimator.predict_proba(x), tolerance)
    np.testing.assert_array_equal(back.predict(x), estimator.predict(x))
    scores, taken = hg.from_sklearn(back)
    assert type(scores.layers[-1]) is hg.Linear
    np.testing.assert_array_equal(taken.flat, params.flat)


@pytest.mark.parametrize("kind", [MLPRegressor, hg.MLPRegressor])
@pytest.mark.parametrize("outputs", [1, 2])
def test_regressors(kind, outputs):
    y = X[:, 0] if outputs == 1 else X[:, :2]
    estimator = fitted(kind(hidden_layer_sizes=(6,), max_iter=5, random_state=0), y)
    model, params = hg.from_sklearn(estimator, output_activation=True)
    back = hg.to_sklearn(model, params)
    for found in (given_out(model, params).reshape(y.shape), back.predict(X)):
        close(found, estimator.predict(X), 1e-13)


@pytest.mark.parametrize("activation", ["swiglu", "gelu"])
def test_our_own_estimators_activations(activation):
    estimator = fitted(hg.MLPClassifier((6,), activation, max_iter=3, dropout=0.1, calibrate=True), Y)
    model, params = hg.from_sklearn(estimator, output_activation=True)
    close(given_out(model, params), estimator.predict_proba(X), 1e-13)
    estimator.coefs_[0][...] = 7
    assert (params.flat != 7).any()


def test_a_model_as_an_estimator_with_all_that_folds():
    """A temperature, both layouts, no biases, Flatten, Dropout and nesting."""
    model = hg.Sequential(
        [
            hg.Flatten(),
            hg.Sequential([hg.Linear(4, 7, layout="out_in", bias=False), hg.Dropout(0.5), hg.Tanh()]),
            hg.Linear(7, 3),
            hg.Identity(),
            hg.Softmax(2.5),
        ]
    )
    params = model.init(0)
    estimator = hg.to_sklearn(model, params, ["x", "y", "z"])
    close(estimator.predict_proba(X), given_out(model, params), 1e-14)
    assert set(estimator.predict(X)) <= {"x", "y", "z"}


@pytest.mark.parametrize("top", [[], [hg.Softmax()], [hg.Softmax(0.3)]])
def test_a_softmax_of_two_is_a_logistic_function(top):
    model = hg.Sequential([*hg.mlp([4, 6, 2]).layers, *top])
    params = model.init(0)
    estimator = hg.to_sklearn(model, params, [3, 8])
    full = hg.Sequential([*model.layers, *([] if top else [hg.Softmax()])])
    close(estimator.predict_proba(X), given_out(full, params), 1e-13)
    np.testing.assert_array_equal(estimator.predict(X), np.array([3, 8])[given_out(full, params).argmax(1)])


@pytest.mark.parametrize("classes", [None, [0, 1, 2]])
def test_what_is_made_can_be_trained_on(classes):
    model = hg.mlp([4, 6, 3 if classes else 1])
    estimator = hg.to_sklearn(model, model.init(0), classes)
    before = [coef.copy() for coef in estimator.coefs_]
    estimator.partial_fit(X, Y)
    assert estimator.n_iter_ == 1
    assert estimator.coefs_[0].shape == before[0].shape
    assert (estimator.coefs_[0] != before[0]).any()
    start = estimator.loss_curve_[0]
    fitted(estimator.set_params(warm_start=True, max_iter=40), Y)
    assert estimator.loss_curve_[-1] < start


def test_parameters_are_copies():
    model = hg.mlp([4, 3])
    params = model.init(0)
    estimator = hg.to_sklearn(model, params, [0, 1, 2])
    estimator.coefs_[0][...] = 0
    assert params.flat.any()


@settings(max_examples=examples(40))
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=5),
    st.sampled_from(["identity", "sigmoid", "tanh", "relu"]),
    st.sampled_from(["in_out", "out_in"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_plain_network_predicts_the_same(widths, activation, layout, bias, seed):
    model = hg.mlp(widths, activation, layout=layout, bias=bias)
    params = model.init(seed)
    x = np.random.default_rng(seed).normal(size=(5, widths[0]))
    out = given_out(model, params, x)
    close(hg.to_sklearn(model, params).predict(x).reshape(out.shape), out, 1e-12)


class OwnSequential(hg.Sequential):
    pass


def relus(*layers, n=4):
    return hg.Sequential([hg.Linear(4, n), *layers])


@pytest.mark.parametrize(
    ("model", "classes", "error", "message"),
    [
        (relus(hg.LayerNorm(4)), None, hg.FormatError, r"layer '1': .*cannot express LayerNorm\(4\): it has no such"),
        (relus(hg.Sequential([hg.GELU()])), None, hg.FormatError, r"layer '1\.0': .*cannot express GELU"),
        (relus(OwnSequential([])), None, hg.FormatError, r"layer '1': .*cannot express OwnSequential"),
        (hg.Residual(hg.Linear(4, 4)), None, hg.FormatError, "cannot express Residual"),
        (hg.Sequential([hg.ReLU(), hg.Linear(4, 4)]), None, hg.FormatError, r"layer '0': .*follows a linear layer"),
        (relus(hg.ReLU(), hg.ReLU()), None, hg.FormatError, r"layer '2': .*follows a linear layer"),
        (relus(hg.ReLU()), None, hg.FormatError, "gives scores as they are; expected none on top, got ReLU"),
        (relus(hg.Tanh()), [0, 1, 2, 3], hg.FormatError, "softmax or a sigmoid on top, got Tanh"),
        (relus(hg.ReLU(), hg.Linear(4, 4), hg.Tanh(), hg.Linear(4, 2)), None, hg.FormatError, "relu, tanh"),
        (relus(hg.Softmax(), hg.Linear(4, 2)), None, hg.FormatError, "no softmax in a hidden layer"),
        (relus(hg.Softmax(), n=1), [0, 1], hg.FormatError, "a softmax over a single score is 1"),
        (hg.Dropout(), None, hg.FormatError, "the model has none"),
        (relus(), [0, 1], ShapeError, "a label for each of 4 scores, got 2"),
        (relus(n=1), [0], ShapeError, "two or more, got 1"),
        (relus(), [0, 2, 1, 3], ShapeError, "sorted, each once"),
        (relus(), ["a", "a", "b", "c"], ShapeError, "sorted, each once"),
        (relus(hg.Sigmoid()), [1, 2, 3, 4], ShapeError, "multilabel targets are 0 to 3"),
    ],
)
def test_what_scikit_learn_cannot_express(model, classes, error, message):
    with pytest.raises(error, match=message):
        hg.to_sklearn(model, model.init(0), classes)


def test_parameters_of_another_model():
    with pytest.raises(ParameterError, match=r"missing \['bias'\], unknown \['scale'\]"):
        hg.to_sklearn(hg.Linear(2, 1), {"weight": np.ones((2, 1)), "scale": np.ones(1)})


def test_estimators_that_no_model_is():
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(hg.FormatError, match="takes an MLPClassifier or MLPRegressor, got LogisticRegression"):
        hg.from_sklearn(LogisticRegression())
    with pytest.raises(hg.FormatError, match="MLPClassifier is not fitted"):
        hg.from_sklearn(MLPClassifier())
    poisson = fitted(MLPRegressor(loss="poisson", hidden_layer_sizes=(3,), max_iter=3), Y)
    with pytest.raises(hg.FormatError, match="got 'exp'"):
        hg.from_sklearn(poisson, output_activation=True)
    model, params = hg.from_sklearn(poisson)
    close(np.exp(given_out(model, params))[:, 0], poisson.predict(X), 1e-12)
