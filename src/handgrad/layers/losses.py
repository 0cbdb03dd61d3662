"""Losses bound to their hyperparameters: what `fit` and `value_and_grad` take, as an object or by its name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import handgrad.ops as ops
from handgrad.errors import ValueRangeError
from handgrad.layers.activations import by_name
from handgrad.ops.arrays import Array, finite, positive
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
        finite(margin=self.margin)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of softmax(scores). y: labels 0 to n - 1, or a distribution for each sample."""

    label_smoothing: float = 0.0
    op = ops.cross_entropy
    classifies = True

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing <= 1:
            raise ValueRangeError(f"label_smoothing must be from 0 to 1, got {self.label_smoothing}")


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
        positive(delta=self.delta)


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
        if not 0 < self.q < 1:
            raise ValueRangeError(f"q must be above 0 and below 1, got {self.q}")


LOSSES: dict[str, type[Loss]] = {
    "hinge": Hinge,
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "squared_error": SquaredError,
    "huber": Huber,
    "poisson": Poisson,
    "quantile": Quantile,
}


def loss(name_or_loss: str | Loss) -> Loss:
    """A loss from its name, with its defaults, or the loss itself."""
    return name_or_loss if isinstance(name_or_loss, Loss) else by_name("loss", name_or_loss, LOSSES)()
