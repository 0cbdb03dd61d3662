"""solver="lbfgs": scipy's L-BFGS over the flat vector of all parameters."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning

from handgrad.engines.choice import blas_limit
from handgrad.estimators.hooks import Hooks
from handgrad.estimators.network import Network
from handgrad.estimators.samples import Samples
from handgrad.estimators.tasks import Task
from handgrad.layers import L2, Parameters
from handgrad.threads import blas_threads

ROWS = 2**22  # numbers of one layer's output, or of rows, that are held at a time


def objective(
    network: Network, task: Task, samples: Samples, penalty: L2, params: Parameters
) -> tuple[float, Parameters]:
    """The mean loss of all samples with the penalty, and its gradient by all parameters, rows taken in parts.

    The sample weights' mean is taken to be the task's factor, as `Samples` of a fit have them.
    """
    model, n = network.model, len(samples)
    rows = max(1, ROWS // max(network.design[0]))
    value, gradient = 0.0, np.zeros_like(params.flat)
    for start in range(0, n, rows):
        for batch, here in samples.parts(samples.index[start : start + rows], rows):
            part = batch.take(here)
            scores, cache = model.forward(params, part.x.astype(params.flat.dtype, copy=False), train=True)
            each, saved = task.loss.forward(scores, part.y, sample_weight=part.weight, reduction="none")
            value += float(each.sum())
            dscores = task.loss.backward(np.full_like(each, 1 / n), saved)
            gradient += params.pack(model.parameter_gradients(dscores, cache)).flat
    extra, by_weights = penalty.value_and_grad(params)
    total = params.like(gradient)
    for name, gradient_of_penalty in by_weights.items():
        total[name][...] += gradient_of_penalty
    return value / n + float(extra), total


def minimize(
    estimator: Any, task: Task, network: Network, samples: Samples, mean: float, hooks: Hooks | None = None
) -> None:
    """Fit the network's parameters, in float64. mean: of the sample weights as they were given.

    Sets n_iter_ and loss_, and warns with ConvergenceWarning where max_iter or max_fun came first.
    """
    e, specs = estimator, network.params.specs
    penalty = L2(float(e.alpha) / (2 * len(samples) * mean))
    dtype = network.params.flat.dtype
    of_params: Callable[[Parameters], tuple[float, Parameters]] = partial(objective, network, task, samples, penalty)
    offset = task.offset(samples.y, samples.weight)
    n_iter, began = 0, time.perf_counter()

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = of_params(Parameters(specs, flat))
        return value, gradient.flat

    def ended(intermediate_result: Any) -> None:
        nonlocal n_iter, began
        n_iter += 1
        e.loss_ = task.reported(float(intermediate_result.fun), offset)
        if e.verbose:
            print(f"Iteration {n_iter}, loss = {e.loss_:.8f}")
        if hooks is not None and hooks.wanted:
            params = Parameters(specs, intermediate_result.x.astype(dtype))
            e._hold(params)
            row = {"epoch": n_iter, "loss": e.loss_, "seconds": time.perf_counter() - began}
            if hooks.epoch(row, params):
                raise StopIteration
        began = time.perf_counter()

    with np.errstate(all="ignore"), blas_threads(blas_limit(e.threads, network.params, len(samples))):
        found = scipy.optimize.minimize(
            value_and_gradient,
            network.params.flat.astype(np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=ended,
            options={"maxfun": e.max_fun, "maxiter": e.max_iter, "gtol": e.tol},
        )
    e.n_iter_, e.loss_ = min(found.nit, e.max_iter), task.reported(float(found.fun), offset)
    e.engine_ = "eager"
    network.hold(Parameters(specs, found.x.astype(dtype)))
    if found.status not in (0, STOPPED):
        warnings.warn(
            f"lbfgs failed to converge after {e.n_iter_} iteration(s) (status={found.status}): {found.message}. "
            "More iterations (max_iter), or scaled data, might improve the convergence.",
            ConvergenceWarning,
            stacklevel=2,
        )


STOPPED = 99  # scipy's status where a callback ended it
