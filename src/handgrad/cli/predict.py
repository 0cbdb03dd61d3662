"""`handgrad predict`: a run and a table in, predictions out, as CSV."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
from rich.console import Console
from rich.text import Text

import handgrad.ops as ops
from handgrad.cli import plain
from handgrad.cli.columns import Category
from handgrad.cli.faults import InputError
from handgrad.cli.presets import Loaded
from handgrad.cli.runs import find_run
from handgrad.cli.tables import Table, read_table
from handgrad.cli.targets import Classes, Target
from handgrad.formats import replacing
from handgrad.formats.container import TABULAR, kind_of


def predict(run: str, data: str, *, output: str | None, probabilities: bool, runs: str) -> None:
    """Run the command. Raises HandgradError or OSError, and then leaves the output as it was."""
    loaded = load_run(find_run(run, Path(runs)))
    target = loaded.target
    if probabilities and not isinstance(target, Classes):
        raise InputError(f"--probabilities is for classes, and {run!r} predicts numbers, {target.name}")
    if output is not None and not Path(output).parent.is_dir():
        raise InputError(f"there is no folder {str(Path(output).parent)!r} to write --output {output!r} to")
    if output is not None and Path(output).is_dir():
        raise InputError(f"--output {output!r} is a folder; expected a file to write")
    text = {column.name for column in loaded.features.columns if isinstance(column, Category)}
    table = read_table(Path(data), text | {target.name} if isinstance(target, Classes) else text)
    scores = loaded.scores(table)
    predictions = target.decode(scores)
    rows = _rows(predictions, scores, target if probabilities and isinstance(target, Classes) else None)
    notes = Console(stderr=True, highlight=False)
    for note in loaded.notes(table):
        notes.print(Text.assemble(("note: ", "yellow"), note), soft_wrap=True)
    if output is None:
        _write(sys.stdout, rows)
        sys.stdout.flush()
    else:
        with replacing(output) as file:
            text_file = io.TextIOWrapper(file, encoding="utf-8", newline="")
            _write(text_file, rows)
            text_file.detach()  # flushes; `replacing` has still to sync and close
        notes.print(Text(f"{len(predictions):,} predictions of {target.name} in {output}"), soft_wrap=True)
    if compared := _compared(table, target, predictions, scores):
        notes.print(Text(compared), soft_wrap=True)


def load_run(path: Path) -> Loaded:
    """A run to predict with, of either preset."""
    if kind_of(path) == TABULAR:
        from handgrad.cli import ensemble  # what it loads is of no use to the other

        return ensemble.load(path)
    return plain.load(path)


def _rows(predictions: np.ndarray, scores: np.ndarray, classes: Classes | None) -> Iterator[list[str]]:
    """The header and the cells; with `classes`, a column for the probability of each."""
    if classes is None:
        yield ["prediction"]
        yield from ([str(value)] for value in predictions)
        return
    yield ["prediction", *(f"probability of {label}" for label in classes.labels)]
    for value, chances in zip(predictions, ops.softmax(scores), strict=True):
        yield [str(value), *map(str, chances)]


def _write(file: TextIO, rows: Iterator[list[str]]) -> None:
    csv.writer(file, lineterminator="\n").writerows(rows)


def _compared(table: Table, target: Target, predictions: np.ndarray, scores: np.ndarray) -> str | None:
    """How the predictions compare with the target, where the table has it."""
    column = table.columns.get(target.name)
    if column is None or column.missing.any():
        return None
    if isinstance(target, Classes):
        right = int(np.sum(target.places(column) == scores.argmax(axis=1)))
        return f"{right:,} of {table.rows:,} are as the column {target.name} says ({100 * right / table.rows:.1f} %)"
    if column.values.dtype.kind not in "iufb":
        return None
    error = np.sqrt(np.mean((column.values.astype(float) - predictions) ** 2))
    return f"RMSE {error:.4g} against the column {target.name}"
