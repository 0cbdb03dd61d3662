"""The gradients of each sample's own loss: their norms, and their sum with none longer than a bound.

    python -m benchmarks.samples

784-256-128-10 in float32, batch 256, cross-entropy, the same weights everywhere; beside it the plain gradient of the
mean loss, which is what any training needs. All agree with a loop over samples in float64 to 1e-3 of the largest. Each
rival runs in its own process, pinned to as many cores as it has threads, in turn, round by round; a figure is the
median over rounds of the round's median call. benchmarks/requirements.txt says what to install; a rival that is not is
left out. Opacus's plain gradient is PyTorch's.
"""

from __future__ import annotations

import statistics

from benchmarks.calls import compare
from benchmarks.results import PACKAGES
from benchmarks.samplers import ALL, TASKS, Loop
from handgrad.cli.bench.suite import OURS, Measurement
from handgrad.cli.bench.table import left_out

ROWS = 256


def costs(measurements: list[Measurement]) -> str:
    """handgrad's times by that of its own plain gradient, the median over rounds of those in one round."""
    plain, *others = measurements
    found = []
    for other in others:
        rounds = zip(other.seconds[OURS], plain.seconds[OURS], strict=True)
        ratio = statistics.median(own / alone for own, alone in rounds)
        found.append(f"{other.configuration.name} {ratio:.2f}")
    return f"handgrad's times the plain gradient's: {', '.join(found)}"


def notes(measurements: list[Measurement]) -> list[str]:
    """What is said below the table."""
    ours = [costs(measurements)] if OURS in measurements[0].seconds else []
    return [*ours, *left_out(measurements)]


if __name__ == "__main__":
    compare(
        "benchmarks.samples",
        __doc__ or "",
        "Gradients of each sample",
        ALL,
        dict.fromkeys(TASKS, ROWS),
        Loop,
        notes=notes,
        packages=(*PACKAGES, "opacus"),
    )
