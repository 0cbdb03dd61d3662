"""What the estimators have beyond scikit-learn's: each option does what it says, and is refused where it can't."""

import warnings

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_multilabel_classification
from sklearn.metrics import log_loss, make_scorer, mean_absolute_error, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

import handgrad as hg

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WINE = scale(load_wine().data), load_wine().target
CANCER = scale(load_breast_cancer().data)[:250], load_breast_cancer().target[:250]
DIABETES = scale(load_diabetes().data), scale(load_diabetes().target)
LABELS = make_multilabel_classification(n_samples=120, random_state=0)
SMALL = {"hidden_layer_sizes": (16,), "max_iter": 40, "random_state": 0}


def classifier(**options):
    return hg.MLPClassifier(**SMALL | options)


def regressor(**options):
    return hg.MLPRegressor(**SMALL | options)


ACTIVATIONS = [
    *("identity", "logistic", "sigmoid", "tanh", "relu", "leaky_relu", "swish", "silu", "gelu", "softmax"),
    *("glu", "swiglu", "geglu", "reglu", "bilinear"),
    hg.LeakyReLU(0.3),
    hg.GELU,
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_any_activation_of_the_library(activation, solver):
    rate = 0.05 if activation == "softmax" else 0.01
    model = classifier(activation=activation, solver=solver, learning_rate_init=rate).fit(*WINE)
    assert model.score(*WINE) > 0.95
    assert model.engine_ == ("compiled" if solver == "adam" else "eager")


def test_an_activation_for_each_layer():
    model = classifier(hidden_layer_sizes=(12, 8), activation=["swiglu", "tanh"]).fit(*WINE)
    assert [coef.shape for coef in model.coefs_] == [(2, 13, 12), (12, 8), (8, 3)]
    assert [intercept.shape for intercept in model.intercepts_] == [(2, 12), (8,), (3,)]
    content, gate = WINE[0] @ model.coefs_[0] + model.intercepts_[0][:, None]
    hidden = np.tanh(content * gate * expit(gate) @ model.coefs_[1] + model.intercepts_[1])
    scores = hidden @ model.coefs_[2] + model.intercepts_[2]
    np.testing.assert_allclose(model.predict_log_proba(WINE[0]), log_softmax(scores, axis=1), atol=1e-9)


def test_dropout_is_for_training_alone():
    wide = {"hidden_layer_sizes": (64,), "max_iter": 60, "learning_rate_init": 0.01}
    with_dropout, without = classifier(dropout=0.5, **wide).fit(*WINE), classifier(**wide).fit(*WINE)
    assert with_dropout.loss_ > 2 * without.loss_
    np.testing.assert_array_equal(with_dropout.predict_proba(WINE[0]), with_dropout.predict_proba(WINE[0]))
    assert with_dropout.score(*WINE) > 0.97
    parts = [classifier(dropout=0.5, learning_rate_init=1e-9, batch_size=178) for _ in range(2)]
    losses = [model.partial_fit(*WINE, classes=[0, 1, 2]).partial_fit(*WINE).loss_curve_ for model in parts]
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[0][1]  # other units are dropped in each call
    again = classifier(dropout=0.5, **wide).fit(*WINE)
    np.testing.assert_array_equal(again.coefs_[0], with_dropout.coefs_[0])


def test_class_weights_are_sample_weights():
    by_class = {0: 1.0, 1: 5.0, 2: 0.5}
    weighted = classifier(class_weight=by_class).fit(*WINE)
    by_sample = classifier().fit(*WINE, np.array([1.0, 5.0, 0.5])[WINE[1]])
    np.testing.assert_array_equal(weighted.coefs_[0], by_sample.coefs_[0])
    both = classifier(class_weight=by_class).fit(*WINE, np.full(len(WINE[1]), 3.0))
    np.testing.assert_allclose(both.predict_proba(WINE[0]), weighted.predict_proba(WINE[0]), atol=1e-3)
    held = classifier(class_weight=by_class, early_stopping=True, max_iter=3).fit(*WINE, X_val=WINE[0], y_val=WINE[1])
    assert held.best_validation_score_ == held.score(*WINE)  # the data's own shares, not those to learn by


def test_balanced_weights_find_the_rare_class():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (400, 2)), rng.normal(1, 1, (20, 2))])
    y = np.repeat([0, 1], [400, 20])
    found = {
        weight: classifier(class_weight=weight, max_iter=100).fit(x, y).predict(x)[400:].mean()
        for weight in (None, "balanced")
    }
    assert found[None] < 0.3 < 0.6 < found["balanced"]


