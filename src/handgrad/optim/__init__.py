"""Optimizers, learning-rate schedules and gradient clipping: pure functions on the flat parameter vector."""

from handgrad.optim.adam import Adam, AdamW
from handgrad.optim.base import Optimizer, State
from handgrad.optim.clip import clip_by_norm, global_norm
from handgrad.optim.names import by_name
from handgrad.optim.rmsprop import RMSprop
from handgrad.optim.schedules import Constant, Cosine, CosineLog, OneCycle, Schedule, Step, WarmUp
from handgrad.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "CosineLog",
    "OneCycle",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "State",
    "Step",
    "WarmUp",
    "by_name",
    "clip_by_norm",
    "global_norm",
]
