"""`diagnose`: what is wrong with a network, where, by which numbers, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from handgrad.explain.trace import Plain, Trace, trace_of
from handgrad.explain.trace_tape import record
from handgrad.layers import L2, Layer, Loss
from handgrad.optim import Optimizer, State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAULTS = {
    "not_finite": "numbers that are not finite",
    "broken_symmetry": "units that are alike and stay so",
    "vanishing_gradients": "vanishing gradients",
    "exploding_gradients": "exploding gradients",
    "dead_relus": "dead ReLUs",
    "saturation": "saturated sigmoids or tanhs",
    "linear_layers": "linear layers with nothing between them",
    "start_loss": "a loss far above what a constant guess gives",
    "rate_too_large": "a learning rate that is too large",
    "rate_too_small": "a learning rate that is too small",
    "zero_gradient": "a gradient that is 0",
    "unused_input": "inputs that are always 0",
}


@dataclass(frozen=True)
class Finding(Plain):
    """One thing that is wrong. fault: a key of FAULTS. layer: the place, "" for the network as a whole. says: what was
    seen, with its numbers. evidence: those numbers, by name. cause: why it is so. remedy: what to do."""

    fault: str
    layer: str
    says: str
    evidence: dict[str, Any]
    cause: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis(Plain):
    """What `diagnose` found, the likeliest cause first, and the trace it was found in. `ok`: nothing."""

    findings: tuple[Finding, ...]
    trace: Trace

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def __contains__(self, fault: str) -> bool:
        return any(finding.fault == fault for finding in self.findings)

    def __getitem__(self, fault: str) -> tuple[Finding, ...]:
        """The findings of one fault."""
        if fault not in FAULTS:
            raise KeyError(f"{fault!r} is no fault that diagnose knows; they are {list(FAULTS)}")
        return tuple(finding for finding in self.findings if finding.fault == fault)

    def __str__(self) -> str:
        from handgrad.explain.diagnose_table import text

        return text(self)

    def __rich__(self) -> Any:
        from handgrad.explain.diagnose_table import rendered

        return rendered(self)

    def plot(self) -> Figure:
        """A matplotlib figure: the trace's panels, with the layers that a finding names marked."""
        from handgrad.explain.plots import plot_diagnosis

        return plot_diagnosis(self)


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
    not spoken of. The thresholds, with their reasons, are in handgrad.explain.diagnose_limits. Raises as `trace` does.
    """
    from handgrad.explain.diagnose_rules import Case, findings

    rows = None if history is None else [dict(row) for row in history]
    tape = record(model, params, X, y, loss=loss, sample_weight=sample_weight, regularizer=regularizer)
    trace = trace_of(tape, optimizer, state)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return Diagnosis(tuple(findings(Case(tape, trace, rows, sample_weight))), trace)
