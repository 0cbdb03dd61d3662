"""The rules about the gradient on its way back: how it shrinks or grows, and where it is 0."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from handgrad.explain.diagnose.case import Case
from handgrad.explain.diagnose.findings import Finding
from handgrad.explain.diagnose.limits import LIMITS
from handgrad.explain.why_zero.entries import explain_zeros


def gradient_flow(case: Case) -> Iterator[Finding]:
    """The gradient by each layer with weights, beside that by the scores."""
    top = float(np.linalg.norm(case.tape.dscores))
    steps = [step for step in case.weighted() if np.any(step.dout)]
    if not top or len(steps) < 2:
        return
    ratios = {step.name: float(np.linalg.norm(step.dout)) / top for step in steps}
    depth = {step.name: depth for step, depth in zip(case.tape.steps, case.depths, strict=True)}
    first, last = min(ratios, key=depth.__getitem__), max(ratios, key=depth.__getitem__)
    factor = (ratios[first] / ratios[last]) ** (1 / max(depth[last] - depth[first], 1))
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
        place = next((step.name for step in tape.steps if names[0] in step.names.values()), "")
        yield Finding(
            "zero_gradient",
            place,
            f"the gradient of {', '.join(names)} is exactly 0: {'; '.join(says) or 'nothing uses it'}",
            {"parameters": names, "reasons": list(says)},
            "nothing of the loss reaches it on this batch, so that no step changes it",
            "handgrad.why_zero says it entry by entry; mend what it names. Where the last layer alone starts at 0, "
            "the first step will have done so",
        )
