"""What `handgrad train` prints: the plan before, the results after. At 80 columns, and in plain text where piped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from handgrad.cli.presets.baselines import Score

if TYPE_CHECKING:
    from handgrad.check import GradientReport

LOWER_IS_BETTER = {"cross-entropy", "RMSE"}
MOST_ROWS = 12  # of the gradient check


class Report:
    """Prints to `console`, and what it is busy with to `status`, where that is a terminal."""

    def __init__(self, console: Console, status: Console):
        self.console = console
        self.status = status

    def busy(self, text: str) -> AbstractContextManager[object]:
        """A line that says what is being done for as long as it takes; it is gone after."""
        terminal = self.status.is_terminal and not self.status.quiet
        return self.status.status(f"{text} ...") if terminal else nullcontext()

    def title(self, text: str) -> None:
        self.console.print(Rule(Text(text, style="bold"), align="left", style="dim"))

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Names in one column, what there is to say of them in the other."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan", no_wrap=True, min_width=9)
        grid.add_column()
        for name, text in facts:
            grid.add_row(f"  {name}", Text(text))
        self.console.print(grid)

    def note(self, text: str) -> None:
        self.facts([("note", text)])

    def scores(self, scores: Sequence[Score], rows: int) -> None:
        """The models, one a line, the best value of each column in bold."""
        self.console.print()
        self.title(f"On the test part, {rows:,} rows that training never saw")
        table = _table("model", *(f"{name}" for name in scores[0].values))
        best = {
            name: (min if name in LOWER_IS_BETTER else max)(score.values[name] for score in scores)
            for name in scores[0].values
        }
        for score in scores:
            own = score is scores[-1]
            cells = [
                Text(_shown(name, value), style="bold green" if value == best[name] else "")
                for name, value in score.values.items()
            ]
            table.add_row(Text.assemble("  ", (score.model, "bold" if own else "")), *cells)
        self.console.print(table)

    def gradients(self, check: GradientReport, rows: int, whose: str = "Its") -> None:
        """A line for each parameter with its worst error; all there is to say where one is wrong."""
        self.console.print()
        self.title(f"{whose} gradients by hand against numbers, on {rows} rows in float64")
        if not check.ok:
            self.console.print(check)
            return
        table = _table("gradient of", "shape", "compared", "worst relative error", "")
        shown = sorted(check.rows, key=lambda row: -row.error)[:MOST_ROWS]
        for row in check.rows:
            if row in shown:
                compared = f"{row.entries} + {row.directions}"
                verdict = Text("ok", style="green")
                table.add_row(Text(f"  {row.name}"), _times(row.shape), compared, f"{row.error:.1e}", verdict)
        self.console.print(table)
        more = f"; the {MOST_ROWS} worst of {len(check.rows)} are shown" if len(check.rows) > MOST_ROWS else ""
        self.console.print(Text(f"  compared: entries one by one + directions over all of them{more}", style="dim"))

    def next_steps(self, steps: Mapping[str, str]) -> None:
        """What there is now, and the commands to go on with, by their names."""
        self.console.print()
        for name, text in steps.items():  # not in a table, which would break a long command
            self.console.print(Text.assemble((f"  {name:<9}", "cyan"), (text, "bold")), soft_wrap=True)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column(f"  {first}")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _shown(name: str, value: float) -> str:
    if value != value:
        return "-"
    if name == "accuracy":
        return f"{100 * value:.1f} %"
    return f"{value:.4g}" if name == "RMSE" else f"{value:.3f}"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"
