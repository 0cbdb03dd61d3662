"""--preset plain: one network, to the options given."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.check import GradientReport, check_gradients
from handgrad.cli.data.memory import check_memory
from handgrad.cli.data.targets import Classes
from handgrad.cli.data.tasks import Task
from handgrad.cli.faults import InputError, said
from handgrad.cli.options import Plain
from handgrad.cli.presets.base import CHECKED_ROWS, Keeping, Loaded, Plan, Trained, described, preprocessing
from handgrad.errors import DivergenceError, HandgradError
from handgrad.formats import FormatError, save
from handgrad.formats import load as load_model
from handgrad.layers import L2, CrossEntropy, Loss, SquaredError
from handgrad.models import Sequential, mlp
from handgrad.optim import SGD, Adam, AdamW, OneCycle, Optimizer, RMSprop
from handgrad.optim.names import NAMED, by_name
from handgrad.training import Result, fit, predict

PEAK_RATES = {SGD: 0.05, RMSprop: 1e-3, Adam: 5e-3, AdamW: 5e-3}


def plan(options: Plain, task: Task) -> Plan:
    """The network and its parts. Raises InputError for one that memory does not hold."""
    widths = [task.features.width, *options.hidden, task.target.outputs]
    check_memory(widths, options.batch_size, options.dtype)
    model = mlp(widths, options.activation, dropout=options.dropout)
    size = sum(int(np.prod(spec.shape)) for spec in model.parameters().values())
    parts = task.counts
    return Plan(
        task.features.width,
        f"{parts['train']:,} rows to train on, {parts['validation']:,} to choose the epoch by, "
        f"{parts['test']:,} to test on",
        f"{' -> '.join(map(str, widths))}, {options.activation}, {size:,} parameters, {options.dtype}",
        partial(_train, model, options, task),
    )


def load(path: Path) -> Loaded:
    """The run of a model file. Raises FormatError."""
    model, params, metadata = load_model(path)
    features, target, styles = preprocessing(metadata, path)
    try:
        outputs = model.output_shape((features.width,))
    except HandgradError as error:
        raise FormatError(f"{str(path)!r}: its model does not take the {features.width} features: {error}") from None
    if outputs != (target.outputs,):
        raise FormatError(f"{str(path)!r}: its model gives {outputs}, and its target has {target.outputs} outputs")
    return Loaded(
        features,
        target,
        styles,
        lambda table: predict(model, params, features.encode(table, params.flat.dtype)),
        features.unlike,
        features.notes,
    )


def _train(model: Sequential, options: Plain, task: Task, progress: bool, keeping: Keeping) -> Trained:
    loss: Loss = CrossEntropy(options.label_smoothing) if isinstance(task.target, Classes) else SquaredError()
    regularizer = L2(options.l2) if options.l2 else None
    with said():
        result = _fit(model, task, loss, regularizer, options, progress, keeping)
    written = described(task)
    return Trained(
        name="this MLP",
        whose="Its",
        outcome=_outcome(result),
        notes=[],
        scores=predict(model, result.params, task.test[0]),
        history=result.history.rows,
        facts={
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
            "stopped": result.stopped,
            "engine": result.engine,
            "seconds": sum(result.history.column("seconds")),
        },
        check=lambda: _check(task, result, loss, regularizer, options),
        save=lambda path: save(model, result.params, path, preprocessing=written),
    )


def _fit(
    model: Sequential,
    task: Task,
    loss: Loss,
    regularizer: L2 | None,
    options: Plain,
    progress: bool,
    keeping: Keeping,
) -> Result:
    try:
        settings: dict[str, Any] = {
            "loss": loss,
            "optimizer": _optimizer(options),
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "regularizer": regularizer,
            "validation": task.validation,
            "metrics": ("accuracy",) if isinstance(task.target, Classes) else ("rmse",),
            "patience": options.patience,
            "seed": options.seed,
            "progress": progress,
            "checkpoint": keeping.checkpoints,
            "every": options.checkpoint,
        }
        if options.workers > 1 or options.address is not None:
            from handgrad.cli.presets.workers import fit_by_workers

            result = fit_by_workers(model, task, options, keeping, **settings)
        else:
            result = fit(model, task.training, callbacks=keeping.callbacks(None), resume=True, **settings)
    except DivergenceError as error:
        given = f"{_peak(options):g}"
        raise InputError(
            f"training diverged at step {error.step + 1}: {error.place} is not finite; "
            f"give a lower --learning-rate than {given}"
        ) from error
    if not result.best_epoch:
        raise KeyboardInterrupt  # there is nothing yet to keep
    return result


def _optimizer(options: Plain) -> Optimizer:
    """The one named, its rate rising to --learning-rate and falling again over all epochs."""
    optimizer = by_name(options.optimizer)
    return replace(optimizer, learning_rate=OneCycle(_peak(options)))


def _peak(options: Plain) -> float:
    return PEAK_RATES[type(NAMED[options.optimizer])] if options.learning_rate is None else options.learning_rate


def _outcome(result: Result) -> str:
    done = len(result.history)
    ended = {
        "patience": f"{done} epochs, stopped early",
        "interrupted": f"{done} epochs, interrupted",
    }.get(result.stopped, f"all {done} epochs")
    seconds = sum(result.history.column("seconds"))
    return f"{ended}, the best was {result.best_epoch}; {seconds:.1f} s, {result.engine} engine"


def _check(task: Task, result: Result, loss: Loss, regularizer: L2 | None, options: Plain) -> GradientReport:
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
