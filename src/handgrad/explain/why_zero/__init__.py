"""`why_zero`: which entries of a parameter's gradient are exactly 0 on a batch, and what makes each of them so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from handgrad.checks import by_name
from handgrad.explain.trace.tape import record
from handgrad.explain.why_zero.entries import explain_zeros
from handgrad.explain.why_zero.reasons import KINDS, Reason, ZeroGradient
from handgrad.layers import L2, Layer, Loss

__all__ = ["KINDS", "Reason", "ZeroGradient", "why_zero"]


def why_zero(
    model: Layer,
    params: Mapping[str, Any],
    X: Any,
    y: Any,
    parameter: str,
    *,
    loss: str | Loss = "cross_entropy",
    sample_weight: Any = None,
    regularizer: L2 | None = None,
    train: bool = False,
    rng: np.random.Generator | int | None = None,
) -> ZeroGradient:
    """Say which entries of a parameter's gradient are exactly 0 on this batch, and why.

    It may be an input that is 0 in every row, a unit below that is 0, a unit above that is dead or so saturated that
    its slope rounds to 0, weights further on that are 0, a margin that is not active, or terms that cancel. parameter:
    the model's name of it, "0.weight". All else is as for `trace`. Raises ValueRangeError for a name that is not there.
    """
    tape = record(
        model, params, X, y, loss=loss, sample_weight=sample_weight, regularizer=regularizer, train=train, rng=rng
    )
    by_name("parameter", parameter, tape.params)
    return explain_zeros(tape, parameter)