@pytest.mark.parametrize("data", [WINE, CANCER, LABELS], ids=["three classes", "two", "labels"])
def test_label_smoothing_keeps_probabilities_away_from_1(data):
    options = {"max_iter": 400, "learning_rate_init": 0.02, "alpha": 0, "tol": 0}
    plain, smooth = classifier(**options).fit(*data), classifier(label_smoothing=0.2, **options).fit(*data)
    assert plain.predict_proba(data[0]).max() > 0.999
    most = 1 - 0.2 * (2 / 3 if data is WINE else 1 / 2)
    assert np.quantile(smooth.predict_proba(data[0]).max(axis=1), 0.5) == pytest.approx(most, abs=0.06)


@pytest.mark.parametrize("data", [WINE, CANCER], ids=["three classes", "two"])
def test_hinge_gives_decisions(data):
    model = classifier(loss="hinge", learning_rate_init=0.01).fit(*data)
    assert model.score(*data) > 0.97
    decisions = model.decision_function(data[0])
    if data is WINE:
        np.testing.assert_array_equal(model.classes_[decisions.argmax(axis=1)], model.predict(data[0]))
    else:
        assert decisions.shape == (len(data[0]),)
        np.testing.assert_array_equal(decisions > 0, model.predict(data[0]) == 1)
        assert roc_auc_score(data[1], decisions) > 0.99
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "predict_log_proba")
    assert not hasattr(classifier(), "decision_function")
    assert classifier(loss=hg.Hinge(3.0)).fit(*data).loss_ > model.loss_


def test_huber_is_the_loss_of_the_library():
    model = regressor(loss=hg.Huber(0.5), alpha=0, solver="lbfgs").fit(*DIABETES)
    error = DIABETES[1] - model.predict(DIABETES[0])
    expected = np.where(abs(error) <= 0.5, error**2 / 2, 0.5 * (abs(error) - 0.25)).mean()
    assert model.loss_ == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("outputs", [1, 3])
def test_quantiles(outputs):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 2))
    y = x[:, 0] + rng.normal(size=2000) if outputs == 1 else x[:, :1] + rng.normal(size=(2000, outputs))
    for q in (0.1, 0.9):
        model = regressor(loss=hg.Quantile(q), max_iter=100, learning_rate_init=0.01).fit(x, y)
        below = (y < model.predict(x)).mean(axis=0)
        np.testing.assert_allclose(below, q, atol=0.04)
    median = regressor(loss="quantile", max_iter=100, learning_rate_init=0.01).fit(x, y)
    assert median.loss_ == pytest.approx(mean_absolute_error(y, median.predict(x)) / 2, rel=0.02)


@pytest.mark.parametrize(
    "optimizer", [hg.RMSprop(0.01), "nesterov", hg.AdamW(0.01, weight_decay=0.1), hg.Adam(hg.Cosine(0.02))], ids=str
)
def test_optimizers_and_schedules_of_the_library(optimizer):
    model = classifier(optimizer=optimizer, max_iter=60).fit(*WINE)
    assert model.engine_ == "compiled"
    assert model.score(*WINE) > 0.97


def test_an_optimizer_object_is_the_solver_of_its_name():
    plain = classifier(solver="sgd", learning_rate_init=0.02, momentum=0.8).fit(*WINE)
    model = classifier(optimizer=hg.SGD(0.02, 0.8, nesterov=True)).fit(*WINE)
    np.testing.assert_array_equal(plain.coefs_[0], model.coefs_[0])


