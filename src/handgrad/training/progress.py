"""A progress bar for `fit`, on a terminal or in a notebook; nothing anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

REFRESH = 0.1  # seconds


class ProgressBar:
    """Shows the epoch, the losses and the time left. Silent when not wanted, or when nobody would see it."""

    def __init__(self, epochs: int, steps: int, wanted: bool, note: str = ""):
        """note: why the training is not as fast as it could be; shown above the bar."""
        self.steps = steps  # of an epoch; 0 while that is not known
        self._epochs, self._note = epochs, note
        self._bar: Any = None
        self._next = 0.0
        self._news: dict[str, Any] = {}  # what is not drawn yet
        if wanted:
            self._bar = _rich_bar()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            if self._note:
                self._bar.console.print(f"eager engine: {self._note}", markup=False, highlight=False)
            self._task = self._bar.add_task("", total=self._total, losses="")
        return self

    def step(self, epoch: int, step: int) -> None:
        """Called after each step; draws a few times a second at most."""
        self._tell(epoch, epoch * self.steps + step + 1)

    def epoch(self, row: dict[str, Any]) -> None:
        """Called after each epoch, with its row of the history."""
        if self._bar is None:
            return
        self._news["row"] = row
        long = row["seconds"] >= REFRESH  # the next may be as long before it tells of a step
        self._tell(row["epoch"] - 1, row["epoch"] * self.steps, long)

    def _tell(self, epoch: int, done: int, at_once: bool = False) -> None:
        """Draw how far it has come, and the newest row of the history, or keep them until it is time to."""
        if self._bar is None:
            return
        self._news |= {"epoch": epoch, "done": done}
        if (now := time.perf_counter()) >= self._next or at_once:
            self._next = now + REFRESH
            self._draw()

    def _draw(self) -> None:
        news, self._news = self._news, {}
        shown = {"losses": _losses(news["row"])} if "row" in news else {}
        text = f"epoch {news['epoch'] + 1}/{self._epochs}"
        self._bar.update(self._task, completed=news["done"], total=self._total, description=text, **shown)

    @property
    def _total(self) -> int | None:
        return self._epochs * self.steps or None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            try:
                if self._news:
                    self._draw()
            finally:
                self._bar.stop()


def _losses(row: dict[str, Any]) -> str:
    text = f"loss {row['loss']:.3g}"
    for name, value in row.items():
        if name.startswith("validation_"):
            text += f"  {name.replace('validation_', 'val. ')} {value:.3g}"
    return text


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        return None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[losses]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, refresh_per_second=10)
