"""The rules of `diagnose`: each looks at one batch that was run and yields what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from handgrad.explain.diagnose import Finding
from handgrad.explain.diagnose_case import Case
from handgrad.explain.diagnose_limits import LIMITS
from handgrad.explain.diagnose_training import learning_rate, start_loss
from handgrad.explain.trace_tape import INPUT, Step
from handgrad.explain.trace_units import unit_count
from handgrad.explain.why_zero import explain_zeros, listed
from handgrad.layers import Identity, Linear

__all__ = ["Case", "findings"]


def findings(case: Case) -> Iterator[Finding]:
    """All findings, causes before what follows from them; what another finding explains is left out."""
    found: list[Finding] = []
    for rule, hidden_by in RULES:
        if not any(finding.fault in hidden_by for finding in found):
            found += rule(case)
    yield from found


def not_finite(case: Case) -> Iterator[Finding]:
    """A NaN or an infinity in a parameter, a layer's output, the loss or a gradient: the first of them."""
    places = [(p.name, f"parameter {p.name}", p.values.bad) for p in case.trace.parameters]
    places += [(layer.name, f"the output of layer {layer.name!r}", layer.values.bad) for layer in case.trace.layers]
    places += [("", "the loss", int(not np.isfinite(case.tape.value)))]
    places += [(p.name, f"the gradient of {p.name}", p.gradient.bad) for p in reversed(case.trace.parameters)]
    for place, what, bad in places:
        if bad:
            yield Finding(
                "not_finite",
                place,
                f"{what} holds {bad} number{'s' * (bad > 1)} that are NaN or infinite, the first place with any",
                {"count": bad},
                "numbers grew past what the dtype can hold, or training diverged",
                "start again from finite parameters with a smaller learning rate, clip_norm, or scaled inputs",
            )
            return


def broken_symmetry(case: Case) -> Iterator[Finding]:
    """Units with the same weights and bias and the same gradient of both: no step will ever tell them apart."""
    for step in case.weighted():
        units = unit_count(step)
        weights = np.concatenate([_by_unit(step, name, case.tape.params[name]) for name in step.names.values()])
        gradients = np.concatenate([_by_unit(step, name, case.tape.gradients[name]) for name in step.names.values()])
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


def gradient_flow(case: Case) -> Iterator[Finding]:
    """The gradient by each layer with weights, beside that by the scores."""
    top = float(np.linalg.norm(case.tape.dscores))
    steps = [step for step in case.weighted() if np.any(step.dout)]
    if not top or len(steps) < 2:
        return
    ratios = {step.name: float(np.linalg.norm(step.dout)) / top for step in steps}  # type: ignore[arg-type]
    factor = (ratios[steps[0].name] / ratios[steps[-1].name]) ** (1 / (len(steps) - 1))
    evidence = {"ratios": ratios, "factor_a_layer": factor}
    low, high = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    flat = sorted({layer.kind for layer in case.trace.layers if layer.kind in ("Sigmoid", "Tanh", "GLU")})
    if ratios[low] < LIMITS["vanishing"].value:
        slope = f"; {' and '.join(flat)} add to that: their slope is at most {'1/4' if 'Sigmoid' in flat else '1'}"
        yield Finding(
            "vanishing_gradients",
            low,
            f"the gradient here is {ratios[low]:.1e} of that by the scores; it shrinks by {factor:.2g} a layer",
            evidence,
            f"each layer multiplies the gradient by its weights and slopes, here by less than 1{slope if flat else ''}",
            "use relu with He's initialization, LayerNorm, Residual layers, or fewer layers",
        )
    if ratios[high] > LIMITS["exploding"].value:
        yield Finding(
            "exploding_gradients",
            high,
            f"the gradient here is {ratios[high]:.1e} times that by the scores; it grows by {factor:.2g} a layer",
            evidence,
            "each layer multiplies the gradient by its weights, which are too large here",
            "draw smaller first weights (init='he_normal'), put LayerNorm between, or train with clip_norm",
        )


