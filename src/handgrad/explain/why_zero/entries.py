"""What holds each entry of a parameter's gradient at 0: its own input, or what lies above."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from handgrad.explain.trace.steps import INPUT, Step
from handgrad.explain.trace.tape import Tape
from handgrad.explain.trace.units import gate, unit_count
from handgrad.explain.why_zero.probe import led_to, open_entries
from handgrad.explain.why_zero.reasons import Reason, ZeroGradient, sentence
from handgrad.explain.why_zero.upstream import STOPS, Blocks, blocks_above
from handgrad.layers import Linear
from handgrad.layers.gated import Gated
from handgrad.ops import Op
from handgrad.ops.gated import Gated as GatedOp


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
    if zero.any() and not any(parameter in step.parameters for step in tape.steps):
        found["unused parameter", ""] = (set(), zero)
    reasons = [
        Reason(kind, place, np.array(sorted(units), int), int(entries.sum()), sentence(kind, place, sorted(units)))
        for (kind, place), (units, entries) in found.items()
    ]
    reasons.sort(key=lambda reason: -reason.entries)
    return ZeroGradient(parameter, gradient.shape, int(zero.sum()), zero.size, tuple(reasons))


def _of_place(
    tape: Tape, number: int, own: str, zero: np.ndarray, together: bool
) -> Iterator[tuple[Blocks, np.ndarray]]:
    """(what blocks, which entries it holds at 0), for one place of the parameter, which the layer calls `own`."""
    step = tape.steps[number]
    if not step.reached:
        yield blocks_above(tape, number, np.ones(step.out.shape, bool)), zero
        return
    if isinstance(step.function, Op) and not isinstance(step.layer, Linear | Gated):
        yield from _of_op(tape, number, step.names[own], zero)
        return
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


def _of_op(tape: Tape, number: int, parameter: str, zero: np.ndarray) -> Iterator[tuple[Blocks, np.ndarray]]:
    """The same where an op reads the parameter; entries along its last axis are told apart, others are not."""
    step = tape.steps[number]
    places = [k for k, source in enumerate(step.sources) if source == parameter]
    passable = open_entries(step, places)
    if (shut := zero & ~passable).any():
        yield _shut(tape, step, shut), shut
    for unit in range(zero.shape[-1] if zero.ndim else 1):
        entries = np.zeros_like(zero)
        entries[..., unit : unit + 1 if zero.ndim else None] = True
        entries &= zero & passable
        if not entries.any():
            continue
        fed = led_to(step, places, entries)
        blocks: Blocks = {}
        if (fed & (step.dout != 0)).any():
            blocks["terms that cancel", step.name] = {unit}
        if (above := np.asarray(fed & (step.dout == 0))).any():
            blocks |= blocks_above(tape, number, above)
        yield blocks, entries


def _shut(tape: Tape, step: Step, entries: np.ndarray) -> Blocks:
    """Why an op has no slope by these entries of a parameter: another argument is 0 throughout, or the op is flat."""
    assert isinstance(step.function, Op)
    blocks: Blocks = {}
    for source in dict.fromkeys(step.inputs):
        value = tape.output(source)
        absent = ~(value != 0).reshape(-1, value.shape[-1] if value.ndim else 1).any(axis=0)
        if absent.any():
            key = ("unused input", "X") if source == INPUT else ("zero input", tape.steps[source].name)
            blocks[key] = set(map(int, np.flatnonzero(absent)))
    units = entries.reshape(-1, entries.shape[-1] if entries.ndim else 1).any(axis=0)
    kind = STOPS.get(step.function.name, "zero slope")
    return blocks or {(kind, step.name): set(map(int, np.flatnonzero(units)))}


def _product_gradient(step: Step, own: str) -> np.ndarray:
    """(rows, units): the gradient by what this parameter adds up to. Of a gated unit, by its content or its gate."""
    d, g = step.dout, gate(step)
    if g is not None:
        assert isinstance(step.layer, Gated)
        assert isinstance(step.layer.op, GatedOp)
        value, saved = step.layer.op.gate.value(g)
        d = d * value if own.startswith("content") else d * step.cache[1] * step.layer.op.gate.local(saved)
    return d.reshape(-1, unit_count(step))


def _why(tape: Tape, number: int, dz: np.ndarray, units: np.ndarray, rows: Any) -> Blocks:
    """Why the sum over these rows of what reaches these units is 0."""
    step = tape.steps[number]
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
