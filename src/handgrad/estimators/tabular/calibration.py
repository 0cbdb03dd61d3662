"""How sure a classifier may be: one temperature for its scores, from rows that it was not trained on."""

from __future__ import annotations

import numpy as np

SHARPEST = 20.0  # and 1 / SHARPEST: the range of 1 / temperature
HALVINGS, COARSE = 24, 8  # of that range's logarithm: for good, and after each epoch


def softmax(scores: np.ndarray) -> np.ndarray:
    """exp(scores) over their sum, on the last axis, in double precision."""
    scores = np.asarray(scores, np.float64)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p


def log_loss(scores: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The mean of -log softmax(scores) at the right class. scores (m, k), y (m,) labels, weight (m,) or None."""
    scores = np.asarray(scores, np.float64)
    scores = scores - scores.max(axis=1, keepdims=True)
    losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(y)), y]
    return float(np.average(losses, weights=weight))


def sharpness(scores: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, halvings: int = HALVINGS) -> float:
    """1 / temperature with the least log-loss of softmax(scores / temperature), as if one row more were seen whose
    class is anyone's guess, so that scores without a single mistake are not taken for certain.

    Guo et al., 2017, "On calibration of modern neural networks", section 4.2. The loss is convex in 1 / temperature,
    so that halving finds where its derivative, the expected score less the right one's, is 0.
    """
    scores = np.asarray(scores, np.float64)
    scores = scores - scores.max(axis=1, keepdims=True)
    weight = np.ones(len(y)) if weight is None else weight / np.mean(weight)
    guess = 1 / (len(y) + 1)
    right = (1 - guess) * scores[np.arange(len(y)), y] + guess * scores.mean(axis=1)
    low, high = -np.log(SHARPEST), np.log(SHARPEST)
    for _ in range(halvings):
        middle = (low + high) / 2
        p = np.exp(scores * np.exp(middle))
        expected = (p * scores).sum(axis=1) / p.sum(axis=1)
        if weight @ (expected - right) > 0:
            high = middle
        else:
            low = middle
    return float(np.exp((low + high) / 2))


def calibrated_log_loss(scores: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The log-loss at the best temperature."""
    return log_loss(sharpness(scores, y, weight, COARSE) * np.asarray(scores, np.float64), y, weight)
