"""The rules about how a network is built and started: units that are alike, linear layers in a row, unused inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from handgrad.explain.diagnose.case import Case
from handgrad.explain.diagnose.findings import Finding
from handgrad.explain.diagnose.limits import LIMITS
from handgrad.explain.trace.steps import INPUT, Step
from handgrad.explain.trace.tape import Tape
from handgrad.explain.trace.units import unit_count
from handgrad.explain.why_zero.reasons import listed
from handgrad.layers import Identity, Linear

AFFINE = ("add", "subtract", "multiply", "negative", "identity")  # ops, where they read one step and nothing else moves


def broken_symmetry(case: Case) -> Iterator[Finding]:
    """Units with the same weights and bias and the same gradient of both: no step will ever tell them apart."""
    for step in case.weighted():
        units = unit_count(step)
        weights = np.concatenate([_by_unit(step, name, case.tape.params[name]) for name in step.parameters])
        gradients = np.concatenate([_by_unit(step, name, case.tape.gradients[name]) for name in step.parameters])
        groups = [group for group in _alike(weights) if len(group) > 1 and _same(gradients[:, group])]
        alike = sum(map(len, groups))
        if not groups:
            continue
        largest = max(groups, key=len)
        zero = not weights[:, largest].any()
        yield Finding(
            "broken_symmetry",
            step.name,
            f"{alike} of its {units} units are alike: {listed('unit', largest.tolist())} have the same weights"
            f"{', all 0,' if zero else ''} and the same gradient",
            {"alike": alike, "units": units, "groups": [group.tolist() for group in groups], "zero": zero},
            "units that start alike get the same gradient, so that they stay alike: the layer is as good as one unit",
            "draw the first weights at random, such as init='he_normal'; biases alone may start at 0",
        )


def _by_unit(step: Step, name: str, array: np.ndarray) -> np.ndarray:
    """A parameter as (numbers of each unit, units)."""
    if array.ndim == 2 and isinstance(step.layer, Linear) and step.layer.layout == "out_in":
        array = array.T
    return array.reshape(-1, unit_count(step))


def _alike(columns: np.ndarray) -> list[np.ndarray]:
    """The numbers of the columns, in groups of equal ones, up to rounding."""
    scale = np.abs(columns).max(initial=0.0)
    keys = np.round(columns / (scale * LIMITS["alike"].value)) if scale else columns
    _, inverse = np.unique(keys, axis=1, return_inverse=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    return np.split(order, np.flatnonzero(np.diff(inverse.reshape(-1)[order])) + 1)


def _same(columns: np.ndarray) -> bool:
    spread = np.abs(columns - columns[:, :1]).max(initial=0.0)
    return bool(spread <= LIMITS["alike"].value * np.abs(columns).max(initial=0.0))


def linear_layers(case: Case) -> Iterator[Finding]:
    """A linear layer that feeds another, and nothing else, with nothing between that is not linear too."""
    for step in case.tape.steps:
        first = _linear_before(case.tape, step)
        if first is None or type(step.layer) is not Linear or type(first.layer) is not Linear:
            continue
        n_in, waist, n_out = first.layer.n_in, first.layer.n_out, step.layer.n_out
        evidence = {"first": first.name, "widths": [n_in, waist, n_out], "numbers": [n_in * waist + waist * n_out]}
        uses = [id(each.layer) for each in case.tape.steps]
        alone = uses.count(id(first.layer)) == uses.count(id(step.layer)) == 1
        alone = alone and first.graph is None and step.graph is None  # collapse does not enter graphs
        merge = ", or merge them with handgrad.collapse(model, params)" if alone else ""
        narrow = f", of rank {waist} at most" if waist < min(n_in, n_out) else ""
        yield Finding(
            "linear_layers",
            step.name,
            f"layers {first.name!r} and {step.name!r} are linear with nothing between them: together one map from "
            f"{n_in} to {n_out}{narrow}",
            evidence | {"merged": n_in * n_out},
            "a linear map of a linear map is linear: (x W1 + b1) W2 + b2 = x (W1 W2) + (b1 W2 + b2)",
            "put an activation between them" + merge,
        )


def _linear_before(tape: Tape, step: Step) -> Step | None:
    """The linear layer whose output this one takes, and nothing else does: as it is, copied, or with a parameter or a
    constant added to it or multiplied with it. None where there is no such layer."""
    if type(step.layer) is not Linear:
        return None
    (at,) = step.inputs
    while at != INPUT and len(tape.readers(at)) == 1:
        before = tape.steps[at]
        if type(before.layer) is Linear:
            return before if before.layer.n_out == step.layer.n_in else None
        if len(before.inputs) != 1 or not (type(before.layer) is Identity or _affine(before)):
            return None
        (at,) = before.inputs
    return None


def _affine(step: Step) -> bool:
    """Whether an op is affine in the one step it reads, unit by unit."""
    name = getattr(step.function, "name", "")
    return name in AFFINE or (name == "divide" and isinstance(step.sources[0], int))


def unused_input(case: Case) -> Iterator[Finding]:
    """Columns of X that are 0 in every row. Not of a network that was trained: on rows that had them, perhaps."""
    if case.history is not None:
        return
    x = case.tape.x
    columns = np.flatnonzero(~x.reshape(x.shape[0], -1).any(axis=0)) if x.ndim > 1 else np.array([], int)
    if columns.size:
        yield Finding(
            "unused_input",
            "",
            f"{listed('column', columns.tolist())} of X {'is' if columns.size == 1 else 'are'} 0 in all "
            f"{case.trace.rows} rows: the first layer's weights for them get no gradient",
            {"columns": columns},
            "a weight's gradient is the sum of x dz, which is 0 where x is",
            "leave these columns out, or give a batch in which they are used",
        )
