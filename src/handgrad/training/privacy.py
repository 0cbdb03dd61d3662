"""How much a private training tells of any one sample, by Google's dp-accounting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handgrad.checks import number, positive, whole
from handgrad.errors import ValueRangeError


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

        For data that differ by one row, there or not there. By the distribution of the privacy loss, which is tight:
        Poisson-sampled Gaussian noise, composed over the steps. delta: above 0 and below 1, less than 1 / rows is
        usual. The history, its losses above all, and the choice of an epoch by them are not covered.
        """
        number("delta", delta, "a number above 0 and below 1", lambda x: 0 < x < 1)
        if not self.steps:
            return 0.0
        events, accountants = _accounting()
        step = events.PoissonSampledDpEvent(self.batch_size / self.rows, events.GaussianDpEvent(self.noise_multiplier))
        accountant = accountants.PLDAccountant()
        accountant.compose(step, self.steps)
        return float(accountant.get_epsilon(delta))


def _accounting() -> tuple[Any, Any]:
    try:
        import dp_accounting
        from dp_accounting import pld
    except ImportError as error:
        raise ImportError("privacy accounting needs dp-accounting: pip install handgrad[private]") from error
    return dp_accounting, pld
