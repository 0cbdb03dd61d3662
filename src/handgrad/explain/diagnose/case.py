"""What the rules of `diagnose` look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from handgrad.explain.diagnose.chance import Chance, chance
from handgrad.explain.trace import Trace
from handgrad.explain.trace.steps import INPUT, Step
from handgrad.explain.trace.tape import Tape
from handgrad.layers import Linear
from handgrad.layers.gated import Gated

DRAWS = 5  # of first parameters


@dataclass(frozen=True)
class Case:
    """A batch that was run, its trace, and the rows of the history if there is one."""

    tape: Tape
    trace: Trace
    history: list[dict[str, Any]] | None = None

    def weighted(self) -> Iterator[Step]:
        """The steps that multiply by weights, in order; of those with the same weights the first alone."""
        seen: set[tuple[str, ...]] = set()
        for step in self.tape.steps:
            if isinstance(step.layer, Linear | Gated) and step.parameters not in seen:
                seen.add(step.parameters)
                yield step

    @cached_property
    def depths(self) -> list[int]:
        """Of each step: how many steps that multiply by weights lie on the longest way to it, itself among them."""
        found: list[int] = []
        for step in self.tape.steps:
            below = max((found[i] for i in step.inputs if i != INPUT), default=0)
            found.append(below + isinstance(step.layer, Linear | Gated))
        return found

    @property
    def losses(self) -> list[float]:
        """The training loss of each epoch."""
        return [float(row["loss"]) for row in self.history or [] if "loss" in row]

    @cached_property
    def fresh_loss(self) -> float:
        """The loss of this network as its initializers draw it, the highest of DRAWS: where a training starts."""
        tape = self.tape
        return max(tape.value_at(tape.model.init(seed, tape.params.flat.dtype)) for seed in range(DRAWS))

    @cached_property
    def chance(self) -> Chance | None:
        """What a network that knows nothing gives; None where nothing is known of the loss."""
        return chance(self.tape)
