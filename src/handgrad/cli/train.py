"""`handgrad train`: a table in, a model, its results and its history out."""

from __future__ import annotations

import csv
import platform
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from handgrad.check import GradientReport
from handgrad.cli.data.sources import name_of
from handgrad.cli.data.tasks import Task, check_same, prepare
from handgrad.cli.faults import InputError, Unfinished, said, words
from handgrad.cli.moments import Moments
from handgrad.cli.options import Options, Plain, Tabular, options_in
from handgrad.cli.presets import plain
from handgrad.cli.presets.base import CHECKED_ROWS, Keeping, Plan, Trained
from handgrad.cli.presets.baselines import Score, constant_guess, linear_model, score
from handgrad.cli.report import Report
from handgrad.cli.runs.folders import (
    CHECKPOINTS,
    CONFIG,
    HISTORY,
    MODEL,
    REPORT,
    NewRun,
    find_unfinished,
    new_run,
    old_run,
    started_of,
)
from handgrad.cli.runs.history import HistoryFile, Lines
from handgrad.cli.runs.logs import Logs
from handgrad.cli.settings import check_settings
from handgrad.errors import OutOfMemoryError


def train(options: Options, *, quiet: bool, progress: bool, page: bool = False, resume: Path | None = None) -> bool:
    """Run the command. page: whether to write report.html too. resume: the folder of the run to go on with.

    Returns whether the gradient check passed. Raises HandgradError for what can't be trained on, and then leaves
    nothing on the disk; OSError; Unfinished where a run was cut off, which can be resumed.
    """
    shows = progress and not quiet
    report = Report(Console(quiet=quiet, highlight=False), Console(stderr=True, quiet=not shows))
    own = options.data is None and options.sql is None
    stem = "digits" if own else name_of(options.named())
    begun = new_run(Path(options.runs), options.name, stem) if resume is None else old_run(resume)
    with begun as run:
        logs = Logs(options)  # says at once where what they need is not installed
        task = prepare(options, report.busy)
        run.undo.callback(task.close)
        if isinstance(options, Plain):
            options = replace(options, stream=task.streamed)
        plan = _plan(options, task)
        _show_plan(report, task, plan)
        about = _about(options, task, plan)
        if resume is None:
            run.claim(about)
        else:
            for note in check_same(task, resume):
                report.note(note)
            about["started"] = started_of(resume) or about["started"]
        with _resumable(run, resume is not None), said():
            history = HistoryFile(run.folder / HISTORY)
            logs.begin(run.folder.name)
            moments = Moments()
            keeping = Keeping(
                run.folder / CHECKPOINTS,
                lambda member: [
                    Lines(history, member),
                    *logs.callbacks(member),
                    *([moments] if page and member in (None, 1) else []),
                ],
            )
            trained = plan.train(shows, keeping)
            report.facts([("trained", trained.outcome), *(("note", note) for note in trained.notes)])
            with report.busy("fitting the baseline"):
                scores = [
                    constant_guess(task.target, task.train, task.test),
                    linear_model(task.target, task.train, task.test),
                    score(trained.name, task.target, trained.scores, task.test[1]),
                ]
            report.scores(scores, len(task.test[1]))
            with report.busy("checking the gradients"):
                check = trained.check()
            report.gradients(check, min(CHECKED_ROWS, len(task.train[1])), trained.whose)
            _write(run, about, options, task, trained, scores, check)
            if page:
                with report.busy("writing the report"):
                    _write_page(run, task, trained, moments)
            logs.end(scores[-1].values, run.folder / MODEL)
            goes_on = trained.facts.get("stopped") == "interrupted"
            folder = run.commit(keep=goes_on)
    name = _shown(folder)
    data = [str(folder / "test.csv")] if own else options.named().arguments
    commands = {"predict": [name, *data], "explain": [name], "view": [name]}
    lines = {command: shlex.join(["handgrad", command, *rest]) for command, rest in commands.items()}
    report.next_steps({"run": str(folder), **lines, **({"resume": _go_on(folder)} if goes_on else {})})
    if quiet:
        print(folder)
    return check.ok


