"""How much a private training tells of any one sample, by Google's dp-accounting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from handgrad.checks import number, positive, whole
from handgrad.errors import ValueRangeError

FINEST, RELATIVE = 1e-4, 1e-5  # the grid of the privacy loss: dp-accounting's own, and in units of epsilon
ORDERS = (*range(2, 65), 128, 256, 512, 1024)  # of Renyi's divergence: whole ones are sums that end
SMALLEST_DELTA = 1e-9  # its sums, by Fourier transforms, are off by some 1e-15: a delta near that would be lost in it
LARGEST_EPSILON = 1e6  # promises nothing, and its exponential is no number
LARGEST_NOISE = 1e6  # as much as accounts for anything, and its square is a number


@dataclass(frozen=True)
class Privacy:
    """The steps of a training with noise: `fit(..., per_sample_clip=, noise_multiplier=)` gives it as `result.privacy`.

    rows: of the data. batch_size: the mean number of them in a step. steps: how many were done, or are planned.
    noise_multiplier: the noise's standard deviation in units of per_sample_clip. Needs `pip install handgrad[private]`.
    """

    rows: int
    batch_size: int
    steps: int
    noise_multiplier: float

    def __post_init__(self) -> None:
        for name, low in (("rows", 1), ("batch_size", 1), ("steps", 0)):
            object.__setattr__(self, name, whole(name, getattr(self, name), low))
        if self.batch_size > self.rows:
            raise ValueRangeError(f"batch_size must be at most rows, {self.rows}, got {self.batch_size}")
        object.__setattr__(self, "noise_multiplier", positive("noise_multiplier", self.noise_multiplier))

    def epsilon(self, delta: float) -> float:
        """The smallest epsilon for which the parameters are (epsilon, delta)-differentially private.

        For data that differ in one row, there or not, their number known to all. delta: above 0 and below 1, less than
        1 / rows is usual. By the distribution of the privacy loss, which is tight: Poisson-sampled normal noise,
        composed over the steps and rounded up by some 1e-4 of itself; Renyi's bound where delta is below 1e-9 or
        epsilon past 1e6. Doroshenko et al. (2022), "Connect the dots: tighter discrete approximations of privacy loss
        distributions". docs/per_sample.md says what it does not cover.
        """
        number("delta", delta, "a number above 0 and below 1", lambda x: 0 < x < 1)
        if not self.steps:
            return 0.0
        events, by_renyi, by_loss = _accounting()
        noise = min(self.noise_multiplier, LARGEST_NOISE)
        step = events.PoissonSampledDpEvent(self.batch_size / self.rows, events.GaussianDpEvent(noise))
        try:
            bound = float(by_renyi(ORDERS).compose(step, self.steps).get_epsilon(delta))
        except (OverflowError, ZeroDivisionError):  # next to no noise
            return math.inf
        if delta < SMALLEST_DELTA or bound > LARGEST_EPSILON:
            return bound
        # the bound, found at once, says how fine a grid will do: with little noise the usual one would not end
        accountant = by_loss(value_discretization_interval=max(FINEST, bound * RELATIVE))
        return min(bound, float(accountant.compose(step, self.steps).get_epsilon(delta)))


def _accounting() -> tuple[Any, Any, Any]:
    try:
        import dp_accounting
        from dp_accounting import pld, rdp
    except ImportError as error:
        raise ImportError("privacy accounting needs dp-accounting: pip install handgrad[private]") from error
    return dp_accounting, rdp.RdpAccountant, pld.PLDAccountant
