"""A search over the options of --preset plain: drawn at random, stopped early by ASHA, on Ray Tune.

Li, Jamieson, Rostamizadeh et al. (2020), "A system for massively parallel hyperparameter tuning".
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from handgrad.cli.data.tasks import Task, prepare
from handgrad.cli.faults import InputError, Unfinished
from handgrad.cli.options import Plain, options_in
from handgrad.cli.report import Report
from handgrad.cli.settings import check_settings
from handgrad.formats.atomic import replacing

BEST, SEARCH, TRIALS = "best.json", "search.json", "trials"
METRIC = "validation_loss"
GRACE, KEPT = 3, 3  # epochs before a trial may be stopped; one in so many goes on

Choice = dict[str, Any]


def space() -> Choice:
    """What is drawn, by the name of the option."""
    from ray import tune

    return {
        "hidden": tune.choice([(64,), (128,), (256,), (128, 64), (256, 128), (512, 256), (256, 128, 64)]),
        "activation": tune.choice(["relu", "gelu", "swish", "swiglu"]),
        "dropout": tune.uniform(0.0, 0.5),
        "optimizer": tune.choice(["adam", "adamw"]),
        "learning_rate": tune.loguniform(3e-4, 3e-2),
        "batch_size": tune.choice([32, 64, 128, 256]),
        "l2": tune.choice([0.0, 1e-6, 1e-5, 1e-4]),
        "label_smoothing": tune.choice([0.0, 0.01, 0.05]),
    }


def search(
    options: Plain, trials: int, at_once: int | None, address: str | None, *, resume: bool, quiet: bool
) -> dict[str, Any]:
    """Run the command; returns what best.json holds.

    Raises InputError for a search that is there already, that is not there to go on with, or that was begun otherwise;
    Unfinished where Ctrl-C cut it off; ClusterError.
    """
    from handgrad.scale.cluster import cluster

    report = Report(Console(quiet=quiet, highlight=False), Console(stderr=True, quiet=quiet))
    stem = "digits" if options.data is None else Path(options.data).name.split(".")[0]
    folder = (Path(options.runs) / (options.name or f"tune-{stem}")).resolve()
    if (folder / SEARCH).exists() != resume:
        said = "holds no search to go on with; leave out --resume" if resume else "holds a search; give --resume, or"
        raise InputError(f"{str(folder)!r} {said}" + " another --name" * (not resume))
    rows = None
    if resume:
        options, trials, rows = begun(folder, options)
    check_settings(options)
    task = prepare(options, report.busy)
    if task.streamed:
        raise InputError(f"{task.source} is too large to be held by each trial; search on a part of it")
    if rows not in (None, _print(task)):
        raise InputError(f"{task.source} is not the table any more that the search in {str(folder)!r} was begun with")
    with cluster(address, 1):
        if not resume:
            _write(folder / SEARCH, {"options": asdict(options), "trials": trials, "rows": _print(task)})
        try:
            with _silent():
                found = _tuned(options, task, trials, at_once, folder, quiet)
        except KeyboardInterrupt:
            raise _unfinished(folder, 0, trials) from None
        ended = [result for result in found if result.metrics and result.metrics.get("done")]
        if len(ended) + found.num_errors < trials:
            raise _unfinished(folder, len(ended), trials)
    best = found.get_best_result(METRIC, "min", scope="all")
    if best.metrics is None or METRIC not in best.metrics:
        raise InputError(f"no trial came to the end of an epoch; {_first_error(found)}")
    chosen = replace(options, **_options(best.config), name=None)
    score = float(best.metrics_dataframe[METRIC].min())
    if not math.isfinite(score):
        raise InputError(f"all {len(found)} trials diverged; look at the table's numbers with `handgrad train`")
    command = _command(chosen)
    written = {"options": asdict(chosen), METRIC: score, "trials": len(found), "command": command}
    _write(folder / BEST, written)
    report.facts([("trials", f"{len(found)}, {found.num_errors} of them failed"), ("best", f"{METRIC} {score:.4g}")])
    report.next_steps({"train": command})
    if quiet:
        print(command)
    return written


def begun(folder: Path, given: Plain) -> tuple[Plain, int, int]:
    """(the options, the number of trials, the rows' print) that the search was begun with.

    Raises InputError where an option that is given is another than that one.
    """
    try:
        kept = json.loads((folder / SEARCH).read_text("utf-8"))
        options, trials, rows = options_in(kept, str(folder / SEARCH)), int(kept["trials"]), int(kept["rows"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(folder / SEARCH)!r} can't be read, so that the search can't go on: {error}") from None
    assert isinstance(options, Plain)
    for name in ("data", "target", "task", "ignore", "epochs", "seed"):
        old, new = getattr(options, name), getattr(given, name)
        if new not in (old, getattr(Plain(), name)):
            raise InputError(
                f"the search in {str(folder)!r} was begun with {name} {old!r}, not {new!r}; leave that out to go on, "
                "or begin another with --name"
            )
    return options, trials, rows


def _print(task: Task) -> int:
    """What tells other rows to train on from these."""
    return zlib.crc32(b"".join(np.ascontiguousarray(part).tobytes() for part in (*task.train, *task.validation)))


def _unfinished(folder: Path, ended: int, trials: int) -> Unfinished:
    what = f"{ended} of {trials} trials are done and kept" if ended else "what is done of its trials is kept"
    return Unfinished(f"interrupted; {what} in {str(folder)!r}; to go on, give the same command with --resume", 130)


def _write(path: Path, data: Choice) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(json.dumps(data, indent=2).encode() + b"\n")


@contextmanager
def _silent() -> Iterator[None]:
    """Meanwhile, Ray Tune prints neither tables nor where they may be looked at."""
    from handgrad.scale.run import quiet

    name = "RAY_AIR_NEW_OUTPUT"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        with quiet():
            yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _tuned(options: Plain, task: Task, trials: int, at_once: int | None, folder: Path, silent: bool) -> Any:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search import BasicVariantGenerator

    from handgrad.cli.tune.progress import Progress
    from handgrad.cli.tune.states import Keeper, mend

    tried = tune.with_parameters(_trial, given=(replace(options, runs="runs", name=None), _parts(task)))
    tried = tune.with_resources(tried, {"cpu": 1})
    mend(folder / TRIALS)
    if can_go_on(folder):
        tuner = tune.Tuner.restore(
            str(folder / TRIALS), tried, resume_unfinished=True, restart_errored=True, param_space=space()
        )
        return tuner.fit()
    shutil.rmtree(folder / TRIALS, ignore_errors=True)
    scheduler = ASHAScheduler(max_t=options.epochs, grace_period=min(GRACE, options.epochs), reduction_factor=KEPT)
    tuner = tune.Tuner(
        tried,
        param_space=space(),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="min",
            num_samples=trials,
            max_concurrent_trials=at_once,
            scheduler=scheduler,
            search_alg=BasicVariantGenerator(random_state=options.seed),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=TRIALS,
            storage_path=str(folder),
            verbose=0,
            callbacks=[Keeper(), *([] if silent else [Progress(trials)])],
        ),
    )
    return tuner.fit()


def can_go_on(folder: Path) -> bool:
    """Whether Ray has written down some trials; before that, one that was cut off is begun anew."""
    trials = folder / TRIALS
    return (trials / "tuner.pkl").exists() and any(trials.glob("experiment_state-*.json"))


def _parts(task: Task) -> tuple[Any, ...]:
    """What a trial needs of the task."""
    from handgrad.cli.data.targets import Classes

    return task.train, task.validation, task.features.width, task.target.outputs, isinstance(task.target, Classes)


def _trial(config: Choice, given: tuple[Plain, tuple[Any, ...]]) -> None:
    """One choice of options, trained; each epoch is told to Ray, which may stop it."""
    from ray import tune

    from handgrad.cli.presets.plain import _optimizer
    from handgrad.errors import DivergenceError
    from handgrad.layers import L2, CrossEntropy, SquaredError
    from handgrad.models import mlp
    from handgrad.training import EpochEnd, fit

    options, (train, validation, width, outputs, classes) = given
    chosen = replace(options, **_options(config))

    def tell(end: EpochEnd) -> None:
        tune.report({name: value for name, value in end.row.items() if name != "seconds"})

    try:
        fit(
            mlp([width, *chosen.hidden, outputs], chosen.activation, dropout=chosen.dropout),
            train,
            loss=CrossEntropy(chosen.label_smoothing) if classes else SquaredError(),
            optimizer=_optimizer(chosen),
            epochs=chosen.epochs,
            batch_size=chosen.batch_size,
            regularizer=L2(chosen.l2) if chosen.l2 else None,
            validation=validation,
            patience=chosen.patience,
            seed=chosen.seed,
            threads=1,
            callbacks=[tell],
            progress=False,
        )
    except DivergenceError:  # a rate that is too high: no fault, and no choice
        tune.report({METRIC: float("inf")})


def _options(config: Choice) -> Choice:
    """A choice as options: Ray turns tuples into lists, and numbers are rounded to what a command shows."""
    rounded = {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in config.items()}
    return rounded | {"hidden": tuple(config["hidden"])}


def _command(options: Plain) -> str:
    """The command that trains with these options."""
    parts = ["handgrad", "train", *([options.data] if options.data else [])]
    default = Plain()
    for name in ("target", "task", "ignore", *_NAMES, "epochs", "seed"):
        value = getattr(options, name)
        if value == getattr(default, name):
            continue
        flag = f"--{name.replace('_', '-')}"
        if name == "ignore":
            parts += [part for each in value for part in (flag, each)]
        else:
            parts += [flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return shlex.join(parts)


_NAMES = ("hidden", "activation", "dropout", "optimizer", "learning_rate", "batch_size", "l2", "label_smoothing")


def _first_error(found: Any) -> str:
    errors = [str(error).strip().splitlines()[-1] for error in found.errors]
    return f"the first failed with: {errors[0]}" if errors else "none was begun"
