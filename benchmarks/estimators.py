"""MLPClassifier and MLPRegressor beside scikit-learn's: test scores and fit times, with the same defaults and seeds.

    python -m benchmarks.estimators

For each seed the rows are split anew, 3 to 1; features, and the targets of regression, are scaled to mean 0 and
deviation 1 by the training part. Both are fitted with their defaults and that seed, one after the other, in an order
that alternates, in one process, on one thread. The score is accuracy or R2 of the test part, its mean over seeds with
its standard deviation; the fit time is the median over seeds. A first fit of each, which compiles or finds Handgrad's
kernels, is not counted. diamonds is the table inside plotnine's wheel, whose file is read; see
benchmarks/requirements.txt.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.neural_network
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import handgrad as hg
from benchmarks import results

Data = tuple[np.ndarray, np.ndarray]
NAMES = ("handgrad", "scikit-learn")


def diamonds() -> Data:
    """53,940 diamonds: carat, depth, table, x, y, z, and cut, color and clarity one-hot; and their price in dollars."""
    spec = importlib.util.find_spec("plotnine")  # which finds the package, and does not import it
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("error: diamonds is inside plotnine's wheel: pip install plotnine, or leave it out of --data")
    with (Path(spec.submodule_search_locations[0]) / "data" / "diamonds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [[float(row[name]) for row in rows] for name in ("carat", "depth", "table", "x", "y", "z")]
    for name in ("cut", "color", "clarity"):
        columns += [[float(row[name] == kind) for row in rows] for kind in sorted({row[name] for row in rows})]
    return np.array(columns).T, np.array([float(row["price"]) for row in rows])


def _bunch(load: Callable[..., Any]) -> Callable[[], Data]:
    return lambda: load(return_X_y=True)


# name -> (how it is read, the estimators' name)
DATA: dict[str, tuple[Callable[[], Data], str]] = {
    "digits": (_bunch(load_digits), "MLPClassifier"),
    "wine": (_bunch(load_wine), "MLPClassifier"),
    "breast_cancer": (_bunch(load_breast_cancer), "MLPClassifier"),
    "diabetes": (_bunch(load_diabetes), "MLPRegressor"),
    "diamonds": (diamonds, "MLPRegressor"),
}


@dataclass
class Measured:
    """The fits of one estimator on one set of data, one for each seed."""

    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    @property
    def score(self) -> str:
        """Mean and standard deviation."""
        spread = statistics.stdev(self.scores) if len(self.scores) > 1 else 0.0
        return f"{statistics.mean(self.scores):.4f} ± {spread:.4f}"

    @property
    def time(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)


def measured(name: str, seeds: int, say: Callable[[str], None]) -> dict[str, Measured]:
    """Both estimators on that data."""
    load, kind = DATA[name]
    x, y = load()
    made = {"handgrad": getattr(hg, kind), "scikit-learn": getattr(sklearn.neural_network, kind)}
    found = {each: Measured() for each in NAMES}
    for each in NAMES:  # what a process does once
        part = _split(x, y, kind, 0)
        made[each](max_iter=2).fit(part[0][:400], part[2][:400])
    for seed in range(seeds):
        say(f"{name}, seed {seed}")
        x_train, x_test, y_train, y_test = _split(x, y, kind, seed)
        for each in NAMES[:: 1 if seed % 2 else -1]:
            estimator = made[each](random_state=seed)
            began = time.perf_counter()
            estimator.fit(x_train, y_train)
            found[each].seconds.append(time.perf_counter() - began)
            found[each].scores.append(estimator.score(x_test, y_test))
            found[each].epochs.append(estimator.n_iter_)
    return found


def _split(x: np.ndarray, y: np.ndarray, kind: str, seed: int) -> list[np.ndarray]:
    regression = kind == "MLPRegressor"
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=seed, stratify=None if regression else y)
    scaler = StandardScaler().fit(x_train)
    if regression:
        mean, deviation = y_train.mean(), y_train.std()
        y_train, y_test = (y_train - mean) / deviation, (y_test - mean) / deviation
    return [scaler.transform(x_train), scaler.transform(x_test), y_train, y_test]


HEADS = ("data", "score, handgrad", "score, scikit-learn", "epochs", "fit, handgrad", "fit, scikit-learn", "ratio")


def row(name: str, found: dict[str, Measured]) -> list[str]:
    """The line of the table."""
    ours, theirs = (found[each] for each in NAMES)
    epochs = f"{statistics.mean(ours.epochs):.0f}, {statistics.mean(theirs.epochs):.0f}"
    times = [f"{each.time * 1e3:,.1f} ms" for each in (ours, theirs)]
    return [name, ours.score, theirs.score, epochs, *times, f"{theirs.time / ours.time:.2f}"]


def main() -> None:
    """Measure and print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="seeds, and splits, of each set")
    parser.add_argument("--data", default=",".join(DATA), help=f"of {', '.join(DATA)}")
    parser.add_argument("--write", action="store_true", help=f"write the table to benchmarks/{results.FILE.name}")
    given = parser.parse_args()
    names = [name.strip() for name in given.data.split(",")]
    if unknown := [name for name in names if name not in DATA]:
        raise SystemExit(f"error: --data: no {', '.join(unknown)}; there are {', '.join(DATA)}")
    load, lines = results.load(), []
    with results.Progress() as say, threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name in names:
            lines.append(row(name, measured(name, given.seeds, say)))
    table = Table(*HEADS)
    for line in lines:
        table.add_row(*line)
    Console(highlight=False).print(table)
    if given.write:
        body = "\n".join(f"| {' | '.join(line)} |" for line in (HEADS, ["---"] * len(HEADS), *lines))
        facts = [("command", results.command("benchmarks.estimators")), ("load average before", load)]
        results.write(f"Estimators, {given.seeds} seeds", [*facts, *results.machine()], body)


if __name__ == "__main__":
    main()
