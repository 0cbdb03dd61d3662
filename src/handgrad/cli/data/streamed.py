"""A task on a table that is not held in memory: one pass over it to learn its columns, and one in each epoch.

Each row is in the part that a seeded hash of its number says. The validation and test parts are kept in memory, and a
sample of the training part for the baselines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad.cli.data.columns import Features, summary_of
from handgrad.cli.data.memory import encoded
from handgrad.cli.data.sources import Source
from handgrad.cli.data.splits import Parts
from handgrad.cli.data.summaries import Summary
from handgrad.cli.data.tables import Table, joined
from handgrad.cli.data.targets import Classes, Quantity, Target, TargetSummary, task_of, to_json
from handgrad.cli.data.tasks import Busy, Task, all_empty
from handgrad.cli.faults import InputError
from handgrad.cli.options import Plain
from handgrad.cli.presets.baselines import MOST_ROWS
from handgrad.training import Stream

MOST_HELD = 100_000  # rows of the validation part, and of the test part
MOST_BYTES = 50_000_000  # that each of them may take, and as much again encoded
BUFFER = 128_000_000  # bytes for the shuffling, on every machine: the same seed gives the same model
LEAST_HELD = 20  # rows, however long they are
TRAIN, VALIDATION, TEST = 0, 1, 2
SHOWN = 50  # blocks between two reports of how far a pass is


@dataclass(frozen=True)
class Draw:
    """Which part a row is in, and whether it is in the sample: decided by a hash of its number, so that each pass over
    the table says the same. test, validation, sample: shares of all rows, the sample's of those to train on."""

    seed: int
    test: float
    validation: float
    sample: float

    def parts(self, first: int, rows: int) -> np.ndarray:
        """(rows,): the part of each row from the one with number `first` on."""
        place = self._uniform(first, rows, 1)
        part = np.zeros(rows, np.int8)
        part[place < self.test + self.validation] = VALIDATION
        part[place < self.test] = TEST
        return part

    def sampled(self, first: int, rows: int) -> np.ndarray:
        """(rows,): whether each row is in the sample, if it is one to train on."""
        return self._uniform(first, rows, 2) < self.sample

    def _uniform(self, first: int, rows: int, which: int) -> np.ndarray:
        """In [0, 1), by SplitMix64 of the row's number: Steele, Lea and Flood (2014)."""
        key = int(np.random.SeedSequence([self.seed, which]).generate_state(1, np.uint64)[0])
        with np.errstate(over="ignore"):
            z = np.arange(first, first + rows, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
        return (z >> np.uint64(11)) * 2.0**-53


@dataclass
class Seen:
    """What the first pass has found: the columns, summed up, and the rows that stay in memory with their part."""

    target: TargetSummary
    columns: list[Summary]
    kept: Table
    parts: np.ndarray
    sampled: np.ndarray
    counts: np.ndarray
    empty: int


def prepare_stream(source: Source, name: str, options: Plain, busy: Busy) -> Task:
    """The task of a table that is read block by block. Raises InputError as for one in memory."""
    draw = _draw(source, options)
    with busy(f"learning the columns of {source.rows:,} rows") as shown:
        seen = _seen(source, name, options, draw, getattr(shown, "update", lambda text: None))
    way = "leave out --stream" if options.stream else "give --no-stream"
    counts = dict(zip(("train", "validation", "test"), map(int, seen.counts), strict=True))
    if min(counts.values()) < 2:
        raise InputError(
            f"{source.name} has {sum(counts.values())} rows, which are too few to be streamed, each into a part of its "
            f"own: {way}"
        )
    task, why = task_of(seen.target)
    target: Target = (Classes if task == "classification" else Quantity).learn(seen.target)
    if isinstance(target, Classes) and len(there := target.labels_of(seen.target.trained)) < 2:
        raise InputError(
            f"the {counts['train']:,} rows to train on hold one class of {name}, {there[0]!r}, of "
            f"{len(target.labels)}; classification needs two or more: {way}, so that each part gets its "
            "share of each, or give another --seed"
        )
    features, left_out = Features.of(seen.columns, source.name)
    dtype = np.dtype(options.dtype)
    rows = Rows(source, name, features, target, draw, dtype)
    with busy("encoding the rows that stay in memory"):
        x, y = rows.encoded(seen.kept)
    parts = Parts(*(np.flatnonzero(which) for which in (seen.sampled, *(seen.parts == p for p in (VALIDATION, TEST)))))
    train, validation, test = ((x[chosen], y[chosen]) for chosen in (parts.train, parts.validation, parts.test))
    training = Stream(rows.blocks, rows=counts["train"], buffer=_buffer(features.width, dtype, counts["train"]))
    return Task(
        source.name,
        seen.kept,
        target,
        why,
        features,
        parts,
        train,
        validation,
        test,
        [*source.notes, *_notes(seen, options, target, len(parts.train)), *left_out],
        training,
        counts,
        _print(source, features, target, counts),
        source.styles,
        source.files.facts(),
        source.close,
    )


@dataclass
class Rows:
    """The rows to train on, encoded, to be read as often as there are epochs."""

    source: Source
    name: str
    features: Features
    target: Target
    draw: Draw
    dtype: np.dtype[Any]
    mark: tuple[float, float] | None = None

    def encoded(self, block: Table) -> tuple[np.ndarray, np.ndarray]:
        """(X, y) of rows that all have a target."""
        x, y = self.features.encode(block, self.dtype), self.target.encode(block.columns[self.name])
        return x, y if isinstance(self.target, Classes) else y.astype(self.dtype)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """One pass. Raises InputError where the rows are not those of the pass before."""
        first, mark = 0, np.zeros(2)
        for block in self.source.blocks():
            keep = self.draw.parts(first, block.rows) == TRAIN
            first += block.rows
            if (missing := block.columns[self.name].missing).any():
                there = np.flatnonzero(~missing)
                block, keep = block.take(there), keep[there]
            x, y = self.encoded(block)
            if not keep.all():
                x, y = x[keep], y[keep]
            mark += [float(y.sum(dtype=np.float64)), float(x[:, 0].sum(dtype=np.float64))]
            yield x, y
        if self.mark is not None and not np.allclose(self.mark, mark, rtol=1e-9, atol=1e-9 * first):
            raise InputError(
                f"{self.source.name} gave other rows than in the pass before; a SELECT must give the same rows in the "
                "same order each time: give it an ORDER BY, and no random() without a seed"
            )
        self.mark = (float(mark[0]), float(mark[1]))


def _draw(source: Source, options: Plain) -> Draw:
    kept = {name: size for name, size in source.bytes_of_columns.items() if name not in options.ignore}
    texts = sum(size for name, size in kept.items() if source.kinds[name] == "text")
    most = min(MOST_HELD, max(LEAST_HELD, int(MOST_BYTES // max(1.0, encoded(source.kinds, 1, options.dtype), texts))))
    share = min(1.0, most / source.rows)
    test = min(options.test, share)
    validation = min(options.validation * (1 - options.test), share)
    return Draw(
        options.seed, test, validation, min(1.0, min(MOST_ROWS, most) / (source.rows * (1 - test - validation)))
    )


def _seen(source: Source, name: str, options: Plain, draw: Draw, tell: Callable[[str], object]) -> Seen:
    """The first pass. tell: shows how far it is."""
    target: TargetSummary | None = None
    columns: dict[str, Summary] = {}
    kept, parts, sampled = list[Table](), list[np.ndarray](), list[np.ndarray]()
    counts, empty, first = np.zeros(3, np.int64), 0, 0
    for number, block in enumerate(source.blocks()):
        if number % SHOWN == SHOWN - 1:
            tell(f"learning the columns: {first:,} of {source.rows:,} rows ...")
        part, chosen = draw.parts(first, block.rows), draw.sampled(first, block.rows)
        first += block.rows
        if (missing := block.columns[name].missing).any():
            there = np.flatnonzero(~missing)
            empty += block.rows - len(there)
            block, part, chosen = block.take(there), part[there], chosen[there]
        chosen &= part == TRAIN
        train = np.flatnonzero(part == TRAIN)
        if target is None:
            target = TargetSummary(block.columns[name], options.task)
            columns = {
                each: summary_of(column)
                for each, column in block.columns.items()
                if each != name and each not in options.ignore
            }
        target.add(block.columns[name], train)
        for each, summary in columns.items():
            summary.add(block.columns[each], train)
        counts += np.bincount(part, minlength=3)
        stay = np.flatnonzero((part != TRAIN) | chosen)
        kept.append(block.without(options.ignore).take(stay))
        parts.append(part[stay])
        sampled.append(chosen[stay])
    if target is None or not counts.any():
        raise all_empty(name, source.rows, source.name)
    return Seen(
        target, list(columns.values()), joined(kept), np.concatenate(parts), np.concatenate(sampled), counts, empty
    )


def _notes(seen: Seen, options: Plain, target: Target, sample: int) -> list[str]:
    rows = int(seen.counts.sum())
    notes = []
    if seen.empty:
        notes.append(f"{seen.empty:,} of {rows + seen.empty:,} rows dropped: their {target.name} is empty")
    notes.append(f"streamed: read anew for each epoch, not held in memory; the baselines learn from {sample:,} rows")
    asked = round(options.test * rows)
    if seen.counts[TEST] < 0.9 * asked:
        notes.append(
            f"{seen.counts[VALIDATION]:,} rows to choose the epoch by and {seen.counts[TEST]:,} to test on are held in "
            f"memory, not more; all others are trained on"
        )
    if isinstance(target, Classes):
        gone = len(target.labels) - len(target.labels_of(seen.target.trained))
        if gone:
            notes.append(f"{gone} class{'es do' if gone > 1 else ' does'} not come in the training part")
    return notes


def _buffer(width: int, dtype: np.dtype[Any], rows: int) -> int:
    """Rows of the shuffle buffer."""
    return max(1, min(rows, BUFFER // (width * dtype.itemsize)))


def _print(source: Source, features: Features, target: Target, counts: dict[str, int]) -> str:
    """What is other for another table: its columns, and all that was learnt from its rows, to the last digit."""
    facts = [source.kinds, source.rows, features.to_json(), to_json(target), counts]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
