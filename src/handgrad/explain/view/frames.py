"""`TraceFrames`: traces taken while a model trains, for the slider of a view."""

from __future__ import annotations

from typing import Any

from handgrad.checks import whole
from handgrad.errors import ValueRangeError
from handgrad.explain.trace import Trace, trace


class TraceFrames:
    """A callback of `fit` that traces the same batch at the end of every epoch, or every so many.

        frames = TraceFrames(X[:64], y[:64], every=2, loss="cross_entropy")
        hg.fit(model, (X, y), callbacks=frames)
        hg.view(frames)

    X, y: the batch, as `trace` takes it. options: its other arguments, such as loss, optimizer and regularizer.
    """

    def __init__(self, X: Any, y: Any, *, every: int = 1, **options: Any):
        self.X, self.y, self.every, self.options = X, y, whole("every", every), options
        self.frames: list[tuple[str, Trace]] = []

    def __call__(self, event: Any) -> None:
        """event: what `fit` gives its callbacks, an EpochEnd."""
        epoch = int(event.row["epoch"])
        if (epoch - 1) % self.every == 0:
            found = trace(event.model, event.params, self.X, self.y, **self.options)
            self.frames.append((f"epoch {epoch}", found))

    @property
    def last(self) -> Trace:
        """The latest trace. Raises ValueRangeError where there is none yet."""
        if not self.frames:
            raise ValueRangeError("there are no frames yet: give TraceFrames to fit(callbacks=...) first")
        return self.frames[-1][1]
