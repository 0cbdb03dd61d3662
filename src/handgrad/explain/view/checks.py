"""Every gradient shown, against numbers: what the badge on a parameter says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from handgrad.check import GradientReport, check_gradients
from handgrad.errors import HandgradError
from handgrad.explain.trace.tape import Tape
from handgrad.explain.view.document import number
from handgrad.models.graph import Run
from handgrad.models.graph.nodes import INPUT, LAYER
from handgrad.models.graph.passes import backward_pass, forward_pass, layer_backward

ROWS = 8  # of a batch: what they prove of a gradient, more of them do not
ENTRIES = 200  # compared one by one, in all arrays together
FEWEST, MOST = 1, 32  # in one array
METHODS = {"complex": "complex steps", "central": "central differences"}


def checks_of_tape(tape: Tape) -> dict[str, Any]:
    """By each parameter's name, in float64, on the first rows of the batch; none where numbers are not finite."""
    if not tape.params or not np.isfinite(tape.value):
        return {}
    weight = None if tape.sample_weight is None else np.asarray(tape.sample_weight)[:ROWS]
    y = tape.y if np.ndim(tape.y) == 0 else np.asarray(tape.y)[:ROWS]
    try:
        report = check_gradients(
            tape.model,
            tape.params.like(tape.params.flat.astype(np.float64)),
            tape.x[:ROWS].astype(np.float64),
            y.astype(np.float64) if np.ndim(y) and y.dtype.kind == "f" else y,
            loss=tape.loss,
            sample_weight=None if weight is None else weight.astype(np.float64),
            regularizer=tape.regularizer,
            train=tape.train,
            rng=tape.rng,
            samples=_samples(len(tape.params)),
        )
    except HandgradError:  # of a model that runs on its own batch alone, or in its own dtype
        return {}
    return {name: each for name, each in _found(report).items() if name in tape.params}


def checks_of_run(run: Run, parameters: Iterable[str]) -> dict[str, Any]:
    """By the names of those parameters and of inputs that a gradient comes back to; none where Dropout drops."""
    nodes = [node for node in run.nodes if node.kind == INPUT and run[node].gradient is not None]
    given = {node.name: run._values[node.index] for node in nodes}
    params = {name: run.params[name] for name in parameters}
    dropped = [n for n in run.nodes if n.kind == LAYER and type(n.function).__name__ == "Dropout"]
    if np.ndim(run.value) or not np.isfinite(run.value) or any(run._caches[n.index] is not None for n in dropped):
        return {}
    data = {n.name: run._values[n.index] for n in run.nodes if n.kind == INPUT and n.name not in given}
    names = [*given, *params]

    def forward(*arrays: Any) -> tuple[Any, Any]:
        of = dict(zip(names, arrays, strict=True))
        own = {name: of[name] for name in params}
        inputs = {**data, **{name: of[name] for name in given}}
        values, caches = forward_pass(run.graph, run._plan, own, inputs)
        return values[run._plan.output], caches

    def backward(dout: Any, caches: Any) -> tuple[Any, ...]:
        found = backward_pass(run.graph, run._plan, caches, np.asarray(dout), layer_backward)
        return (*(found[0][node.index] for node in nodes), *(found[2][name] for name in params))

    arrays = [np.asarray(array, np.float64) for array in (*given.values(), *params.values())]
    try:
        report = check_gradients((forward, backward), *arrays, samples=_samples(len(names)))
    except HandgradError:
        return {}
    return dict(zip(names, _found(report).values(), strict=True))


def _samples(arrays: int) -> int:
    return min(MOST, max(FEWEST, ENTRIES // max(1, arrays)))


def _found(report: GradientReport) -> dict[str, Any]:
    return {
        row.name: {
            "error": number(row.error),
            "method": METHODS[row.method],
            "entries": row.entries,
            "passed": bool(row.ok),
        }
        for row in report.rows
    }
