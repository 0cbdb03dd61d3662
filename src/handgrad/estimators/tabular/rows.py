"""Rows before training: small tables in one order, and which rows each member holds out."""

from __future__ import annotations

import numpy as np

from handgrad.estimators.tabular.columns import Table

FEW = 1024  # rows of a table that is put in order
# Rows up to which a weight is so many rows. Copies come to lie on both sides of a validation split, which a table of
# more rows need not bear: there a weight is a weight.
REPEATED = 64


def settled(table: Table, y: np.ndarray, weight: np.ndarray) -> tuple[Table, np.ndarray, np.ndarray]:
    """The rows of a small table in an order that follows from themselves, each as often as its weight says where all
    weights are whole numbers; the rows of others as they are. Equal weights are 1.

    So that in tables of few rows a weight of 2 is the same as a row given twice, to the last bit.
    """
    if (weight == weight[0]).all():
        weight = np.ones(len(weight))
    total = weight.sum()
    if len(y) > FEW:
        return table, y, weight
    numbers = table.numbers + 0.0  # -0.0 is 0.0
    cells = [[(type(key).__name__, str(key)) for key in keys] for keys in table.categories]
    order = sorted(range(len(y)), key=lambda i: (numbers[i].tobytes(), [column[i] for column in cells], y[i].tobytes()))
    if total <= REPEATED and (weight % 1 == 0).all():
        rows = np.repeat(order, weight[order].astype(np.int64))
        return table.take(rows), y[rows], np.ones(len(rows))
    return table.take(order), y[order], weight[order]


def held_out(strata: np.ndarray, members: int, fraction: float, rng: np.random.Generator) -> list[np.ndarray]:
    """For each member the rows (sorted indices) that it is validated on, a share of `fraction` of each stratum.

    Members take turns over parts that do not overlap, so that as few rows as can be are never, or always, trained on.
    A row that is alone in its stratum is never held out.
    """
    count = max(2, round(1 / fraction))
    chosen: list[np.ndarray] = []
    while len(chosen) < members:
        part = np.full(len(strata), -1)
        start = 0
        for stratum in np.unique(strata):
            rows = rng.permutation(np.flatnonzero(strata == stratum))
            if len(rows) > 1:
                # each stratum goes on where the last one ended, so that the parts are of one size
                part[rows] = (start + np.arange(len(rows))) % count
                start += len(rows)
        chosen += [np.flatnonzero(part == p) for p in range(min(count, members - len(chosen)))]
    return chosen
