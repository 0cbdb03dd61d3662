"""Parts of a table: the test part, which training never sees, the validation part, which stops it, and the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handgrad.cli.faults import InputError


@dataclass(frozen=True)
class Parts:
    """Row numbers, each row in one part."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(rows: int, labels: np.ndarray | None, test: float, validation: float, seed: int) -> Parts:
    """A random split; test is a share of all rows, validation of what is left, and 0 for none.

    labels: (rows,), classes that each part gets its share of, at least one row of each staying for training; or None.
    Raises InputError where there are too few rows.
    """
    rng = np.random.default_rng([seed, 1])
    everything = np.arange(rows)
    rest, held_out = _take(everything, labels, test, rng, "test")
    train, valid = _take(rest, labels, validation, rng, "validation") if validation else (rest, everything[:0])
    if len(train) < 2:
        raise InputError(f"{rows} rows are too few to train on and to test; expected 4 or more")
    return Parts(np.sort(train), np.sort(valid), np.sort(held_out))


def _take(
    rows: np.ndarray, labels: np.ndarray | None, share: float, rng: np.random.Generator, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """(the rest, a part of about share * len(rows) rows, at least one)."""
    wanted = max(1, round(len(rows) * share))
    groups = [rows] if labels is None else [rows[labels[rows] == label] for label in np.unique(labels[rows])]
    available = sum(len(group) - 1 for group in groups)
    if available < 1:
        raise InputError(
            f"{len(rows)} rows"
            + (f" of {len(groups)} classes" if labels is not None else "")
            + f" are too few to hold out a {what} part; expected 4 or more, and classes that come more than once"
        )
    counts = _shares([len(group) for group in groups], min(wanted, available))
    rest, part = [], []
    for group, count in zip(groups, counts, strict=True):
        order = rng.permutation(group)
        part.append(order[:count])
        rest.append(order[count:])
    return np.concatenate(rest), np.concatenate(part)


def _shares(sizes: list[int], total: int) -> list[int]:
    """`total` shared out in proportion to the sizes, by largest remainder, leaving at least one of each."""
    exact = [size * total / sum(sizes) for size in sizes]
    counts = [min(int(share), size - 1) for share, size in zip(exact, sizes, strict=True)]
    while sum(counts) < total:
        open_places = [place for place, size in enumerate(sizes) if counts[place] < size - 1]
        # all that are open once, those furthest below their share first
        open_places.sort(key=lambda place: counts[place] - exact[place])
        for place in open_places[: total - sum(counts)]:
            counts[place] += 1
    return counts
