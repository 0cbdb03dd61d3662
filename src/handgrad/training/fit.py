"""The training loop: epochs of shuffled batches, validation, early stopping, callbacks."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import array_api_compat
import numpy as np

from handgrad.checks import at_least_0, positive, whole
from handgrad.engines.choice import blas_limit, engine_name, engine_of
from handgrad.engines.eager import as_parameters, check_parameters
from handgrad.engines.group import current_group, of_all
from handgrad.engines.private import SampleClipping
from handgrad.errors import DivergenceError, DTypeError, Terminated, ValueRangeError
from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.layers import loss as loss_of
from handgrad.ops.arrays import Array, namespace_of
from handgrad.optim import Optimizer, Schedule
from handgrad.optim import by_name as optimizer_of
from handgrad.threads import blas_threads
from handgrad.training.checkpoints import Folder, folder_of
from handgrad.training.data import DROPOUT, Rows, stream, trained_dtype
from handgrad.training.history import Result
from handgrad.training.memory import out_of_memory
from handgrad.training.metrics import Metric, measures_of
from handgrad.training.moment import Training
from handgrad.training.privacy import Privacy
from handgrad.training.progress import ProgressBar
from handgrad.training.setup import setup_of, surroundings
from handgrad.training.signals import Signals
from handgrad.training.sources import Source, Streamed, sources
from handgrad.training.watch import Watch


@dataclass(frozen=True)
class EpochEnd:
    """What a callback is given after each epoch: its row of the history, the parameters, read-only, and the model."""

    row: Mapping[str, Any]
    params: Parameters
    model: Layer


Callback = Callable[[EpochEnd], object]


def fit(
    model: Layer,
    data: Any,
    *,
    loss: str | Loss = "cross_entropy",
    optimizer: str | Optimizer = "adam",
    epochs: int = 100,
    batch_size: int = 32,
    regularizer: L2 | None = None,
    clip_norm: float | None = None,
    per_sample_clip: float | None = None,
    noise_multiplier: float = 0.0,
    validation: Any = None,
    metrics: Iterable[str | Metric] = (),
    patience: int | None = None,
    monitor: str | None = None,
    min_delta: float = 0.0,
    seed: int = 0,
    params: Mapping[str, Array] | None = None,
    engine: str = "auto",
    threads: int | str = "auto",
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int | str = 1,
    keep: int = 3,
    resume: bool = False,
) -> Result:
    """Train a model by minibatch gradient descent and return the parameters and the history.

    data: (X, y) or (X, y, sample_weight), samples as rows. X in float32 trains in float32, anything else in float64.
        Or what is larger than memory: an iterable of such batches, (table, "target") or (table, "target", "weight")
        with the names of columns of a pyarrow Dataset or Table or a DuckDB relation, or a Stream, which says more.
    loss, optimizer: an object or its name. regularizer: L2(strength). clip_norm: the largest gradient norm of a step.
    per_sample_clip: the largest norm of a single sample's gradient in a step. noise_multiplier: adds normal noise to
        their sum, of this times per_sample_clip as standard deviation, and draws each step's rows at random, so that no
        sample shows in the parameters: `result.privacy.epsilon(delta)` says how well, and docs/per_sample.md
        what it does not cover, such as a seed that others know. The eager engine runs these.
    epochs, batch_size: passes over the data, and rows a step; the last batch of an epoch may be shorter.
    validation: data of the same forms, or the fraction of `data` in memory to hold out. metrics: "accuracy", "rmse",
        "r2" or functions of (scores, y), of the validation data after each epoch, as "validation_accuracy" and so on.
    patience: stop after so many epochs in which `monitor` did not improve by more than min_delta, and return the best
        epoch's parameters. monitor: a column of the history, "validation_loss" unless said ("loss" with no validation);
        lower is better, but for accuracy and r2.
    seed: decides the first values, the shuffling and dropout; the same seed and number of threads give the same bits on
        the same machine.
    params: first values to start from instead of model.init; they are copied, never changed.
    engine: "compiled", "eager", or "auto" for the compiled one where it can run the model; where it cannot, the
        result's `note` says why. Its kernels are compiled once, on the first run, in some seconds.
    threads: that share a batch (compiled) or a matrix product (eager); "auto" takes one where more would lose.
    callbacks: functions called with an EpochEnd after each epoch; one that returns True stops training. One that has
        a method `end` is given the result, however training ended.
    progress: a bar on the terminal.
    checkpoint: a folder to keep the training in, every so often: epochs, or "500 steps", "10 minutes". The newest
        `keep` stay. resume: go on from the newest there, or start where there is none: to the bit the training that
        never stopped. docs/checkpoints.md says what is kept, and what is refused.

    Ctrl-C returns what was learnt so far; SIGTERM, with checkpoints, writes one and raises Terminated. Raises
    ShapeError, DTypeError or ValueRangeError for data or options that do not fit, before the first step;
    UnsupportedError, with the layer's place, for what engine="compiled" cannot run; CheckpointError for checkpoints of
    another training, or in use by one; DivergenceError when the loss or the gradient is no longer finite, with the last
    good parameters (with patience, the best epoch's) in its `result`. What a stream's source raises comes through, with
    such a `result` too; so do StreamError, where it is not the same rows again, and errors of blocks that do not fit.
    """
    if not isinstance(model, Layer):
        raise DTypeError(f"model must be a Layer, such as handgrad.mlp gives, got {type(model).__name__}")
    loss, optimizer = loss_of(loss), optimizer_of(optimizer)
    epochs, batch_size = whole("epochs", epochs), whole("batch_size", batch_size)
    if patience is not None:
        patience = whole("patience", patience)
    elif monitor is not None:
        raise ValueRangeError(f"monitor={monitor!r} is watched by early stopping alone; give patience too")
    if clip_norm is not None:
        clip_norm = positive("clip_norm", clip_norm)
    private = _private(per_sample_clip, noise_multiplier)
    min_delta = at_least_0("min_delta", min_delta)
    seed = whole("seed", seed, 0)
    if regularizer is not None and not isinstance(regularizer, L2):
        raise DTypeError(f"regularizer must be L2(strength), got {regularizer!r}")
    engine = engine_name(engine)
    train, held = sources(data, validation, seed, epochs)
    measures = measures_of(metrics, loss, held is not None)
    train.ready(model, loss)
    if held is not None:
        held.ready(model, loss, measures)
    if private and private.noise_multiplier:
        _refuse_what_tells(train)
    callbacks = (callbacks,) if callable(callbacks) else tuple(callbacks)
    start = _first_params(model, params, train.example, seed)
    watch = Watch.of(monitor, patience, min_delta, held is not None, [name for name, _ in measures])
    if private and private.noise_multiplier and patience is not None and watch.monitor == "loss":
        raise ValueRangeError(
            "patience cannot go by monitor='loss' with noise_multiplier: that is the training rows' own loss, "
            "which no noise hides; give validation data of others"
        )
    steps = math.ceil((train.rows or 0) / batch_size)
    bound, most = _bound(optimizer, epochs * steps), min(batch_size, train.rows or batch_size)
    limit = blas_limit(threads, start, batch_size)
    runner, note = engine_of(
        engine, model, loss, bound, regularizer, clip_norm, start, train.example, most, threads, private, train.read
    )
    if held is not None and runner.name == "compiled":
        held.use_compiled(start)
    del start  # an engine that packs the parameters keeps no second copy
    run, group = Training(runner, watch, callbacks, epochs, steps), current_group()

    def result(stopped: str) -> Result:
        best = patience is not None and watch.best_params is not None
        epoch = watch.best_epoch if best else len(run.history)
        chosen = watch.best_params if best else runner.finish()
        privacy = None
        if private and private.noise_multiplier:
            privacy = Privacy(len(train.example), most, int(runner.state["step"]), private.noise_multiplier)
        done = Result(model, chosen, run.history, epoch, stopped, runner.name, note, privacy)  # type: ignore[arg-type]
        for callback in callbacks:
            if callable(tell := getattr(callback, "end", None)):
                tell(done)
        return done

    def on_step(bar: ProgressBar, folder: Folder | None, epoch: int, began: float, step: int) -> None:
        bar.step(epoch, step)
        if folder:
            folder.step(run, step + 1, began)

    def on_waiting(folder: Folder | None, began: float) -> None:
        if folder and folder.signals.came:  # no step may come after which to heed it
            folder.step(run, runner.begun.steps, began)

    with (
        Signals(checkpoint is not None) as signals,
        folder_of(checkpoint, every, keep, resume, signals) as folder,
        blas_threads(limit),
        ProgressBar(epochs, steps, progress, note) as bar,
    ):
        if folder:
            setup = setup_of(
                runner.params,
                train.words(),
                held.words() if held is not None else None,
                model=model,
                loss=loss,
                optimizer=optimizer,
                batch_size=of_all(group, batch_size),
                regularizer=regularizer,
                clip_norm=clip_norm,
                per_sample_clip=per_sample_clip,
                noise_multiplier=noise_multiplier,
                metrics=[name for name, _ in measures],
                monitor=watch.monitor if patience is not None else None,
                min_delta=min_delta,
                seed=seed,
                engine=runner.name,
            )
            folder.begin(run, setup, surroundings(getattr(runner, "threads", limit)))
        run.spread(group)
        bar.steps = run.steps  # a checkpoint may know it
        try:
            while not run.is_over:
                epoch, before = len(run.history), run.begun
                began = time.perf_counter() - run.seconds
                generator = partial(stream, seed, DROPOUT, epoch)
                seen, waiting = partial(on_step, bar, folder, epoch, began), partial(on_waiting, folder, began)
                with train.epoch(seed, epoch, batch_size, waiting) as parts:
                    losses, norms = runner.epoch(parts, batch_size, generator, seen, before)
                run.counted(math.ceil((train.rows or 0) / batch_size))
                bar.steps = run.steps
                row = {
                    "epoch": epoch + 1,
                    "loss": losses,
                    "gradient_norm": norms,
                    "learning_rate": bound.rate((epoch + 1) * run.steps - 1),
                    "seconds": 0.0,
                }
                if held is not None:
                    row |= group.first(partial(held.measure, runner.params, waiting))
                row["seconds"] = time.perf_counter() - began
                run.ended(row)
                bar.epoch(row)
                if patience is not None:  # an engine may have to copy the parameters, here and below
                    watch.see(row, runner.params)
                answers: list[object] = []
                if callbacks:
                    event = EpochEnd(dict(row), _read_only(runner.params), model)
                    answers = [callback(event) for callback in callbacks]  # each is called, whatever another says
                if any(isinstance(answer, bool | np.bool_) and answer for answer in answers):
                    run.stopped = "callback"
                if folder:
                    folder.epoch(run)
        except KeyboardInterrupt:
            return result("interrupted")
        except DivergenceError as error:
            error.result = result("diverged")
            raise
        except Terminated as error:
            error.result = result("terminated")
            raise
        except Exception as error:
            if error is train.failed or (held is not None and error is held.failed):
                error.add_note(f"in epoch {len(run.history) + 1}; what was learnt is in this error's `result`")
                error.result = result("failed")  # type: ignore[attr-defined]
            elif isinstance(error, MemoryError):
                raise out_of_memory(error, runner, model, train.example, batch_size) from error
            raise
    return result(run.stopped or ("patience" if watch.is_over else "epochs"))


def _private(per_sample_clip: float | None, noise_multiplier: float) -> SampleClipping | None:
    if per_sample_clip is not None:
        return SampleClipping(per_sample_clip, noise_multiplier)
    if noise_multiplier != 0:
        raise ValueRangeError(f"noise_multiplier={noise_multiplier!r} is in units of per_sample_clip; give that too")
    return None


def _refuse_what_tells(train: Source) -> None:
    """Raise ValueRangeError for data whose use in training no noise hides."""
    if isinstance(train, Streamed):
        raise ValueRangeError(
            "noise_multiplier draws the rows of each step from all of them, which a stream never has; "
            "give data in memory"
        )
    if train.example.weight is not None:
        raise ValueRangeError(
            "sample_weight cannot be given with noise_multiplier: "
            "weights are scaled by all of them, which no noise hides"
        )


def _bound(optimizer: Optimizer, steps: int) -> Optimizer:
    """The optimizer for that many steps; 0 where their number is not known."""
    if steps:
        return optimizer.bind(steps)
    if isinstance(optimizer.learning_rate, Schedule) and not optimizer.learning_rate.bound:
        raise ValueRangeError(
            f"{optimizer.learning_rate} needs to know the number of steps; say how many rows the stream has, as "
            "Stream(..., rows=), or give the schedule its steps"
        )
    return optimizer


def _read_only(params: Parameters) -> Parameters:
    if not isinstance(params.flat, np.ndarray):
        return params
    flat = params.flat.view()
    flat.flags.writeable = False
    return params.like(flat)


def _first_params(model: Layer, params: Mapping[str, Array] | None, train: Rows, seed: int) -> Parameters:
    if params is not None:
        given = as_parameters(model, params)
        check_parameters(model, given)
        namespace_of(X=train.x, params=given.flat)
        if given is not params:  # packed anew
            return given
        return given.like(array_api_compat.array_namespace(given.flat).asarray(given.flat, copy=True))
    drawn = model.init(seed, np.float32 if "float32" in str(trained_dtype(train.x)) else np.float64)
    if isinstance(train.x, np.ndarray):
        return drawn
    xp = array_api_compat.array_namespace(train.x)
    return drawn.like(xp.asarray(drawn.flat, device=array_api_compat.device(train.x)))