def test_a_schedule_spans_the_fit():
    rates = []
    options = {
        "optimizer": hg.Adam(hg.Cosine(0.02)),
        "callbacks": lambda event: rates.append(event.row["learning_rate"]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # to go through a schedule is not to have failed to converge
        classifier(max_iter=25, tol=0, **options).fit(*WINE)
    steps = 25 - 1  # of one batch each
    np.testing.assert_allclose(rates[::24], [0.02, 0.01 * (1 + np.cos(np.pi * steps / 25))])


def test_clipping_bounds_each_step():
    free, bound = (
        classifier(solver="sgd", momentum=0, alpha=0, clip_norm=c, max_iter=1, learning_rate_init=1.0).fit(*WINE)
        for c in (None, 1e-3)
    )
    start = classifier(solver="sgd", momentum=0, alpha=0, max_iter=1, learning_rate_init=1e-300).fit(*WINE)

    def moved(model):
        arrays = zip(model.coefs_ + model.intercepts_, start.coefs_ + start.intercepts_, strict=True)
        return np.sqrt(sum(((a - b) ** 2).sum() for a, b in arrays))

    assert moved(free) > 0.01
    assert moved(bound) == pytest.approx(1e-3, rel=1e-6)


@pytest.mark.parametrize("make", [classifier, regressor])
def test_a_validation_set_of_ones_own(make):
    x, y = WINE if make is classifier else DIABETES
    model = make().fit(x[::2], y[::2], X_val=x[1::2], y_val=y[1::2])
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == model.n_iter_
    assert model.validation_scores_[-1] == pytest.approx(model.score(x[1::2], y[1::2]))
    assert model.best_validation_score_ == max(model.validation_scores_)
    loss = (
        log_loss(y[1::2], model.predict_proba(x[1::2]))
        if make is classifier
        else ((y[1::2] - model.predict(x[1::2])) ** 2).mean() / 2
    )
    assert model.validation_loss_curve_[-1] == pytest.approx(loss)
    alone = make().fit(x[::2], y[::2])
    np.testing.assert_array_equal(model.coefs_[0], alone.coefs_[0])
    assert alone.validation_loss_curve_ is None


def test_the_validation_set_need_not_have_every_label():
    x, y = WINE
    few = y < 2
    model = classifier(warm_start=True)
    for _ in range(2):
        model.fit(x, y, X_val=x[few], y_val=y[few])
    assert model.validation_scores_[-1] == pytest.approx(model.score(x[few], y[few]))


def test_the_validation_set_can_be_weighted():
    x, y = CANCER
    weight = np.arange(len(y)) / len(y)
    model = classifier().fit(x, y, X_val=x, y_val=y, sample_weight_val=weight)
    assert model.validation_scores_[-1] == pytest.approx(model.score(x, y, weight))
    assert model.validation_loss_curve_[-1] == pytest.approx(log_loss(y, model.predict_proba(x), sample_weight=weight))
    model = regressor().fit(*DIABETES, X_val=DIABETES[0], y_val=DIABETES[1], sample_weight_val=np.arange(442.0))
    assert model.validation_scores_[-1] == pytest.approx(model.score(*DIABETES, np.arange(442.0)))


@pytest.mark.parametrize(
    "scoring", ["loss", "roc_auc", "neg_log_loss", make_scorer(roc_auc_score, response_method="predict_proba")], ids=str
)
def test_the_metric_that_stops_can_be_chosen(scoring):
    x, y = CANCER
    options = {"early_stopping": True, "scoring": scoring, "max_iter": 300, "learning_rate_init": 0.02, "tol": 1e-3}
    model = classifier(**options).fit(x[::2], y[::2], X_val=x[1::2], y_val=y[1::2])
    assert model.n_iter_ < 300
    best = int(np.argmax(model.validation_scores_))
    if scoring == "loss":
        assert model.best_validation_score_ == -min(model.validation_loss_curve_)
        restored = -log_loss(y[1::2], model.predict_proba(x[1::2]))
    elif scoring == "neg_log_loss":
        restored = -log_loss(y[1::2], model.predict_proba(x[1::2]))
        np.testing.assert_allclose(model.validation_scores_, -np.array(model.validation_loss_curve_))
    else:
        restored = roc_auc_score(y[1::2], model.predict_proba(x[1::2])[:, 1])
    assert restored == pytest.approx(model.validation_scores_[best])


def test_the_best_epoch_can_be_restored_or_not():
    x, y = DIABETES
    options = {"learning_rate_init": 0.05, "max_iter": 150, "tol": 0, "n_iter_no_change": np.inf}
    data = {"X": x[:60], "y": y[:60], "X_val": x[60:], "y_val": y[60:]}
    last, best = regressor(**options).fit(**data), regressor(restore_best=True, **options).fit(**data)
    assert last.validation_scores_ == best.validation_scores_
    assert best.score(x[60:], y[60:]) == pytest.approx(max(best.validation_scores_))
    assert last.score(x[60:], y[60:]) == pytest.approx(last.validation_scores_[-1])
    assert best.best_validation_score_ > last.validation_scores_[-1]
    kept = regressor(early_stopping=True, restore_best=False, **options).fit(x, y)
    assert kept.best_loss_ is None


@pytest.mark.parametrize("data", [WINE, CANCER, LABELS], ids=["three classes", "two", "labels"])
def test_calibration_lowers_the_log_loss_of_what_is_held_out(data):
    x, y = data
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(y.shape) < 0.2, rng.permutation(y), y)
    held = {"X_val": x[1::2], "y_val": noisy[1::2]}
    options = {"max_iter": 400, "learning_rate_init": 0.02, "tol": 0}
    plain = classifier(**options).fit(x[::2], noisy[::2], **held)
    calibrated = classifier(calibrate=True, **options).fit(x[::2], noisy[::2], **held)
    assert plain.temperature_ == 1 < calibrated.temperature_

    def loss(model):
        p = np.clip(model.predict_proba(x[1::2]), 1e-12, 1 - 1e-12)
        if noisy.ndim == 2:
            return -np.mean(noisy[1::2] * np.log(p) + (1 - noisy[1::2]) * np.log(1 - p))
        return log_loss(noisy[1::2], p)

    assert loss(calibrated) < loss(plain)
    np.testing.assert_array_equal(calibrated.predict(x), plain.predict(x))
    logit = np.log(plain.predict_proba(x)) if data is WINE else None
    if logit is not None:
        expected = np.exp(log_softmax(logit / calibrated.temperature_, axis=1))
        np.testing.assert_allclose(calibrated.predict_proba(x), expected, atol=1e-9)


def test_calibration_holds_a_part_out_itself():
    x, y = CANCER
    model = classifier(calibrate=True, validation_fraction=0.4).fit(x, y)
    assert len(model.validation_loss_curve_) == model.n_iter_
    assert model.best_loss_ is not None
    assert model.temperature_ != 1
    lbfgs = classifier(calibrate=True, solver="lbfgs").fit(x, y)
    assert lbfgs.temperature_ != 1


def test_callbacks_see_each_epoch_and_can_stop():
    seen = []

    def note(event):
        seen.append((event.row["epoch"], event.row["loss"], event.row["validation_loss"]))
        assert not event.params.flat.flags.writeable
        return event.row["epoch"] == 7

    model = classifier(callbacks=[note]).fit(*WINE, X_val=WINE[0], y_val=WINE[1])
    assert model.n_iter_ == 7
    assert [row[0] for row in seen] == list(range(1, 8))
    assert [row[1] for row in seen] == model.loss_curve_
    assert [row[2] for row in seen] == model.validation_loss_curve_
    steps = []
    classifier(solver="lbfgs", callbacks=lambda event: steps.append(event.row["loss"]) or len(steps) == 5).fit(*WINE)
    assert len(steps) == 5
    assert steps == sorted(steps, reverse=True)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_engines_agree(engine):
    model = classifier(engine=engine, hidden_layer_sizes=(20, 10), alpha=0.1, early_stopping=True).fit(*WINE)
    other = classifier(hidden_layer_sizes=(20, 10), alpha=0.1, early_stopping=True).fit(*WINE)
    assert model.engine_ == engine
    np.testing.assert_allclose(model.loss_curve_, other.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(model.predict_proba(WINE[0]), other.predict_proba(WINE[0]), atol=1e-9)


def test_float32_whatever_X_is():
    model = classifier(dtype="float32").fit(*WINE)
    assert {array.dtype for array in model.coefs_ + model.intercepts_} == {np.dtype(np.float32)}
    assert model.predict_proba(WINE[0]).dtype == np.float32
    wide = classifier(dtype="float64").fit(WINE[0].astype(np.float32), WINE[1])
    assert wide.coefs_[0].dtype == np.float64
    np.testing.assert_allclose(model.predict_proba(WINE[0]), wide.predict_proba(WINE[0]), atol=1e-3)


REFUSED = {
    "a length of activations": (classifier, {"activation": ["relu", "tanh"]}, "one for each of 1 hidden"),
    "an unknown activation": (classifier, {"activation": "rellu"}, "'activation' parameter"),
    "an unknown one in a list": (classifier, {"activation": ["rellu"]}, "did you mean 'relu'"),
    "an activation with parameters": (classifier, {"activation": hg.LayerNorm(16)}, "no parameters of its own"),
    "dropout of all": (classifier, {"dropout": 1.0}, "'dropout' parameter"),
    "dropout in lbfgs": (regressor, {"dropout": 0.1, "solver": "lbfgs"}, "goes with training by batches"),
    "clipping in lbfgs": (regressor, {"clip_norm": 1.0, "solver": "lbfgs"}, "goes with training by batches"),
    "a clipping norm of 0": (regressor, {"clip_norm": 0}, "'clip_norm' parameter"),
    "an unknown optimizer": (regressor, {"optimizer": "adamm"}, "'optimizer' parameter"),
    "an unknown loss": (regressor, {"loss": "hubert"}, "'loss' parameter"),
    "a loss of classes": (regressor, {"loss": hg.CrossEntropy()}, "'loss' parameter"),
    "hinge, smoothed": (classifier, {"loss": "hinge", "label_smoothing": 0.1}, "goes with loss='log_loss'"),
    "hinge, calibrated": (classifier, {"loss": "hinge", "calibrate": True}, "goes with loss='log_loss'"),
    "smoothing of all": (classifier, {"label_smoothing": 1.0}, "'label_smoothing' parameter"),
    "class weights of none": (classifier, {"class_weight": "uneven"}, "'class_weight' parameter"),
    "an unknown engine": (classifier, {"engine": "steam"}, "'engine' parameter"),
    "no threads": (classifier, {"threads": 0}, "'threads' parameter"),
    "halves": (classifier, {"dtype": "float16"}, "'dtype' parameter"),
    "dropout as an activation": (classifier, {"activation": hg.Dropout(0.1)}, "give its rate as dropout="),
    "half a unit": (classifier, {"hidden_layer_sizes": (1.5,)}, "cannot be interpreted as an integer"),
    "class weights below 0": (classifier, {"class_weight": {0: -1.0}}, "class_weight must hold finite numbers"),
    "class weights of infinity": (classifier, {"class_weight": {0: np.inf}}, "class_weight must hold finite numbers"),
    "a score nobody knows": (classifier, {"scoring": "beauty", "early_stopping": True}, "beauty"),
    "a callback that can't be called": (classifier, {"callbacks": [3]}, "callbacks must be functions"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_training(case):
    make, options, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message):
        make(**options).fit(*(WINE if make is classifier else DIABETES))


def test_data_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="of which solver='lbfgs' has none"):
        classifier(solver="lbfgs").fit(*WINE, X_val=WINE[0], y_val=WINE[1])
    with pytest.raises(ValueError, match="together"):
        classifier().fit(*WINE, X_val=WINE[0])
    with pytest.raises(ValueError, match="together"):
        classifier().fit(*WINE, sample_weight_val=np.ones(178))
    with pytest.raises(ValueError, match="y_val must have one label for each row"):
        classifier().fit(*WINE, X_val=WINE[0], y_val=np.eye(3, dtype=int)[WINE[1]])
    with pytest.raises(ValueError, match=r"y_val must have shape \(m, 5\)"):
        classifier().fit(*LABELS, X_val=LABELS[0], y_val=LABELS[1][:, 0])
    with pytest.raises(ValueError, match="y_val must have as many outputs as y, 1, got 2"):
        regressor().fit(*DIABETES, X_val=DIABETES[0], y_val=np.column_stack([DIABETES[1]] * 2))
    with pytest.raises(ValueError, match="classes not in"):
        classifier().fit(*WINE, X_val=WINE[0][:2], y_val=[0, 7])
    with pytest.raises(ValueError, match="at least one non-zero"):
        regressor().fit(*DIABETES, np.zeros(442))
    rng = np.random.RandomState(0)
    rng.uniform(size=10 + 1)  # what the first weights are drawn from
    held = train_test_split(np.arange(442), random_state=rng, test_size=0.1)[1]
    with pytest.raises(ValueError, match="0 for every sample"):  # but for those held out
        regressor(early_stopping=True, hidden_layer_sizes=()).fit(*DIABETES, np.isin(np.arange(442), held))
    with pytest.raises(ValueError, match="0 for every sample that is validated on"):
        regressor(early_stopping=True, hidden_layer_sizes=()).fit(*DIABETES, ~np.isin(np.arange(442), held))
    with pytest.raises(ValueError, match="Negative values"):
        regressor().fit(*DIABETES, -np.ones(442))
    with pytest.raises(ValueError, match="valid range of the loss 'poisson'"):
        regressor(loss="poisson").fit(*DIABETES)
    with pytest.raises(ValueError, match="multilabel"):
        classifier(loss="hinge").fit(*LABELS)
    for option in ("calibrate", "early_stopping"):
        with pytest.raises(ValueError, match=f"partial_fit does not support {option}=True"):
            classifier(**{option: True}).partial_fit(*WINE, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="class_weight='balanced' is not supported"):
        classifier(class_weight="balanced").partial_fit(*WINE, classes=[0, 1, 2])
