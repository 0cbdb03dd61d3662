"""How a training went, for the page: curves, the confusion matrix or residuals, baselines, findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from handgrad.errors import ShapeError
from handgrad.explain.diagnose import FAULTS, Finding
from handgrad.explain.view.document import number

MOST = 2_000  # points of residuals; more are drawn at random from


def report(
    title: str,
    history: Iterable[Mapping[str, Any]],
    predicted: Any,
    actual: Any,
    *,
    labels: Sequence[str] | None = None,
    best_epoch: int | None = None,
    metrics: Mapping[str, float] | None = None,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    findings: Iterable[Finding] = (),
    facts: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The report of a view. history: rows as `fit` gives them. predicted, actual: (rows,), of a part that training did
    not see: places in `labels` for a classifier, numbers for a regression, where labels is None. metrics, baselines:
    scores of the model, and of each of others by its name. findings: of `diagnose`. facts: anything else, in words.

    Raises ShapeError where predicted and actual differ in length.
    """
    predicted, actual = np.asarray(predicted).reshape(-1), np.asarray(actual).reshape(-1)
    if predicted.shape != actual.shape:
        raise ShapeError(f"predicted and actual must be of one length, got {predicted.size} and {actual.size}")
    rows = list(history)
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        "title": title,
        "task": "regression" if labels is None else "classification",
        "history": {name: [number(row.get(name)) for row in rows] for name in names},
        "best_epoch": best_epoch,
        "confusion": None if labels is None else _confusion(predicted, actual, labels),
        "residuals": _residuals(predicted, actual) if labels is None else None,
        "baselines": [{"name": name, "metrics": _numbers(each)} for name, each in (baselines or {}).items()],
        "metrics": _numbers(metrics or {}),
        "findings": [_finding(finding) for finding in findings],
        "facts": dict(facts or {}),
    }


def _confusion(predicted: np.ndarray, actual: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """counts[i][j]: how many of class i were taken for class j."""
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (actual.astype(int), predicted.astype(int)), 1)
    return {"labels": list(map(str, labels)), "counts": counts.tolist()}


def _residuals(predicted: np.ndarray, actual: np.ndarray) -> dict[str, Any]:
    chosen = np.sort(np.random.default_rng(0).permutation(actual.size)[:MOST])
    pairs = (("predicted", predicted), ("actual", actual))
    return {name: [number(value) for value in values[chosen]] for name, values in pairs}


def _numbers(metrics: Mapping[str, float]) -> dict[str, Any]:
    return {name: number(value) for name, value in metrics.items()}


def _finding(finding: Finding) -> dict[str, str]:
    title = FAULTS[finding.fault]
    where = f", layer {finding.layer}" if finding.layer else ""
    return {"title": f"{title}{where}", "evidence": finding.says, "cause": finding.cause, "advice": finding.remedy}