def dead_relus(case: Case) -> Iterator[Finding]:
    """Layers with so many units that are 0 for every sample that it is no chance."""
    if case.trace.rows < LIMITS["dead_rows"].value:
        return
    for layer in case.trace.layers:
        if layer.dead is None or len(layer.dead) <= LIMITS["dead"].value * layer.units:
            continue
        yield Finding(
            "dead_relus",
            layer.name,
            f"{len(layer.dead)} of {layer.units} units are 0 for all {case.trace.rows} samples",
            {"dead": layer.dead, "units": layer.units, "share": len(layer.dead) / layer.units},
            "their inputs are at or below 0 for every sample, where ReLU's slope is 0: no gradient brings them back",
            "lower the learning rate, start biases at 0, scale the inputs to mean 0, or use leaky_relu or gelu",
        )


def saturation(case: Case) -> Iterator[Finding]:
    """Layers whose sigmoids or tanhs stand where they are flat."""
    for number, layer in enumerate(case.trace.layers):
        if layer.saturation is None or layer.saturation <= LIMITS["saturated"].value:
            continue
        before = case.tape.output(case.tape.steps[number].inputs[0])
        size = float(np.sqrt(np.mean(np.square(before, dtype=float))))
        yield Finding(
            "saturation",
            layer.name,
            f"{layer.saturation:.0%} of its outputs are where {layer.kind} is flat; its inputs have a root mean square "
            f"of {size:.3g}",
            {"share": layer.saturation, "input_rms": size},
            "the inputs are so large that the output stands at its ends, where hardly any gradient comes back",
            "scale the data to mean 0 and variance 1, draw smaller first weights (init='glorot_uniform'), or put "
            "LayerNorm before it",
        )


def linear_layers(case: Case) -> Iterator[Finding]:
    """A linear layer that feeds another, and nothing else, with no more than Identities between."""
    for step in case.tape.steps:
        before = step.inputs[0]
        while before != INPUT and type(case.tape.steps[before].layer) is Identity:
            before = case.tape.steps[before].inputs[0]
        if before == INPUT or type(step.layer) is not Linear or len(case.tape.consumers(before)) > 1:
            continue
        first = case.tape.steps[before]
        if type(first.layer) is not Linear or first.layer.n_out != step.layer.n_in:
            continue
        n_in, waist, n_out = first.layer.n_in, first.layer.n_out, step.layer.n_out
        evidence = {"first": first.name, "widths": [n_in, waist, n_out], "numbers": [n_in * waist + waist * n_out]}
        uses = [id(each.layer) for each in case.tape.steps]
        alone = uses.count(id(first.layer)) == uses.count(id(step.layer)) == 1
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


def zero_gradient(case: Case) -> Iterator[Finding]:
    """Parameters whose gradient is 0 throughout, and inputs that are 0 in every row, each with its reasons."""
    tape = case.tape
    if case.history is not None and tape.value == 0:
        return  # all is learnt: each margin is met, each residual 0
    told: dict[tuple[str, ...], list[str]] = {}
    for name in tape.params:
        gradient = tape.gradients[name]
        if gradient.size and not gradient.any():
            why = explain_zeros(tape, name, together=True)
            if all(reason.kind == "terms that cancel" for reason in why.reasons):
                continue  # a sum that is 0 by chance, such as a bias's under the hinge
            full = [reason.says for reason in why.reasons if reason.entries == why.size]
            told.setdefault(tuple(full or [reason.says for reason in why.reasons]), []).append(name)
    for says, names in told.items():
        place = next(step.name for step in tape.steps if names[0] in step.names.values())
        yield Finding(
            "zero_gradient",
            place,
            f"the gradient of {', '.join(names)} is exactly 0: {'; '.join(says) or 'nothing uses it'}",
            {"parameters": names, "reasons": list(says)},
            "nothing of the loss reaches it on this batch, so that no step changes it",
            "handgrad.why_zero says it entry by entry; mend what it names. Where the last layer alone starts at 0, "
            "the first step will have done so",
        )


def unused_input(case: Case) -> Iterator[Finding]:
    """Columns of X that are 0 in every row."""
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
