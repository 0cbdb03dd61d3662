"""What the callbacks share: the numbers of a row of the history, and that a log that fails ends no training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from handgrad.errors import LogWarning


class Log:
    """A log of a training, which goes on without it where it fails."""

    lost = False  # whether it has failed

    def attempt(self, do: Callable[..., object], *args: Any) -> None:
        """do(*args), unless the log is lost. Whatever that raises is a LogWarning, and the log is lost then."""
        if self.lost:
            return
        try:
            do(*args)
        except Exception as error:  # each tool, file system and network has its own
            self.lost = True
            said = [line for line in str(error).splitlines() if line] or [type(error).__name__]
            text = f"{type(self).__name__}: {said[0]}; training goes on without this log"
            warnings.warn(text, LogWarning, stacklevel=3)


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The columns of a row but for "epoch", those alone that are finite."""
    real = {name: float(value) for name, value in row.items() if isinstance(value, Real) and name != "epoch"}
    return {name: value for name, value in real.items() if math.isfinite(value)}
