"""The options of `handgrad train`, checked before anything is read, in the words of the command line."""

from __future__ import annotations

import math

from handgrad.cli.faults import UsageError, did_you_mean
from handgrad.cli.options import Options, Plain, Tabular
from handgrad.errors import ValueRangeError
from handgrad.layers.activations import ACTIVATIONS
from handgrad.layers.gated import GATED
from handgrad.optim.names import NAMED
from handgrad.training.checkpoints import Every

DTYPES = ("float32", "float64")
MOST_EPOCHS = 2**53  # to which a float counts them


def check_settings(options: Options) -> None:
    """Raise UsageError, naming the option, for a number out of its range or a name that is not known."""
    _share("--test", options.test)
    _number("--seed", options.seed, "a whole number of at least 0", options.seed >= 0)
    if isinstance(options, Plain):
        _named("--dtype", options.dtype, list(DTYPES))
        _share("--validation", options.validation)
        _named("--activation", options.activation, [*ACTIVATIONS, *GATED])
        _named("--optimizer", options.optimizer, list(NAMED))
        _number("--l2", options.l2, "a finite number of at least 0", 0 <= options.l2 < math.inf)
        _number("--label-smoothing", options.label_smoothing, "from 0 to 1", 0 <= options.label_smoothing <= 1)
    if isinstance(options, Tabular) and (share := options.validation) is not None:
        _number("--validation", share, "above 0 and at most 0.5 with --preset tabular", 0 < share <= 0.5)
    if isinstance(options, Plain | Tabular):
        dropout, rate, epochs = options.dropout, options.learning_rate, options.epochs
        if epochs is not None:
            _number("--epochs", epochs, f"a whole number from 1 to {MOST_EPOCHS}", 1 <= epochs <= MOST_EPOCHS)
        if dropout is not None:
            _number("--dropout", dropout, "at least 0 and below 1", 0 <= dropout < 1)
        if rate is not None:
            _number("--learning-rate", rate, "a finite number above 0", 0 < rate < math.inf)
        try:
            Every.of(options.checkpoint)
        except ValueRangeError as error:
            raise UsageError(str(error).replace("every", "--checkpoint", 1)) from None


def _share(option: str, given: float) -> None:
    _number(option, given, "above 0 and below 1, such as 0.2 for a fifth of the rows", 0 < given < 1)


def _named(option: str, given: str, names: list[str]) -> None:
    if given not in names:
        near = did_you_mean(given[:80], names)
        raise UsageError(f"{option} must be one of {', '.join(names)}, got {given!r:.80}{near}")


def _number(option: str, given: float, expected: str, fits: bool) -> None:
    if not fits:
        said = str(given) if isinstance(given, int) else f"{given:g}"
        raise UsageError(f"{option} must be {expected}, got {said:.60}")
