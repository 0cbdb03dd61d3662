"""Derivatives from forward alone: by a complex step, exact to rounding, or by extrapolated central differences."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from handgrad.check.targets import Target
from handgrad.errors import DTypeError

Along = Any  # the index of one entry, or a direction of length 1 over all entries of an array
COMPLEX_STEP = 1e-30
STEPS = (
    1e-3,
    1e-4,
    1e-5,
    1e-6,
    1e-7,
    1e-8,
    1e-9,
    1e-10,
)  # of central differences; later ones near kinks and sharp curves
ONE_SIDED_STEP = 1e-5


@dataclass(frozen=True)
class Point:
    """Where derivatives are taken: float64 inputs, the upstream gradient u, and what backward says there.

    The function differentiated is <u, forward(values)>.
    """

    target: Target
    values: dict[str, np.ndarray]
    upstream: Any
    out: np.ndarray
    gradients: dict[str, Any]

    @classmethod
    def at(cls, target: Target, values: Mapping[str, np.ndarray], upstream: Any) -> Point:
        """The point with backward's gradients taken at it."""
        out, cache = target.forward({name: x.copy() for name, x in values.items()})
        # copies, since a backward that writes to what it is given must not disturb the measure
        return cls(target, dict(values), upstream, np.array(out), target.backward(copy.copy(upstream), cache))

    def near(self, noise: Mapping[str, np.ndarray], size: float) -> Point:
        """A neighbour: each array moved along its noise by `size` times its own scale."""
        moved = {name: x + size * scale_of(x) * noise[name] for name, x in self.values.items()}
        return Point.at(self.target, moved, self.upstream)

    @cached_property
    def magnitude(self) -> float:
        """sum |u_i out_i|: rounding leaves the function uncertain by this times 1e-16."""
        return float(np.sum(np.abs(self.upstream * self.out)))

    @cached_property
    def _complex(self) -> dict[str, np.ndarray]:
        return {name: x.astype(np.complex128) for name, x in self.values.items()}

    def complex_slopes(self, name: str, along: Along) -> tuple[float, float]:
        """The derivative by a step of +ih and of -ih. They are equal unless the point stands on a kink."""
        return self._complex_slope(name, along, COMPLEX_STEP), self._complex_slope(name, along, -COMPLEX_STEP)

    def _complex_slope(self, name: str, along: Along, step: float) -> float:
        out = np.asarray(self._forward(self._complex, name, along, 1j * step))
        return float(np.sum(self.upstream * out.imag)) / step

    def central_slope(self, name: str, along: Along, step: float) -> float:
        """(4 D(h/2) - D(h)) / 3, D the central difference: the error falls with h^4."""
        h = step * self._size(name, along)
        whole = self._difference(name, along, -h, h)
        half = self._difference(name, along, -h / 2, h / 2)
        return (4 * half - whole) / 3

    def one_sided_slopes(self, name: str, along: Along) -> tuple[float, float]:
        """The derivatives from the left and from the right, each extrapolated from two steps."""
        h = ONE_SIDED_STEP * self._size(name, along)
        left, right = (
            2 * self._difference(name, along, 0, s * h / 2) - self._difference(name, along, 0, s * h) for s in (-1, 1)
        )
        return left, right

    def _difference(self, name: str, along: Along, a: float, b: float) -> float:
        # outputs are subtracted before the sum with u, so that those which do not change add no rounding error
        change = self._real(name, along, b) - (self.out if a == 0 else self._real(name, along, a))
        return float(np.sum(self.upstream * change)) / (b - a)

    def _real(self, name: str, along: Along, step: float) -> np.ndarray:
        out = self._forward(self.values, name, along, step)
        if np.shape(out) != self.out.shape:
            raise DTypeError(f"forward must keep the shape of its output, got {np.shape(out)} after {self.out.shape}")
        return np.asarray(out)

    def _forward(self, values: dict[str, np.ndarray], name: str, along: Along, step: complex) -> Any:
        if not self.target.ours:
            values = {key: x.copy() for key, x in values.items()}
        return self.target.forward({**values, name: _moved(values[name], along, step)})[0]

    def _size(self, name: str, along: Along) -> float:
        return max(1.0, abs(float(self.values[name][along]))) if isinstance(along, tuple) else 1.0


def _moved(x: np.ndarray, along: Along, step: complex) -> np.ndarray:
    if not isinstance(along, tuple):
        return x + step * along
    x = x.copy()
    x[along] += step
    return x


def scale_of(x: np.ndarray) -> float:
    """The largest |x|, or 1 for an array of zeros or of nothing."""
    return float(np.max(np.abs(x), initial=0.0)) or 1.0
