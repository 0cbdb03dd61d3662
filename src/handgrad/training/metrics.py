"""Measures of scores against targets, beside the loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.checks import by_name
from handgrad.errors import ValueRangeError
from handgrad.layers import BinaryCrossEntropy, Loss

Metric = Callable[[Any, Any], float]


def accuracy(scores: Any, y: Any) -> float:
    """The share of samples whose largest score is at their label, or at the largest of their target distribution."""
    scores, y = np.asarray(scores), np.asarray(y)
    return float(np.mean(scores.argmax(-1) == (y if y.ndim < scores.ndim else y.argmax(-1))))


def yes_or_no_accuracy(scores: Any, y: Any) -> float:
    """The share of answers, over samples and outputs, where a score above 0 meets a target above 1/2."""
    scores, y = np.asarray(scores), np.asarray(y)
    return float(np.mean((scores.reshape(y.shape) > 0) == (y > 0.5)))


def rmse(scores: Any, y: Any) -> float:
    """The root of the mean squared error, over samples and outputs."""
    scores, y = np.asarray(scores, float), np.asarray(y, float)
    return math.sqrt(np.mean((scores.reshape(y.shape) - y) ** 2))


def r2(scores: Any, y: Any) -> float:
    """1 - the squared error over that of y's own mean, averaged over outputs; 1 is perfect, 0 the constant guess.

    For an output that is constant it is 1 when predicted exactly, else 0.
    """
    y = np.asarray(y, float).reshape(len(y), -1)
    scores = np.asarray(scores, float).reshape(y.shape)
    error, spread = ((y - scores) ** 2).sum(0), ((y - y.mean(0)) ** 2).sum(0)
    constant = spread == 0
    return float(np.mean(np.where(constant, error == 0, 1 - error / np.where(constant, 1, spread))))


METRICS: dict[str, Metric] = {"accuracy": accuracy, "rmse": rmse, "r2": r2}
HIGHER_IS_BETTER = frozenset({"accuracy", "r2"})


def metric(name_or_function: str | Metric, loss: Loss) -> tuple[str, Metric]:
    """(name, function) of a metric given by its name or as a function of scores and y.

    Raises ValueRangeError for a name that says nothing of what the loss trains for.
    """
    if callable(name_or_function):
        return getattr(name_or_function, "__name__", "metric"), name_or_function
    function = by_name("metrics", name_or_function, METRICS)
    yes_or_no = isinstance(loss, BinaryCrossEntropy)
    if (function is accuracy) != (loss.classifies or yes_or_no):
        raise ValueRangeError(f"metrics: {name_or_function!r} does not go with the loss {loss}")
    return name_or_function, yes_or_no_accuracy if yes_or_no else function
