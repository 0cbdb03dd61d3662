"""handgrad itself, through `fit`."""

from __future__ import annotations

from typing import Any

from handgrad.cli.bench.configurations import Configuration
from handgrad.cli.bench.rivals.base import BETA_1, BETA_2, EPSILON, RATE, Rival
from handgrad.layers import Layer, Linear, ReLU, SwiGLU
from handgrad.models import Sequential
from handgrad.optim import Adam
from handgrad.training import fit


def model_of(configuration: Configuration) -> Sequential:
    """The configuration as a handgrad model."""
    layers: list[Layer] = []
    for block in configuration.blocks:
        layers.append((SwiGLU if block.kind == "swiglu" else Linear)(block.n_in, block.n_out))
        layers += [ReLU()] * (block.kind == "relu")
    return Sequential(layers)


def params_of(model: Layer, configuration: Configuration) -> dict[str, Any]:
    """The configuration's first weights under the model's names."""
    values = [value for block in configuration.weights() for value in block]
    return dict(zip(model.init(0).specs, values, strict=True))


class Handgrad(Rival):
    """The engine that `fit` chooses."""

    engine = "auto"

    def __init__(self, configuration: Configuration, threads: int):
        super().__init__(configuration, threads)
        self.model = model_of(configuration)
        self.params = params_of(self.model, configuration)

    def _fit(self, rows: int, epochs: int) -> list[dict[str, Any]]:
        result = fit(
            self.model,
            (self.x[:rows], self.y[:rows]),
            loss=self.configuration.loss,
            optimizer=Adam(RATE, BETA_1, BETA_2, EPSILON),
            epochs=epochs,
            batch_size=self.configuration.batch,
            params=self.params,
            engine=self.engine,
            # with several cores it is left to choose, as a user would: a short step is faster on one
            threads="auto" if self.threads > 1 and self.engine == "auto" else self.threads,
            progress=False,
        )
        return result.history.rows

    def losses(self, rows: int, epochs: int) -> list[float]:
        return [row["loss"] for row in self._fit(rows, epochs)]

    def times(self, epochs: int) -> list[float]:
        return [row["seconds"] for row in self._fit(self.configuration.rows, epochs)]


class Eager(Handgrad):
    """Plain calls of the layers."""

    engine = "eager"
