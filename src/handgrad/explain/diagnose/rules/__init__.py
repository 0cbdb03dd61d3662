"""The rules of `diagnose`: each looks at one batch that was run and yields what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from handgrad.explain.diagnose.case import Case
from handgrad.explain.diagnose.findings import Finding
from handgrad.explain.diagnose.rules.gradients import gradient_flow, zero_gradient
from handgrad.explain.diagnose.rules.structure import broken_symmetry, linear_layers, unused_input
from handgrad.explain.diagnose.rules.training import learning_rate, start_loss
from handgrad.explain.diagnose.rules.values import dead_relus, not_finite, saturation

__all__ = ["findings"]

Rule = Callable[[Case], Iterator[Finding]]
BAD = ("not_finite",)
# in this order, each with the findings that explain what it would say
RULES: tuple[tuple[Rule, tuple[str, ...]], ...] = (
    (not_finite, ()),
    (broken_symmetry, BAD),
    (saturation, BAD),
    (dead_relus, (*BAD, "broken_symmetry")),
    (gradient_flow, (*BAD, "broken_symmetry")),
    (linear_layers, ()),
    (start_loss, BAD),
    (learning_rate, ()),
    (zero_gradient, (*BAD, "broken_symmetry", "dead_relus")),
    (unused_input, ()),
)


def findings(case: Case) -> Iterator[Finding]:
    """All findings, causes before what follows from them; what another finding explains is left out."""
    found: list[Finding] = []
    for rule, hidden_by in RULES:
        if not any(finding.fault in hidden_by for finding in found):
            found += rule(case)
    yield from found
