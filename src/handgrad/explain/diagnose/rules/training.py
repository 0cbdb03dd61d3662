"""The rules of `diagnose` about the loss and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from handgrad.explain.diagnose.case import Case
from handgrad.explain.diagnose.findings import Finding
from handgrad.explain.diagnose.limits import LIMITS


def start_loss(case: Case) -> Iterator[Finding]:
    """A loss far above that of the best constant guess: at the start, or, with a history, still."""
    chance = case.chance
    value = case.tape.loss_of(case.tape.scores)
    limit = LIMITS["start" if case.history is None else "trained"].value
    if chance is None or not chance.of(value) > limit:
        return
    scores = case.tape.scores
    evidence = {"loss": value, "constant_guess": chance.loss, "scores_mean": float(scores.mean())}
    evidence["scores_std"] = float(scores.std())
    says = f"{case.trace.loss} is {value:.3g}; a constant guess gives {chance.loss:.3g} ({chance.name})"
    shown = f"{says}; the scores have a standard deviation of {evidence['scores_std']:.3g}"
    cause = "the scores are far larger than they should be before anything is learnt: large last weights or inputs"
    remedy = "scale the inputs, or draw smaller last weights: at the start the scores should be near a constant guess"
    y = np.asarray(case.tape.y)
    if not case.tape.loss.classifies and y.dtype.kind in "fiu":
        mean, std = float(y.mean()), float(y.std())
        evidence |= {"y_mean": mean, "y_std": std}
        if abs(mean) > evidence["scores_std"] + abs(evidence["scores_mean"]):
            shown = f"{says}; y has mean {mean:.3g} and standard deviation {std:.3g}"
            cause = "the targets lie far from 0, where the scores start, and the network must first get there"
            remedy = (
                "bring y to mean 0 and standard deviation 1, and predictions back, or start the last bias at its mean"
            )
    if case.history is not None:
        cause = f"the network was trained, and is worse on this data than a constant guess; or {cause}"
        if len(case.losses) > 1 and case.losses[-1] == min(case.losses):
            remedy = f"train on, since the last epoch was the best; or {remedy}"
    yield Finding("start_loss", case.tape.steps[-1].name if case.tape.steps else "", shown, evidence, cause, remedy)


def learning_rate(case: Case) -> Iterator[Finding]:
    """Steps too large or too small: by the share of each weight they change, by where one leads, by the history."""
    ratios = {p.name: p.update_ratio for p in case.trace.parameters if p.decays and p.update_ratio > 0}
    typical = float(np.median(list(ratios.values()))) if ratios else math.nan
    highest = max(ratios.values(), default=0.0)
    losses, rate, after = case.losses, case.trace.learning_rate, case.trace.loss_after_step
    by = f"{case.trace.optimizer} at rate {rate:.3g}"
    evidence: dict[str, Any] = {"update_ratios": ratios, "learning_rate": rate}
    evidence |= {"loss": case.tape.value, "loss_after_step": after, "loss_predicted": case.trace.loss_predicted}
    if losses:
        evidence |= {"first_loss": losses[0], "lowest_loss": min(losses), "last_loss": losses[-1]}
    high = LIMITS["rate_high" if case.history is None else "rate_high_trained"].value
    large = [f"a step by {by} changes a weight by {typical:.2g} of its norm"] if typical > high else []
    large += _overshot(case) + _risen(case) + _thrown(case)
    if large:
        yield Finding(
            "rate_too_large",
            max(ratios, key=ratios.__getitem__) if ratios and not losses else "",
            "; ".join(large),
            evidence,
            "steps so long leave the place where the gradient was taken, and throw the loss up again",
            "divide the learning rate by 3 to 10; usual is a step of about 0.001 of a weight's norm",
        )
        return
    flat = _flat(case) if typical < LIMITS["rate_usual"].value else []
    if (0 < highest < LIMITS["rate_low"].value or flat) and _to_learn(case):
        yield Finding(
            "rate_too_small",
            "",
            "; ".join([f"a step by {by} changes a weight by {typical:.1e} of its norm", *flat]),
            evidence,
            "steps so short do not get anywhere in a usual number of them",
            "multiply the learning rate by 10 to 1000; usual is a step of about 0.001 of a weight's norm",
        )


def _overshot(case: Case) -> list[str]:
    """Whether one step on this very batch leads above both where it stands and what a guess gives."""
    before, after, chance = case.tape.value, case.trace.loss_after_step, case.chance
    says = f"one step on these rows takes the loss from {before:.3g} to {after:.3g}"
    says += f", though its gradient promises {case.trace.loss_predicted:.3g}"
    if not math.isfinite(before):
        return []
    if not math.isfinite(after):
        return [says]
    if chance is None:
        return []
    penalty = before - case.tape.loss_of(case.tape.scores)
    rise = chance.of_start(after - penalty) / max(chance.of_start(before - penalty), 1.0)
    return [says] if rise > LIMITS["overshoot_first" if case.history is None else "overshoot"].value else []


def _risen(case: Case) -> list[str]:
    """Whether an epoch lost what another had gained, by more than noise takes, which grows with the loss."""
    losses = case.losses
    bad = [epoch for epoch, loss in enumerate(losses, 1) if not math.isfinite(loss)]
    if bad:
        return [f"the loss was no number, or infinite, in epoch {bad[0]}"]
    if len(losses) < 2 or case.chance is None:
        return []
    lowest = np.minimum.accumulate(losses)[:-1]
    stood, came = ([case.chance.of_start(loss) for loss in each] for each in (lowest, losses[1:]))
    rises = [(after - before) / max(before, 1.0) for before, after in zip(stood, came, strict=True)]
    worst = int(np.argmax(rises))
    if not rises[worst] > LIMITS["rise"].value:
        return []
    epoch = losses.index(lowest[worst]) + 1
    return [f"the loss was {lowest[worst]:.3g} in epoch {epoch} and {losses[worst + 1]:.3g} in epoch {worst + 2}"]


def _thrown(case: Case) -> list[str]:
    """Whether an epoch was far worse than a constant guess, and than the network as its initializers draw it: then the
    steps brought it there. The rate may look small by now, beside weights that were blown up."""
    losses, chance = case.losses, case.chance
    if not losses or chance is None or not all(map(math.isfinite, losses)):
        return []
    worst, limit = max(losses), LIMITS["thrown"].value
    if not chance.of_start(worst) > limit or not chance.of_start(worst) > limit * chance.of_start(case.fresh_loss):
        return []
    fresh = f"where the network starts with {case.fresh_loss:.3g} when its first weights are drawn anew"
    return [f"the loss was {worst:.3g} in epoch {losses.index(worst) + 1}, {fresh}"]


def _flat(case: Case) -> list[str]:
    """What the history says of a rate too small: hardly anything gained, and most of it left to gain."""
    losses = case.losses
    least = 0.0 if case.chance is None else case.chance.least
    if len(losses) < LIMITS["flat_epochs"].value or losses[0] <= least:
        return []
    if 0 <= (losses[0] - losses[-1]) / (losses[0] - least) < LIMITS["flat"].value:
        return [f"the loss went from {losses[0]:.4g} to {losses[-1]:.4g} in {len(losses)} epochs"]
    return []


def _to_learn(case: Case) -> bool:
    """Whether most is still to be learnt: the loss is above half of what a constant guess gives."""
    return case.chance is None or case.chance.of(case.tape.value) > 0.5
