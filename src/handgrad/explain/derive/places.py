"""Mistakes in an expression: the message, and below it the expression with the place marked."""

from __future__ import annotations

from typing import NoReturn

from handgrad.errors import HandgradError

Place = tuple[int, int, int]  # a line, from 1; the columns where it begins and ends; an end of 0 marks nothing
NOWHERE: Place = (1, 0, 0)
SHOWN = 100  # columns of a line that are shown: a longer one is cut on both sides of the place


class ExpressionError(HandgradError, ValueError):
    """An expression that derive cannot read: the message shows it, with the place marked."""


def fail(message: str, lines: list[str], place: Place, kind: type[HandgradError] = ExpressionError) -> NoReturn:
    """Raises the error, with the line below the message and the place marked below that."""
    line, column, end = place
    shown = lines[line - 1] if 0 < line <= len(lines) else ""
    if len(shown) > SHOWN:
        start = max(0, min(column - SHOWN // 4, len(shown) - SHOWN))
        before, after = "…" * (start > 0), "…" * (start + SHOWN < len(shown))
        shown = f"{before}{shown[start : start + SHOWN]}{after}"
        column, end = column - start + len(before), min(end - start + len(before), SHOWN + len(before))
    marks = " " * column + "^" * max(1, end - column) if place[2] else ""
    raise kind("\n    ".join([message, shown, *([marks] if marks else [])])) from None
