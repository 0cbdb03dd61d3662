"""What the network is measured against on the test part: the constant guess, and scikit-learn's linear model."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.cli.data.targets import Classes, Quantity, Target

MOST_ROWS = 20_000  # for the linear model: it has learnt all it can from these


@dataclass(frozen=True)
class Score:
    """How one model did on the test part: accuracy and cross-entropy (nats), or RMSE (the target's units) and R2."""

    model: str
    values: dict[str, float]


Part = tuple[np.ndarray, np.ndarray]  # features, encoded target


def score(name: str, target: Target, scores: np.ndarray, y: np.ndarray) -> Score:
    """The score of raw scores, logits or standardised numbers, against the encoded target."""
    scores = scores.astype(float)
    if isinstance(target, Classes):
        entropy = float(ops.cross_entropy(scores, y))
        return Score(name, {"accuracy": float(np.mean(scores.argmax(1) == y)), "cross-entropy": entropy})
    error, spread = float(np.mean((scores - y) ** 2)), float(np.var(y))
    return Score(name, {"RMSE": math.sqrt(error) * target.std, "R2": 1 - error / spread if spread else math.nan})


def constant_guess(target: Target, train: Part, test: Part) -> Score:
    """Classes by their frequency in the training part, or its mean."""
    rows = len(test[1])
    if isinstance(target, Classes):
        counts = np.bincount(train[1], minlength=target.outputs)
        return score("constant guess", target, np.tile(np.log(counts / counts.sum()), (rows, 1)), test[1])
    return score("constant guess", target, np.zeros((rows, 1)), test[1])


def linear_model(target: Target, train: Part, test: Part) -> Score:
    """scikit-learn's LogisticRegression or Ridge, with its defaults, on the same features."""
    from sklearn.linear_model import LogisticRegression, Ridge

    (x, y), classifies = (part[:MOST_ROWS] for part in train), isinstance(target, Classes)
    model: Any = LogisticRegression(max_iter=200) if classifies else Ridge()
    name = "logistic regression" if classifies else "ridge regression"
    scores = np.full((len(test[1]), target.outputs), -100.0)  # a class that is not among these rows: nearly impossible
    if classifies and (y == y[0]).all():  # a sample of very uneven classes; scikit-learn takes two or more
        scores[:, y[0]] = 0.0
        return score(name, target, scores, test[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that has not converged is still the baseline people know
        model.fit(x, y)
    if isinstance(target, Quantity):
        return score(name, target, model.predict(test[0]).reshape(-1, 1), test[1])
    with np.errstate(divide="ignore"):
        scores[:, model.classes_] = np.maximum(model.predict_log_proba(test[0]), -100.0)
    return score(name, target, scores, test[1])
