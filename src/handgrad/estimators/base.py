"""What MLPClassifier and MLPRegressor share: the course of a fit, and scores in bounded memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from handgrad.errors import HandgradError
from handgrad.estimators import lbfgs
from handgrad.estimators.hooks import CallbackSupport, Hooks
from handgrad.estimators.network import Network, activations_of
from handgrad.estimators.options import check_together, hidden_widths, steps_by_batches
from handgrad.estimators.samples import Samples, scores_in_parts
from handgrad.estimators.stochastic import NON_FINITE, Run
from handgrad.estimators.tasks import Task
from handgrad.estimators.validation import Score, Validation
from handgrad.layers import L2, Parameters
from handgrad.training import predict

FLOATS = (np.float64, np.float32)
# what a pickle does without: it is made again from the arrays and the plain data that it has
MADE_AGAIN = ("_network", "_kept", "_callback_fit_ctx", "_skl_callbacks_to_teardown")


class BaseMLP(CallbackSupport, BaseEstimator, ABC):
    """The estimators' common part. A subclass says what its targets are; see the abstract methods."""

    _network: Network
    best_loss_: float | None
    best_validation_score_: float | None
    validation_scores_: list[float] | None
    validation_loss_curve_: list[float] | None

    @abstractmethod
    def _validated(self, X: Any, y: Any, reset: bool, incremental: bool, held: bool = False) -> tuple[Any, Any]:
        """X and y checked. Sets what is learnt of the targets, such as classes_, unless they are those held out."""

    @abstractmethod
    def _task(self, y: Any) -> Task:
        """What is to be learnt from such targets."""

    @abstractmethod
    def _encoded(self, y: Any, task: Task, dtype: Any) -> np.ndarray:
        """Checked targets as the task's loss takes them."""

    @abstractmethod
    def _weighted(self, y: Any, sample_weight: np.ndarray | None) -> np.ndarray | None:
        """The sample weights with what the estimator's own parameters add to them."""

    @abstractmethod
    def _decoded(self, y: Any) -> Any:
        """Checked targets as the caller knows them, for scorers."""

    def _strata(self, y: Any) -> Any:
        """What the validation part has the same shares of as the whole, or None."""
        return None

    def _finished(self, task: Task, held: Validation | None) -> None:
        """Learn what is learnt when the parameters are there."""

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        incremental: bool = False,
        validation: tuple[Any, Any, Any] = (None, None, None),
    ) -> Any:
        check_together(self, incremental)
        hidden = hidden_widths(self.hidden_layer_sizes)
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        hooks = None if incremental else Hooks(self, X, y, sample_weight)
        given = X
        X, y = self._validated(X, y, first, incremental)
        dtype = X.dtype if first else np.asarray(self.coefs_[0]).dtype
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        weight = self._weighted(y, sample_weight)
        task = self._task(y)
        self._random_state = check_random_state(self.random_state)
        self._start(task, [X.shape[1], *hidden, task.n_outputs], dtype, first)
        index, held, score = self._held_out(task, given, X, y, sample_weight, validation, incremental)
        mean = 1.0 if weight is None else float(np.mean(weight[index]))
        samples = Samples(X, self._encoded(y, task, dtype), _scaled(weight, mean, task, len(y), dtype), dtype, index)
        if steps_by_batches(self):
            Run(self, task, self._network, samples, mean, held, score, hooks, incremental).go()
        else:
            lbfgs.minimize(self, task, self._network, samples, mean, hooks)
        self._hold(self._network.params)
        if not np.isfinite(self._network.params.flat).all():
            raise ValueError(NON_FINITE)
        self._finished(task, held)
        if hooks is not None:
            hooks.close()
        return self

    def _start(self, task: Task, widths: list[int], dtype: Any, first: bool) -> None:
        """The network: drawn for the first fit, else with the parameters that there are."""
        design = (widths, activations_of(self.activation, len(widths) - 2), float(self.dropout))
        known = self.__dict__.get("_network")
        same = not first and known is not None and known.design == design
        network: Network = known if same and known is not None else Network(design, None, dtype)
        params = None if first else network.current(self.coefs_, self.intercepts_)  # refuses those of another shape
        self._network, self.n_outputs_ = network, task.n_outputs
        if steps_by_batches(self) and (first or not hasattr(self, "loss_curve_")):  # none after solver="lbfgs"
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
        if params is not None:
            self._hold(params)
            return
        self.n_iter_, self.t_ = 0, 0
        self.n_layers_ = len(widths)
        self.out_activation_ = task.out_activation
        network.draw(self._random_state)
        self._hold(network.params)
        self._state = None

    def _held_out(
        self,
        task: Task,
        table: Any,
        X: Any,
        y: Any,
        weight: np.ndarray | None,
        validation: tuple[Any, Any, Any],
        incremental: bool,
    ) -> tuple[np.ndarray, Validation | None, Score | None]:
        """(rows to train on, the rows that are validated on, how a scorer scores them). table: X as it was given.

        These rows are weighed by sample weights alone: class weights say what to learn, not what the data are like.
        """
        index = np.arange(X.shape[0])
        X_val, y_val, weight_val = validation
        given = any(each is not None for each in validation)
        watched = self.early_stopping and steps_by_batches(self)
        if given:
            if X_val is None or y_val is None:
                raise ValueError("X_val and y_val are given together or not at all")
            if not steps_by_batches(self) and not getattr(self, "calibrate", False):
                raise ValueError("X_val is looked at after each epoch, of which solver='lbfgs' has none")
            X_val, y_val = self._validated(X_val, y_val, False, True, held=True)
            if weight_val is not None:
                weight_val = _check_sample_weight(weight_val, X_val, ensure_non_negative=True)
        elif not incremental and (watched or getattr(self, "calibrate", False)):
            index, part = train_test_split(
                index, random_state=self._random_state, test_size=self.validation_fraction, stratify=self._strata(y)
            )
            if len(part) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
                )
            X_val, y_val, weight_val = X[part], y[part], None if weight is None else weight[part]
        self._curves(watched, X_val is not None, incremental)
        if X_val is None:
            return index, None, None
        encoded = self._encoded(y_val, task, self._network.params.flat.dtype)
        held = Validation(task, self._network, X_val, encoded, weight_val)
        if self.scoring in (None, "loss"):
            return index, held, None
        scorer = check_scoring(self, self.scoring)
        options = {} if weight_val is None else {"sample_weight": weight_val}
        rows = X_val
        if hasattr(self, "feature_names_in_"):  # with their names, which predict would miss
            rows = validation[0] if given else _safe_indexing(table, part)
        return index, held, lambda: scorer(self, rows, self._decoded(y_val), **options)

    def _curves(self, watched: bool, held: bool, incremental: bool) -> None:
        """What is kept of each epoch, begun anew, but gone on with where the fit goes on."""
        if not steps_by_batches(self):
            return
        if self.n_iter_ == 0 or not hasattr(self, "best_loss_") or (self.best_loss_ is None) != bool(watched):
            self.best_loss_ = None if watched else np.inf
        if not held:
            self.validation_scores_ = self.validation_loss_curve_ = self.best_validation_score_ = None
        elif self.n_iter_ == 0 or getattr(self, "validation_scores_", None) is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
            self.best_validation_score_ = -np.inf

    def _hold(self, params: Parameters) -> None:
        """Take these parameters: coefs_ and intercepts_ are views of them."""
        self._network.hold(params)
        self.coefs_, self.intercepts_ = list(self._network.coefs), list(self._network.intercepts)

    def _scores(self, X: Any, softmax: float | None = None) -> np.ndarray:
        """The network's output for each row, (m, n_outputs), in the parameters' dtype.

        softmax: the temperature of one that is put on top of it.
        """
        own = self.__dict__
        network = own.get("_network")
        # rows that need none of scikit-learn's checks; predict itself looks for what is not finite
        if (
            type(X) is np.ndarray
            and network is not None
            and X.dtype == network.params.flat.dtype
            and X.ndim == 2
            and X.shape[0]
            and X.shape[1] == own["n_features_in_"]
            and "feature_names_in_" not in own
        ):
            try:
                model = network.model if softmax is None else network.softmax(softmax)
                return predict(model, network.current(self.coefs_, self.intercepts_), X)
            except HandgradError:
                pass  # scikit-learn says what is wrong, in its words
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        network = self._network
        model = network.model if softmax is None else network.softmax(softmax)
        params = network.current(self.coefs_, self.intercepts_)
        return scores_in_parts(lambda x: predict(model, params, x), X, params.flat.dtype)

    def _check_solver(self) -> bool:
        if not steps_by_batches(self):
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        kept = state.get("_kept")
        if kept is not None:
            state = state | {"_state": kept.engine.state}
        if "_network" in state:
            network = Network(self._network.design, self._network.current(self.coefs_, self.intercepts_), None)
            state = state | {"_design": network.design, "coefs_": network.coefs, "intercepts_": network.intercepts}
        return {name: value for name, value in state.items() if name not in MADE_AGAIN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        design = state.get("_design")
        super().__setstate__({name: value for name, value in state.items() if name != "_design"})
        if design is not None:
            self._network = network = Network(design, None, np.asarray(self.coefs_[0]).dtype)
            self._hold(network.packed(self.coefs_, self.intercepts_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # What scikit-learn's own tests read

    @property
    def _optimizer(self) -> SimpleNamespace:
        """The learning rate as it is after the last epoch."""
        return SimpleNamespace(learning_rate=self._rate)

    def _loss_grad_lbfgs(
        self, packed: np.ndarray, X: Any, y: np.ndarray, sample_weight: np.ndarray | None, *buffers: Any
    ) -> tuple[float, np.ndarray]:
        """The objective and its gradient in scikit-learn's order: all coefs_, then all intercepts_."""
        network, ends = self._network, np.cumsum([a.size for a in (*self.coefs_, *self.intercepts_)])
        arrays = [
            part.reshape(a.shape)
            for part, a in zip(np.split(packed, ends[:-1]), (*self.coefs_, *self.intercepts_), strict=True)
        ]
        task, n = self._task(y), len(self.coefs_)
        samples = Samples(X, y.astype(float), _scaled(sample_weight, 1.0, task, len(y), float), float)
        penalty = L2(float(self.alpha) / (2 * len(y)))
        value, gradient = lbfgs.objective(network, task, samples, penalty, network.packed(arrays[:n], arrays[n:]))
        views = Network(network.design, gradient, gradient.flat.dtype)
        return value, np.concatenate([a.ravel() for a in (*views.coefs, *views.intercepts)])


def _scaled(weight: np.ndarray | None, mean: float, task: Task, n: int, dtype: Any) -> np.ndarray | None:
    """The weights whose mean is the task's factor, or None where each would be 1.

    The mean is that over all samples trained on. scikit-learn divides by each batch's own sum instead, in which a
    sample counts for more in a batch of light ones: the gradient's expectation is then not that of the weighted mean.
    """
    if weight is None:
        return None if task.factor == 1 else np.full(n, task.factor, dtype)
    if not mean > 0:
        raise ValueError("sample_weight is 0 for every sample that is trained on; a fit needs one above 0")
    return (weight * (task.factor / mean)).astype(dtype)
