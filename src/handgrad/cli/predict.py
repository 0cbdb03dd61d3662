"""`handgrad predict`: a run and a table in, predictions out, as CSV."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from rich.console import Console
from rich.text import Text

import handgrad.ops as ops
from handgrad.cli.data.columns import Category, Features, Unlike
from handgrad.cli.data.given import Data
from handgrad.cli.data.sources import Source, open_source, reads
from handgrad.cli.data.tables import Table
from handgrad.cli.data.targets import Classes, Target
from handgrad.cli.faults import InputError
from handgrad.cli.presets import plain
from handgrad.cli.presets.base import Loaded
from handgrad.cli.runs.folders import find_run
from handgrad.formats import replacing
from handgrad.formats.container import TABULAR, kind_of


def predict(run: str, data: Data, *, output: str | None, probabilities: bool, runs: str) -> None:
    """Run the command. Raises HandgradError or OSError, and then leaves the output as it was."""
    loaded = load_run(find_run(run, Path(runs)))
    target = loaded.target
    if probabilities and not isinstance(target, Classes):
        raise InputError(f"--probabilities is for classes, and {run!r} predicts numbers, {target.name}")
    if output is not None and not Path(output).parent.is_dir():
        raise InputError(f"there is no folder {str(Path(output).parent)!r} to write --output {output!r} to")
    if output is not None and Path(output).is_dir():
        raise InputError(f"--output {output!r} is a folder; expected a file to write")
    if output is not None and reads(data, Path(output)):
        raise InputError(f"--output {output!r} is a file that is read; give another, as it would be overwritten")
    notes = Console(stderr=True, highlight=False)
    # a target that is there is compared where it can be, and else not needed
    styles = {name: style for name, style in loaded.styles.items() if name != target.name}
    with open_source(to_predict(data, loaded.features, target, styles)) as source:
        for note in source.notes:
            _note(notes, note)
        found = Found(loaded, probabilities)
        rows = found.rows(source)
        first = next(rows)  # so that what can't be predicted at all leaves nothing on the standard output
        if output is None:
            _write(sys.stdout, chain(first, chain.from_iterable(rows)))
            sys.stdout.flush()
        else:
            with replacing(output) as file:
                text_file = io.TextIOWrapper(file, encoding="utf-8", newline="")
                _write(text_file, chain(first, chain.from_iterable(rows)))
                text_file.detach()  # flushes; `replacing` has still to sync and close
    for note in loaded.notes(found.unlike):
        _note(notes, note)
    if output is not None:
        notes.print(Text(f"{found.count:,} predictions of {target.name} in {output}"), soft_wrap=True)
    if compared := found.compared():
        notes.print(Text(compared), soft_wrap=True)


def to_predict(data: Data, features: Features, target: Target, styles: dict[str, str]) -> Data:
    """The data, in which what the model learnt as text is read as text, and the rest in the styles of its training."""
    text = {column.name for column in features.columns if isinstance(column, Category)}
    text |= {target.name} if isinstance(target, Classes) else set()
    return replace(data, text=frozenset(text), styles=styles)


def _note(console: Console, note: str) -> None:
    console.print(Text.assemble(("note: ", "yellow"), note), soft_wrap=True)


def load_run(path: Path) -> Loaded:
    """A run to predict with, of either preset."""
    if kind_of(path) == TABULAR:
        from handgrad.cli.presets import ensemble  # what it loads is of no use to the other

        return ensemble.load(path)
    return plain.load(path)


class Found:
    """Predictions of a source, block by block, and what there is to say of them at the end.

    unlike: the cells that training had none of. count: the rows.
    """

    def __init__(self, loaded: Loaded, probabilities: bool):
        self.loaded, self.probabilities = loaded, probabilities
        self.unlike = Unlike(0, Counter(), {}, Counter())
        self.count = self.right = 0
        self.squares, self.comparable = 0.0, True

    def rows(self, source: Source) -> Iterator[Iterator[list[str]]]:
        """The cells of each block's rows; those of the first begin with the header."""
        target = self.loaded.target
        classes = target if self.probabilities and isinstance(target, Classes) else None
        for block in source.blocks():
            scores = self.loaded.scores(block)
            predictions = target.decode(scores)
            self.unlike.add(self.loaded.unlike(block))
            self._compare(block, predictions, scores)
            header, self.count = not self.count, self.count + block.rows
            yield _cells(predictions, scores, classes, header)

    def _compare(self, block: Table, predictions: np.ndarray, scores: np.ndarray) -> None:
        target = self.loaded.target
        column = block.columns.get(target.name)
        if column is None or column.missing.any() or (column.kind == "text" and not isinstance(target, Classes)):
            self.comparable = False
        elif isinstance(target, Classes):
            self.right += int(np.sum(target.places(column) == scores.argmax(axis=1)))
        else:
            self.squares += float(np.sum((column.values.astype(float) - predictions) ** 2))

    def compared(self) -> str | None:
        """How the predictions compare with the target, where the table has it."""
        if not self.comparable:
            return None
        name, rows = self.loaded.target.name, self.count
        if isinstance(self.loaded.target, Classes):
            return f"{self.right:,} of {rows:,} are as the column {name} says ({100 * self.right / rows:.1f} %)"
        return f"RMSE {math.sqrt(self.squares / rows):.4g} against the column {name}"


def _cells(predictions: np.ndarray, scores: np.ndarray, classes: Classes | None, header: bool) -> Iterator[list[str]]:
    """With `classes`, a column for the probability of each."""
    if classes is None:
        if header:
            yield ["prediction"]
        yield from ([str(value)] for value in predictions)
        return
    if header:
        yield ["prediction", *(f"probability of {label}" for label in classes.labels)]
    for value, chances in zip(predictions, ops.softmax(scores), strict=True):
        yield [str(value), *map(str, chances)]


def _write(file: TextIO, rows: Iterable[list[str]]) -> None:
    csv.writer(file, lineterminator="\n").writerows(rows)
