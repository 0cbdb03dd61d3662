"""`handgrad train`: a table in, a model, its results and its history out."""

from __future__ import annotations

import csv
import platform
import shlex
from collections.abc import Iterable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from handgrad.check import GradientReport, check_gradients
from handgrad.cli import targets
from handgrad.cli.baselines import Score, constant_guess, linear_model, score
from handgrad.cli.faults import InputError
from handgrad.cli.memory import check_memory
from handgrad.cli.report import Report
from handgrad.cli.runs import CONFIG, HISTORY, MODEL, NewRun, new_run
from handgrad.cli.targets import Classes
from handgrad.cli.tasks import Options, Task, prepare
from handgrad.errors import DivergenceError
from handgrad.formats import save
from handgrad.layers import L2, CrossEntropy, Loss, SquaredError
from handgrad.models import Sequential, mlp
from handgrad.optim import SGD, Adam, AdamW, OneCycle, Optimizer, RMSprop
from handgrad.optim.names import NAMED, by_name
from handgrad.training import Result, fit, predict

PEAK_RATES = {SGD: 0.05, RMSprop: 1e-3, Adam: 5e-3, AdamW: 5e-3}
CHECKED_ROWS = 32


def train(options: Options, *, quiet: bool, progress: bool) -> bool:
    """Run the command. Returns whether the gradient check passed.

    Raises HandgradError or OSError for what can't be trained on, and then leaves nothing on the disk.
    """
    shows = progress and not quiet
    report = Report(Console(quiet=quiet, highlight=False), Console(stderr=True, quiet=not shows))
    stem = "digits" if options.data is None else Path(options.data).name.split(".")[0]
    optimizer = _optimizer(options)
    with new_run(Path(options.runs), options.name, stem) as run:
        task = prepare(options, report.busy)
        classifies = isinstance(task.target, Classes)
        loss: Loss = CrossEntropy(options.label_smoothing) if classifies else SquaredError()
        regularizer = L2(options.l2) if options.l2 else None
        widths = [task.features.width, *options.hidden, task.target.outputs]
        check_memory(widths, options.batch_size, options.dtype)
        model = mlp(widths, options.activation, dropout=options.dropout)
        _show_plan(report, options, task, model, widths)
        result = _fit(model, task, loss, optimizer, regularizer, options, shows)
        report.facts([("trained", _outcome(result))])
        with report.busy("fitting the baseline"):
            scores = [
                constant_guess(task.target, task.train, task.test),
                linear_model(task.target, task.train, task.test),
                score("this MLP", task.target, predict(model, result.params, task.test[0]), task.test[1]),
            ]
        report.scores(scores, len(task.test[1]))
        with report.busy("checking the gradients"):
            check = _check(task, result, loss, regularizer, options)
        report.gradients(check, min(CHECKED_ROWS, len(task.train[1])))
        _write(run, options, task, result, scores, check)
        folder = run.commit()
    name = folder.name if options.runs == "runs" else str(folder)
    data = str(folder / "test.csv") if options.data is None else options.data
    report.next_step(str(folder), shlex.join(["handgrad", "predict", name, data]))
    if quiet:
        print(folder)
    return check.ok


def _fit(
    model: Sequential,
    task: Task,
    loss: Loss,
    optimizer: Optimizer,
    regularizer: L2 | None,
    options: Options,
    progress: bool,
) -> Result:
    try:
        result = fit(
            model,
            task.train,
            loss=loss,
            optimizer=optimizer,
            epochs=options.epochs,
            batch_size=options.batch_size,
            regularizer=regularizer,
            validation=task.validation,
            metrics=("accuracy",) if isinstance(task.target, Classes) else ("rmse",),
            patience=options.patience,
            seed=options.seed,
            progress=progress,
        )
    except DivergenceError as error:
        given = f"{_peak(options):g}"
        raise InputError(
            f"training diverged at step {error.step + 1}: {error.place} is not finite; "
            f"give a lower --learning-rate than {given}"
        ) from error
    if not result.best_epoch:
        raise KeyboardInterrupt  # there is nothing yet to keep
    return result


