"""The reasons there are for a gradient of 0, and how they are said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handgrad.explain.plain import Plain

MOST_LISTED = 8  # units named in a sentence

# what each kind of reason says; {units} and {layer} are filled in
KINDS = {
    "unused input": "{columns} of X {are} 0 in every row",
    "zero input": "{units} of {layer}, the input here, {are} 0 for every sample",
    "dead unit": "{units} of {layer} {are} dead: at or below 0 for every sample",
    "inactive unit": "{units} of {layer} {are} 0 for each sample that would count",
    "closed gate": "the gates of {units} of {layer} are closed: 0 for each sample that would count",
    "saturated unit": "{units} of {layer} {are} so saturated that the slope rounds to 0",
    "dropped unit": "{units} of {layer} {are} dropped by dropout in this pass",
    "zero weights": "the weights from {units} on, in {layer}, are 0",
    "zero factor": "what {units} {are} multiplied by in {layer} is 0 for each sample that would count",
    "smaller side": "{units} {are} not the larger in {layer} for any sample that would count",
    "zero slope": "the slope of {layer} by {units} is 0 for each sample that would count",
    "inactive margin": "{scores} {have} no active margin: each sample that would count is right by the margin or more",
    "flat loss": "the loss is flat in {scores}: its gradient is 0 for each sample that would count",
    "terms that cancel": "terms that are not 0 add up to exactly 0 in {layer}",
    "stopped within": "what is within {layer} lets nothing back",
    "no gradient": "{layer} gives no gradient for it",
    "not passed on": "nothing takes what {layer} gives on to the loss, but perhaps as data",
    "unused parameter": "nothing that leads to the loss reads it, but perhaps as data",
}


@dataclass(frozen=True)
class Reason(Plain):
    """Why some entries are 0. kind: a key of KINDS. layer: the place it happens at, "X" for the input, "loss" for the
    loss. units: which of its units, of its inputs for "zero weights", or of the columns of X. entries: how many of the
    gradient's entries it holds at 0, with other reasons perhaps. says: all that in words."""

    kind: str
    layer: str
    units: np.ndarray
    entries: int
    says: str


@dataclass(frozen=True)
class ZeroGradient(Plain):
    """What `why_zero` found: `zeros` of `size` entries of the parameter's gradient are exactly 0, for `reasons`, the
    one that holds most first."""

    parameter: str
    shape: tuple[int, ...]
    zeros: int
    size: int
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        if not self.zeros:
            return f"no entry of the gradient of {self.parameter} is 0"
        lines = [f"the gradient of {self.parameter} is 0 in {self.zeros:,} of its {self.size:,} entries:"]
        return "\n".join([*lines, *(f"  {reason.entries:,}: {reason.says}" for reason in self.reasons)])


def sentence(kind: str, place: str, units: list[int]) -> str:
    """What a reason of this kind says, of these units of the layer at this place."""
    return KINDS[kind].format(
        columns=listed("column", units),
        units=listed("unit", units),
        scores=listed("score", units),
        are="is" if len(units) == 1 else "are",
        have="has" if len(units) == 1 else "have",
        layer=f"layer {place!r}" if place else "the only layer",
    )


def listed(word: str, numbers: list[int]) -> str:
    """ "unit 3", "units 3, 5 and 7", "units 0, 1, 2, ... (40 in all)"."""
    if len(numbers) < 2:
        return f"{word} {numbers[0]}" if numbers else f"no {word}"
    if len(numbers) > MOST_LISTED:
        return f"{word}s {', '.join(map(str, numbers[:3]))}, ... ({len(numbers)} in all)"
    return f"{word}s {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
