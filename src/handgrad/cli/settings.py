"""The options of `handgrad train`, checked before anything is read, in the words of the command line."""

from __future__ import annotations

import math

from handgrad.cli.faults import UsageError, did_you_mean
from handgrad.cli.tasks import Options
from handgrad.layers.activations import ACTIVATIONS
from handgrad.layers.gated import GATED
from handgrad.optim.names import NAMED


def check_settings(options: Options) -> None:
    """Raise UsageError, naming the option, for a number out of its range or a name that is not known."""
    _named("--activation", options.activation, [*ACTIVATIONS, *GATED])
    _named("--optimizer", options.optimizer, list(NAMED))
    _number("--dropout", options.dropout, "at least 0 and below 1", 0 <= options.dropout < 1)
    _number("--l2", options.l2, "a finite number of at least 0", 0 <= options.l2 < math.inf)
    _number("--label-smoothing", options.label_smoothing, "from 0 to 1", 0 <= options.label_smoothing <= 1)
    if options.learning_rate is not None:
        _number(
            "--learning-rate", options.learning_rate, "a finite number above 0", 0 < options.learning_rate < math.inf
        )


def _named(option: str, given: str, names: list[str]) -> None:
    if given not in names:
        raise UsageError(f"{option} must be one of {', '.join(names)}, got {given!r}{did_you_mean(given, names)}")


def _number(option: str, given: float, expected: str, fits: bool) -> None:
    if not fits:
        raise UsageError(f"{option} must be {expected}, got {given:g}")
