"""What to learn from a table: the target, the features and the parts, decided from the options and the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.cli.baselines import Part
from handgrad.cli.columns import Features
from handgrad.cli.faults import InputError, UsageError, listed
from handgrad.cli.memory import check_table, streams
from handgrad.cli.options import Options, Plain
from handgrad.cli.runs import CONFIG
from handgrad.cli.sources import open_source
from handgrad.cli.splits import Parts, split
from handgrad.cli.tables import Column, Table, check_column
from handgrad.cli.targets import Classes, Quantity, Target, TargetSummary, task_of

Busy = Callable[[str], AbstractContextManager[Any]]  # given what is being done, shows it


@dataclass(frozen=True)
class Task:
    """The data, encoded: what to learn, from which rows, and how to encode more of it.

    table, parts: the rows in memory, all of them but for a table that is streamed. train: of such a table, a sample.
    counts: of the rows in each part. training: what `fit` takes: `train`, or a Stream. print: of a streamed table, what
    is other where its data are. close: to be called when nothing more is read.
    """

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
    training: Any
    counts: dict[str, int]
    print: str | None = None
    close: Callable[[], object] = lambda: None

    @property
    def rows(self) -> int:
        """How many there are in all parts."""
        return sum(self.counts.values())

    @property
    def streamed(self) -> bool:
        """Whether training reads its rows anew for each epoch."""
        return self.print is not None


def quietly(text: str) -> AbstractContextManager[Any]:
    """A Busy that shows nothing."""
    return nullcontext()


def prepare(options: Options, busy: Busy = quietly) -> Task:
    """Read the table, decide the task, split the rows and encode them."""
    if options.data is None and options.sql is None:
        if options.target not in (None, "digit"):
            raise UsageError(f"--target {options.target!r} is given without a file; name the file it is a column of")
        with busy("reading the table"):
            table = digits()
        return _in_memory(table, "scikit-learn's digits", "digit", options, busy, [])
    with busy("looking at the table"):
        text = frozenset(options.text)
        if options.task == "classification" and options.target is not None:
            text |= {options.target}
        source = open_source(options.named(text=text, spelled=options.target))
    with ExitStack() as undo:
        undo.callback(source.close)
        name, columns = options.target, list(source.kinds)
        if name is None:
            raise UsageError(
                f"--target is missing: which column of {source.name} is to be predicted? "
                f"Its columns are {listed(columns)}"
            )
        check_column(name, "--target", source.name, columns)
        for option, named in (("--ignore", options.ignore), ("--text", options.text)):
            for each in named:
                check_column(each, option, source.name, columns)
        if isinstance(options, Plain) and streams(options.stream, source.kinds, source.rows, options.dtype):
            from handgrad.cli.streamed import prepare_stream

            task = prepare_stream(source, name, options, busy)
            undo.pop_all()
            return task
        check_table(source.kinds, source.rows, source.name)
        with busy("reading the table"):
            table = source.read()
        return _in_memory(table, table.source, name, options, busy, source.notes)


def _in_memory(table: Table, source: str, name: str, options: Options, busy: Busy, notes: list[str]) -> Task:
    column, notes = table.columns[name], list(notes)
    if count := int(column.missing.sum()):
        if count == table.rows:
            raise all_empty(name, table.rows, table.source)
        notes.append(f"{count} of {table.rows} rows dropped: their {name} is empty")
        table = table.take(np.flatnonzero(~column.missing))
        column = table.columns[name]
    summary = TargetSummary(column, options.task)
    summary.add(column, np.arange(table.rows))
    task, why = task_of(summary)
    if table.rows < 4:
        raise InputError(
            f"{table.source} has {table.rows} row{'s' * (table.rows > 1)} to learn from; expected 4 or more, "
            "for the parts to train on, to stop by and to test on"
        )
    classes = Classes.learn(summary) if task == "classification" else None
    labels = None if classes is None else classes.encode(column)
    parts = split(table.rows, labels, options.test, options.set_aside, options.seed)
    if labels is not None and (single := int(np.sum(np.bincount(labels) == 1))):
        notes.append(f"{single} class{'es come' if single > 1 else ' comes'} once only, and stays in the training part")
    target: Target = classes if classes is not None else _quantity(column.take(parts.train), options.task)
    inputs = table.without([name, *options.ignore])
    table = Table(table.source, {**inputs.columns, name: column}, table.rows)
    with busy("encoding the columns"):
        features, left_out = Features.learn(inputs, parts.train)
        dtype = np.dtype(options.dtype if isinstance(options, Plain) else np.float32)
        x = features.encode(table, dtype)
    y = target.encode(column)
    y = y if classes else y.astype(dtype)
    train, validation, test = ((x[rows], y[rows]) for rows in (parts.train, parts.validation, parts.test))
    counts = {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)}
    return Task(source, table, target, why, features, parts, train, validation, test, notes + left_out, train, counts)


def _quantity(column: Column, wanted: str) -> Quantity:
    summary = TargetSummary(column, wanted)
    summary.add(column, np.arange(len(column)))
    return Quantity.learn(summary)


def all_empty(name: str, rows: int, source: str) -> InputError:
    """The error where no row has a target."""
    return InputError(f"target {name!r} is empty in all {rows} rows of {source}")


def check_same(task: Task, run: Path) -> None:
    """Raise InputError where the table is not the one that a run which goes on was streaming."""
    kept = json.loads((run / CONFIG).read_text("utf-8")).get("print")
    if task.print != kept and None not in (task.print, kept):
        raise InputError(
            f"{task.source} is not the table any more that {str(run)!r} was trained on: its columns, its rows or their "
            "values are others; a run goes on with the same data alone"
        )


def digits() -> Table:
    """scikit-learn's digits: 1797 images of 8 x 8 pixels, which come with it; the target is "digit"."""
    from sklearn.datasets import load_digits

    data = load_digits()
    arrays = {**dict(zip(data.feature_names, data.data.T.astype(np.int64), strict=True)), "digit": data.target}
    present = np.zeros(len(data.target), bool)
    return Table("digits", {name: Column(name, "integer", a, present) for name, a in arrays.items()}, len(data.target))
