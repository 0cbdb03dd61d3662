"""The loss of a network that knows nothing: that of the best constant guess."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad.explain.trace.tape import Tape
from handgrad.layers import BinaryCrossEntropy, CrossEntropy, Hinge, Huber, Loss, Poisson, Quantile, SquaredError

TINY = 1e-12  # of a rate or a probability, whose logarithm is taken


@dataclass(frozen=True)
class Chance:
    """loss: of the best constant guess; name: what that is called. zeros: of scores of 0, near which networks start.
    least: of perfect scores."""

    loss: float
    name: str
    zeros: float
    least: float

    def of(self, loss: float) -> float:
        """A loss in these terms: 0 is perfect, 1 no better than the best constant guess."""
        return (loss - self.least) / (self.loss - self.least)

    def of_start(self, loss: float) -> float:
        """The same, but for scores of 0 as the guess where these cost more: a network whose targets lie elsewhere has
        a way to go."""
        return (loss - self.least) / (max(self.loss, self.zeros) - self.least)


def _quantile(y: np.ndarray, loss: Loss) -> Any:
    assert isinstance(loss, Quantile)
    return np.quantile(y, loss.q, axis=0)


# the constant scores that do best, and what their loss is called: of losses of classes all alike, which is what a
# network that knows nothing gives
GUESSES: dict[type[Loss], tuple[Callable[[np.ndarray, Loss], Any], str]] = {
    CrossEntropy: (lambda y, loss: 0.0, "log C, for C classes alike"),
    Hinge: (lambda y, loss: 0.0, "(C - 1) times the margin, for C classes alike"),
    BinaryCrossEntropy: (lambda y, loss: 0.0, "log 2, for yes and no alike"),
    SquaredError: (lambda y, loss: np.mean(y, axis=0), "the variance of y"),
    Huber: (lambda y, loss: np.median(y, axis=0), "the loss of y's median"),
    Poisson: (lambda y, loss: np.log(np.maximum(np.mean(y, axis=0), TINY)), "the loss of y's mean rate"),
    Quantile: (_quantile, "the loss of y's own quantile"),
}
# the scores that do best of all, of losses whose least is not 0
PERFECT: dict[type[Loss], Callable[[np.ndarray], np.ndarray]] = {
    BinaryCrossEntropy: lambda y: np.log(np.maximum(y, TINY)) - np.log(np.maximum(1 - y, TINY)),
    Poisson: lambda y: np.log(np.maximum(y, TINY)),
}


def chance(tape: Tape) -> Chance | None:
    """Of the batch's targets. None for a loss that is not the library's, and where any guess is perfect."""
    loss, scores = tape.loss, tape.scores
    if type(loss) not in GUESSES:
        return None
    best, name = GUESSES[type(loss)]
    y = np.asarray(tape.y)
    shape, y = (scores.shape, y) if loss.classifies else (y.shape, y.astype(float))

    def value(given: Any) -> float:
        return tape.loss_of(np.array(np.broadcast_to(given, shape), scores.dtype).reshape(scores.shape))

    least = value(PERFECT[type(loss)](y)) if type(loss) in PERFECT else 0.0
    found = Chance(value(best(y, loss)), name, value(0.0), least)
    return found if found.loss - least > TINY * max(abs(least), 1.0) else None