def _optimizer(options: Options) -> Optimizer:
    """The one named, its rate rising to --learning-rate and falling again over all epochs."""
    optimizer = by_name(options.optimizer)
    return replace(optimizer, learning_rate=OneCycle(_peak(options)))


def _peak(options: Options) -> float:
    return PEAK_RATES[type(NAMED[options.optimizer])] if options.learning_rate is None else options.learning_rate


def _show_plan(report: Report, options: Options, task: Task, model: Sequential, widths: list[int]) -> None:
    report.title(f"handgrad {version('handgrad')}: {task.source}")
    parts = task.parts
    size = sum(int(np.prod(spec.shape)) for spec in model.parameters().values())
    kept, given = len(task.features.columns), len(task.table.columns) - 1
    report.facts(
        [
            ("data", f"{task.table.rows:,} rows, {kept} of {given} columns as {task.features.width} features"),
            ("target", f"{task.target.name}, {task.target}"),
            ("task", f"{task.target.task}: {task.why}"),
            (
                "parts",
                f"{len(parts.train):,} rows to train on, {len(parts.validation):,} to choose the epoch by, "
                f"{len(parts.test):,} to test on",
            ),
            ("model", f"{' -> '.join(map(str, widths))}, {options.activation}, {size:,} parameters, {options.dtype}"),
            *(("note", note) for note in task.notes),
        ]
    )


def _outcome(result: Result) -> str:
    done = len(result.history)
    ended = {
        "patience": f"{done} epochs, stopped early",
        "interrupted": f"{done} epochs, interrupted",
    }.get(result.stopped, f"all {done} epochs")
    seconds = sum(result.history.column("seconds"))
    return f"{ended}, the best was {result.best_epoch}; {seconds:.1f} s, {result.engine} engine"


def _check(task: Task, result: Result, loss: Loss, regularizer: L2 | None, options: Options) -> GradientReport:
    x, y = (part[:CHECKED_ROWS] for part in task.train)
    params = result.params.like(result.params.flat.astype(np.float64))
    y = y if isinstance(task.target, Classes) else y.astype(np.float64)
    return check_gradients(
        result.model,
        params,
        x.astype(np.float64),
        y,
        loss=loss,
        regularizer=regularizer,
        seed=options.seed,
        train=True,
    )


def _write(
    run: NewRun,
    options: Options,
    task: Task,
    result: Result,
    scores: Iterable[Score],
    check: GradientReport,
) -> None:
    preprocessing = {"features": task.features.to_json(), "target": targets.to_json(task.target)}
    save(result.model, result.params, run.folder / MODEL, preprocessing=preprocessing)
    config: dict[str, Any] = {
        "options": asdict(options),
        "seed": options.seed,
        "task": task.target.task,
        "target": task.target.name,
        "columns": task.features.names,
        "notes": task.notes,
        "rows": {name: len(rows) for name, rows in asdict(task.parts).items()},
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "stopped": result.stopped,
        "engine": result.engine,
        "seconds": sum(result.history.column("seconds")),
        "test": {each.model: each.values for each in scores},
        "gradient_check": {"ok": check.ok, "worst_error": check.worst.error, "worst": check.worst.name},
        "versions": versions(),
    }
    run.write_json(CONFIG, config)
    run.write_rows(HISTORY, result.history.rows)
    if options.data is None:  # so that there is a file to predict
        with (run.folder / "test.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(task.table.columns)
            writer.writerows(
                zip(*(c.values[task.parts.test].tolist() for c in task.table.columns.values()), strict=True)
            )


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    import duckdb
    import sklearn

    return {
        "handgrad": version("handgrad"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "duckdb": duckdb.__version__,
        "platform": platform.platform(),
    }
