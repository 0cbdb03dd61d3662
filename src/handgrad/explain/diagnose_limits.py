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
        "of a weight's norm in one step; about 0.001 is usual, and at 0.3 three steps replace what was there",
    ),
    "rate_low": Limit(
        3e-5,
        "of a weight's norm in one step: a weight takes 30,000 steps to become another",
    ),
    "rise": Limit(0.5, "of what the lowest epoch had gained is lost again at the end; noise takes back less"),
    "epoch": Limit(
        4.0,
        "times the loss of a constant guess, or of scores of 0 where that is larger, as the mean of an epoch: the "
        "healthy networks measured reach 3.2, in their first",
    ),
    "thrown": Limit(
        1.5,
        "times the same, in the best of all epochs: a network that had only learnt to guess would have done better",
    ),
    "flat": Limit(0.02, "of the first epoch's loss, gained over all epochs, with nearly all of it left to gain"),
    "flat_epochs": Limit(5, "epochs; fewer say nothing of a training that is slow"),
    "alike": Limit(
        1e-6,
        "of the largest weight, or gradient: sums in another order differ by rounding, and random weights by more",
    ),
}
