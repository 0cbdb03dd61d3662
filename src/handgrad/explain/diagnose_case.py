"""What the rules of `diagnose` look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from handgrad.explain.trace import Trace
from handgrad.explain.trace_tape import Step, Tape
from handgrad.layers import Linear
from handgrad.layers.gated import Gated


@dataclass(frozen=True)
class Case:
    """A batch that was run, its trace, the rows of the history if there is one, and the samples' weights."""

    tape: Tape
    trace: Trace
    history: list[dict[str, Any]] | None
    sample_weight: Any = None

    def weighted(self) -> Iterator[Step]:
        """The steps whose layers multiply by weights, in order; each layer's first place alone."""
        seen: set[int] = set()
        for step in self.tape.steps:
            if isinstance(step.layer, Linear | Gated) and id(step.layer) not in seen:
                seen.add(id(step.layer))
                yield step
