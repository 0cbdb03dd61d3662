"""What to learn from a table: the target, the features and the parts, decided from the options and the data."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handgrad.cli.baselines import Part
from handgrad.cli.columns import Features
from handgrad.cli.faults import InputError, UsageError, listed
from handgrad.cli.options import Options, Plain
from handgrad.cli.splits import Parts, split
from handgrad.cli.tables import Column, Table, read_table, spelled
from handgrad.cli.targets import Classes, Quantity, Target, task_of


@dataclass(frozen=True)
class Task:
    """The data, encoded: what to learn, from which rows, and how to encode more of it."""

    source: str
    table: Table
    target: Target
    why: str
    features: Features
    parts: Parts
    train: Part
    validation: Part
    test: Part
    notes: list[str]


def _quietly(text: str) -> AbstractContextManager[object]:
    return nullcontext()


def prepare(options: Options, busy: Callable[[str], AbstractContextManager[object]] = _quietly) -> Task:
    """Read the table, decide the task, split the rows and encode them. busy: given what is being done, to show it."""
    with busy("reading the table"):
        table, name = (digits(), "digit") if options.data is None else (read_table(Path(options.data)), options.target)
    if options.data is None and options.target not in (None, name):
        raise UsageError(f"--target {options.target!r} is given without a file; name the file it is a column of")
    if name is None:
        raise UsageError(
            f"--target is missing: which column of {table.source} is to be predicted? "
            f"Its columns are {listed(list(table.columns))}"
        )
    column = whole = table.column(name, "--target")
    for ignored in options.ignore:
        table.column(ignored, "--ignore")
    notes = []
    if count := int(column.missing.sum()):
        if count == table.rows:
            raise InputError(f"target {name!r} is empty in all {table.rows} rows of {table.source}")
        notes.append(f"{count} of {table.rows} rows dropped: their {name} is empty")
        table = table.take(np.flatnonzero(~column.missing))
        column = table.columns[name]
    task, why = task_of(column, options.task)
    if table.rows < 4:
        raise InputError(
            f"{table.source} has {table.rows} row{'s' * (table.rows > 1)} to learn from; expected 4 or more, "
            "for the parts to train on, to stop by and to test on"
        )
    if task == "classification" and options.data is not None:
        spelling = spelled(Path(options.data), whole)
        column = spelling.take(np.flatnonzero(~whole.missing))
    classes = Classes.learn(column) if task == "classification" else None
    labels = None if classes is None else classes.encode(column)
    parts = split(table.rows, labels, options.test, options.set_aside, options.seed)
    if labels is not None and (single := int(np.sum(np.bincount(labels) == 1))):
        notes.append(f"{single} class{'es come' if single > 1 else ' comes'} once only, and stays in the training part")
    target: Target = Quantity.learn(column.take(parts.train)) if classes is None else classes
    inputs = {other: c for other, c in table.columns.items() if other != name and other not in options.ignore}
    table = Table(table.source, {**inputs, name: column}, table.rows)
    with busy("encoding the columns"):
        features, left_out = Features.learn(Table(table.source, inputs, table.rows), parts.train)
        dtype = np.dtype(options.dtype if isinstance(options, Plain) else np.float32)
        x = features.encode(table, dtype)
    y = target.encode(column)
    y = y if classes else y.astype(dtype)
    train, validation, test = ((x[rows], y[rows]) for rows in (parts.train, parts.validation, parts.test))
    source = "scikit-learn's digits" if options.data is None else table.source
    return Task(source, table, target, why, features, parts, train, validation, test, notes + left_out)


def digits() -> Table:
    """scikit-learn's digits: 1797 images of 8 x 8 pixels, which come with it; the target is "digit"."""
    from sklearn.datasets import load_digits

    data = load_digits()
    arrays = {**dict(zip(data.feature_names, data.data.T.astype(np.int64), strict=True)), "digit": data.target}
    present = np.zeros(len(data.target), bool)
    return Table("digits", {name: Column(name, "integer", a, present) for name, a in arrays.items()}, len(data.target))
