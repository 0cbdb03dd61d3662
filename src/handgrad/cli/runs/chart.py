"""Curves in a terminal: a letter for each, on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.text import Text

Curve = Sequence[tuple[int, float]]  # (epoch, value)

STYLES = ("cyan", "magenta", "yellow", "green", "blue", "red")
RATIO = 5  # of the largest value to the smallest, from which on the scale is logarithmic


def chart(curves: Mapping[str, Curve], width: int = 64, height: int = 12) -> list[Text]:
    """The lines of a picture. curves: by the letter that each is drawn with; where two meet, the later one is seen.

    Values that are not finite are left out; no lines at all where no others are left.
    """
    kept = {letter: [(e, v) for e, v in curve if np.isfinite(v)] for letter, curve in curves.items()}
    values = [value for curve in kept.values() for _, value in curve]
    if not values:
        return []
    low, high, last = min(values), max(values), max(epoch for curve in kept.values() for epoch, _ in curve)
    logarithmic = low > 0 and high > RATIO * low
    scale = np.log if logarithmic else np.asarray
    bottom, top = float(scale(low)), float(scale(high))
    grid = np.full((height, width), " ")
    at = 1 + np.arange(width) * max(last - 1, 0) / max(width - 1, 1)  # the epoch of each column
    for letter, curve in kept.items():
        if curve:
            epochs, ys = np.array([e for e, _ in curve]), scale(np.array([v for _, v in curve]))
            inside = (at >= epochs[0] - 0.5) & (at <= epochs[-1] + 0.5)
            share = (top - np.interp(at[inside], epochs, ys)) / (top - bottom or 1)
            grid[np.rint(share * (height - 1)).astype(int), np.flatnonzero(inside)] = letter
    labels = {
        row: _label(top + (bottom - top) * row / (height - 1), logarithmic) for row in (0, height // 2, height - 1)
    }
    margin = max(map(len, labels.values()))
    styles = dict(zip(curves, STYLES, strict=False))
    lines = []
    for row, cells in enumerate(grid):
        line = Text(f"  {labels.get(row, ''):>{margin}} {'┤' if row in labels else '│'}", style="dim")
        for cell in cells:
            line.append(str(cell), style=styles.get(str(cell), ""))
        lines.append(line)
    return [
        *lines,
        Text(f"  {'':>{margin}} └{'─' * width}", style="dim"),
        Text(f"  {'':>{margin}}  1{last if last > 1 else '':>{width - 1}}", style="dim"),
    ]


def _label(value: float, logarithmic: bool) -> str:
    return f"{np.exp(value) if logarithmic else value:.3g}"
