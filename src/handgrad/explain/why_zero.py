"""`why_zero`: which entries of a parameter's gradient are exactly 0 on a batch, and what makes each of them so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad.checks import by_name
from handgrad.explain.trace import Plain
from handgrad.explain.trace_tape import INPUT, Step, Tape, record
from handgrad.explain.trace_units import gate, unit_count
from handgrad.explain.why_zero_above import Blocks, blocks_above
from handgrad.layers import L2, Layer, Linear, Loss
from handgrad.layers.gated import Gated

MOST_LISTED = 8  # units named in a sentence

# what each kind of reason says; {units} and {layer} are filled in
KINDS = {
    "unused input": "{columns} of X {are} 0 in every row",
    "zero input": "{units} of layer {layer}, the input here, {are} 0 for every sample",
    "dead unit": "{units} of layer {layer} {are} dead: at or below 0 for every sample",
    "inactive unit": "{units} of layer {layer} {are} 0 for each sample that would count",
    "closed gate": "the gates of {units} of layer {layer} are closed: 0 for each sample that would count",
    "saturated unit": "{units} of layer {layer} {are} so saturated that the slope rounds to 0",
    "dropped unit": "{units} of layer {layer} {are} dropped by dropout in this pass",
    "zero weights": "the weights from {units} on, in layer {layer}, are 0",
    "inactive margin": "no margin is active: each sample that would count is right by the margin or more",
    "flat loss": "the loss is flat there: its gradient by the scores is 0 for each sample that would count",
    "terms that cancel": "terms that are not 0 add up to exactly 0 in layer {layer}",
    "stopped within": "layer {layer} lets nothing back",
    "no gradient": "layer {layer} gives no gradient for it",
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


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def explain_zeros(tape: Tape, parameter: str, together: bool = False) -> ZeroGradient:
    """The same, of a batch that was run. together: ask once for all units that nothing reaches, which is fast where
    only the reasons matter, not how many entries each of them holds."""
    gradient = tape.gradients[parameter]
    zero = gradient == 0
    found: dict[tuple[str, str], tuple[set[int], np.ndarray]] = {}
    for number, step in enumerate(tape.steps):
        for own, name in step.names.items():
            if name != parameter or not zero.any():
                continue
            for blocks, entries in _of_place(tape, number, own, zero, together):
                for key, units in blocks.items():
                    known = found.setdefault(key, (set(), np.zeros_like(zero)))
                    known[0].update(units)
                    known[1][...] |= entries
    reasons = [
        Reason(kind, place, np.array(sorted(units), int), int(entries.sum()), _sentence(kind, place, sorted(units)))
        for (kind, place), (units, entries) in found.items()
    ]
    reasons.sort(key=lambda reason: -reason.entries)
    return ZeroGradient(parameter, gradient.shape, int(zero.sum()), zero.size, tuple(reasons))


def _of_place(
    tape: Tape, number: int, own: str, zero: np.ndarray, together: bool
) -> Iterator[tuple[Blocks, np.ndarray]]:
    """(what blocks, which entries it holds at 0), for one place of the parameter, which the layer calls `own`."""
    step = tape.steps[number]
    assert step.dout is not None
    units = unit_count(step)
    dz = _product_gradient(step, own)
    weights = isinstance(step.layer, Linear | Gated) and zero.ndim == 2
    if not weights and zero.shape != (units,):  # of a layer of the user's own
        yield {("no gradient" if not step.gradients else "stopped within", step.name): set()}, zero
        return
    outward = weights and isinstance(step.layer, Linear) and step.layer.layout == "out_in"
    seen = zero.T if outward else zero if weights else zero[None]  # (n_in, n_out); of a bias, one input that is 1
    x = tape.output(step.inputs[0]).reshape(-1, seen.shape[0]) if weights else np.ones((len(dz), 1))

    def entries(i: Any, j: Any) -> np.ndarray:
        held = np.zeros_like(seen)
        held[i, j] = True
        held &= seen
        return held.T if outward else held if weights else held[0]

    absent = ~(x != 0).any(axis=0)
    if absent.any():
        source = step.inputs[0]
        key = ("unused input", "X") if source == INPUT else ("zero input", tape.steps[source].name)
        yield {key: set(map(int, np.flatnonzero(absent)))}, entries(absent, slice(None))
    idle = ~(dz != 0).any(axis=0) & ~absent.all()
    # units that nothing reaches at all
    for chosen in [idle] * bool(idle.any()) if together else (np.arange(units) == j for j in np.flatnonzero(idle)):
        yield _why(tape, number, dz, chosen, slice(None)), entries(slice(None), chosen)
    for i in np.flatnonzero(~absent):  # and those reached by nothing on the rows where an input is not 0
        left = seen[i] & ~idle
        if left.any():
            yield _why(tape, number, dz, left, x[:, i] != 0), entries(i, left)


def _product_gradient(step: Step, own: str) -> np.ndarray:
    """(rows, units): the gradient by what this parameter adds up to. Of a gated unit, by its content or its gate."""
    assert step.dout is not None
    d = step.dout
    g = gate(step)
    if g is not None:
        op = step.layer.op
        value, saved = op.gate.value(g)  # type: ignore[attr-defined]
        d = d * value if own.startswith("content") else d * step.cache[1] * op.gate.local(saved)  # type: ignore[attr-defined]
    return d.reshape(-1, unit_count(step))


def _why(tape: Tape, number: int, dz: np.ndarray, units: np.ndarray, rows: Any) -> Blocks:
    """Why the sum over these rows of what reaches these units is 0."""
    step = tape.steps[number]
    assert step.dout is not None
    mask = np.zeros(dz.shape, bool)
    mask[rows] = units
    if (dz[mask] != 0).any():
        return {("terms that cancel", step.name): set(map(int, np.flatnonzero(units)))}
    d = step.dout.reshape(dz.shape)
    blocks: Blocks = {}
    if (shut := mask & (d != 0)).any():
        blocks["closed gate", step.name] = set(map(int, np.flatnonzero(shut.any(axis=0))))
    if (above := mask & (d == 0)).any():
        blocks |= blocks_above(tape, number, above.reshape(step.out.shape))
    return blocks


def _sentence(kind: str, place: str, units: list[int]) -> str:
    return KINDS[kind].format(
        columns=listed("column", units),
        units=listed("unit", units),
        are="is" if len(units) == 1 else "are",
        layer=repr(place),
    )


def listed(word: str, numbers: list[int]) -> str:
    """ "unit 3", "units 3, 5 and 7", "units 0, 1, 2, ... (40 in all)"."""
    if len(numbers) < 2:
        return f"{word} {numbers[0]}" if numbers else f"no {word}"
    if len(numbers) > MOST_LISTED:
        return f"{word}s {', '.join(map(str, numbers[:3]))}, ... ({len(numbers)} in all)"
    return f"{word}s {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
