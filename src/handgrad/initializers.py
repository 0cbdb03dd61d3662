"""Initial values of parameters: pure functions of a generator and a shape, (n_in, n_out) for weights, to float64.

Each keeps the spread of values about the same from layer to layer, by the number of inputs (and outputs) of a unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

import handgrad.checks as checks

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan-in, fan-out): the length of the first axis and of the rest; a width of 0, or none, counts as 1."""
    return max(math.prod(shape[:1]), 1), max(math.prod(shape[1:]), 1)


def he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal, standard deviation sqrt(2 / n_in): for ReLU, which halves the variance. He et al. (2015)."""
    return rng.standard_normal(shape) * math.sqrt(2 / _fans(shape)[0])


def he_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform within +-sqrt(6 / n_in), of he_normal's variance. He et al. (2015)."""
    bound = math.sqrt(6 / _fans(shape)[0])
    return rng.uniform(-bound, bound, shape)


def glorot_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal, standard deviation sqrt(2 / (n_in + n_out)): for tanh, forward and backward. Glorot and Bengio (2010)."""
    return rng.standard_normal(shape) * math.sqrt(2 / sum(_fans(shape)))


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform within +-sqrt(6 / (n_in + n_out)), of glorot_normal's variance. Glorot and Bengio (2010)."""
    bound = math.sqrt(6 / sum(_fans(shape)))
    return rng.uniform(-bound, bound, shape)


def lecun_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal, standard deviation sqrt(1 / n_in). LeCun et al. (1998), "Efficient BackProp"."""
    return rng.standard_normal(shape) * math.sqrt(1 / _fans(shape)[0])


def lecun_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform within +-sqrt(3 / n_in), of lecun_normal's variance. LeCun et al. (1998)."""
    bound = math.sqrt(3 / _fans(shape)[0])
    return rng.uniform(-bound, bound, shape)


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """All 0: right for biases; as weights it leaves all units of a layer alike for ever."""
    return np.zeros(shape)


def ones(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """All 1: the scale of a normalization."""
    return np.ones(shape)


class Constant:
    """All `value`."""

    def __init__(self, value: float):
        self.value = checks.finite("value", value)

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and other.value == self.value

    def __hash__(self) -> int:
        return hash((Constant, self.value))

    def __repr__(self) -> str:
        return f"constant({self.value})"


def constant(value: float) -> Constant:
    """An initializer of arrays that are all `value`."""
    return Constant(value)


NAMED: dict[str, Initializer] = {
    f.__name__: f
    for f in (he_normal, he_uniform, glorot_normal, glorot_uniform, lecun_normal, lecun_uniform, zeros, ones)
}


def initializer(name_or_function: str | Initializer) -> Initializer:
    """The initializer of that name, or the function itself. Raises ValueRangeError for an unknown name."""
    if callable(name_or_function):
        return name_or_function
    return checks.by_name("init", name_or_function, NAMED, "a function or ")
