"""MLPClassifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from scipy.special import expit
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from handgrad.estimators.base import FLOATS, BaseMLP
from handgrad.estimators.calibration import temperature
from handgrad.estimators.hooks import with_callbacks
from handgrad.estimators.options import CLASSIFIER
from handgrad.estimators.tasks import Task, classification
from handgrad.estimators.validation import Validation

NO_AND_YES = np.array([-1, 1], np.int8)  # 1 - expit(s) is expit(-s), which does not round to 0 where s is large


class MLPClassifier(ClassifierMixin, BaseMLP):
    """scikit-learn's MLPClassifier, trained by Handgrad's engines, with what its users ask for.

    All of scikit-learn's parameters, attributes and solvers are here and mean the same; a seed draws the same first
    weights and the same batches. See docs/estimators.md. What is new:

    activation: any of the library's names, a gated unit ("glu", "swiglu", "geglu", "reglu", "bilinear"), an activation
        layer, or a list of these, one for each hidden layer.
    class_weight: "balanced", or a weight for each label, that sample weights are multiplied by.
    loss: "log_loss", or "hinge" (a handgrad.Hinge sets its margin), with decision_function for probabilities.
    label_smoothing: the share of each label that is spread evenly over all.
    dropout: the rate after each hidden layer.
    optimizer: of the library, an object or a name, in the place of solver and all that goes with it; its learning rate
        may be a schedule. clip_norm: the largest norm of a step's gradient.
    scoring: what is measured on the validation part and, with early_stopping, stops: None for accuracy, "loss", a name
        or a function as sklearn.metrics.get_scorer and make_scorer give. restore_best: whether the best epoch's
        weights are kept; None for with early_stopping.
    calibrate: divide scores by a temperature, `temperature_`, that is fitted on the validation part.
    callbacks: functions that are given a handgrad.EpochEnd after each epoch; one that returns True stops.
    engine, threads: as in handgrad.fit. dtype: "float32" or "float64" to train in; None for X's.

    New attributes: validation_loss_curve_, temperature_, engine_.
    """

    _parameter_constraints = CLASSIFIER

    def __init__(
        self,
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
        class_weight: Any = None,
        loss: Any = "log_loss",
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        optimizer: Any = None,
        clip_norm: float | None = None,
        scoring: Any = None,
        restore_best: bool | None = None,
        calibrate: bool = False,
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
    ) -> MLPClassifier:
        """Train. X: (m, n), dense or sparse. y: (m,) labels of any kind, or (m, n_labels) of 0 and 1.

        X_val, y_val, sample_weight_val: what is validated on after each epoch, in the place of a part of X.
        """
        return self._fit(X, y, sample_weight, validation=(X_val, y_val, sample_weight_val))

    @available_if(BaseMLP._check_solver)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """One pass over these rows. classes: all labels that may ever come; for the first call alone."""
        if _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each row, (m,), or 0 and 1 for each label, (m, n_labels)."""
        scores = self._scores(X)
        if self._label_binarizer.y_type_.startswith("multilabel"):
            labels = (scores > 0).astype(int)
            return scipy.sparse.csr_matrix(labels) if self._label_binarizer.sparse_input_ else labels
        places = (scores[:, 0] > 0).astype(np.intp) if scores.shape[1] == 1 else scores.argmax(axis=1)
        return self.classes_.take(places, mode="clip")  # there is a second score where there is one label alone, too

    def _gives_probabilities(self) -> bool:
        if self.loss != "log_loss":
            raise AttributeError(f"probabilities are not available when loss={self.loss!r}")
        return True

    def _gives_decisions(self) -> bool:
        if self.loss == "log_loss":
            raise AttributeError("decision_function is for loss='hinge'; take predict_proba")
        return True

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each label, (m, n_classes), in the order of classes_."""
        if self.__dict__.get("out_activation_") == "softmax":
            return self._scores(X, softmax=self.temperature_)
        scores = self._scores(X)
        if self.temperature_ != 1:
            scores /= self.temperature_
        return expit(scores * NO_AND_YES if scores.shape[1] == 1 else scores)

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of predict_proba."""
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    @available_if(_gives_decisions)
    def decision_function(self, X: Any) -> np.ndarray:
        """The score of each label, (m, n_classes); for two labels the second's above the first's, (m,)."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) <= 2 else scores

    def _validated(self, X: Any, y: Any, reset: bool, incremental: bool, held: bool = False) -> tuple[Any, np.ndarray]:
        """X, and for each sample the place of its label in classes_, (m,), or of 0 and 1, (m, n_labels)."""
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, dtype=self.dtype or FLOATS, order="C", reset=reset
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not held and (not hasattr(self, "classes_") or (not self.warm_start and not incremental)):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            labels = len(self.classes_) if self._label_binarizer.y_type_.startswith("multilabel") else None
            if held and (y.shape[1] if y.ndim == 2 else None) != labels:
                expected = "one label for each row" if labels is None else f"shape (m, {labels}), as y has"
                raise ValueError(f"y_val must have {expected}, got shape {y.shape}")
            self._check_labels(y, self.warm_start and not held)
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return X, self._label_binarizer.transform(y).astype(np.int64)
        return X, np.searchsorted(self.classes_, y)

    def _check_labels(self, y: np.ndarray, all_of_them: bool) -> None:
        """Raise ValueError, in scikit-learn's words, for labels that are not (all of) those of the fits before."""
        labels = unique_labels(y)
        if all_of_them:
            if set(labels) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {labels}"
                )
        elif len(np.setdiff1d(labels, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {labels}."
            )

    def _start(self, task: Task, widths: list[int], dtype: Any, first: bool) -> None:
        super()._start(task, widths, dtype, first)
        self.temperature_ = 1.0  # that of a fit before is not of what is learnt now

    def _task(self, y: Any) -> Task:
        return classification(self.loss, self._label_binarizer.y_type_, len(self.classes_), self.label_smoothing)

    def _encoded(self, y: np.ndarray, task: Task, dtype: Any) -> np.ndarray:
        if task.loss.classifies:
            return y.astype(np.int64, copy=False)
        yes = y.reshape(len(y), -1).astype(dtype)
        # of the two answers to each question, as cross-entropy's own smoothing is of all classes
        return yes * (1 - self.label_smoothing) + self.label_smoothing / 2 if self.label_smoothing else yes

    def _decoded(self, y: np.ndarray) -> np.ndarray:
        return y if y.ndim == 2 else self.classes_[y]

    def _weighted(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        by_class = compute_sample_weight(self.class_weight, self._decoded(y))
        if not (np.isfinite(by_class) & (by_class >= 0)).all():
            raise ValueError(f"class_weight must hold finite numbers of at least 0, got {self.class_weight!r}")
        return by_class if sample_weight is None else by_class * sample_weight

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        # as scikit-learn does, so that a seed holds out the same rows
        return y.astype(bool).reshape(-1, 1) if self._label_binarizer.y_type_ == "binary" else None

    def _finished(self, task: Task, held: Validation | None) -> None:
        if self.calibrate and held is not None:
            self.temperature_ = temperature(task, held.scores(self._network.params), held.y, held.weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self.loss == "log_loss"
        return tags
