"""Whether a network fits into memory, known before anything is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from handgrad.cli.faults import InputError
from handgrad.training.memory import available

# parameters, gradient, two moments, the best epoch's parameters, and temporaries of the step
COPIES = 8
CHECKED_COPIES = 3  # in float64, for the gradient check
FEATURES = {"text": 20, "other": 0}  # of a column of that kind, about
SHARE = 0.25  # of the memory available, that an encoded table may take
ACTIVATIONS = 4  # of each layer: its output, the activation, the mask of dropout, the gradient


def needed(widths: list[int], batch_size: int, dtype: str) -> int:
    """About how many bytes training takes beside the data."""
    parameters = sum(n_in * n_out + n_out for n_in, n_out in pairwise(widths))
    item = np.dtype(dtype).itemsize
    return parameters * (COPIES * item + CHECKED_COPIES * 8) + ACTIVATIONS * batch_size * sum(widths) * item


def encoded(kinds: Mapping[str, str], rows: int, dtype: str) -> int:
    """About how many bytes a table takes once it is encoded."""
    return rows * sum(FEATURES.get(kind, 1) for kind in kinds.values()) * np.dtype(dtype).itemsize


def streams(wanted: bool | None, kinds: Mapping[str, str], rows: int, dtype: str) -> bool:
    """Whether training is to read a table block by block: where it is asked for, or would take much of the memory."""
    there = available()
    if wanted is not None or there is None:
        return bool(wanted)
    return encoded(kinds, rows, dtype) > there * SHARE


def check_table(kinds: Mapping[str, str], rows: int, source: str) -> None:
    """Raise InputError for a table that memory does not hold, with what to do."""
    wanted, there = encoded(kinds, rows, "float32"), available()
    if there is not None and wanted > there / 2:
        raise InputError(
            f"{source} has {rows:,} rows, which would take about {_shown(wanted)} of memory encoded, and "
            f"{_shown(there)} are available; --preset plain streams it (without --no-stream), or train on a sample: "
            '--sql "SELECT * FROM ... USING SAMPLE 1000000 ROWS (reservoir, 0)"'
        )


def check_memory(widths: list[int], batch_size: int, dtype: str, networks: int = 1, rows: int = 0) -> None:
    """Raise InputError, with the figures, for networks trained at once that do not fit.

    rows: of their inputs, where there is to be a copy for each beside a first one.
    """
    wanted, there = networks * needed(widths, batch_size, dtype), available()
    wanted += (networks + 1) * rows * widths[0] * np.dtype(dtype).itemsize if rows else 0
    if there is not None and wanted > there:
        each = f"{networks} networks at once" if networks > 1 else "a network"
        raise InputError(
            f"{each} of {' -> '.join(map(str, widths))} need{'s' * (networks == 1)} about {_shown(wanted)} of memory "
            f"to train, and {_shown(there)} are available; give smaller --hidden, or a smaller --batch-size"
        )


def _shown(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
