"""Optimizers by name."""

from __future__ import annotations

from difflib import get_close_matches

from handgrad.errors import ValueRangeError
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
    if isinstance(optimizer, str) and optimizer in NAMED:
        return NAMED[optimizer]
    given = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", "")
    close = get_close_matches(given.lower(), NAMED, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueRangeError(
        f"optimizer must be an Optimizer, such as Adam(), or one of {', '.join(map(repr, NAMED))}, "
        f"got {optimizer!r}{hint}"
    )
