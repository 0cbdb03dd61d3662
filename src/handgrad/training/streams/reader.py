"""The blocks of a stream, each checked as data in memory are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from handgrad.errors import DTypeError, HandgradError, ShapeError, StreamError, ValueRangeError
from handgrad.formats.packing import on_host
from handgrad.layers import Layer, Loss
from handgrad.ops.arrays import Array, namespace_of
from handgrad.training.data import Rows, fits, one_class, one_class_alone, rows, weighed_by
from handgrad.training.streams.prefetch import close
from handgrad.training.streams.stream import Stream

ROW = re.compile(r"(?<=at sample )\d+|(?<=at index \()\d+")  # the number of a row in a loss's errors
LOOKED_AT = 100  # rows at the beginning
_NONE_YET = -1.0  # no class has that number


class Reader:
    """A stream's blocks as Rows. rows: how many there are, None while that is not known.

    first: its first rows, which tell it from others, in the parts that they came in; example: the first of these.
    Raises what the source raises, and what `rows` does of its first block; ShapeError where there is none.
    """

    def __init__(self, given: Stream, name: str, passes: int):
        if given.once and passes > 1:
            raise ValueRangeError(
                f"{name} is an iterator, which gives its batches once, and epochs={passes} need them again; give what "
                "can be iterated over again, such as a list, or Stream(function) of a function that makes the iterator"
            )
        self.given, self.name = given, name
        self.rows = self.declared = given.count()
        self._columns: Sequence[str] = ()
        self._begun: Iterator[Any] | None = None  # what is left of a source that gives its batches once
        self._model: Layer | None = None
        self._loss: Loss | None = None
        self._mean, self._looked = 1.0, False  # of the weights; whether a pass has looked for a second class
        self.first: list[Rows] = []
        self._look()
        self.example = self.first[0]

    def _look(self) -> None:
        """Read the first rows."""
        blocks, taken, count = self.given.blocks(), [], 0
        try:
            for block in blocks:
                taken.append(block)
                found = self._checked(block, count)
                if found is not None:
                    self.first.append(found.take(np.arange(min(len(found), LOOKED_AT - count))))  # not a whole block
                    count += len(self.first[-1])
                if count == LOOKED_AT:
                    break
        finally:
            if not self.given.once:
                close(blocks)
        if not self.first:
            raise ShapeError(f"{self.name} gave no batch; training needs one row or more")
        if self.given.once:
            self._begun = chain(taken, blocks)

    def ready(self, model: Layer, loss: Loss) -> None:
        """From now on check that the model can take X, and the loss y, and divide the weights by their mean."""
        self._model, self._loss = model, loss
        self._fits(self.example, 0)
        if self.example.weight is not None:
            self._mean = self.given.weight_mean or self._mean_weight()
        self.example = weighed_by(self.example, self._mean)

    def blocks(self, two_classes: bool, some_weight: bool = True) -> Iterator[Rows]:
        """One pass. two_classes: raise ValueRangeError where there is but one, for a loss of classes; some_weight:
        where the weights are all 0.

        Raises StreamError where it is not the pass before again.
        """
        given, first, looks = self._begun or self.given.blocks(), 0, two_classes and not self._looked
        self._begun = None
        only: float | None = _NONE_YET
        weighty = False  # whether any row counts
        try:
            for each in given:
                block = self._checked(each, first)
                if block is None:
                    continue
                if self.rows is not None and first + len(block) > self.rows:
                    raise StreamError(f"{self.name} gave more than {self._as_many()}")
                if looks and only is not None and self._loss is not None:
                    here = one_class(self._loss, block)
                    only = here if only in (_NONE_YET, here) else None
                weighty = weighty or block.weight is None or bool(block.weight.max() > 0)
                yield weighed_by(block, self._mean)
                first += len(block)
        finally:
            close(given)
        if first == 0:
            raise StreamError(
                f"{self.name} gave no batch this time: its source must be one that can be iterated over again, or a "
                "function that makes a new iterator each time"
            )
        if self.rows is not None and first < self.rows:
            raise StreamError(f"{self.name} gave {first} rows, not {self._as_many()}")
        if some_weight and not weighty:
            raise ValueRangeError(f"sample_weight of {self.name} is 0 for every sample")
        self.rows, self._looked = first, self._looked or two_classes
        if looks and only is not None and self._loss is not None:
            raise one_class_alone(self._loss, only, first)

    def _as_many(self) -> str:
        told = "it was said to have" if self.declared is not None else "it gave before"
        return f"the {self.rows} rows that {told}"

    def _checked(self, block: Any, first: int) -> Rows | None:
        """The block as rows, None for none. first: the number of the first."""
        if not isinstance(block, tuple | list) or len(block) not in (2, 3):
            what = type(block).__name__ + (f" of {len(block)}" if isinstance(block, tuple | list) else "")
            raise DTypeError(f"a batch of {self.name} must be (X, y) or (X, y, sample_weight), got {what}")
        if hasattr(block[0], "__len__") and len(block[0]) == 0:
            return None
        found = rows(block, self.name, first, self.given.columns)
        if self.first:
            found = self._alike(found, first)
            self._fits(found, first)
        return found

    def _alike(self, block: Rows, first: int) -> Rows:
        """The block in the dtypes of the first one. Raises for one that differs from it."""
        arrays = []
        for what in ("x", "y", "weight"):
            array, like = getattr(block, what), getattr(self.first[0], what)
            name = f"{'X' if what == 'x' else 'sample_weight' if what == 'weight' else what} of {self.name}"
            if (array is None) != (like is None):
                raise StreamError(f"{name} is {'not ' * (array is None)}given from row {first} on, unlike before")
            if array is not None and what != "weight":
                namespace_of(**{"the_first": like, what: array})
                if tuple(array.shape[1:]) != tuple(like.shape[1:]):
                    raise ShapeError(
                        f"{name} must have rows of shape {tuple(like.shape[1:])}, as before, got "
                        f"{tuple(array.shape[1:])} from row {first} on"
                    )
                array = self._cast(array, like, name, first)
            arrays.append(array)
        return Rows(*arrays)

    def _cast(self, array: Array, like: Array, name: str, first: int) -> Array:
        if array.dtype == like.dtype:
            return array
        if isinstance(array, np.ndarray) and np.can_cast(array.dtype, like.dtype, "safe"):
            return array.astype(like.dtype)
        raise DTypeError(f"{name} must be {like.dtype}, as before, got {array.dtype} from row {first} on")

    def _fits(self, block: Rows, first: int) -> None:
        """Raise as `fits` does, with the number that a row has in the stream."""
        if self._model is None or self._loss is None:
            return
        try:
            fits(self._model, self._loss, block, self.name)
        except HandgradError as error:
            if first:
                error.args = (ROW.sub(lambda found: str(first + int(found[0])), error.args[0]),)
            raise

    def _mean_weight(self) -> float:
        """Of one pass over the weights."""
        if self.given.once:
            raise ValueRangeError(
                f"{self.name} is an iterator, which gives its weights once; say their mean, as Stream(weight_mean=...)"
            )
        total, count, weights = 0.0, 0, self._weights()
        try:
            for weight in weights:
                bad = np.flatnonzero(~((weight >= 0) & np.isfinite(weight)))
                if len(bad):
                    what = f"got {weight[bad[0]]} at row {count + bad[0]}"
                    raise ValueRangeError(f"sample_weight of {self.name} must be finite and at least 0, {what}")
                total, count = total + float(weight.sum()), count + len(weight)
        finally:
            close(weights)
        if not 0 < total < math.inf:
            what = "is 0 for every sample" if total == 0 else f"has the sum {total}"
            raise ValueRangeError(f"sample_weight of {self.name} {what}")
        return total / count

    def _weights(self) -> Iterator[np.ndarray]:
        """One pass over them, of a table over their column alone."""
        if self.given.table is not None:
            yield from self.given.table.weights()
            return
        blocks, first = self.given.blocks(), 0
        try:
            for each in blocks:
                block = self._checked(each, first)
                if block is not None:
                    yield np.asarray(on_host(block.weight), np.float64)
                    first += len(block)
        finally:
            close(blocks)
