"""Losses bound to their hyperparameters: what `fit` and `value_and_grad` take, as an object or by its name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import handgrad.checks as checks
import handgrad.ops as ops
from handgrad.ops.arrays import Array
from handgrad.ops.base import Cache


class Loss:
    """A loss of scores (m, n) against targets y: the weighted mean over samples, or each one's (reduction="none")."""

    op: ClassVar[ops.Loss]
    classifies: ClassVar[bool] = False  # whether y holds class labels

    def forward(self, scores: Array, y: Any, sample_weight: Any = None, reduction: str = "mean") -> tuple[Array, Cache]:
        """The loss, and the cache that backward needs."""
        return self.op.forward(scores, y, sample_weight=sample_weight, reduction=reduction, **asdict(self))  # type: ignore[call-overload]

    def backward(self, dout: Any, cache: Cache) -> Array:
        """The gradient by the scores, in their shape."""
        return self.op.backward(dout, cache)[0]


@dataclass(frozen=True)
class Hinge(Loss):
    """Multiclass hinge (Weston and Watkins). y: labels 0 to n - 1."""

    margin: float = 1.0
    op = ops.hinge
    classifies = True

    def __post_init__(self) -> None:
        checks.finites(self, "margin")


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of softmax(scores). y: labels 0 to n - 1, or a distribution for each sample."""

    label_smoothing: float = 0.0
    op = ops.cross_entropy
    classifies = True

    def __post_init__(self) -> None:
        checks.shares(self, "label_smoothing")


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Cross-entropy of sigmoid(scores), each output a question of its own. y: numbers from 0 to 1."""

    op = ops.binary_cross_entropy


@dataclass(frozen=True)
class SquaredError(Loss):
    """(scores - y)^2, the mean over outputs."""

    op = ops.squared_error


@dataclass(frozen=True)
class Huber(Loss):
    """Squared within +-delta, linear beyond."""

    delta: float = 1.0
    op = ops.huber

    def __post_init__(self) -> None:
        checks.positives(self, "delta")


@dataclass(frozen=True)
class Poisson(Loss):
    """exp(scores) - y scores: counts y with the rate exp(scores)."""

    op = ops.poisson


@dataclass(frozen=True)
class Quantile(Loss):
    """The pinball loss, whose minimum is the q-quantile of y."""

    q: float = 0.5
    op = ops.quantile

    def __post_init__(self) -> None:
        checks.inner_shares(self, "q")


LOSSES: dict[str, type[Loss]] = {
    "hinge": Hinge,
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "squared_error": SquaredError,
    "huber": Huber,
    "poisson": Poisson,
    "quantile": Quantile,
}


def loss(name_or_loss: str | Loss | type[Loss]) -> Loss:
    """A loss from its name or its class, with its defaults, or the loss itself."""
    if isinstance(name_or_loss, Loss):
        return name_or_loss
    if isinstance(name_or_loss, type) and issubclass(name_or_loss, Loss):
        return name_or_loss()
    return checks.by_name("loss", name_or_loss, LOSSES, "a loss, such as CrossEntropy(), or ")()
