"""How the numbers of an array lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from handgrad.explain.plain import Plain
from handgrad.optim import global_norm

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Spread(Plain):
    """How an array's numbers lie. quantiles: at QUANTILES. norm: the root of the sum of squares. zeros: the share of
    exact zeros. bad: how many are NaN or infinite; all else is of the others."""

    mean: float
    std: float
    min: float
    max: float
    quantiles: np.ndarray
    norm: float
    zeros: float
    bad: int

    @classmethod
    def of(cls, array: np.ndarray) -> Self:
        """Of any array; NaN throughout where it holds no finite number."""
        flat = np.asarray(array, dtype=float).reshape(-1)
        good = flat[np.isfinite(flat)]
        if not good.size:
            nothing = np.full(len(QUANTILES), math.nan)
            return cls(math.nan, math.nan, math.nan, math.nan, nothing, math.nan, math.nan, flat.size)
        return cls(
            float(good.mean()),
            float(good.std()),
            float(good.min()),
            float(good.max()),
            np.quantile(good, QUANTILES),
            global_norm(good),
            float(np.mean(good == 0)),
            flat.size - good.size,
        )
