"""Random networks and what they are trained on: what docs/diagnose.md is measured with, faults.py having its own.

A network is healthy when it was proved to learn: from its start, `fit` with its own optimizer brings the loss on its
own data well below that of a constant guess. Those that do not are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

import handgrad as hg
from handgrad.explain.diagnose import Diagnosis, diagnose
from handgrad.layers import Loss
from handgrad.layers import loss as loss_of

FIRST = 7000  # seeds from here on are measured; the thresholds were chosen with those below
ROWS, EPOCHS, LEARNT = 256, 12, 0.75  # LEARNT: of a constant guess's loss
GATED = ("glu", "swiglu", "geglu", "reglu")
SMOOTH = ("tanh", "sigmoid")
KINDS = ("relu", "relu", "leaky_relu", "swish", "gelu", *SMOOTH, *GATED)
LOSSES = ("cross_entropy", "cross_entropy", "hinge", "squared_error", "huber", "binary_cross_entropy")


@dataclass(frozen=True)
class Network:
    """A model, its parameters, data and how it is trained. seed: what it was drawn from."""

    model: hg.Layer
    params: hg.Parameters
    X: np.ndarray
    y: np.ndarray
    loss: Loss
    optimizer: Any
    history: Any = None
    seed: int = 0

    def diagnose(self) -> Diagnosis:
        return diagnose(
            self.model, self.params, self.X, self.y, loss=self.loss, optimizer=self.optimizer, history=self.history
        )

    def trained(self, epochs: int = EPOCHS, seed: int = 0) -> Network:
        """After so many epochs of `fit`, with the history."""
        try:
            result = hg.fit(
                self.model,
                (self.X, self.y),
                loss=self.loss,
                optimizer=self.optimizer,
                epochs=epochs,
                params=self.params,
                seed=seed,
                threads=1,
                progress=False,
            )
        except hg.errors.DivergenceError as error:
            result = error.result
        return replace(self, params=result.params, history=result.history)


def draw(seed: int, kinds: Sequence[str] = KINDS, hidden: Sequence[int] | None = None, plain: bool = False) -> Network:
    """A network, its data and its training, all at random, as one would reasonably build them.

    kinds: activations to choose from. hidden: widths. plain: neither LayerNorm nor Residual. Gated units multiply two
    maps, whose values grow with each layer: more than two of them stand with LayerNorm, as is usual.
    """
    rng = np.random.default_rng([seed, 7])
    activation = str(rng.choice(kinds))
    loss = loss_of(str(rng.choice(LOSSES)))
    n_in = int(rng.integers(4, 33))
    outputs = int(rng.integers(2, 9)) if loss.classifies else int(rng.integers(1, 4))
    depth = int(rng.integers(1, 3 if activation == "sigmoid" else 6))
    widths = [int(n) for n in rng.choice([16, 24, 32, 48, 64, 96], depth)] if hidden is None else list(hidden)
    norm = not plain and bool(rng.random() < 0.25 or (activation in GATED and depth > 2))
    init = "glorot_uniform" if activation in SMOOTH and rng.random() < 0.5 else "he_normal"
    dropout = 0.1 if not plain and rng.random() < 0.2 else 0.0
    layout = "in_out" if activation in GATED or rng.random() < 0.7 else "out_in"
    model = hg.mlp([n_in, *widths, outputs], activation, layer_norm=norm, init=init, layout=layout, dropout=dropout)
    if not plain and rng.random() < 0.25:
        model = residual(rng, n_in, outputs, activation)
    X = rng.normal(size=(ROWS, n_in)) @ (np.eye(n_in) + rng.normal(size=(n_in, n_in)) / n_in)
    X = (X - X.mean(0)) / X.std(0)
    y = targets(rng, X, loss, outputs)
    dtype = rng.choice([np.float32, np.float64])
    rate = float(rng.choice([1e-3, 3e-3]))
    optimizers = [hg.Adam(rate), hg.AdamW(rate), hg.SGD(0.03, momentum=0.9), hg.SGD(0.1), hg.RMSprop(1e-3)]
    optimizer = optimizers[rng.integers(len(optimizers))]
    y = y if loss.classifies else y.astype(dtype)
    return Network(model, model.init(seed, dtype), X.astype(dtype), y, loss, optimizer, seed=seed)


def residual(rng: np.random.Generator, n_in: int, outputs: int, activation: str) -> hg.Layer:
    """A stem, blocks of normalization, a hidden layer and a way around, and a head."""
    width = int(rng.choice([16, 32, 48]))
    blocks = []
    for _ in range(int(rng.integers(1, 4))):
        inner = hg.mlp([width, width, width], activation)
        blocks.append(hg.Residual(hg.Sequential([hg.LayerNorm(width), inner])))
    return hg.Sequential([hg.Linear(n_in, width), *blocks, hg.LayerNorm(width), hg.Linear(width, outputs)])


def targets(rng: np.random.Generator, X: np.ndarray, loss: Loss, outputs: int) -> np.ndarray:
    """What a random network of one hidden layer says, with a little noise; classes are about equally frequent."""
    hidden = np.tanh(X @ rng.normal(size=(X.shape[1], 24)) / np.sqrt(X.shape[1]))
    values = hidden @ rng.normal(size=(24, outputs))
    values = (values - values.mean(0)) / values.std(0) + 0.1 * rng.normal(size=values.shape)
    if loss.classifies:
        return values.argmax(1)
    if loss == loss_of("binary_cross_entropy"):
        return (values > 0).astype(float)
    return values


def guess_loss(network: Network) -> float:
    """The loss of the best constant guess for balanced targets."""
    zero = np.zeros((len(network.X), network.model.output_shape((network.X.shape[1],))[-1]))
    return float(network.loss.forward(zero, network.y)[0])


@cache
def healthy(count: int) -> tuple[tuple[Network, Network], ...]:
    """`count` networks, each as (at its start, trained), all of which learnt."""
    found, seed = [], FIRST
    while len(found) < count:
        start = draw(seed)
        seed += 1
        trained = start.trained()
        scores = hg.predict(trained.model, trained.params, trained.X)
        if float(trained.loss.forward(scores, trained.y)[0]) < LEARNT * guess_loss(start):
            found.append((start, trained))
    return tuple(found)
