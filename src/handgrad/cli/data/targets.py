"""The column to predict: what task it makes, how its values are encoded, and how scores are turned back into them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from handgrad.cli.data.summaries import Moments, Texts
from handgrad.cli.data.tables import TRUTH, Column, check_finite
from handgrad.cli.faults import InputError
from handgrad.formats import FormatError

FEW_VALUES = 20  # whole numbers of at most so many different values are classes
ROWS_A_VALUE = 10  # ... where each has so many rows on average
MANY_VALUES = 1000  # different numbers: no longer counted, where it is not asked for classes
TASKS = ("classification", "regression")
LARGEST = 1e37  # of a target: float32 ends at 3e38, and predictions may lie beyond those learnt from


@dataclass(frozen=True)
class Classes:
    """A target of classes. Scores (m, classes) are logits in the order of `labels`."""

    name: str
    labels: tuple[str, ...]
    task = "classification"

    @classmethod
    def learn(cls, summary: TargetSummary) -> Self:
        counts, rows = summary.texts.counts, summary.rows
        key, spelling = _keys(counts), dict[Any, str]()
        for text in sorted(counts, key=lambda text: (-counts[text], text)):
            spelling.setdefault(key(text), text)  # of several ways to write one number, the most frequent
        labels = tuple(sorted(spelling.values(), key=_numbers_first))
        if len(labels) < 2:
            raise InputError(
                f"target {summary.name!r} holds one class, {labels[0]!r}, in all {rows} rows; "
                "classification needs two or more"
            )
        if summary.texts.forgot or len(labels) > max(2, rows / 2):
            many = f"more than {len(labels):,}" if summary.texts.forgot else str(len(labels))
            raise InputError(
                f"target {summary.name!r} holds {many} different values in {rows} rows, "
                f"such as {labels[0]!r}; classes must come more than once"
                + ("" if summary.kind == "text" else "; --task regression predicts numbers")
            )
        return cls(summary.name, labels)

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def encode(self, column: Column) -> np.ndarray:
        """The label of each row, as an index into `labels`."""
        places = self.places(column)
        if (places < 0).any():
            label = column.texts()[int(places.argmin())]
            raise InputError(f"target {self.name!r} holds {label!r}, which is none of its classes")
        return places

    def places(self, column: Column) -> np.ndarray:
        """The label of each row, as `encode` gives it, and -1 for what is no label. 0 and 0.0, and true and True, are
        one label where all labels are numbers, or truth values."""
        key = _keys(self.labels)
        known = {key(label): place for place, label in enumerate(self.labels)}
        texts, codes = column.coded()
        places = np.array([*(known.get(key(text), -1) for text in texts.tolist()), -1], dtype=np.int64)
        return places[codes]  # an empty cell's code is -1, the last

    def labels_of(self, texts: Iterable[str]) -> list[str]:
        """The labels that these texts are."""
        key = _keys(self.labels)
        there = {key(text) for text in texts}
        return [label for label in self.labels if key(label) in there]

    def decode(self, scores: np.ndarray) -> np.ndarray:
        """The predicted label of each row."""
        return np.array(self.labels, dtype=object)[scores.argmax(axis=1)]

    def __str__(self) -> str:
        shown = ", ".join(self.labels[:10]) + (", ..." if len(self.labels) > 10 else "")
        return f"{len(self.labels)} classes: {shown}"


@dataclass(frozen=True)
class Quantity:
    """A target of numbers, standardised for training. Scores (m, 1) are in units of `std` from `mean`."""

    name: str
    mean: float
    std: float
    outputs = 1
    task = "regression"

    @classmethod
    def learn(cls, summary: TargetSummary) -> Self:
        """From the training part."""
        moments = summary.moments
        if moments.largest > LARGEST:
            value = moments.high if moments.high == moments.largest else moments.low
            raise InputError(
                f"target {summary.name!r} holds {value:g}; "
                f"expected numbers within +-{LARGEST:g}, so write it in a larger unit"
            )
        if moments.constant:
            raise InputError(
                f"target {summary.name!r} holds one value, {moments.mean:g}, in all {moments.count} rows of the "
                "training part; there is nothing to learn"
            )
        return cls(summary.name, moments.mean, moments.std)

    def encode(self, column: Column) -> np.ndarray:
        """(rows, 1), mean 0 and standard deviation 1 over the training part."""
        return ((column.values.astype(float) - self.mean) / self.std)[:, None]

    def decode(self, scores: np.ndarray) -> np.ndarray:
        """The predicted number of each row, in the column's own units and the scores' dtype."""
        return (scores[:, 0].astype(float) * self.std + self.mean).astype(scores.dtype)

    def __str__(self) -> str:
        return f"numbers, mean {self.mean:.4g}, standard deviation {self.std:.4g}"


Target = Classes | Quantity


class TargetSummary:
    """What there is to know of a target before its task is decided, added up block by block, without empty cells.

    texts: of all rows, but of numbers only while there are few different ones, or where classes are wanted.
    """

    def __init__(self, column: Column, wanted: str):
        self.name, self.kind, self.wanted = column.name, column.kind, wanted
        self.rows, self.first = 0, ""
        self.whole, self.many = column.kind != "time", False
        self.moments, self.texts = Moments(), Texts()
        if column.kind == "other":
            raise InputError(f"target {column.name!r} holds lists or records; expected text, truth values or numbers")
        self.trained = set[str]()  # the texts among the rows to train on
        self.classes = column.kind in ("text", "boolean") or wanted == "classification"

    def add(self, column: Column, train: np.ndarray) -> None:
        """Take a block of rows in; train: the places of those to train on."""
        if not len(column):
            return
        if self.kind == "text" and self.wanted == "regression":
            raise InputError(
                f"target {self.name!r} holds text, such as {column.values[0]!r}; regression needs numbers, "
                "and --task classification takes text"
            )
        check_finite(column, "write it as an empty cell, and its row is left out")
        self.rows += len(column)
        if self.kind != "text":
            values = column.values.astype(float)
            self.moments.add(values[train])
            self.whole = self.whole and bool(np.all(values == np.round(values)))
        if self.classes or not self.many:
            self.texts.add(column.counts())
            self.trained.update(column.take(train).counts() if len(train) < len(column) else self.texts.counts)
            self.many = len(self.texts.counts) > MANY_VALUES


def task_of(summary: TargetSummary) -> tuple[str, str]:
    """(the task, why)."""
    if summary.wanted != "auto":
        return summary.wanted, "as asked"
    if summary.kind in ("text", "boolean"):
        return "classification", {"text": "text", "boolean": "truth values"}[summary.kind]
    different = len({_number(text) for text in summary.texts.counts}) if not summary.many else MANY_VALUES
    if summary.whole and different <= max(2, min(FEW_VALUES, summary.rows // ROWS_A_VALUE)):
        return "classification", "few whole numbers (--task regression for a number)"
    return "regression", "numbers" if not summary.whole else "many whole numbers (--task classification for a class)"


def to_json(target: Target) -> dict[str, Any]:
    """The target as plain data, for a model file's metadata."""
    return {"task": target.task, **asdict(target)}


def from_json(data: Any) -> Target:
    """The target from what `to_json` gave."""
    try:
        if data["task"] == "classification":
            labels = data["labels"]
            if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
                raise TypeError(f"labels must be a list of texts, got {labels!r:.60}")
            return Classes(data["name"], tuple(labels))
        return Quantity(data["name"], float(data["mean"]), float(data["std"]))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"the model's target can't be read: {error!r:.200}") from None


def _keys(labels: Iterable[str]) -> Callable[[str], Any]:
    """What tells labels apart: the number where all are, the word where all are truth values, else the text."""
    labels = list(labels)
    if all(isinstance(_number(label), int | float) for label in labels):
        return _number
    if all(label.casefold() in TRUTH for label in labels):
        return str.casefold
    return str


def _number(label: str) -> int | float | str:
    """The number that a text is, a whole one in full, or else the text."""
    try:
        return int(label)
    except ValueError:
        pass
    try:
        return float(label) if math.isfinite(float(label)) else label
    except ValueError:
        return label


def _numbers_first(label: str) -> tuple[int, float, str]:
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
