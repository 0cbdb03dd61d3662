"""What the estimators' parameters may be, as scikit-learn's own table of constraints, and what does not go together."""

from __future__ import annotations

from numbers import Integral, Real
from operator import index
from typing import Any

import numpy as np
import sklearn.neural_network
from sklearn.utils._param_validation import Interval, Options, StrOptions

from handgrad.engines.choice import NAMES as ENGINES
from handgrad.estimators.network import NAMES as LOGISTIC
from handgrad.layers import Hinge, Huber, Layer, Poisson, Quantile, SquaredError
from handgrad.layers.activations import ACTIVATIONS
from handgrad.layers.gated import GATED
from handgrad.optim import Optimizer
from handgrad.optim.names import NAMED as OPTIMIZERS

REGRESSION_LOSSES = {"squared_error", "poisson", "huber", "quantile"}

_BOTH: dict[str, list[Any]] = {
    "activation": [StrOptions({*ACTIVATIONS, *GATED, *LOGISTIC}), "array-like", Layer, callable],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "optimizer": [StrOptions(set(OPTIMIZERS)), Optimizer, None],
    "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
    "scoring": [str, callable, None],
    "restore_best": ["boolean", None],
    "callbacks": [callable, list, tuple, None],
    "engine": [StrOptions(set(ENGINES))],
    "threads": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "dtype": [Options(object, {"float32", "float64", np.float32, np.float64}), None],
}

CLASSIFIER: dict[str, list[Any]] = {
    **sklearn.neural_network.MLPClassifier._parameter_constraints,
    **_BOTH,
    "class_weight": [StrOptions({"balanced"}), dict, list, None],
    "loss": [StrOptions({"log_loss", "hinge"}), Hinge],
    "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    "calibrate": ["boolean"],
}

REGRESSOR: dict[str, list[Any]] = {
    **sklearn.neural_network.MLPRegressor._parameter_constraints,
    **_BOTH,
    "loss": [StrOptions(REGRESSION_LOSSES), SquaredError, Poisson, Huber, Quantile],
}

STOCHASTIC = ("sgd", "adam")


def steps_by_batches(estimator: Any) -> bool:
    """Whether training goes by batches, which solver="lbfgs" does not, unless an optimizer takes its place."""
    return estimator.optimizer is not None or estimator.solver in STOCHASTIC


def check_together(estimator: Any, incremental: bool) -> None:
    """Raise ValueError for parameters that contradict each other."""
    e = estimator
    if incremental:
        for name in ("early_stopping", "calibrate"):
            if getattr(e, name, False):
                raise ValueError(f"partial_fit does not support {name}=True")
        if getattr(e, "class_weight", None) == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported for partial_fit: give weights by class, as "
                "sklearn.utils.compute_class_weight works them out from all labels"
            )
    if getattr(e, "calibrate", False) and e.loss != "log_loss":
        raise ValueError(f"calibrate=True goes with loss='log_loss', whose scores give probabilities, got {e.loss!r}")
    if steps_by_batches(e):
        return
    for name in ("dropout", "clip_norm", "restore_best"):
        if getattr(e, name):
            raise ValueError(f"{name}={getattr(e, name)!r} goes with training by batches, not with solver='lbfgs'")


def hidden_widths(hidden_layer_sizes: Any) -> list[int]:
    """A whole number for each hidden layer.

    Raises ValueError, in scikit-learn's words, for one that is not above 0, and TypeError for one that is not whole.
    """
    sizes = list(hidden_layer_sizes) if hasattr(hidden_layer_sizes, "__iter__") else [hidden_layer_sizes]
    if np.any(np.array(sizes) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [index(size) for size in sizes]
