"""The faults that are known, and what is said of one that was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handgrad.explain.plain import Plain
from handgrad.explain.trace import Trace

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

    @property
    def name(self) -> str:
        """What is wrong, in words."""
        return FAULTS[self.fault]

    @property
    def title(self) -> str:
        """What is wrong, and where."""
        return self.name + (f", at {self.layer}" if self.layer else "")


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
        from handgrad.explain.diagnose.table import text

        return text(self)

    def __rich__(self) -> Any:
        from handgrad.explain.diagnose.table import rendered

        return rendered(self)

    def plot(self) -> Figure:
        """A matplotlib figure: the trace's panels, with the layers that a finding names marked."""
        from handgrad.explain.plots import plot_diagnosis

        return plot_diagnosis(self)
