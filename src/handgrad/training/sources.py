"""What `fit` trains on: data in memory, all at once, or a stream, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np

from handgrad.engines.eager import Part
from handgrad.engines.group import current_group, of_all
from handgrad.errors import ValueRangeError
from handgrad.layers import Layer, Loss
from handgrad.training.data import SHUFFLE, Rows, fits, rows, some_weight, split, stream, two_classes, weighed
from handgrad.training.setup import Words, words_of, words_of_stream
from handgrad.training.streams.prefetch import Prefetched
from handgrad.training.streams.reader import Reader
from handgrad.training.streams.shuffle import in_order, shuffled
from handgrad.training.streams.stream import Stream, stream_of
from handgrad.training.validation import Held, HeldStream, HeldWhole

SHARE = 16  # of the buffer: what is drawn at once
BLOCK = 32e6  # bytes at once, of rows that stay in their order

Waiting = Callable[[], object]  # called every so often by who waits for data


class Source(Protocol):
    """The rows of a training. example: some, as they are trained on. rows: how many, None while that is not known.

    failed: the error of a stream that could not go on. read: numbers of each row that a thread of its own reads.
    """

    example: Rows
    failed: Exception | None
    read: int

    @property
    def rows(self) -> int | None: ...

    def ready(self, model: Layer, loss: Loss) -> None:
        """Check what can be before the first step, and weigh the samples. Raises as `rows` and `fits` do."""

    def epoch(self, seed: int, epoch: int, batch_size: int, waiting: Waiting) -> AbstractContextManager[Iterable[Part]]:
        """A context that gives the parts of an epoch, shuffled as seed and epoch have it."""

    def words(self) -> Words:
        """What tells it from other data."""


class Whole:
    """Data in memory."""

    failed: Exception | None = None
    read = 0

    def __init__(self, data: Rows):
        self.example = data

    @property
    def rows(self) -> int:
        """Of all."""
        return len(self.example)

    def ready(self, model: Layer, loss: Loss) -> None:
        """Check all of it, and weigh it."""
        fits(model, loss, self.example)
        some_weight(self.example)
        two_classes(loss, self.example)
        self.example = weighed(self.example)

    @contextmanager
    def epoch(self, seed: int, epoch: int, batch_size: int, waiting: Waiting) -> Iterator[Iterable[Part]]:
        """One part."""
        yield [(self.example, stream(seed, SHUFFLE, epoch).permutation(self.rows))]

    def words(self) -> Words:
        """Of all rows."""
        return words_of(self.example)


class Streamed:
    """A stream, which is read anew for each epoch, shuffled through its buffer and made ready by another thread."""

    def __init__(self, given: Stream, epochs: int):
        self.given, self._reader, self._group = given, Reader(given, "data", epochs), current_group()
        self.example = self._reader.example
        self.failed: Exception | None = None
        self.read = math.prod(self.example.x.shape[1:]) if given.prefetch else 0

    @property
    def rows(self) -> int | None:
        """Known before the first step, or after the first epoch."""
        return self._reader.rows

    def ready(self, model: Layer, loss: Loss) -> None:
        """Check the first block; each is when it comes."""
        self._reader.ready(model, loss)
        self.example = self._reader.example

    @contextmanager
    def epoch(self, seed: int, epoch: int, batch_size: int, waiting: Waiting) -> Iterator[Iterable[Part]]:
        """Many parts, all but the last of whole batches."""
        make = partial(self._blocks, stream(seed, SHUFFLE, epoch), batch_size)
        ready = Prefetched(make, self.given.prefetch, waiting, self.given.interrupt)
        try:
            yield self._parts(ready)
        finally:
            ready.close()

    def _parts(self, ready: Iterable[Rows]) -> Iterator[Part]:
        try:
            for block in ready:
                yield block, np.arange(len(block))
        except Exception as error:
            self.failed = error
            raise

    def _blocks(self, rng: np.random.Generator, batch_size: int) -> Iterator[Rows]:
        """The blocks of an epoch, in whichever thread this is."""
        bytes_of_a_row, whole = self.example.bytes_of_a_row, not self._group.apart
        # of a share, other processes' rows may have what is needed
        blocks = self._reader.blocks(two_classes=whole, some_weight=whole)
        capacity = self.given.capacity(bytes_of_a_row)
        if self.rows is not None:
            capacity = min(capacity, self.rows)
        if capacity == 0:
            return in_order(blocks, batch_size * max(1, int(BLOCK / bytes_of_a_row) // batch_size))
        capacity = max(batch_size, capacity)
        return shuffled(blocks, capacity, batch_size * max(1, capacity // SHARE // batch_size), rng)

    def words(self) -> Words:
        """Of its first rows, and of what decides the order of all."""
        rows = self._reader.declared
        if rows is not None:
            rows = of_all(self._group, rows)
        return words_of_stream(self._reader.first, rows, self.given.buffer, self.given.files, self.given.content)


def sources(data: Any, validation: Any, seed: int, epochs: int) -> tuple[Source, Held | None]:
    """(what to train on, what to validate on), from what `fit` was given. Raises as `rows` does."""
    given = stream_of(data)
    train: Source = Whole(rows(data)) if given is None else Streamed(given, epochs)
    if validation is None:
        return train, None
    if isinstance(validation, float | np.floating):
        if given is not None:
            raise ValueRangeError(
                f"validation={validation} is a part of data in memory; with a stream give validation=(X, y), or a "
                "Stream of other rows"
            )
        rest, part = split(train.example, float(validation), seed)
        return Whole(rest), HeldWhole(part)
    apart = stream_of(validation, "validation")
    if apart is None:
        return train, HeldWhole(rows(validation, "validation"))
    return train, HeldStream(Reader(apart, "validation", epochs))
