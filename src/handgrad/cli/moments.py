"""`Moments`: parameters at a few epochs of a training, for the slider of its report."""

from __future__ import annotations

from typing import Any

import numpy as np

MOST = 8


class Moments:
    """A callback of `fit` that keeps a copy of the parameters at every epoch, at every second when there are more than
    MOST, at every fourth, and so on: as many as a page has room for, however long the training is."""

    def __init__(self) -> None:
        self.kept: dict[int, np.ndarray] = {}
        self._every = 1

    def __call__(self, event: Any) -> None:
        """event: what `fit` gives its callbacks, an EpochEnd."""
        epoch = int(event.row["epoch"])
        if (epoch - 1) % self._every:
            return
        self.kept[epoch] = np.array(event.params.flat)
        if len(self.kept) > MOST:
            self._every *= 2
            self.kept = {e: flat for e, flat in self.kept.items() if (e - 1) % self._every == 0}
