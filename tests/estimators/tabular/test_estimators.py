"""Tables in, classes and numbers out: what is learnt, what is kept, what is refused by name."""

import datetime
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import train_test_split

from handgrad import TabularClassifier, TabularRegressor
from handgrad.errors import DTypeError, HandgradError, ShapeError, ValueRangeError

QUICK = {"epochs": 8, "n_ensemble": 2, "hidden_layer_sizes": (16, 16), "random_state": 0}
BOTH = pytest.mark.parametrize("kind", [TabularClassifier, TabularRegressor])


def mixed(rows=300, seed=0):
    """A table of each kind of column, and a number that follows from them."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(size=rows)
    colour = rng.choice(["red", "green", "blue"], rows).astype(object)
    day = [datetime.date(2024, 1, 1) + datetime.timedelta(days=int(d)) for d in rng.integers(0, 300, rows)]
    y = np.log(size) + 2.0 * (colour == "red") + 0.01 * np.array([d.timetuple().tm_yday for d in day])
    size[rng.random(rows) < 0.1] = np.nan
    colour[rng.random(rows) < 0.1] = None
    table = {"size": size, "colour": colour, "day": day, "empty": [None] * rows, "same": ["x"] * rows}
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in table.items()}), y


def target_of(kind, y):
    return np.where(y > np.median(y), "high", "low") if kind is TabularClassifier else y


@BOTH
def test_learns_from_a_table_as_it_is(kind):
    X, y = mixed(600)
    y = target_of(kind, y)
    model = kind(random_state=0).fit(X.slice(0, 400), y[:400])
    assert list(model.feature_names_in_) == X.column_names
    assert [column.role for column in model.columns_] == ["number", "category", "date", "empty", "category"]
    assert model.score(X.slice(400), y[400:]) > 0.8


def test_flowers_and_their_probabilities():
    X, y = load_iris(return_X_y=True)
    names = load_iris().target_names[y]
    Xa, Xb, a, b = train_test_split(X, names, random_state=0, stratify=y)
    model = TabularClassifier(random_state=0).fit(Xa, a)
    p = model.predict_proba(Xb)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"]
    assert model.score(Xb, b) > 0.9
    assert -np.log(p[np.arange(len(b)), np.searchsorted(model.classes_, b)]).mean() < 0.25
    assert all(1 <= member.best_epoch <= len(member.history) for member in model.members_)


def test_numbers_stay_within_the_range_seen():
    X, y = load_diabetes(return_X_y=True)
    model = TabularRegressor(random_state=0).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.35
    far = model.predict(100 * X)
    assert y[:300].min() <= far.min()
    assert far.max() <= y[:300].max()


@BOTH
def test_the_same_seed_gives_the_same_bits_however_many_threads(kind):
    X, y = mixed()
    y = target_of(kind, y)
    others = {"threads": 1}, {"threads": 2}, {"random_state": 1}
    a, b, c = (kind(**QUICK).set_params(**other).fit(X, y) for other in others)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    for one, other in zip(a.members_, b.members_, strict=True):
        np.testing.assert_array_equal(one.flat, other.flat)
    assert not np.array_equal(a.members_[0].flat, a.members_[1].flat)
    assert not np.array_equal(a.members_[0].flat, c.members_[0].flat)


def test_engines_agree():
    X, y = mixed(100)
    fast, slow = (TabularRegressor(**QUICK, engine=engine).fit(X, y) for engine in ("compiled", "eager"))
    rounding = 8 * np.finfo(np.float32).eps  # a rounding of the weights in each epoch
    np.testing.assert_allclose(fast.predict(X), slow.predict(X), rtol=0, atol=rounding * slow.spread_)


def test_many_rows_are_predicted_as_few_are(monkeypatch):
    X, y = mixed()
    model = TabularRegressor(**QUICK).fit(X, y)
    whole = model.predict(X)
    monkeypatch.setattr("handgrad.estimators.tabular.base.PREDICTED", 7)
    np.testing.assert_allclose(model.predict(X), whole, rtol=1e-12)
    np.testing.assert_allclose([model.predict(X.slice(i, 1))[0] for i in range(20)], whole[:20], rtol=1e-12)


def test_a_fitted_model_may_be_shared_by_threads():
    X, y = mixed()
    model = TabularRegressor(**QUICK).fit(X, y)
    whole, seen = model.predict(X), [None] * 4

    def run(i):
        seen[i] = model.predict(X)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in seen:
        np.testing.assert_array_equal(each, whole)


def test_values_never_seen_are_taken():
    X, y = mixed()
    model = TabularRegressor(**QUICK).fit(X, y)
    row = {"size": [1.0], "colour": ["purple"], "day": [None], "empty": ["what"], "same": ["y"]}
    names = list(row)
    new = pa.table({name: row[name] for name in names})
    assert np.isfinite(model.predict(new)).all()
    nothing = pa.table({name: pa.array([None], pa.float64()) for name in names})
    assert np.isfinite(model.predict(nothing)).all()


def test_columns_are_held_to_what_they_were():
    X, y = mixed()
    model = TabularRegressor(**QUICK).fit(X, y)
    with pytest.raises(DTypeError, match="column 'size' held numbers at fit, got 'large' in row 0"):
        model.predict(X.slice(0, 1).set_column(0, "size", pa.array(["large"])))
    with pytest.raises(DTypeError, match="column 'day' held dates at fit, got 'today' in row 0"):
        model.predict(X.slice(0, 1).set_column(2, "day", pa.array(["today"])))
    with pytest.raises(ValueRangeError, match="infinity: column 'size' in row 0"):
        model.predict(X.slice(0, 1).set_column(0, "size", pa.array([np.inf])))
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- sise\n.*now missing:\n- size"):
        model.predict(X.rename_columns(["sise", *X.column_names[1:]]))
    with pytest.raises(ValueError, match="now missing:\n- same"):
        model.predict(X.drop_columns(["same"]))
    with pytest.raises(ValueError, match="unseen at fit time:\n- more"):
        model.predict(X.append_column("more", pa.array(y)))
    with pytest.raises(ValueError, match="same order"):
        model.predict(X.select(X.column_names[::-1]))


def test_a_class_seen_once():
    X, y = load_iris(return_X_y=True)
    rows = np.r_[0:50, 50:100, 100:101]
    model = TabularClassifier(**QUICK).fit(X[rows], y[rows])
    assert model.predict_proba(X).shape == (150, 3)
    two = TabularClassifier(**QUICK).fit(X[[0, 60]], y[[0, 60]])  # nobody can be held out
    assert two.predict_proba(X).shape == (150, 2)


@BOTH
@pytest.mark.parametrize("weight", [0.5, "ones", "integers"])
def test_weights(kind, weight):
    """In a table of few rows a weight is as good as repetition, to the last bit; equal weights are none."""
    X, y = mixed(30)
    y = target_of(kind, y)
    sizes = np.random.default_rng(1).integers(0, 4, 30) if weight == "integers" else np.ones(30, int)
    given = {"ones": sizes, "integers": sizes}.get(weight, weight)
    weighted = kind(**QUICK).fit(X, y, sample_weight=given)
    repeated = kind(**QUICK).fit(X.take(np.repeat(np.arange(30), sizes)), np.repeat(y, sizes))
    method = "predict_proba" if kind is TabularClassifier else "predict"
    np.testing.assert_allclose(getattr(weighted, method)(X), getattr(repeated, method)(X), rtol=1e-9)


def test_weights_move_what_is_learnt_in_long_tables_too():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 1))
    y = (rng.random(2000) < 0.5).astype(int)  # chance alone, but one class counts thrice
    p = TabularClassifier(**QUICK).fit(X, y, sample_weight=np.where(y == 1, 3.0, 1.0)).predict_proba(X)
    assert p[:, 1].mean() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_ensemble": 0}, "n_ensemble must be a whole number of at least 1, got 0"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"hidden_layer_sizes": (8, 0)}, "hidden_layer_sizes must be a whole number of at least 1, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be a finite number above 0, got -1.0"),
        ({"dropout": 1.5}, "dropout must be a number from 0 to 1, got 1.5"),
        ({"dropout": 1.0}, "rate must be a number from 0 to below 1, got 1.0"),
        ({"validation_fraction": 0.7}, "validation_fraction must be at most 0.5, got 0.7"),
        ({"validation_fraction": 0}, "validation_fraction must be a finite number above 0, got 0"),
        ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
        ({"engine": "fast"}, "engine must be one of 'auto', 'eager', 'compiled', got 'fast'"),
    ],
)
def test_options_out_of_range(options, message):
    X, y = mixed(30)
    with pytest.raises(HandgradError, match=message):
        TabularRegressor(**options).fit(X, y)


def test_data_that_cannot_be_learnt_from():
    X, y = mixed(30)
    with pytest.raises(ValueRangeError, match=r"y must hold two classes or more, got one class: \[3\]"):
        TabularClassifier().fit(X, np.full(30, 3))
    with pytest.raises(ValueRangeError, match="sample_weight is zero for every row"):
        TabularRegressor().fit(X, y, sample_weight=np.zeros(30))
    with pytest.raises(ValueRangeError, match="sample_weight must be finite and at least 0"):
        TabularRegressor().fit(X, y, sample_weight=-np.ones(30))
    with pytest.raises(ShapeError, match=r"sample_weight must have shape \(30,\), .* got \(29,\)"):
        TabularRegressor().fit(X, y, sample_weight=np.ones(29))
    with pytest.raises(ShapeError, match=r"X must have a row and a column at least, got shape \(0, 5\)"):
        TabularRegressor().fit(X.slice(0, 0), y[:0])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        TabularRegressor().fit(X, y[:-1])
    with pytest.raises(NotFittedError):
        TabularClassifier().predict(X)


def test_ctrl_c_ends_all_members(monkeypatch):
    """The members stop with their epoch, and nothing half-fitted is left."""
    from handgrad.estimators.tabular import base, members

    X, y = mixed()
    seen = []

    def interrupted(*args, **kwargs):
        seen.append(threading.current_thread())
        if len(seen) == 1:
            raise KeyboardInterrupt
        return members.train(*args, **kwargs)

    monkeypatch.setattr(base, "train", interrupted)
    model = TabularRegressor(**{**QUICK, "epochs": 10**6})
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not any(thread.is_alive() for thread in seen)
    assert not hasattr(model, "members_")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_after_an_error_of_one_member_the_others_end_or_never_begin(monkeypatch, error):
    from handgrad.estimators.tabular import base, members

    X, y = mixed()
    begun, second = [], threading.Event()

    def failing(*args, **kwargs):
        begun.append(None)
        if len(begun) == 1:  # goes on until it is told to stop
            second.wait()
            return members.train(*args, **kwargs)
        second.set()
        raise error

    monkeypatch.setattr(base, "train", failing)
    with pytest.raises(error):
        TabularRegressor(**{**QUICK, "epochs": 10**6, "n_ensemble": 50, "threads": 2}).fit(X, y)
    assert len(begun) < 50


def test_errors_in_later_parts_name_the_row_of_the_whole(monkeypatch):
    X = np.arange(120.0).reshape(60, 2).astype(object)
    model = TabularRegressor(**QUICK).fit(X, X[:, 0])
    monkeypatch.setattr("handgrad.estimators.tabular.base.PREDICTED", 7)
    X[38, 1] = "large"
    with pytest.raises(DTypeError, match="column 1 held numbers at fit, got 'large' in row 38"):
        model.predict(X)


def test_a_fit_that_fails_leaves_the_model_as_it_was():
    X, y = mixed(60)
    model = TabularRegressor(**QUICK).fit(X, y)
    before = model.predict(X)
    with pytest.raises(HandgradError):
        model.set_params(dropout=1.0).fit(X, 5 * y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_few_distinct_rows_that_come_often_are_learnt_as_shares():
    """Nothing to tell rows apart but one column: the probability is the share of its value, in tables of any length."""
    for rows in (400, 4000):
        kind = np.arange(rows) % 2
        y = (np.arange(rows) // 2 % 10 < np.where(kind, 8, 3)).astype(int)  # 8 of 10, and 3 of 10
        X = np.where(kind, "a", "b").astype(object)[:, None]
        p = TabularClassifier(random_state=0, n_ensemble=2).fit(X, y).predict_proba([["a"], ["b"]])
        np.testing.assert_allclose(p[:, 1], [0.8, 0.3], atol=0.06)


def test_members_learn_nothing_from_the_targets_of_rows_that_they_hold_out():
    """Chance alone at many levels: held-out rows must say so, and probabilities stay near the shares."""
    rng = np.random.default_rng(0)
    X = np.array([f"level {i}" for i in rng.integers(0, 100, 2000)], object)[:, None]
    y = rng.integers(0, 2, 2000)
    model = TabularClassifier(random_state=0).fit(X[:1000], y[:1000])
    p = model.predict_proba(X[1000:])
    assert -np.log(p[np.arange(1000), y[1000:]]).mean() < np.log(2) + 0.006
    held = [min(member.history.column("validation_held_metric")) for member in model.members_]
    assert np.mean(held) > np.log(2) - 0.01


@pytest.mark.parametrize(
    ("size", "rounding"),
    # a power of two rounds nothing; what another rounds is y itself
    [(2.0**1023, 0), (2.0**664, 0), (2.0**-664, 0), (1e308, 1e-14), (1e200, 1e-14), (1e-200, 1e-14)],
)
def test_targets_and_weights_of_any_size(size, rounding):
    X, y = mixed(60)
    y = y / np.abs(y).max()
    model = TabularRegressor(**QUICK)
    usual = model.fit(X, y).predict(X)
    np.testing.assert_allclose(model.fit(X, size * y).predict(X) / size, usual, rtol=rounding)
    weight = np.linspace(0.1, 1, 60)
    for kind in (TabularClassifier, TabularRegressor):
        target = target_of(kind, y)
        a, b = (kind(**QUICK).fit(X, target, sample_weight=w) for w in (weight, size * weight))
        method = "predict_proba" if kind is TabularClassifier else "predict"
        np.testing.assert_allclose(getattr(a, method)(X), getattr(b, method)(X), rtol=rounding)


def test_numbers_beside_text_in_lists_are_numbers():
    X = [[float(i), "a" if i % 3 else "b"] for i in range(30)]
    model = TabularRegressor(**QUICK).fit(X, np.arange(30))
    assert [column.role for column in model.columns_] == ["number", "category"]
    np.testing.assert_array_equal(model.predict(X), model.predict(np.array(X, object)))


def test_columns_that_are_not_named_by_text_must_come_in_order_too():
    X = pd.DataFrame(np.random.default_rng(0).standard_normal((30, 2)), columns=[1, 2])
    model = TabularRegressor(**QUICK).fit(X, X[1])
    with pytest.raises(ShapeError, match=r"columns must be in the order of fit, \[1, 2\], got \[2, 1\]"):
        model.predict(X[[2, 1]])


@BOTH
def test_members_that_diverge_are_told_of(kind):
    X, y = mixed(60)
    with pytest.warns(ConvergenceWarning, match="3 of 3 members diverged.* a lower learning_rate than 1e"):
        fitted = kind(**QUICK | {"learning_rate": 1e30, "n_ensemble": 3}).fit(X, target_of(kind, y))
    assert np.isfinite(fitted.predict_proba(X) if kind is TabularClassifier else fitted.predict(X)).all()
