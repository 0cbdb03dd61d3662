"""MLPRegressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from handgrad.estimators.base import FLOATS, BaseMLP
from handgrad.estimators.hooks import with_callbacks
from handgrad.estimators.options import REGRESSOR
from handgrad.estimators.tasks import Task, regression
from handgrad.layers import Poisson
from handgrad.layers import loss as loss_of


class MLPRegressor(RegressorMixin, BaseMLP):
    """scikit-learn's MLPRegressor, trained by Handgrad's engines, with what its users ask for.

    All of scikit-learn's parameters, attributes and solvers are here and mean the same; a seed draws the same first
    weights and the same batches. See docs/estimators.md. What is new:

    loss: beside "squared_error" and "poisson" also "huber", "quantile" (the median), and objects of the library, such
        as handgrad.Huber(2.0) and handgrad.Quantile(0.9).
    activation, dropout, optimizer, clip_norm, scoring (None for R2), restore_best, callbacks, engine, threads, dtype:
        as in MLPClassifier.

    New attributes: validation_loss_curve_, engine_.
    """

    _parameter_constraints = REGRESSOR

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        optimizer: Any = None,
        clip_norm: float | None = None,
        scoring: Any = None,
        restore_best: bool | None = None,
        callbacks: Any = None,
        engine: str = "auto",
        threads: Any = "auto",
        dtype: Any = None,
    ):
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """Train. X: (m, n), dense or sparse. y: (m,) or (m, n_outputs) numbers.

        X_val, y_val, sample_weight_val: what is validated on after each epoch, in the place of a part of X.
        """
        return self._fit(X, y, sample_weight, validation=(X_val, y_val, sample_weight_val))

    @available_if(BaseMLP._check_solver)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One pass over these rows."""
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """The predicted value of each row, (m,), or (m, n_outputs) where y had several."""
        scores = self._scores(X)
        if self.out_activation_ == "exp":
            np.exp(scores, out=scores)
        return scores.reshape(-1) if scores.shape[1] == 1 else scores

    def _validated(self, X: Any, y: Any, reset: bool, incremental: bool, held: bool = False) -> tuple[Any, np.ndarray]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=True,
            dtype=self.dtype or FLOATS,
            order="C",
            reset=reset,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if held and outputs != self._network.design[0][-1]:
            raise ValueError(f"y_val must have as many outputs as y, {self._network.design[0][-1]}, got {outputs}")
        if isinstance(loss_of(self.loss), Poisson) and (y < 0).any():
            raise ValueError(
                "Some value(s) of y are out of the valid range of the loss 'poisson': y must be at least 0"
            )
        return X, y

    def _task(self, y: np.ndarray) -> Task:
        return regression(self.loss, 1 if y.ndim == 1 else y.shape[1])

    def _encoded(self, y: np.ndarray, task: Task, dtype: Any) -> np.ndarray:
        return y.reshape(len(y), -1).astype(dtype)

    def _decoded(self, y: np.ndarray) -> np.ndarray:
        return y

    def _weighted(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        return sample_weight
