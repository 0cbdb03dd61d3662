"""Whether a network fits into memory, known before anything is allocated."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np

from handgrad.cli.faults import InputError

# parameters, gradient, two moments, the best epoch's parameters, and temporaries of the step
COPIES = 8
CHECKED_COPIES = 3  # in float64, for the gradient check
ACTIVATIONS = 4  # of each layer: its output, the activation, the mask of dropout, the gradient


def needed(widths: list[int], batch_size: int, dtype: str) -> int:
    """About how many bytes training takes beside the data."""
    parameters = sum(n_in * n_out + n_out for n_in, n_out in pairwise(widths))
    item = np.dtype(dtype).itemsize
    return parameters * (COPIES * item + CHECKED_COPIES * 8) + ACTIVATIONS * batch_size * sum(widths) * item


def available() -> int | None:
    """The bytes that this process can still take; None where the system does not say."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))  # "max" where there is no limit
    except (OSError, ValueError):
        pass
    if not found:
        try:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, OSError, ValueError):
            return None
    return min(found)


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
