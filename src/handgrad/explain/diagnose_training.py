"""The rules of `diagnose` about the loss and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from handgrad.explain.diagnose import Finding
from handgrad.explain.diagnose_case import Case
from handgrad.explain.diagnose_limits import LIMITS
from handgrad.layers import (
    BinaryCrossEntropy,
    CrossEntropy,
    Hinge,
    Huber,
    Loss,
    Poisson,
    Quantile,
    SquaredError,
)

# the constant scores that do best, and what their loss is called: of losses of classes all alike, which is what a
# network that knows nothing gives
Guess = tuple[Callable[[Any, Loss], Any], str]
GUESSES: dict[type[Loss], Guess] = {
    CrossEntropy: (lambda y, loss: 0.0, "log C, for C classes alike"),
    Hinge: (lambda y, loss: 0.0, "(C - 1) times the margin, for C classes alike"),
    BinaryCrossEntropy: (lambda y, loss: 0.0, "log 2, for yes and no alike"),
    SquaredError: (lambda y, loss: np.mean(y, axis=0), "the variance of y"),
    Huber: (lambda y, loss: np.median(y, axis=0), "the loss of y's median"),
    Poisson: (lambda y, loss: np.log(np.maximum(np.mean(y, axis=0), 1e-12)), "the loss of y's mean rate"),
    Quantile: (lambda y, loss: np.quantile(y, loss.q, axis=0), "the loss of y's own quantile"),  # type: ignore[attr-defined]
}


def chance(case: Case) -> tuple[float, str] | None:
    """(the loss of the best constant guess, what it is), or None for a loss that is not the library's."""
    loss, scores = case.tape.loss, case.tape.scores
    if type(loss) not in GUESSES:
        return None
    best, name = GUESSES[type(loss)]
    y = np.asarray(case.tape.y)
    constant = best(y.astype(float) if not loss.classifies else y, loss)
    constant = np.broadcast_to(constant, scores.shape if np.ndim(constant) == 0 else (len(y), *np.shape(constant)))
    value, _ = loss.forward(
        np.array(constant.reshape(scores.shape), scores.dtype), case.tape.y, sample_weight=case.sample_weight
    )
    return float(value), name


def start_loss(case: Case) -> Iterator[Finding]:
    """A loss far above that of the best constant guess: at the start, or, with a history, still."""
    guess = chance(case)
    if guess is None or not guess[0] > 0:
        return
    constant, name = guess
    value = float(case.tape.loss.forward(case.tape.scores, case.tape.y, sample_weight=case.sample_weight)[0])
    limit = LIMITS["start" if case.history is None else "trained"].value
    if not value > limit * constant:
        return
    scores = case.tape.scores
    evidence = {"loss": value, "constant_guess": constant, "scores_mean": float(scores.mean())}
    evidence["scores_std"] = float(scores.std())
    says = f"{case.trace.loss} is {value:.3g}; a constant guess gives {constant:.3g} ({name})"
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
    yield Finding("start_loss", case.tape.steps[-1].name if case.tape.steps else "", shown, evidence, cause, remedy)


def learning_rate(case: Case) -> Iterator[Finding]:
    """Steps too large or too small, by the share of each weight they change, and by the history."""
    ratios = {p.name: p.update_ratio for p in case.trace.parameters if p.decays and p.update_ratio > 0}
    losses = _losses(case)
    risen = [*_risen(losses), *_thrown(losses, case)][:1]
    flat = _flat(losses, case)
    rate = case.trace.learning_rate
    by = f"{case.trace.optimizer} at rate {rate:.3g}"
    evidence: dict[str, Any] = {"update_ratios": ratios, "learning_rate": rate}
    if losses:
        evidence |= {"first_loss": losses[0], "lowest_loss": min(losses), "last_loss": losses[-1]}
    high = max(ratios, key=ratios.__getitem__) if ratios else ""
    typical = float(np.median(list(ratios.values()))) if ratios else math.nan
    tiny = bool(ratios) and max(ratios.values()) < LIMITS["rate_low"].value  # then no rise can be the steps'
    if typical > LIMITS["rate_high"].value or (risen and not tiny):
        said = [f"a step by {by} changes a weight by {typical:.2g} of its norm"] * (typical > LIMITS["rate_high"].value)
        yield Finding(
            "rate_too_large",
            high if not risen else "",
            "; ".join([*said, *risen]),
            evidence,
            "steps so long leave the place where the gradient was taken, and throw the loss up again",
            "divide the learning rate by 3 to 10; usual is a step of about 0.001 of a weight's norm",
        )
    elif (tiny or (ratios and flat)) and _to_learn(case):
        yield Finding(
            "rate_too_small",
            "",
            "; ".join([f"a step by {by} changes a weight by {typical:.1e} of its norm", *flat]),
            evidence,
            "steps so short do not get anywhere in a usual number of them",
            "multiply the learning rate by 10 to 1000; usual is a step of about 0.001 of a weight's norm",
        )


def _losses(case: Case) -> list[float]:
    return [float(row["loss"]) for row in case.history or [] if "loss" in row]


def _risen(losses: list[float]) -> list[str]:
    """What the history says of a rate too large: it ended above its first epoch, or well above its lowest."""
    if len(losses) < 2:
        return []
    first, lowest, last = losses[0], min(losses), losses[-1]
    if last - lowest > LIMITS["rise"].value * (first - lowest) and last > lowest:
        epoch = losses.index(lowest) + 1
        return [f"the loss was {lowest:.3g} in epoch {epoch} and ended at {last:.3g}"]
    return []


def _thrown(losses: list[float], case: Case) -> list[str]:
    """What else it says: an epoch, or all of them, went far worse than a constant guess, or than scores of 0, from
    which the scores of a network whose targets lie elsewhere have a way to go."""
    guess = chance(case)
    if guess is None or not losses:
        return []
    zeros = case.tape.loss.forward(np.zeros_like(case.tape.scores), case.tape.y, sample_weight=case.sample_weight)[0]
    usual = max(guess[0], float(zeros))
    for epoch, loss in enumerate(losses):
        if loss > LIMITS["epoch"].value * usual > 0:
            return [f"the loss was {loss:.3g} in epoch {epoch + 1}, where a constant guess gives {usual:.3g}"]
    if min(losses) > LIMITS["thrown"].value * usual > 0:
        return [f"the loss was never below {min(losses):.3g}, where a constant guess gives {usual:.3g}"]
    return []


def _flat(losses: list[float], case: Case) -> list[str]:
    """What the history says of a rate too small: hardly anything gained, and most of it left to gain."""
    if len(losses) < LIMITS["flat_epochs"].value or losses[0] <= 0:
        return []
    gained = (losses[0] - losses[-1]) / losses[0]
    if 0 <= gained < LIMITS["flat"].value:
        return [f"the loss went from {losses[0]:.4g} to {losses[-1]:.4g} in {len(losses)} epochs"]
    return []


def _to_learn(case: Case) -> bool:
    """Whether most is still to be learnt: the loss is above half of what a constant guess gives."""
    guess = chance(case)
    return guess is None or case.tape.value > guess[0] / 2