def resume(run: str, runs: str, *, quiet: bool, progress: bool, page: bool) -> bool:
    """Go on with a run that was cut off, with the options in its config. Otherwise as `train`."""
    folder, config = find_unfinished(run, Path(runs))
    options = options_in(config, str(folder / CONFIG))
    check_settings(options)
    return train(options, quiet=quiet, progress=progress, page=page, resume=folder)


@contextmanager
def _resumable(run: NewRun, resumed: bool) -> Iterator[None]:
    """Say how to go on, whatever cuts the training off."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt, MemoryError, OSError) as error:
        if isinstance(error, OutOfMemoryError) and not resumed and not (run.folder / HISTORY).exists():
            raise InputError(words(error)) from error  # at the first step, as it would again
        if not (run.folder / CONFIG).exists():
            raise InputError(f"the run's folder {str(run.folder)!r} has been removed while it was trained") from error
        what, code = words(error).removesuffix("; nothing was written"), 1
        if isinstance(error, SystemExit):
            what, code = "stopped by SIGTERM", 143
        elif isinstance(error, KeyboardInterrupt):
            what, code = "interrupted", 130
        raise Unfinished(f"{what}; to go on: {_go_on(run.folder)}", code) from error


def _go_on(folder: Path) -> str:
    return shlex.join(["handgrad", "train", "--resume", _shown(folder)])


def _shown(folder: Path) -> str:
    """The run as a command may name it."""
    return folder.name if folder.parent == Path("runs") else str(folder)


def _plan(options: Options, task: Task) -> Plan:
    if isinstance(options, Tabular):
        from handgrad.cli.presets import ensemble  # what it loads is of no use to the other

        return ensemble.plan(options, task)
    assert isinstance(options, Plain)
    return plain.plan(options, task)


def _show_plan(report: Report, task: Task, plan: Plan) -> None:
    report.title(f"handgrad {version('handgrad')}: {task.source}")
    kept, given = len(task.features.columns), len(task.table.columns) - 1
    report.facts(
        [
            ("data", f"{task.rows:,} rows, {kept} of {given} columns as {plan.features} features"),
            ("target", f"{task.target.name}, {task.target}"),
            ("task", f"{task.target.task}: {task.why}"),
            ("parts", plan.parts),
            ("model", plan.model),
            *(("note", note) for note in task.notes),
        ]
    )


def _about(options: Options, task: Task, plan: Plan) -> dict[str, Any]:
    """What a run's config says from the beginning."""
    return {
        "options": asdict(options),
        "seed": options.seed,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "task": task.target.task,
        "target": task.target.name,
        "columns": task.features.names,
        "rows": task.counts,
        "print": task.print,
        "files": task.files,
        "model": plan.model,
        "notes": task.notes,
        "versions": versions(),
    }


def _write(
    run: NewRun,
    about: dict[str, Any],
    options: Options,
    task: Task,
    trained: Trained,
    scores: Iterable[Score],
    check: GradientReport,
) -> None:
    config = about | {
        "notes": task.notes + trained.notes,
        **trained.facts,
        "test": {each.model: each.values for each in scores},
        "gradient_check": {"ok": check.ok, "worst_error": check.worst.error, "worst": check.worst.name},
    }
    run.write_json(CONFIG, config)
    run.write_rows(HISTORY, trained.history)
    if options.data is None and options.sql is None:  # so that there is a file to predict
        with (run.folder / "test.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(task.table.columns)
            writer.writerows(
                zip(*(c.values[task.parts.test].tolist() for c in task.table.columns.values()), strict=True)
            )
    trained.save(run.folder / MODEL)  # the last, as a run that has it is complete


def _write_page(run: NewRun, task: Task, trained: Trained, moments: Moments) -> None:
    from handgrad.cli.runs.networks import open_networks
    from handgrad.cli.view import page_of

    path = run.folder / MODEL
    table = task.table.take(task.parts.test)
    title = f"{task.target.name} of {task.source}"
    source = f"the test part of {task.source}"
    made = page_of(open_networks(path), table, trained.scores, title, source, moments=moments.kept)
    made.to_html(run.folder / REPORT)


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
