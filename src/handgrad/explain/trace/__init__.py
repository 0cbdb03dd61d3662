"""`trace`: one batch followed through a model, as numbers: shapes, spreads, gradients, updates, caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from handgrad.explain.trace.measure import trace_of
from handgrad.explain.trace.records import LayerTrace, ParameterTrace, Trace
from handgrad.explain.trace.spread import QUANTILES, Spread
from handgrad.explain.trace.tape import record
from handgrad.layers import L2, Layer, Loss
from handgrad.optim import Optimizer, State

__all__ = ["QUANTILES", "LayerTrace", "ParameterTrace", "Spread", "Trace", "trace"]


def trace(
    model: Layer,
    params: Mapping[str, Any],
    X: Any,
    y: Any,
    *,
    loss: str | Loss = "cross_entropy",
    optimizer: str | Optimizer = "adam",
    state: State | None = None,
    sample_weight: Any = None,
    regularizer: L2 | None = None,
    train: bool = False,
    rng: np.random.Generator | int | None = None,
) -> Trace:
    """Follow one batch through a model: what each layer gives, what flows back, what the optimizer would change.

    X: (m, ...), samples as rows; y as the loss takes it. loss, optimizer, regularizer: as `fit` takes them, with its
    defaults. state: the optimizer's, from training so far; None is its first step. train, rng: for Dropout, which is
    off unless asked for. Sequential, Residual and Graph are followed inside, however nested; any other layer, a
    container of your own too, is one step. In a Graph each op is a step as well, by the name of its node, and what
    parameters it reads are its own; an op such as relu is measured as the layer ReLU is. Nothing given is changed.
    Raises ShapeError, DTypeError, ValueRangeError or ParameterError, with the layer's place.
    """
    tape = record(
        model, params, X, y, loss=loss, sample_weight=sample_weight, regularizer=regularizer, train=train, rng=rng
    )
    return trace_of(tape, optimizer, state)
