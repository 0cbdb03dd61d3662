"""Losses: each sample's loss and its gradient, then the weighted mean over samples, once for all of them."""

from handgrad.ops.losses.base import Loss
from handgrad.ops.losses.classification import binary_cross_entropy, cross_entropy, hinge
from handgrad.ops.losses.penalty import l2
from handgrad.ops.losses.regression import huber, poisson, quantile, squared_error

__all__ = [
    "Loss",
    "binary_cross_entropy",
    "cross_entropy",
    "hinge",
    "huber",
    "l2",
    "poisson",
    "quantile",
    "squared_error",
]
