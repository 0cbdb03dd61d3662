"""Temperature scaling: one number that scores are divided by, so that probabilities are as sure as they are right."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar

from handgrad.estimators.tasks import Task
from handgrad.layers import BinaryCrossEntropy, CrossEntropy

LARGEST = 100.0  # temperatures are looked for from 1 / LARGEST to LARGEST


def temperature(task: Task, scores: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """The T that minimizes the log-loss of scores / T against y, whose labels are taken as they are, not smoothed.

    Guo et al. (2017), "On calibration of modern neural networks". y: labels (m,), or 0 and 1 in the shape of scores.
    """
    loss = CrossEntropy() if isinstance(task.loss, CrossEntropy) else BinaryCrossEntropy()
    if isinstance(loss, BinaryCrossEntropy):
        y = (y > 0.5).astype(float)
    scores = scores.astype(float)

    def of_log(log_temperature: float) -> float:
        return float(loss.forward(scores / math.exp(log_temperature), y, sample_weight=weight)[0])

    bound = math.log(LARGEST)
    return math.exp(minimize_scalar(of_log, bounds=(-bound, bound), method="bounded").x)
