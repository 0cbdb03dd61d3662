"""What an op lets through, asked of the op itself: which entries of an argument reach which of the output, whatever the
op is. Random numbers go through its jvp and its backward; what comes out as 0 is 0 for all of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from handgrad.explain.trace.steps import Step
from handgrad.ops.base import Op


def open_entries(step: Step, places: Collection[int]) -> np.ndarray:
    """Which entries of the arguments at these places, which are one value, change the output at all."""
    assert isinstance(step.function, Op)
    back = step.function.backward(_drawn(step.out), step.cache)
    found = [np.asarray(back[k]) != 0 for k in places]
    return np.asarray(np.any(found, axis=0))


def led_to(step: Step, places: Collection[int], entries: np.ndarray) -> np.ndarray:
    """Where in the output it shows that these entries of the arguments at `places` are moved."""
    assert isinstance(step.function, Op)
    moved: list[Any] = [None if value is None else np.zeros_like(value, step.out.dtype) for value in step.operands]
    for k in places:
        moved[k] = np.where(entries, _drawn(moved[k], k), 0).astype(step.out.dtype)  # each another, for x - x
    return np.broadcast_to(np.asarray(step.function.jvp(tuple(moved), step.cache)) != 0, step.out.shape)


def _drawn(like: np.ndarray, seed: int = 0) -> np.ndarray:
    """Numbers between 1 and 2, of which no sum or difference is 0 but by the rarest chance."""
    return np.random.default_rng(seed).uniform(1, 2, like.shape).astype(like.dtype)
