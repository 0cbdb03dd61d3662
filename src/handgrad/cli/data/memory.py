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
SHARE = 0.5  # of the memory available, that training on a table in memory may take
LEAST = 128_000_000  # bytes: as much as a stream holds itself, below which nothing is saved by one
HELD = 1.25  # what that takes at its most: the table, and encoded; and a quarter for a column, the test part, the heap
OBJECT = 64  # bytes of a text as an object, beside its letters, about
DATE = 4  # numbers that an ensemble makes of a time
ACTIVATIONS = 4  # of each layer: its output, the activation, the mask of dropout, the gradient


def needed(widths: list[int], batch_size: int, dtype: str) -> int:
    """About how many bytes training takes beside the data."""
    parameters = sum(n_in * n_out + n_out for n_in, n_out in pairwise(widths))
    item = np.dtype(dtype).itemsize
    return parameters * (COPIES * item + CHECKED_COPIES * 8) + ACTIVATIONS * batch_size * sum(widths) * item


def encoded(kinds: Mapping[str, str], rows: int, dtype: str) -> int:
    """About how many bytes a table takes once it is encoded."""
    return rows * sum(FEATURES.get(kind, 1) for kind in kinds.values()) * np.dtype(dtype).itemsize


def held(kinds: Mapping[str, str], rows: int, bytes_of_a_row: float, dtype: str) -> int:
    """About how many bytes training on a table in memory takes. bytes_of_a_row: before it is encoded."""
    return int(HELD * (rows * bytes_of_a_row + encoded(kinds, rows, dtype)))


def framed(kinds: Mapping[str, str], rows: int, bytes_of_a_row: float) -> int:
    """About how many bytes columns take as an ensemble reads them, before it encodes them: float64, and objects; and
    then all numbers once more in one matrix, and objects in one of their own. bytes_of_a_row: of the table, of which
    most are letters, where there are texts."""
    texts = sum(kind == "text" for kind in kinds.values())
    numbers = sum(1 + (DATE if kind == "time" else 1) for kind in kinds.values() if kind not in ("text", "other"))
    return int(rows * (8 * numbers + texts * (2 * 8 + OBJECT) + (bytes_of_a_row if texts else 0)))


def streams(wanted: int) -> bool:
    """Whether training is to read a table block by block, where in memory it would take so many bytes."""
    there = available()
    return there is not None and wanted > there * SHARE and (wanted > LEAST or wanted > there)


def check_table(wanted: int, rows: int, source: str) -> None:
    """Raise InputError for a table that memory does not hold, with what to do. wanted: the bytes it would take."""
    there = available()
    if there is not None and wanted > there:
        raise InputError(
            f"{source} has {rows:,} rows, to train on which takes about {_shown(wanted)} of memory, and "
            f"{_shown(there)} are available; --preset plain streams it (without --no-stream), or train on a sample: "
            '--sql "SELECT * FROM ... USING SAMPLE 1000000 ROWS (reservoir, 0)"'
        )


def check_memory(
    widths: list[int], batch_size: int, dtype: str, networks: int = 1, rows: int = 0, copies: int = 0
) -> None:
    """Raise InputError, with the figures and what to do, for networks trained at once that do not fit.

    rows, copies: of their inputs; each copy is beside the others.
    """
    own, there = networks * needed(widths, batch_size, dtype), available()
    inputs = copies * rows * widths[0] * np.dtype(dtype).itemsize
    if there is not None and own + inputs > there:
        each = f"{networks} networks at once" if networks > 1 else "a network"
        way = "give smaller --hidden, or a smaller --batch-size"
        if inputs > own:
            fits = max(1, int(0.8 * rows * there / (own + inputs)))
            way = (
                f"{_shown(inputs)} of it for {rows:,} rows as inputs; --preset plain takes less, and so does a sample: "
                f'--sql "SELECT * FROM ... USING SAMPLE {fits} ROWS (reservoir, 0)"'
            )
        raise InputError(
            f"{each} of {' -> '.join(map(str, widths))} need{'s' * (networks == 1)} about {_shown(own + inputs)} of "
            f"memory to train, and {_shown(there)} are available; {way}"
        )


def _shown(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
