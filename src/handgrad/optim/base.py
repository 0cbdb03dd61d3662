"""What an optimizer is: a pure function from state and gradient to new state and update, on one flat vector.

    state = optimizer.init(params)
    state, update = optimizer.update(state, gradient, params)
    params = params + update

The state is a plain dict, the number of steps taken under "step" and vectors shaped as the parameters, so that a
checkpoint can hold it. Nothing given to `update` is changed, and the same arguments give the same bits again.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import array_api_compat.numpy as numpy_namespace
import numpy as np

import handgrad.checks as checks
from handgrad.errors import DTypeError, ShapeError, ValueRangeError
from handgrad.ops.arrays import Array, Namespace, namespace_of
from handgrad.optim.schedules import Schedule

State = dict[str, Any]
Slots = tuple[Array, ...]

BLOCK = 32768  # elements: the handful of vectors a rule touches stay in the core's own cache between its passes
LONG = 2 * BLOCK  # from here on blocks are the faster: shorter vectors stay in cache as they are


@dataclass(frozen=True)
class Optimizer(ABC):
    """An update rule and its hyperparameters. A rule of your own defines `slots` and `rule`."""

    learning_rate: float | Schedule

    def __post_init__(self) -> None:
        if not isinstance(self.learning_rate, Schedule):
            checks.rates(self, "learning_rate")

    @property
    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """The names of the vectors in the state."""

    @abstractmethod
    def rule(
        self, xp: Namespace, t: int, rate: float, g: Array, slots: Slots, w: Array, decayed: Array
    ) -> tuple[Array, Slots]:
        """The formula, elementwise: (update, new slots), all fresh arrays, from gradient g and parameters w.

        xp is the array namespace and t the number of the step, counted from 1. w and decayed are None when not given.
        """

    def init(self, params: Array) -> State:
        """The state before the first step: zeros for each slot, and step 0. params: the flat vector, (n,)."""
        xp = namespace_of(params=params)
        flat_vector(xp, params, "params")
        return {"step": 0, **{name: xp.zeros_like(params) for name in self.slots}}

    def update(
        self, state: State, gradient: Array, params: Array | None = None, *, decayed: Array | None = None
    ) -> tuple[State, Array]:
        """One step: (new state, update), where the new parameters are params + update.

        state: from `init`, or from the step before. gradient: (n,). params: (n,), which AdamW alone needs.
        decayed: (n,) of 0 and 1, or booleans, which parameters AdamW decays; None for all.
        Raises ShapeError, DTypeError and DeviceError for vectors that do not belong together, ValueRangeError for
        a state that is not of this optimizer.
        """
        step, slots = self._read(state)
        xp = namespace_of(gradient=gradient, **slots, params=params, decayed=decayed)
        flat_vector(xp, gradient, "gradient")
        for name, array in (*slots.items(), ("params", params)):
            _alike(gradient, array, name)
        if decayed is not None:
            _same_shape(gradient, decayed, "decayed")
            if not xp.isdtype(decayed.dtype, ("bool", "integral", "real floating")):
                raise DTypeError(f"decayed must hold 0 and 1, or booleans, got dtype {decayed.dtype}")
        rule = partial(self.rule, xp, step + 1, self.rate(step))
        if xp is numpy_namespace and gradient.size >= LONG:
            rule = partial(_in_blocks, rule)
        update, fresh = rule(gradient, tuple(slots.values()), params, decayed)
        return {"step": step + 1, **dict(zip(slots, fresh, strict=True))}, update

    def rate(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""
        return self.learning_rate(step) if isinstance(self.learning_rate, Schedule) else self.learning_rate

    def bind(self, total_steps: int) -> Self:
        """This optimizer for a training of `total_steps` steps, which some schedules need to know."""
        checks.whole("total_steps", total_steps, 1)
        if not isinstance(self.learning_rate, Schedule):
            return self
        return replace(self, learning_rate=self.learning_rate.bind(total_steps))

    def _read(self, state: State) -> tuple[int, dict[str, Array]]:
        name = type(self).__name__
        if not isinstance(state, dict) or set(state) != {"step", *self.slots}:
            held = sorted(state) if isinstance(state, dict) else type(state).__name__
            raise ValueRangeError(
                f"{name}: state must be a dict of {['step', *self.slots]}, got {held}; "
                "was it made by another optimizer?"
            )
        try:
            step = operator.index(state["step"])  # an int, also where a checkpoint made it one of NumPy's
        except TypeError:
            step = -1
        if step < 0:
            raise ValueRangeError(f"{name}: state['step'] must be a whole number of at least 0, got {state['step']!r}")
        return step, {slot: state[slot] for slot in self.slots}


def _in_blocks(rule: Callable[..., Any], g: Array, slots: Slots, w: Array, decayed: Array) -> tuple[Array, Slots]:
    # A rule makes many passes. On a long vector each would go through memory; on blocks only the first and last do.
    # The rule is elementwise, so that the bits are the same.
    update, fresh = np.empty_like(g, subok=False), tuple(np.empty_like(slot, subok=False) for slot in slots)
    for start in range(0, g.size, BLOCK):
        part = slice(start, start + BLOCK)
        update[part], results = rule(
            g[part],
            tuple(slot[part] for slot in slots),
            None if w is None else w[part],
            None if decayed is None else decayed[part],
        )
        for whole, result in zip(fresh, results, strict=True):
            whole[part] = result
    return update, fresh


def flat_vector(xp: Namespace, array: Array, name: str) -> None:
    """Raise unless `array` is one-dimensional and of a real floating dtype."""
    if array is None:
        raise DTypeError(f"{name} must be an array, got None")
    if array.ndim != 1:
        raise ShapeError(f"{name} must be a flat vector, (n,), got shape {tuple(array.shape)}")
    if not xp.isdtype(array.dtype, "real floating"):
        raise DTypeError(f"{name} must hold real floating-point numbers, got dtype {array.dtype}")


def _alike(gradient: Array, array: Array | None, name: str) -> None:
    if array is None:
        return
    _same_shape(gradient, array, name)
    if array.dtype != gradient.dtype:
        raise DTypeError(f"{name} has dtype {array.dtype} and gradient has {gradient.dtype}")


def _same_shape(gradient: Array, array: Array, name: str) -> None:
    if array.shape != gradient.shape:
        raise ShapeError(f"{name} has shape {tuple(array.shape)} and gradient has {tuple(gradient.shape)}")
