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
        self._epochs, self._bar, self._note = epochs, None, note
        self._next = 0.0
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
        if self._bar is not None and (now := time.perf_counter()) >= self._next:
            self._next = now + REFRESH
            done, text = epoch * self.steps + step + 1, f"epoch {epoch + 1}/{self._epochs}"
            self._bar.update(self._task, completed=done, total=self._total, description=text)

    def epoch(self, row: dict[str, Any]) -> None:
        """Called after each epoch, with its row of the history."""
        if self._bar is not None:
            losses = f"loss {row['loss']:.3g}"
            for name, value in row.items():
                if name.startswith("validation_"):
                    losses += f"  {name.replace('validation_', 'val. ')} {value:.3g}"
            done, text = row["epoch"] * self.steps, f"epoch {row['epoch']}/{self._epochs}"
            self._bar.update(self._task, completed=done, total=self._total, losses=losses, description=text)

    @property
    def _total(self) -> int | None:
        return self._epochs * self.steps or None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


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
