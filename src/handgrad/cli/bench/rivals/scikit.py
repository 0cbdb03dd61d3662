"""scikit-learn's MLPClassifier and MLPRegressor, through `fit`."""

from __future__ import annotations

import io
import time
import warnings
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from handgrad.cli.bench.configurations import Configuration
from handgrad.cli.bench.rivals.base import BETA_1, BETA_2, EPSILON, RATE, Rival


class Sklearn(Rival):
    """Adam in batches, with nothing that would end it early. Its epochs are timed by the line it prints after each."""

    def __init__(self, configuration: Configuration, threads: int):
        super().__init__(configuration, threads)
        if configuration.blocks[-1].n_out == 1:
            self.y = self.y.reshape(-1)
        self.estimator = estimator(configuration)
        self._fit(configuration.batch, 1)  # a warm start needs one that has begun

    def _fit(self, rows: int, epochs: int) -> None:
        if hasattr(self.estimator, "coefs_"):
            start_from(self.estimator, self.configuration)
        self.estimator.set_params(max_iter=epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            self.estimator.fit(self.x[:rows], self.y[:rows])

    def losses(self, rows: int, epochs: int) -> list[float]:
        self._fit(rows, epochs)
        losses = self.estimator.loss_curve_[-epochs:]
        return [float(loss) * (1 if self.configuration.classifies else 2) for loss in losses]  # it halves squares

    def times(self, epochs: int) -> list[float]:
        clock = Clock()
        self.estimator.set_params(verbose=True)
        try:
            with redirect_stdout(clock):
                self._fit(self.configuration.rows, epochs + 1)  # one more, as times are between lines
        finally:
            self.estimator.set_params(verbose=False)
        return [float(seconds) for seconds in np.diff(clock.ticks)]


class Clock(io.StringIO):
    """Takes the time when a line on an epoch is written, and keeps no text."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks: list[float] = []

    def write(self, text: str) -> int:
        if text.startswith("Iteration "):
            self.ticks.append(time.perf_counter())
        return len(text)


def estimator(configuration: Configuration) -> Any:
    """The estimator that trains as the others do."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    return (MLPClassifier if configuration.classifies else MLPRegressor)(
        hidden_layer_sizes=tuple(block.n_out for block in configuration.blocks[:-1]),
        activation="relu",
        solver="adam",
        alpha=0.0,
        batch_size=configuration.batch,
        learning_rate_init=RATE,
        beta_1=BETA_1,
        beta_2=BETA_2,
        epsilon=EPSILON,
        max_iter=1,
        tol=0.0,
        n_iter_no_change=10**9,
        early_stopping=False,
        random_state=0,
        warm_start=True,
    )


def start_from(estimator: Any, configuration: Configuration) -> None:
    """Set the weights of one that was fitted to the configuration's first."""
    weights = configuration.weights()
    estimator.coefs_ = [block[0] for block in weights]
    estimator.intercepts_ = [block[1] for block in weights]
