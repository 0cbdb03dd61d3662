"""Every threshold of `diagnose`, in one place, each with its reason. docs/diagnose.md publishes how they do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """A number, and why it is that one."""

    value: float
    reason: str


LIMITS = {
    "vanishing": Limit(
        1e-2,
        "of the gradient by the scores: such a layer learns a hundred times slower than the last. Four or five "
        "sigmoids, each with a slope of at most 1/4, do that; the healthy networks measured keep 0.09 or more",
    ),
    "exploding": Limit(
        1e2,
        "times the gradient by the scores: a step that suits the last layer throws the first a hundred times too far; "
        "the healthy networks measured reach 16",
    ),
    "dead": Limit(
        0.4,
        "of a layer's units; on one batch a good network has some that answer to rare inputs alone, seldom so many",
    ),
    "dead_rows": Limit(32, "samples; on fewer, a unit that is 0 for each of them says little"),
    "saturated": Limit(
        0.5,
        "of a layer's outputs flat (less than 5 % of the steepest slope); the healthy ones measured have an eighth",
    ),
    "start": Limit(
        8.0,
        "times the best constant guess; He's initialization gives scores of variance 2, which cost up to three times, "
        "and twice that in an unlucky draw",
    ),
    "trained": Limit(1.5, "times the best constant guess, once a history says that the network was trained"),
    "rate_high": Limit(
        0.3,
        "of a weight's norm in one step; about 0.001 is usual, and at 0.3 three steps replace what was there; the "
        "healthy networks measured reach 0.18, in their first",
    ),
    "rate_high_trained": Limit(
        0.12,
        "of a weight's norm, once a history says that the network was trained: weights settle or grow by then, and "
        "the healthy networks measured reach 0.024",
    ),
    "rate_usual": Limit(1e-3, "of a weight's norm in one step, or more: then a loss that stays has other reasons"),
    "rate_low": Limit(
        3e-5,
        "of a weight's norm in one step: a weight takes 30,000 steps to become another",
    ),
    "overshoot": Limit(
        1.1,
        "times the loss, or a constant guess's where that is larger, after one step on the same rows, of a network "
        "that was trained; the healthy ones measured reach 0.74",
    ),
    "overshoot_first": Limit(
        3,
        "times the same, at the start, where a first step may overshoot and be followed by better ones; the healthy "
        "networks measured reach 1.24",
    ),
    "rise": Limit(
        0.5,
        "of an earlier epoch's loss, or a constant guess's where that is larger, on top of it; the healthy networks "
        "measured reach 0.37, by noise",
    ),
    "thrown": Limit(
        2.5,
        "times the loss of a constant guess, and that of the network with its first weights drawn anew, the worst of "
        "five draws: the healthy networks measured reach 2.3, in their first epoch",
    ),
    "flat": Limit(0.02, "of the first epoch's loss, gained over all epochs, with nearly all of it left to gain"),
    "flat_epochs": Limit(5, "epochs; fewer say nothing of a training that is slow"),
    "alike": Limit(
        1e-6,
        "of the largest weight, or gradient: sums in another order differ by rounding, and random weights by more",
    ),
}
