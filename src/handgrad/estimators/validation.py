"""The part of the data that is not trained on: its loss and score after each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.errors import UnsupportedError
from handgrad.estimators.network import Network
from handgrad.estimators.samples import scores_in_parts
from handgrad.estimators.tasks import Task
from handgrad.layers import CrossEntropy, Hinge, Parameters
from handgrad.training.predict import compiled_forward, eager_scores

Score = Callable[[], float]  # of the estimator as it is


class Validation:
    """Rows held out. x: dense or CSR; y and weight as the task trains on them, the weights as they were given."""

    def __init__(self, task: Task, network: Network, x: Any, y: np.ndarray, weight: np.ndarray | None):
        self.task, self.network, self.x, self.y, self.weight = task, network, x, y, weight
        if weight is not None and not weight.sum() > 0:
            raise ValueError("sample_weight is 0 for every sample that is validated on; a mean needs one above 0")
        self._offset = task.offset(y, weight)
        self._forward: Any = None

    def use_compiled(self) -> None:
        """Take the compiled engine from now on, so that the same run gives the same bits again."""
        try:
            self._forward = compiled_forward(self.network.model, self.network.params, self.x.shape[1:])
        except UnsupportedError:
            self._forward = None

    def scores(self, params: Parameters) -> np.ndarray:
        """The model's output for each row held out."""
        packed = self._forward.pack(params.flat) if self._forward else None

        def of_part(x: np.ndarray) -> np.ndarray:
            found = self._forward.scores(params.flat, x, packed) if self._forward else None
            return eager_scores(self.network.model, params, x) if found is None else found

        with np.errstate(all="ignore"):
            return scores_in_parts(of_part, self.x, params.flat.dtype)

    def loss(self, scores: np.ndarray) -> float:
        """Their mean loss, in scikit-learn's scale."""
        return self.task.mean_loss(scores, self.y, self.weight, self._offset)

    def score(self, scores: np.ndarray, classifies: bool) -> float:
        """scikit-learn's own: accuracy, or R2 of predictions; NaN where scores are not finite."""
        if not np.isfinite(scores).all():
            return float("nan")
        return self._accuracy(scores) if classifies else self._r2(scores)

    def _accuracy(self, scores: np.ndarray) -> float:
        if isinstance(self.task.loss, CrossEntropy | Hinge):
            right = scores.argmax(axis=1) == self.y
        else:  # all of a sample's labels
            right = ((scores > 0) == (self.y > 0.5)).all(axis=1)
        return float(np.average(right, weights=self.weight))

    def _r2(self, scores: np.ndarray) -> float:
        """1 - the squared error over that of y's own mean, averaged over outputs; of a constant output 1 or 0."""
        if self.task.out_activation == "exp":
            scores = np.exp(scores)
        weight = np.ones(len(scores)) if self.weight is None else self.weight
        error = weight @ (self.y - scores) ** 2
        spread = weight @ (self.y - np.average(self.y, axis=0, weights=weight)) ** 2
        varies = spread != 0
        return float(np.mean(np.where(varies, 1 - error / np.where(varies, spread, 1), error == 0)))
