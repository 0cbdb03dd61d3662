"""The epochs of solver="sgd", "adam" and of an optimizer object: scikit-learn's loop over Handgrad's engines."""

from __future__ import annotations

import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from handgrad.engines.choice import Engine, blas_limit
from handgrad.errors import DivergenceError
from handgrad.estimators.hooks import Hooks
from handgrad.estimators.network import Network
from handgrad.estimators.samples import Samples
from handgrad.estimators.steps import Kept, Rate, optimizer_for
from handgrad.estimators.tasks import Task
from handgrad.estimators.validation import Score, Validation
from handgrad.layers import Parameters
from handgrad.optim.schedules import Schedule
from handgrad.threads import blas_threads
from handgrad.training.data import DROPOUT, stream

AUTO_BATCH = 200  # rows at most, with batch_size="auto"
NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


@dataclass
class Run:
    """One call of fit, or, where `incremental`, of partial_fit. It sets the estimator's attributes as it goes.

    mean: of the sample weights as they were given. held: what is validated on, with `score` where it is a scorer's.
    """

    estimator: Any
    task: Task
    network: Network
    samples: Samples
    mean: float
    held: Validation | None = None
    score: Score | None = None
    hooks: Hooks | None = None
    incremental: bool = False

    def go(self) -> None:
        """Train: max_iter epochs, or one where incremental, until nothing gets better."""
        e, samples = self.estimator, self.samples
        batch_size = batch_size_of(e.batch_size, len(samples))
        # a call of partial_fit is an epoch: a schedule goes on over max_iter of them
        optimizer = optimizer_for(e, e.max_iter * -(-len(samples) // batch_size))
        if not self.incremental:
            e._state, e._kept = None, None
        if not self.incremental or not hasattr(e, "_rate"):
            e._rate = optimizer.rate(0)
        if e.optimizer is None:  # what learning_rate has made of it in the calls of partial_fit before
            optimizer = replace(optimizer, learning_rate=e._rate)
        first = samples.first(batch_size)
        kept = Kept.of(e, self.task, self.network, optimizer, first, batch_size, self.mean)
        engine = kept.engine
        e._state, e._kept = None, None  # until it has come to a good end
        e.engine_ = engine.name
        if self.held is not None and engine.name == "compiled":
            self.held.use_compiled()
        limit = None if engine.name == "compiled" else blas_limit(e.threads, self.network.params, batch_size)
        self._best: Parameters | None = None
        with blas_threads(limit) if limit is not None else nullcontext():
            self._epochs(engine, batch_size)
        self.network.hold(self._best if self.restores and self._best is not None else engine.params)
        if self.incremental:
            e._kept = kept
        else:  # its memory is given back, and what is left is plain arrays
            e._state = engine.state

    @property
    def restores(self) -> bool:
        """Whether the best epoch's parameters are what is kept."""
        e = self.estimator
        return not self.incremental and bool(e.early_stopping if e.restore_best is None else e.restore_best)

    def _epochs(self, engine: Engine, batch_size: int) -> None:
        e, samples = self.estimator, self.samples
        rate, order, n = Rate(e, engine), samples.index, len(samples)
        offset = self.task.offset(samples.y[order], None if samples.weight is None else samples.weight[order])
        random = e._random_state
        seed = random.randint(2**31 - 1) if e.dropout else 0
        self._best = self.network.params if self.restores else None
        e.n_iter_ = 0
        try:
            for _ in range(e.max_iter):
                began = time.perf_counter()
                if e.shuffle:
                    order = order[random.permutation(n)]
                loss, norm = self._epoch(engine, order, batch_size, seed)
                e.n_iter_ += 1
                e.loss_ = self.task.reported(loss, offset)
                e.t_ += n
                e.loss_curve_.append(e.loss_)
                if e.verbose:
                    print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
                self._look(engine)
                rate.epoch_ended()
                if self._is_over(rate) or self.incremental or self._told_to_stop(engine, norm, began):
                    break
                # a schedule that spans the fit is meant to be gone through
                if e.n_iter_ == e.max_iter and not isinstance(engine.optimizer.learning_rate, Schedule):
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({e.max_iter}) reached and the optimization hasn't "
                        "converged yet.",
                        ConvergenceWarning,
                        stacklevel=2,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        except DivergenceError as error:
            self._diverged(error)

    def _epoch(self, engine: Engine, order: np.ndarray, batch_size: int, seed: int) -> tuple[float, float]:
        """(mean loss, mean gradient norm) of one pass over the rows of `order`."""
        e, total, norms = self.estimator, 0.0, 0.0
        for part, (rows, here) in enumerate(self.samples.parts(order, batch_size)):
            # by the samples seen so far, so that calls of partial_fit with one seed drop other units
            generator = partial(stream, seed, DROPOUT, e.t_, part)
            loss, norm = engine.epoch([(rows, here)], batch_size, generator, _nothing)
            total, norms = total + loss * len(here), norms + norm * len(here)
        return total / len(order), norms / len(order)

    def _look(self, engine: Engine) -> None:
        """Whether the epoch was better than those before: the validation score with early stopping, else the loss."""
        e = self.estimator
        if self.held is not None:
            value = self._validate(engine)
            best, better = e.best_validation_score_, value > e.best_validation_score_
            if better:
                e.best_validation_score_ = value
            watched = e.early_stopping
            if watched:
                e._no_improvement_count = e._no_improvement_count + 1 if value < best + e.tol else 0
        else:
            better, watched = e.loss_ < e.best_loss_, False
        if e.best_loss_ is not None:
            if not watched:
                stalls = e.loss_ > e.best_loss_ - e.tol
                e._no_improvement_count = e._no_improvement_count + 1 if stalls else 0
            e.best_loss_ = min(e.best_loss_, e.loss_)
        if better and self.restores:
            self._best = engine.params

    def _validate(self, engine: Engine) -> float:
        """The validation score, kept with the loss in their curves."""
        e, held = self.estimator, self.held
        assert held is not None
        params = engine.params
        scores = held.scores(params)
        e.validation_loss_curve_.append(held.loss(scores))
        if e.scoring == "loss":
            value = -e.validation_loss_curve_[-1]
        elif self.score is not None:
            e._hold(params)
            value = float(self.score())
        else:
            value = held.score(scores, self.classifies)
        e.validation_scores_.append(value)
        if e.verbose:
            print(f"Validation score: {value:f}")
        return value

    @property
    def classifies(self) -> bool:
        """Whether scikit-learn's own score is accuracy."""
        return hasattr(self.estimator, "classes_")

    def _is_over(self, rate: Rate) -> bool:
        e = self.estimator
        if e._no_improvement_count <= e.n_iter_no_change:
            return False
        what = "Validation score" if e.early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={e.tol:f} for {e.n_iter_no_change} consecutive epochs."
        instead = rate.goes_on()
        if e.verbose:
            print(message, instead or rate.end)
        if instead:
            e._no_improvement_count = 0
        return not instead

    def _told_to_stop(self, engine: Engine, norm: float, began: float) -> bool:
        if self.hooks is None or not self.hooks.wanted:
            return False
        e = self.estimator
        row = {
            "epoch": e.n_iter_,
            "loss": e.loss_,
            "gradient_norm": norm,
            "learning_rate": engine.optimizer.rate(max(0, engine.state["step"] - 1)),
            "seconds": time.perf_counter() - began,
        }
        if self.held is not None:
            row |= {"validation_loss": e.validation_loss_curve_[-1], "validation_score": e.validation_scores_[-1]}
        e._hold(engine.params)
        return self.hooks.epoch(row, engine.params)

    def _diverged(self, error: DivergenceError) -> None:
        """Keep the best epoch where there is one to restore; else raise ValueError, as scikit-learn does."""
        e = self.estimator
        if not self.restores:
            raise ValueError(NON_FINITE) from error
        e.n_iter_ += 1
        e.loss_ = float("nan")
        e.loss_curve_.append(e.loss_)
        if self.held is not None:
            e.validation_scores_.append(float("nan"))
            e.validation_loss_curve_.append(float("nan"))
        warnings.warn(
            f"Training diverged in iteration {e.n_iter_}; the best epoch before is kept. {error}",
            ConvergenceWarning,
            stacklevel=2,
        )


def batch_size_of(batch_size: Any, n: int) -> int:
    """Rows of a step: as asked, but no more than there are, which is warned of."""
    if batch_size == "auto":
        return min(AUTO_BATCH, n)
    if batch_size > n:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=2
        )
    return int(min(batch_size, n))


def _nothing(step: int) -> None:
    """Engines tell of their steps; here nobody listens."""
