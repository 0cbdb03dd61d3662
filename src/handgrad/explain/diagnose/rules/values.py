"""The rules about what the units of a layer give: numbers that are not finite, dead ReLUs, saturation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from handgrad.explain.diagnose.case import Case
from handgrad.explain.diagnose.findings import Finding
from handgrad.explain.diagnose.limits import LIMITS

# (cause, remedy)
TARGETS = ("targets are missing or broken", "leave out the rows without a target, or fill them")
OVERFLOW = (
    "numbers grew past what the dtype can hold, or training diverged",
    "start again from finite parameters with a smaller learning rate, clip_norm, or scaled inputs",
)


def not_finite(case: Case) -> Iterator[Finding]:
    """A NaN or an infinity in y, a parameter, a layer's output, the loss or a gradient: the first of them."""
    y = np.asarray(case.tape.y)
    places = [("", "y", int(np.sum(~np.isfinite(y))) if y.dtype.kind == "f" else 0)]
    places += [(p.name, f"parameter {p.name}", p.values.bad) for p in case.trace.parameters]
    places += [(layer.name, f"the output of layer {layer.name!r}", layer.values.bad) for layer in case.trace.layers]
    places += [("", "the loss", int(not np.isfinite(case.tape.value)))]
    places += [(p.name, f"the gradient of {p.name}", p.gradient.bad) for p in reversed(case.trace.parameters)]
    for place, what, bad in places:
        if bad:
            cause, remedy = TARGETS if what == "y" else OVERFLOW
            yield Finding(
                "not_finite",
                place,
                f"{what} holds {bad} number{'s' * (bad > 1)} {'that are' if bad > 1 else 'that is'} NaN or infinite, "
                "the first place with any",
                {"count": bad},
                cause,
                remedy,
            )
            return


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
        before = case.tape.steps[number].operands[0]
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
