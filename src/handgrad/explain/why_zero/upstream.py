"""What holds an upstream gradient at 0: the walk from a layer's output up to the loss."""

from __future__ import annotations

import numpy as np

from handgrad.explain.trace.steps import Step
from handgrad.explain.trace.tape import Tape
from handgrad.explain.trace.units import closed, slopes
from handgrad.explain.why_zero.probe import led_to, open_entries
from handgrad.layers import Dropout, Flatten, Hinge, Linear
from handgrad.layers.gated import Gated
from handgrad.ops import Elementwise, Op

SHAPED = (Flatten, Dropout)  # each output is one input's, as an elementwise op's is

# by op: what it is that stops a gradient where the op's slope is 0; "zero slope" of others
STOPS = {
    "multiply": "zero factor",
    "matmul": "zero factor",
    "linear": "zero factor",
    "maximum": "smaller side",
    "max": "smaller side",
    "dropout": "dropped unit",
}

# (kind, layer's place) -> the units, or samples' scores, it happens at
Blocks = dict[tuple[str, str], set[int]]


def blocks_above(tape: Tape, number: int, mask: np.ndarray) -> Blocks:
    """Why the gradient of step `number`'s output is 0 where `mask`, of the output's shape, is True.

    From each step the question goes on to those that take its output: they either stop what reaches them, which is a
    reason, or are reached by nothing themselves. In the order they ran, so that a fork is asked about once.
    """
    blocks: Blocks = {}
    asked = {number: mask}
    for at in range(number, len(tape.steps)):
        if at not in asked:
            continue
        users = tape.consumers(at)
        for user in users:
            passed = _through(tape.steps[user], at, asked[at], tape, blocks)
            if passed.any():
                asked[user] = asked[user] | passed if user in asked else passed
        if at == tape.last:
            _note(blocks, "inactive margin" if isinstance(tape.loss, Hinge) else "flat loss", "loss", asked[at])
        elif not users:
            _note(blocks, "not passed on", tape.steps[at].name, asked[at])
    return blocks


def _through(step: Step, at: int, mask: np.ndarray, tape: Tape, blocks: Blocks) -> np.ndarray:
    """Where, among its own outputs, `step` is reached by nothing, of those that the masked outputs of step `at` feed.
    What it stops itself is noted in `blocks`."""
    d = step.dout
    if isinstance(step.layer, Linear):
        return _through_linear(step, mask, tape, blocks)
    shut, steep = closed(step), slopes(step)
    if isinstance(step.function, Op) and not isinstance(step.layer, Gated) and shut is None and steep is None:
        return _through_op(step, at, mask, blocks)
    if isinstance(step.layer, SHAPED) or isinstance(getattr(step.layer, "op", None), Elementwise):
        mask = mask.reshape(d.shape)
        if shut is not None:  # a dead unit is reason enough, whatever reaches it from above
            dead = shut.reshape(-1, d.shape[-1]).all(axis=0)
            _note(blocks, "dead unit", step.name, mask & shut & dead)
            mask = mask & ~dead
            _note(blocks, "inactive unit", step.name, mask & shut & (d != 0))
            return _rest(blocks, step, mask & ~(shut & (d != 0)))
        elif steep is not None:
            _note(blocks, "saturated unit", step.name, mask & (steep == 0))
            mask = mask & (steep != 0)
        elif isinstance(step.layer, Dropout) and step.cache is not None:
            _note(blocks, "dropped unit", step.name, mask & (d != 0))
            return mask & (d == 0)
        return _rest(blocks, step, mask)
    if isinstance(step.layer, Gated):
        led = np.any([tape.params[step.names[f"{own}.weight"]] != 0 for own in ("content", "gate")], axis=0).any(axis=1)
        _note(blocks, "zero weights", step.name, mask & ~led)
        mask = mask & led
    reached = (d != 0).reshape(d.shape[0], -1).any(axis=1)  # any other layer mixes what belongs to one sample
    rows = mask.reshape(mask.shape[0], -1).any(axis=1)
    _note(blocks, "stopped within", step.name, mask & reached.reshape(-1, *[1] * (mask.ndim - 1)))
    return np.zeros(d.shape, bool) | (rows & ~reached).reshape(-1, *[1] * (d.ndim - 1))


def _through_op(step: Step, at: int, mask: np.ndarray, blocks: Blocks) -> np.ndarray:
    assert isinstance(step.function, Op)
    places = [k for k, source in enumerate(step.sources) if source == at]
    passable = open_entries(step, places)
    _note(blocks, STOPS.get(step.function.name, "zero slope"), step.name, mask & ~passable)
    return _rest(blocks, step, led_to(step, places, mask & passable))


def _rest(blocks: Blocks, step: Step, mask: np.ndarray) -> np.ndarray:
    """Where nothing reaches `step`; what does reach it passes, so that it is the sum with others that is 0."""
    d = step.dout
    _note(blocks, "terms that cancel", step.name, mask & (d != 0))
    return np.asarray(mask & (d == 0))


def _through_linear(step: Step, mask: np.ndarray, tape: Tape, blocks: Blocks) -> np.ndarray:
    """dX = dZ W^T: an input's gradient is 0 where each weight on its way is, or each dz it leads to."""
    assert isinstance(step.layer, Linear)
    weight = tape.params[step.names["weight"]]
    leads = (weight if step.layer.layout == "in_out" else weight.T) != 0
    d = step.dout.reshape(-1, leads.shape[1])
    inputs = mask.reshape(-1, leads.shape[0])
    reached = (d != 0).any(axis=1)
    fed = (inputs.astype(np.float32) @ leads.astype(np.float32)) > 0  # by a masked input through a weight
    cancelling = (fed & (d != 0)).any(axis=1)
    _note(blocks, "zero weights", step.name, inputs & ((reached & ~cancelling)[:, None] | ~leads.any(axis=1)))
    _note(blocks, "terms that cancel", step.name, inputs & cancelling[:, None])
    return (fed & (d == 0)).reshape(step.dout.shape)


def _note(blocks: Blocks, kind: str, place: str, where: np.ndarray) -> None:
    where = np.asarray(where)
    if where.any():
        units = where.reshape(-1, where.shape[-1]).any(axis=0) if where.ndim > 1 else np.array([True])
        blocks.setdefault((kind, place), set()).update(map(int, np.flatnonzero(units)))
