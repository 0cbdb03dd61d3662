"""One fit after the other: what is to be run, what it gives, how long the rest will take."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmarks.quality import scores
from benchmarks.quality.models import MODELS, pinned
from benchmarks.quality.record import Record, Records
from benchmarks.quality.sets import Table, load

loaded = cache(load)
WARM = {True: "wine", False: "diabetes"}  # by whether classes are predicted


@dataclass(frozen=True)
class Plan:
    """What a run is of."""

    models: Sequence[str]
    sets: Sequence[str]
    splits: int
    max_rows: int
    threads: int

    def jobs(self) -> Iterator[tuple[str, str, int]]:
        """(model, set, split): a model's first splits of all sets come before its second."""
        for model in self.models:
            for split in range(self.splits):
                for name in self.sets:
                    yield model, name, split

    def table(self, name: str) -> Table:
        """A set, read once."""
        return loaded(name)

    @cache  # noqa: B019 - one plan a process
    def facts(self, model: str, name: str) -> Record:
        """What decides the results, but for the split."""
        return {
            "set": name,
            "data": self.table(name).fingerprint,
            "model": model,
            "versions": MODELS[model].versions(),
            "max_rows": self.max_rows,
            "threads": self.threads,
        }

    def of(self, model: str, name: str, split: int) -> Record:
        """What decides a result."""
        return {**self.facts(model, name), "split": split}


def measured(table: Table, model: str, split: int, plan: Plan) -> Record:
    """Scores on a split, and the seconds of fit and predict: `fit` and `predict` of the processor, `wall` of both."""
    train, test = table.split(split, plan.max_rows)
    x, y, unseen = table.x.iloc[train].reset_index(drop=True), table.y[train], table.x.iloc[test]
    estimator: Any = MODELS[model].make(table, split, plan.threads)
    with warnings.catch_warnings(), pinned(plan.threads):
        warnings.simplefilter("ignore")  # that iterations ran out, above all: the defaults are what is measured
        start, wall = time.process_time(), time.perf_counter()
        estimator.fit(x, y)
        fitted = time.process_time()
        predicted = estimator.predict_proba(unseen) if table.classes else estimator.predict(unseen)
        end = time.process_time()
        wall = time.perf_counter() - wall
    found = (scores.of_classes if table.classes else scores.of_numbers)(table.y[test], predicted)
    return {
        "scores": found,
        "fit": fitted - start,
        "predict": end - fitted,
        "wall": wall,
        "rows": [len(train), len(test)],
    }


def left(plan: Plan, records: Records) -> tuple[int, float, bool]:
    """(fits to be done, the seconds that those of known models take, whether there are models not known yet).

    A fit takes as long as the model's others on that set; of a set that it has not had yet, as long as its others by
    their rows.
    """
    seconds, rows = dict[tuple[str, str], list[float]](), dict[str, list[float]]()
    todo = []
    for model, name, split in plan.jobs():
        record = records.get(plan.of(model, name, split))
        if record is None:
            todo.append((model, name))
        else:
            seconds.setdefault((model, name), []).append(record["wall"])
            rows.setdefault(model, []).append(record["wall"] / record["rows"][0])
    total = 0.0
    for model, name in todo:
        if own := seconds.get((model, name)):
            total += sum(own) / len(own)
        elif model in rows:
            total += sum(rows[model]) / len(rows[model]) * min(plan.max_rows, 0.75 * len(plan.table(name).y))
    return len(todo), total, any(model not in rows for model, _ in todo)


def run(plan: Plan, records: Records, say: Callable[[str], None]) -> list[str]:
    """Do what is not in the records yet, and put it there. Returns what failed, and why.

    A model's first fit in a process, which loads libraries and compiles, is of a small set and is not counted.
    """
    warm, failed = set[tuple[str, bool]](), []
    for model, name, split in plan.jobs():
        facts = plan.of(model, name, split)
        if records.get(facts) is not None:
            continue
        table = plan.table(name)
        count, seconds, more = left(plan, records)
        least = "at least " if more else ""
        say(f"{count} fits, {least}{seconds / 60:.0f} min left: {MODELS[model].title} on {name}, split {split + 1}")
        try:
            if (model, table.source.classifies) not in warm:
                measured(loaded(WARM[table.source.classifies]), model, 0, plan)
                warm.add((model, table.source.classifies))
            records.add(facts, measured(table, model, split, plan))
        except Exception as error:  # a rival's own failure is a result too, and must not end the run
            reason = " ".join(str(error).split())[:200]
            failed.append(f"{MODELS[model].title} on {name}, split {split + 1}: {type(error).__name__}: {reason}")
            say(f"failed, {failed[-1]}")
    return failed
