"""Optimizers by name."""

from __future__ import annotations

import handgrad.checks as checks
from handgrad.optim.adam import Adam, AdamW
from handgrad.optim.base import Optimizer
from handgrad.optim.rmsprop import RMSprop
from handgrad.optim.sgd import SGD

NAMED: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "rmsprop": RMSprop(),
    "adam": Adam(),
    "adamw": AdamW(),
}


def by_name(optimizer: str | Optimizer) -> Optimizer:
    """The optimizer of that name, with its defaults; an optimizer is returned as it is.

    Raises ValueRangeError for anything else, with the names there are.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    return checks.by_name("optimizer", optimizer, NAMED, "an Optimizer, such as Adam(), or ")
