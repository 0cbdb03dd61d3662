"""What to learn from a table: the target, the features and the parts, decided from the options and the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.cli.data.columns import Features
from handgrad.cli.data.memory import check_table, framed, held, streams
from handgrad.cli.data.sources import BLOCK, Source, open_source
from handgrad.cli.data.splits import Parts, split
from handgrad.cli.data.tables import Column, Table, check_column
from handgrad.cli.data.targets import Classes, Quantity, Target, TargetSummary, task_of
from handgrad.cli.faults import InputError, UsageError, listed
from handgrad.cli.options import Options, Plain
from handgrad.cli.presets.baselines import Part
from handgrad.cli.runs.folders import CONFIG

Busy = Callable[[str], AbstractContextManager[Any]]  # given what is being done, shows it


@dataclass(frozen=True)
class Task:
    """The data, encoded: what to learn, from which rows, and how to encode more of it.

    table, parts: rows in memory, and which part each is in; the test part at the least. train: of a table that is
    streamed, a sample.
    counts: of the rows in each part. training: what `fit` takes: `train`, or a Stream. print: of a streamed table, what
    is other where its data are. styles: how the cells of text files are written. files: what tells those that were
    read from others. close: to be called when nothing more is read.
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
    styles: dict[str, str] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
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
        if _streams(source, options):
            from handgrad.cli.data.streamed import prepare_stream

            assert isinstance(options, Plain)
            task = prepare_stream(source, name, options, busy)
            undo.pop_all()
            return task
        facts = source.files.facts()
        task = _in_memory(_whole(source, busy), source.name, name, options, busy, source.notes)
        return replace(task, styles=source.styles, files=facts)


def _streams(source: Source, options: Options) -> bool:
    """Whether it is asked for, or training in memory would take too much of it. Raises InputError where it must be in
    memory, and there is no room for it."""
    asked = options.stream if isinstance(options, Plain) else False
    if asked:
        return True
    dtype = options.dtype if isinstance(options, Plain) else "float32"
    bytes_of_a_row = source.bytes_of_a_row
    wanted = held(source.kinds, source.rows, bytes_of_a_row, dtype)
    if not isinstance(options, Plain):
        wanted += framed(source.kinds, source.rows, bytes_of_a_row)
    if asked is None and streams(wanted):
        return True
    check_table(wanted, source.rows, source.name)
    return False


def _whole(source: Source, busy: Busy) -> Table:
    """All rows of a source, which is closed then: what its reader holds may be as much again."""
    with busy("reading the table"), source:
        return source.read()


def _in_memory(table: Table, source: str, name: str, options: Options, busy: Busy, notes: list[str]) -> Task:
    column, notes = table.columns[name], list(notes)
    if count := int(column.missing.sum()):
        if count == table.rows:
            raise all_empty(name, table.rows, table.source)
        notes.append(f"{count} of {table.rows} rows dropped: their {name} is empty")
        table = table.keep(np.flatnonzero(~column.missing))
        column = table.columns[name]
    summary = _summed_up(column, options.task)
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
    target: Target = classes or Quantity.learn(_summed_up(column.take(parts.train), options.task))
    inputs = table.without([name, *options.ignore])
    table = Table(table.source, {**inputs.columns, name: column}, table.rows)
    with busy("encoding the columns"):
        features, left_out = Features.learn(inputs, parts.train)
        del inputs  # so that a column's memory goes with its last use
        dtype = np.dtype(options.dtype if isinstance(options, Plain) else np.float32)
        y = target.encode(column)
        y = y if classes else y.astype(dtype)
        # each part straight from the table: of what is large there is one copy, not one of all and one of the parts
        train, validation, test = (
            (features.encode(table, dtype, rows), y[rows]) for rows in (parts.train, parts.validation, parts.test)
        )
    counts = {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)}
    if isinstance(options, Plain):  # which has no more use for the other rows
        nothing = np.arange(0)
        table, parts = table.keep(parts.test), Parts(nothing, nothing, np.arange(len(parts.test)))
    return Task(source, table, target, why, features, parts, train, validation, test, notes + left_out, train, counts)


def _summed_up(column: Column, wanted: str) -> TargetSummary:
    """All of a target, in blocks: of numbers it stops to count the different ones when there are many."""
    summary = TargetSummary(column, wanted)
    for start in range(0, len(column), BLOCK):
        block = column.slice(start, start + BLOCK)
        summary.add(block, np.arange(len(block)))
    return summary


def all_empty(name: str, rows: int, source: str) -> InputError:
    """The error where no row has a target."""
    return InputError(f"target {name!r} is empty in all {rows} rows of {source}")


def check_same(task: Task, run: Path) -> list[str]:
    """Raise InputError where the table is not the one that a run which goes on was trained on. A note where it may be
    another, which all that was looked at does not tell."""
    config = json.loads((run / CONFIG).read_text("utf-8"))
    kept, files = config.get("print"), config.get("files") or task.files
    others = task.print != kept and None not in (task.print, kept)
    if others or any(task.files.get(fact) != files.get(fact) for fact in ("count", "digest")):
        raise InputError(
            f"{task.source} is not the table any more that {str(run)!r} was trained on: its columns, its rows or their "
            "values are others; a run goes on with the same data alone"
        )
    if task.files.get("written") == files.get("written"):
        return []
    return [f"{task.source} has been written to since the run began; what is compared of it is what it was"]


def digits() -> Table:
    """scikit-learn's digits: 1797 images of 8 x 8 pixels, which come with it; the target is "digit"."""
    from sklearn.datasets import load_digits

    data = load_digits()
    arrays = {**dict(zip(data.feature_names, data.data.T.astype(np.int64), strict=True)), "digit": data.target}
    present = np.zeros(len(data.target), bool)
    return Table("digits", {name: Column(name, "integer", a, present) for name, a in arrays.items()}, len(data.target))
