"""Scores of predictions, and what the table says of models over all sets. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score, root_mean_squared_error

SMALLEST = 1e-7  # the least probability: about float32's resolution, so that a certain mistake costs 16 for every model

Means = Mapping[str, Mapping[str, Mapping[str, float]]]  # by set, model and score: the mean over splits


@dataclass(frozen=True)
class Score:
    """A score: its title, its kind, and whether more of it is better."""

    title: str
    kind: str
    higher: bool


HITS, LOSSES = "accuracy, AUC, R2", "log-loss, RMSE"
SCORES = {
    "accuracy": Score("accuracy", HITS, True),
    "auc": Score("AUC", HITS, True),
    "log_loss": Score("log-loss", LOSSES, False),
    "r2": Score("R2", HITS, True),
    "rmse": Score("RMSE", LOSSES, False),
}


def of_classes(y: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Accuracy, area under the ROC curve and log-loss.

    y: (m,) of 0 .. k - 1; probabilities: (m, k). With more than two classes, the area is the mean of each's.
    """
    p = np.clip(np.asarray(probabilities, float), SMALLEST, None)
    p /= p.sum(axis=1, keepdims=True)
    labels = range(p.shape[1])
    auc = (
        roc_auc_score(y, p[:, 1])
        if len(labels) == 2
        else roc_auc_score(y, p, multi_class="ovr", average="macro", labels=labels)
    )
    return {
        "accuracy": float(accuracy_score(y, p.argmax(axis=1))),
        "auc": float(auc),
        "log_loss": float(log_loss(y, p, labels=labels)),
    }


def of_numbers(y: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """R2 and the root of the mean squared error. Both (m,)."""
    return {"r2": float(r2_score(y, predicted)), "rmse": float(root_mean_squared_error(y, predicted))}


def ranks(values: Sequence[float]) -> list[float]:
    """1 for the highest; equal ones share the mean of their places."""
    return rankdata([-value for value in values]).tolist()


def normalised(values: Sequence[float], constant: float) -> list[float]:
    """1 for the highest, 0 for the constant guess's value and for what is below; all 0 where none is above it."""
    gains = [max(value - constant, 0.0) for value in values]
    best = max(gains)
    return [gain / best if best else 0.0 for gain in gains]


def summary(means: Means, models: Collection[str], constant: str) -> dict[str, dict[str, dict[str, float]]]:
    """By kind of score, then by model: its mean rank and its mean normalised score.

    Each set weighs the same: where it has two scores of the kind, their mean is taken first. The constant guess is what
    scores are normalised with; it has no rank.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind in (HITS, LOSSES):
        rank: dict[str, list[float]] = {model: [] for model in models}
        share: dict[str, list[float]] = {model: [] for model in models}
        for of in means.values():
            names = [name for name, score in SCORES.items() if score.kind == kind and name in of[constant]]
            sign = {name: 1 if SCORES[name].higher else -1 for name in names}
            values = {name: [sign[name] * of[model][name] for model in models] for name in names}
            places = [ranks(values[name]) for name in names]
            shares = [normalised(values[name], sign[name] * of[constant][name]) for name in names]
            for index, model in enumerate(models):
                rank[model].append(fmean(row[index] for row in places))
                share[model].append(fmean(row[index] for row in shares))
        found[kind] = {model: {"rank": fmean(rank[model]), "normalised": fmean(share[model])} for model in models}
    return found
