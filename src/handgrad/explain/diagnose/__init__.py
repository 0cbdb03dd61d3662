"""`diagnose`: what is wrong with a network, where, by which numbers, why, and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from handgrad.errors import DTypeError
from handgrad.explain.diagnose.case import Case
from handgrad.explain.diagnose.findings import FAULTS, Diagnosis, Finding
from handgrad.explain.diagnose.rules import findings
from handgrad.explain.trace.measure import trace_of
from handgrad.explain.trace.tape import record
from handgrad.layers import L2, Layer, Loss
from handgrad.optim import Optimizer, State

__all__ = ["FAULTS", "Diagnosis", "Finding", "diagnose"]


def diagnose(
    model: Layer,
    params: Mapping[str, Any],
    X: Any,
    y: Any,
    *,
    loss: str | Loss = "cross_entropy",
    optimizer: str | Optimizer = "adam",
    state: State | None = None,
    history: Iterable[Mapping[str, Any]] | None = None,
    sample_weight: Any = None,
    regularizer: L2 | None = None,
) -> Diagnosis:
    """Look at one batch, and at the history of the training if it is given, for what commonly goes wrong.

    X, y, loss, optimizer, state, regularizer: as for `trace`; without a history the network is taken to be at its
    start. history: `result.history`, or its rows. Give some hundred rows: on fewer than 32, units that seem dead are
    not spoken of. The thresholds, with their reasons, are in handgrad.explain.diagnose.limits. Raises as `trace` does.
    """
    rows = None if history is None else _rows(history)
    tape = record(model, params, X, y, loss=loss, sample_weight=sample_weight, regularizer=regularizer)
    trace = trace_of(tape, optimizer, state)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return Diagnosis(tuple(findings(Case(tape, trace, rows))), trace)


def _rows(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a history, each loss a number: NaN for None, which stands for it in JSON."""
    rows = []
    for place, row in enumerate(history):
        loss = row.get("loss", 0.0) if isinstance(row, Mapping) else row
        if not isinstance(row, Mapping) or not isinstance(loss, Real | None):
            raise DTypeError(
                "history must be fit's, or its rows, mappings such as {'epoch': 1, 'loss': 0.7}; "
                f"got {loss!r:.40} at row {place}"
            )
        rows.append({**row, "loss": math.nan} if loss is None else dict(row))
    return rows
