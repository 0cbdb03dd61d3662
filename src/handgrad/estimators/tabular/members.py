"""The members of an ensemble: each its own split, its own seed and a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad.errors import DivergenceError
from handgrad.estimators.tabular.recipe import Recipe
from handgrad.layers import Linear, Loss, Parameters
from handgrad.models import Sequential, mlp
from handgrad.optim import AdamW, CosineLog
from handgrad.training import EpochEnd, History, fit

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]  # (scores, y, weight): less is better

SAMPLE = 2048  # rows that the first values are fitted to
CORNERS = 5  # rows that a unit's first hyperplane goes between


@dataclass(frozen=True)
class Data:
    """Encoded rows x (m, width), targets y, their weights or None, as a member is given them."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None

    def take(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(x, y, weight) of those rows."""
        return self.x[index], self.y[index], None if self.weight is None else self.weight[index]


@dataclass(frozen=True)
class Member:
    """A trained network: its parameters' vector, and how it was reached."""

    flat: np.ndarray
    history: History
    best_epoch: int


def network(width: int, outputs: int, recipe: Recipe) -> Sequential:
    """The network for that many inputs and outputs."""
    return mlp([width, *recipe.hidden, outputs], activation=recipe.activation, dropout=recipe.dropout)


def first_values(model: Sequential, x: np.ndarray, rng: np.random.Generator) -> Parameters:
    """Parameters fitted to some rows x: the sum of each hidden unit has the standard deviation 1, and its hyperplane
    goes through a random point between CORNERS rows; the last layer is 0. As in RealMLP ("std" and "he+5")."""
    params = model.init(rng, np.float32)
    layers = list(model.children().items())
    last = max(i for i, (_, layer) in enumerate(layers) if isinstance(layer, Linear))
    for i, (name, layer) in enumerate(layers):
        if isinstance(layer, Linear):
            weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
            if i == last:
                weight[...] = bias[...] = 0
                break
            sums = x @ weight
            spread = sums.std(axis=0)
            scale = 1 / np.where(spread > 0, spread, 1)
            weight *= scale
            sums *= scale
            corners = rng.integers(len(x), size=(CORNERS, layer.n_out))
            shares = rng.dirichlet(np.ones(CORNERS), layer.n_out).T
            bias[...] = -(sums[corners, np.arange(layer.n_out)] * shares).sum(axis=0)
            x = sums + bias
        else:
            x, _ = layer.forward({}, x)
    return params


def train(
    model: Sequential,
    data: Data,
    held: np.ndarray,
    loss: Loss,
    metric: Metric,
    recipe: Recipe,
    seed: int,
    engine: str,
    stop: Callable[[], bool],
    progress: bool = False,
    keeping: Mapping[str, Any] | None = None,
) -> Member:
    """Train one member on all rows but those held out, up to its best epoch by `metric` of these.

    With none held out, the last epoch's parameters are taken. stop: asked after each epoch; what is cut off so is of no
    use, but to the checkpoints there are. keeping: further options of `fit`, such as these.
    """
    rng = np.random.default_rng(seed)
    taken = np.delete(np.arange(len(data.x)), held)
    rows = data.take(taken)
    sample = rows[0][rng.permutation(len(taken))[:SAMPLE]]
    unseen = data.take(held)

    def held_metric(scores: np.ndarray, y: np.ndarray) -> float:
        return metric(scores, y, unseen[2])

    def end(_: EpochEnd) -> None:
        if stop():
            raise KeyboardInterrupt  # not as a callback would, by True: checkpoints keep that it was its end

    kept = dict(keeping or {})
    callbacks = [*kept.pop("callbacks", ()), end]
    validated: dict[str, Any] = {}
    if len(held):
        validated = {
            "validation": unseen,
            "metrics": [held_metric],
            "monitor": "validation_held_metric",
            "patience": recipe.epochs,
        }
    try:
        result = fit(
            model,
            rows,
            loss=loss,
            optimizer=AdamW(CosineLog(recipe.learning_rate), beta2=recipe.beta2, weight_decay=recipe.weight_decay),
            epochs=recipe.epochs,
            batch_size=recipe.batch_size_for(len(taken)),
            seed=seed,
            params=first_values(model, sample, rng),
            engine=engine,
            threads=1,
            callbacks=callbacks,
            progress=progress,
            **validated,
            **kept,
        )
    except DivergenceError as error:
        result = error.result
    return Member(result.params.flat, result.history, result.best_epoch)
