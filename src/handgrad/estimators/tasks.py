"""What is to be learnt: the loss, the form of the targets, and scikit-learn's scale of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import xlogy

from handgrad.layers import BinaryCrossEntropy, CrossEntropy, Hinge, Loss, Poisson, SquaredError
from handgrad.layers import loss as loss_of


@dataclass(frozen=True)
class Task:
    """A loss of n_outputs scores.

    The library's losses are means over outputs, scikit-learn's gradients are those of sums, and of half the squared
    error: `factor` is what each sample's loss, and so its gradient, is multiplied by. scikit-learn reports a mean over
    outputs for regression all the same: `shown` is what the trained loss is divided by before it is reported.
    """

    loss: Loss
    n_outputs: int
    out_activation: str
    factor: float = 1.0
    shown: float = 1.0

    def offset(self, y: np.ndarray, weight: np.ndarray | None) -> float:
        """What scikit-learn's loss adds that depends on the targets alone: for Poisson's, half of the deviance."""
        if not isinstance(self.loss, Poisson):
            return 0.0
        return float(np.average((xlogy(y, y) - y).sum(axis=1), weights=weight))

    def reported(self, value: float, offset: float = 0.0) -> float:
        """The trained loss in scikit-learn's scale."""
        return value / self.shown + offset

    def mean_loss(self, scores: np.ndarray, y: np.ndarray, weight: np.ndarray | None, offset: float) -> float:
        """The weighted mean loss of scores, without penalty, in scikit-learn's scale."""
        with np.errstate(all="ignore"):
            value, _ = self.loss.forward(scores, y, sample_weight=weight)
        return self.reported(float(value) * self.factor, offset)


def classification(loss: Any, y_type: str, n_classes: int, label_smoothing: float) -> Task:
    """The task of a classifier. y_type: "binary", "multiclass" or "multilabel-indicator"."""
    if loss == "hinge" or isinstance(loss, Hinge):
        if y_type.startswith("multilabel"):
            raise ValueError("loss='hinge' takes one class for each sample, got multilabel targets")
        if label_smoothing:
            raise ValueError("label_smoothing goes with loss='log_loss', got loss='hinge'")
        return Task(loss_of(loss), max(2, n_classes), "identity")
    if y_type == "multiclass":
        return Task(CrossEntropy(label_smoothing), n_classes, "softmax")
    n_outputs = n_classes if y_type.startswith("multilabel") else 1
    return Task(BinaryCrossEntropy(), n_outputs, "logistic", factor=n_outputs)


def regression(loss: Any, n_outputs: int) -> Task:
    """The task of a regressor."""
    loss = loss_of(loss)
    if isinstance(loss, Poisson):
        return Task(loss, n_outputs, "exp", factor=n_outputs)
    half = 0.5 if isinstance(loss, SquaredError) else 1.0
    return Task(loss, n_outputs, "identity", factor=half * n_outputs, shown=n_outputs)
