"""What a gradient check found, as data, as a table of text, for notebooks and for the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Any

from handgrad.errors import HandgradError


class GradientError(HandgradError, AssertionError):
    """A gradient check failed. The message holds the report."""


@dataclass(frozen=True)
class Kinked:
    """An entry without a derivative: those from the left and the right, and the subgradient backward takes."""

    index: tuple[int, ...]
    left: float
    right: float
    gradient: float


@dataclass(frozen=True)
class ArrayReport:
    """What was found for one input or parameter.

    error: the worst |analytic - numeric| / max(|analytic|, |numeric|, floor), see check_gradients; NaN if none was
    taken. index: where; None for a direction over all entries. analytic, numeric: the two numbers there.
    entries, directions: how many were compared. kinks: the entries that stand on a kink, all accepted unless `ok` is
    False. rounding: how far the gradient in the dtype and library given lies from the one in float64, relative to
    the largest; None where that is what was given. hint: what is wrong, or likely to be.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    ok: bool
    error: float
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    entries: int
    directions: int
    kinks: tuple[Kinked, ...]
    method: str
    rounding: float | None
    hint: str

    @property
    def verdict(self) -> str:
        """ "ok" or "WRONG"."""
        return "ok" if self.ok else "WRONG"

    @property
    def place(self) -> str:
        """The index as it is written in code, or the word for a direction."""
        if self.index is None:
            return "direction" if self.directions else "-"
        return "[" + ", ".join(map(str, self.index)) + "]"


@dataclass(frozen=True)
class GradientReport:
    """The result of check_gradients: one row for each input and parameter, and problems of the whole, in words."""

    target: str
    rows: tuple[ArrayReport, ...]
    problems: tuple[str, ...]
    method: str
    tolerance: float
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every gradient is right and nothing else was found wrong."""
        return not self.problems and all(row.ok for row in self.rows)

    @property
    def worst(self) -> ArrayReport:
        """The row with the largest error, of the wrong ones if there are any."""
        return max(self.rows, key=lambda row: (not row.ok, -1.0 if row.error != row.error else row.error))

    def __getitem__(self, name: str) -> ArrayReport:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r} is not among the arrays checked: {[row.name for row in self.rows]}")

    def raise_if_failed(self) -> GradientReport:
        """This report, or GradientError with the table when something is wrong."""
        if not self.ok:
            raise GradientError(str(self))
        return self

    def __str__(self) -> str:
        header, *body = self._cells()
        widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in (header, *body)
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([self._headline(), self._subline(), "", lines[0], rule, *lines[1:], *self._remarks("\n")])

    def _repr_html_(self) -> str:
        header, *body = self._cells()
        head = "".join(f"<th style='text-align:left'>{escape(cell)}</th>" for cell in header)
        rows = "".join(
            f"<tr{'' if row.ok else chr(32) + 'style=' + chr(39) + 'color:#b00' + chr(39)}>"
            + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in cells)
            + "</tr>"
            for row, cells in zip(self.rows, body, strict=True)
        )
        remarks = "".join(f"<p>{escape(remark)}</p>" for remark in self._remarks(""))
        title = f"<p><b>{escape(self._headline())}</b><br>{escape(self._subline())}</p>"
        return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{remarks}"

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        header, *body = self._cells()
        table = Table(*header, box=None, pad_edge=False, header_style="bold")
        for row, cells in zip(self.rows, body, strict=True):
            table.add_row(*map(Text, cells), style="" if row.ok else "red")
        headline = Text(self._headline(), style="bold green" if self.ok else "bold red")
        return Group(headline, Text(self._subline(), style="dim"), table, *map(Text, self._remarks("")))

    def _headline(self) -> str:
        if self.ok:
            return f"{self.target}: gradients are right, worst relative error {self.worst.error:.1e}"
        wrong = [row.name for row in self.rows if not row.ok]
        count = f"wrong for {', '.join(wrong)}" if wrong else "right, but backward does not keep its promises"
        return f"{self.target}: gradients are {count}"

    def _subline(self) -> str:
        means = {"complex": "complex steps", "central": "central differences"}[self.method]
        return f"by {means} in float64, tolerance {self.tolerance:.0e}, {self.seconds:.2f} s"

    def _cells(self) -> list[list[str]]:
        header = ["array", "shape", "error", "at", "backward", "numeric", "entries", ""]
        if show_kinks := any(row.kinks for row in self.rows):
            header.insert(-1, "kinks")
        if show_rounding := any(row.rounding is not None for row in self.rows):
            header.insert(-1, "as given")
        body = []
        for row in self.rows:
            cells = [row.name, str(row.shape), f"{row.error:.1e}", row.place]
            cells += [f"{row.analytic:.6g}", f"{row.numeric:.6g}", _count(row)]
            cells += [str(len(row.kinks))] * show_kinks
            cells += ["" if row.rounding is None else f"{row.dtype} {row.rounding:.0e}"] * show_rounding
            body.append([*cells, row.verdict])
        return [header, *body]

    def _remarks(self, gap: str) -> list[str]:
        """What the table has no room for: faults, hints, kinks."""
        remarks = [f"{problem}." for problem in self.problems]
        remarks += [f"{row.name}: {row.hint}." for row in self.rows if row.hint]
        remarks += [_of_kinks(row) for row in self.rows if row.kinks]
        return [gap + remarks[0], *remarks[1:]] if remarks else []


def _count(row: ArrayReport) -> str:
    size = math.prod(row.shape)
    return f"all {size}" if 0 < row.entries == size else f"{row.entries} of {size}"


def _of_kinks(row: ArrayReport) -> str:
    kink = row.kinks[0]
    place = "[" + ", ".join(map(str, kink.index)) + "]"
    count = "1 entry stands" if len(row.kinks) == 1 else f"{len(row.kinks)} entries stand"
    return (
        f"{row.name}: {count} on a kink, such as {place}: slope {kink.left:.4g} from the left, {kink.right:.4g} from "
        f"the right, and backward gives {kink.gradient:.4g}."
    )
