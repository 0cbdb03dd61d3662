"""What the held-out data say of the parameters after each epoch: in memory at once, of a stream block by block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import array_api_compat
import numpy as np

from handgrad.errors import ValueRangeError
from handgrad.layers import Layer, Loss, Parameters
from handgrad.ops.arrays import Array
from handgrad.training.data import Rows, fits, some_weight
from handgrad.training.metrics import Metric, running
from handgrad.training.predict import compiled_forward, eager_scores
from handgrad.training.setup import Words, words_of, words_of_stream
from handgrad.training.streams.prefetch import Prefetched
from handgrad.training.streams.reader import Reader

Measures = list[tuple[str, Metric]]


class Held(Protocol):
    """Rows that are held out. failed: the error of a stream that could not go on."""

    failed: Exception | None

    def ready(self, model: Layer, loss: Loss, measures: Measures) -> None:
        """Check what can be before the first step. Raises as `fits` does."""

    def use_compiled(self, params: Parameters) -> None:
        """Go through the compiled pass: by the engine that trains, so that the same run gives the same bits again."""

    def measure(self, params: Parameters, waiting: Callable[[], object]) -> dict[str, float]:
        """The columns of the history that they give."""

    def words(self) -> Words:
        """What tells them from other data."""


class _Held:
    """What both have."""

    failed: Exception | None = None
    _shape: tuple[int, ...]  # of a sample
    _forward: Any = None

    def use_compiled(self, params: Parameters) -> None:
        """See `Held`."""
        self._forward = compiled_forward(self._model, params, self._shape)

    def _ready(self, model: Layer, loss: Loss, measures: Measures) -> None:
        self._model, self._loss, self._measures = model, loss, measures

    def _scores(self, params: Parameters, x: Array) -> Array:
        scores = self._forward.scores(params.flat, x) if self._forward else None
        return eager_scores(self._model, params, x) if scores is None else scores


class HeldWhole(_Held):
    """Of data in memory."""

    def __init__(self, rows: Rows):
        self._rows, self._shape = rows, tuple(rows.x.shape[1:])

    def ready(self, model: Layer, loss: Loss, measures: Measures) -> None:
        """Check all of them."""
        fits(model, loss, self._rows, "validation")
        some_weight(self._rows, "validation")
        self._ready(model, loss, measures)

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # what they would warn of shows in the row
    def measure(self, params: Parameters, waiting: Callable[[], object]) -> dict[str, float]:
        """Of all rows at once."""
        rows = self._rows
        scores = self._scores(params, rows.x)
        value, _ = self._loss.forward(scores, rows.y, sample_weight=rows.weight)
        metrics = {f"validation_{name}": float(f(scores, rows.y)) for name, f in self._measures}
        return {"validation_loss": float(value)} | metrics

    def words(self) -> Words:
        """Of all rows."""
        return words_of(self._rows)


class HeldStream(_Held):
    """Of a stream, read after each epoch."""

    def __init__(self, reader: Reader):
        self._reader, self._shape = reader, tuple(reader.example.x.shape[1:])

    def ready(self, model: Layer, loss: Loss, measures: Measures) -> None:
        """Check the first block; each is when it comes. Raises ValueRangeError for metrics that need all at once."""
        self._reader.ready(model, loss)
        for name, metric in measures:
            if running(metric) is None:
                raise ValueRangeError(
                    f"metrics: {name!r} is a function of all scores at once, which a stream never gives; "
                    "give validation=(X, y), or 'accuracy', 'rmse' or 'r2'"
                )
        self._ready(model, loss, measures)

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def measure(self, params: Parameters, waiting: Callable[[], object]) -> dict[str, float]:
        """Block by block: the same numbers, to rounding."""
        given = self._reader.given
        blocks = partial(self._reader.blocks, two_classes=False)
        ready = Prefetched(blocks, given.prefetch, waiting, given.interrupt)
        total, weight = 0.0, 0.0
        found = {name: running(metric) for name, metric in self._measures}
        try:
            while (rows := self._next(ready)) is not None:
                scores = self._scores(params, rows.x)
                each, _ = self._loss.forward(scores, rows.y, rows.weight, reduction="none")
                xp = array_api_compat.array_namespace(each)
                total += float(xp.sum(each, dtype=xp.float64))
                weight += len(rows) if rows.weight is None else float(xp.sum(rows.weight, dtype=xp.float64))
                for metric in found.values():
                    metric.add(scores, rows.y)  # type: ignore[union-attr]
        finally:
            ready.close()
        metrics = {f"validation_{name}": metric.value for name, metric in found.items()}  # type: ignore[union-attr]
        return {"validation_loss": total / weight} | metrics

    def _next(self, ready: Prefetched[Rows]) -> Rows | None:
        try:
            return next(ready, None)
        except Exception as error:
            self.failed = error
            raise

    def words(self) -> Words:
        """Of its first rows."""
        given = self._reader.given
        return words_of_stream(self._reader.first, self._reader.declared, 0, given.files, given.content)
