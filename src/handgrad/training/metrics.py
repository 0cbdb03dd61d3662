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
    return _explained(((y - scores) ** 2).sum(0), ((y - y.mean(0)) ** 2).sum(0))


def _explained(error: np.ndarray, spread: np.ndarray) -> float:
    """1 - error / spread, averaged over outputs."""
    constant = spread == 0
    return float(np.mean(np.where(constant, error == 0, 1 - error / np.where(constant, 1, spread))))


METRICS: dict[str, Metric] = {"accuracy": accuracy, "rmse": rmse, "r2": r2}
HIGHER_IS_BETTER = frozenset({"accuracy", "r2"})


def measures_of(metrics: Any, loss: Loss, held: bool) -> list[tuple[str, Metric]]:
    """(name, function) of each of the metrics that `fit` was given. Raises ValueRangeError for those it cannot take."""
    measures = [metric(m, loss) for m in ((metrics,) if isinstance(metrics, str) or callable(metrics) else metrics)]
    if measures and not held:
        raise ValueRangeError("metrics are taken of the validation data; give validation=(X, y) or a fraction")
    names = [name for name, _ in measures]
    for i, name in enumerate(names):
        if name == "loss" or name in names[:i]:
            raise ValueRangeError(f"metrics: the column 'validation_{name}' is taken; give the function another name")
    return measures


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


class Average:
    """The mean over all rows of a metric that is a mean, or, with power=2, the root of the mean of its squares."""

    def __init__(self, metric: Metric, power: int):
        self._metric, self._power, self._total, self._rows = metric, power, 0.0, 0

    def add(self, scores: Any, y: Any) -> None:
        """Take in a block of rows."""
        self._total += len(y) * self._metric(scores, y) ** self._power
        self._rows += len(y)

    @property
    def value(self) -> float:
        """Of all rows so far."""
        return (self._total / self._rows) ** (1 / self._power)


class RunningR2:
    """`r2` over blocks. The spread of two parts is the sum of theirs, and of what lies between their means.

    Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", equation 1.5.
    """

    def __init__(self) -> None:
        self._rows, self._mean, self._spread, self._error = 0, np.zeros(1), np.zeros(1), np.zeros(1)

    def add(self, scores: Any, y: Any) -> None:
        """Take in a block of rows."""
        y = np.asarray(y, float).reshape(len(y), -1)
        scores = np.asarray(scores, float).reshape(y.shape)
        mean, share = y.mean(0), len(y) / (self._rows + len(y))
        apart = mean - self._mean
        self._spread = self._spread + ((y - mean) ** 2).sum(0) + apart**2 * self._rows * share
        self._error = self._error + ((y - scores) ** 2).sum(0)
        self._mean, self._rows = self._mean + apart * share, self._rows + len(y)

    @property
    def value(self) -> float:
        """Of all rows so far."""
        return _explained(self._error, self._spread)


def running(metric: Metric) -> Average | RunningR2 | None:
    """The metric to be taken over blocks of rows, or None for one that needs all of them at once."""
    if metric is r2:
        return RunningR2()
    powers = {accuracy: 1, yes_or_no_accuracy: 1, rmse: 2}
    return Average(metric, powers[metric]) if metric in powers else None
