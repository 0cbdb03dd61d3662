"""The temperature against a general minimizer, and where no mistake is seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax
from sklearn.metrics import log_loss as reference

from handgrad.estimators.tabular.calibration import SHARPEST, calibrated_log_loss, log_loss, sharpness, softmax


def drawn(seed, rows=40, classes=3, scale=2.0):
    rng = np.random.default_rng(seed)
    scores = scale * rng.standard_normal((rows, classes))
    p = np.exp(log_softmax(scores * rng.uniform(0.2, 3), axis=1))
    return scores, np.array([rng.choice(classes, p=row) for row in p]), rng.uniform(0, 2, rows)


@given(st.integers(0, 10**6), st.booleans())
def test_the_best_temperature(seed, weighted):
    scores, y, weight = drawn(seed)
    weight = weight if weighted else np.ones(len(y))

    def loss(log_sharpness):
        log_p = log_softmax(np.exp(log_sharpness) * scores, axis=1)
        guess = 1 / (len(y) + 1)
        each = -(1 - guess) * log_p[np.arange(len(y)), y] - guess * log_p.mean(axis=1)
        return np.average(each, weights=weight)

    bounds = -np.log(SHARPEST), np.log(SHARPEST)
    best = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    found = sharpness(scores, y, weight)
    assert loss(np.log(found)) <= best.fun + 1e-9


def test_what_scores_claim_falsely_is_toned_down_and_what_they_hide_brought_out():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(5000)
    y = (rng.random(5000) < 1 / (1 + np.exp(-logits))).astype(int)
    for factor in (0.25, 1.0, 4.0):
        scores = np.stack([np.zeros(5000), factor * logits], axis=1)
        assert sharpness(scores, y) == pytest.approx(1 / factor, rel=0.1)


def test_scores_without_a_mistake_are_not_taken_for_certain():
    for rows in (10, 1000):
        y = np.arange(rows) % 2
        scores = np.stack([1.0 - y, y], axis=1)  # a gap of 1
        sharp = sharpness(scores, y)
        wrong = 1 / (1 + np.exp(sharp))
        assert wrong == pytest.approx(0.5 / (rows + 1), rel=1e-3)


def test_scores_that_know_nothing_are_told_to_keep_silent():
    y = np.array([0, 1] * 50)
    scores = np.stack([y, 1.0 - y], axis=1)  # always wrong
    assert sharpness(scores, y) == pytest.approx(1 / SHARPEST, rel=1e-3)


def test_log_loss_is_scikit_learn_s():
    scores, y, weight = drawn(1)
    expected = reference(y, softmax(scores), sample_weight=weight)
    assert log_loss(scores, y, weight) == pytest.approx(expected)
    assert calibrated_log_loss(scores, y, weight) <= expected
    shifted = 1000 + 3 * scores.astype(np.float32)
    assert calibrated_log_loss(shifted, y) == pytest.approx(calibrated_log_loss(scores, y), abs=1e-3)


def test_softmax_is_scipy_s():
    scores = np.array([[[1e4, 0.0, -1e4], [0.0, 1.0, 2.0]]], np.float32)
    np.testing.assert_allclose(softmax(scores), scipy_softmax(scores.astype(float), axis=-1))
