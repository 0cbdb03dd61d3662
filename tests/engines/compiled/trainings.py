"""One training for both engines: what the tests of the compiled engine compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from handgrad.engines.compiled.engine import CompiledEngine
from handgrad.engines.eager import EagerEngine
from handgrad.layers import (
    L2,
    BinaryCrossEntropy,
    CrossEntropy,
    Dropout,
    Hinge,
    Layer,
    LayerNorm,
    Linear,
    Loss,
    Parameters,
    Poisson,
    ReLU,
    SwiGLU,
    Tanh,
)
from handgrad.models import Residual, Sequential
from handgrad.optim import SGD, Adam, Optimizer
from handgrad.training.data import DROPOUT, SHUFFLE, Rows, stream, weighed

LOSS, OPTIMIZER = CrossEntropy(), Adam(0.01)


@dataclass(frozen=True)
class Training:
    """A model, its data and how it is trained: 75 rows in batches of 16, the last of 11, for 50 steps in all."""

    model: Layer
    sample: tuple[int, ...] = (20,)
    outputs: int = 5
    loss: Loss = LOSS
    soft: bool = False  # whether y of a cross-entropy is a distribution a row
    optimizer: Optimizer = OPTIMIZER
    regularizer: L2 | None = None
    clip_norm: float | None = None
    weights: str = ""  # of samples: "", "random" or "some zero"
    dtype: Any = np.float64
    rows: int = 75
    batch_size: int = 16
    epochs: int = 10
    threads: int = 1
    seed: int = 0

    def but(self, **changes: Any) -> Training:
        return replace(self, **changes)

    @property
    def data(self) -> Rows:
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.rows, *self.sample)).astype(self.dtype)
        y = targets(self.loss, self.soft, (self.rows, self.outputs), rng)
        if y.dtype.kind == "f":
            y = y.astype(self.dtype)
        weight = rng.random(self.rows) + 0.1
        if self.weights == "some zero":
            weight[rng.permutation(self.rows)[: self.rows // 2]] = 0
        return weighed(Rows(x, y, weight if self.weights else None))

    @property
    def params(self) -> Parameters:
        """Random values for all: with a bias of 0 or a scale of 1 mistakes would not show."""
        params = self.model.init(self.seed, self.dtype)
        params.flat[...] += np.random.default_rng(self.seed + 1).normal(0, 0.1, params.flat.shape)
        return params

    @property
    def bound(self) -> Optimizer:
        return self.optimizer.bind(self.epochs * -(-self.rows // self.batch_size))

    def eager(self) -> EagerEngine:
        return EagerEngine(self.model, self.loss, self.bound, self.regularizer, self.clip_norm, self.params)

    def compiled(self, guard: int = 0, data: Rows | None = None) -> CompiledEngine:
        data = data or self.data
        return CompiledEngine(
            self.model,
            self.loss,
            self.bound,
            self.regularizer,
            self.clip_norm,
            self.params,
            data,
            min(self.batch_size, len(data)),  # as `fit` has it
            threads=self.threads,
            guard=guard,
        )

    def run(self, engine: EagerEngine | CompiledEngine, data: Rows | None = None) -> tuple[np.ndarray, Parameters]:
        """Train: (loss and gradient norm of each epoch, the parameters)."""
        data = data or self.data
        curve = []
        for epoch in range(self.epochs):
            order = stream(self.seed, SHUFFLE, epoch).permutation(len(data))
            generator = partial(stream, self.seed, DROPOUT, epoch)
            curve.append(engine.epoch([(data, order)], self.batch_size, generator, lambda _: None))
        return np.array(curve), engine.params


# Products of the size that the matrix unit takes, of whole tiles or not, whose last batch is a shorter one.
OF_THE_UNITS_SIZE = Training(
    Sequential([Linear(110, 130), ReLU(), SwiGLU(130, 128), Linear(128, 100, layout="out_in"), Tanh(), Linear(100, 5)]),
    sample=(110,),
    rows=243,
    batch_size=136,
    optimizer=SGD(0.1, 0.9),
)


# Products that threads share by columns where there is a matrix unit, of whole panels or not: after what goes by rows
# and before it, with a gradient that others are added to, with a weight that two of them have, and for the scores.
TWICE = Residual(Sequential([Linear(170, 190), ReLU(), Linear(190, 170, layout="out_in")]))
COLUMNWISE = Training(
    Sequential(
        [
            *(Linear(60, 170), Tanh(), TWICE, LayerNorm(170), Dropout(0.2), Linear(170, 190), SwiGLU(190, 180)),
            *(Linear(180, 170), TWICE, Linear(170, 210)),
        ]
    ),
    sample=(60,),
    outputs=210,
    optimizer=SGD(1e-4, 0.9),
    rows=302,
    batch_size=150,
    epochs=4,
)

# Inputs so wide that threads share the sums of the first product where there is a matrix unit, of whole panels or not.
TERMWISE = Training(
    Sequential([Linear(430, 100), Tanh(), Linear(100, 64, layout="out_in"), ReLU(), Linear(64, 3)]),
    sample=(430,),
    outputs=3,
    rows=302,
    batch_size=150,
    optimizer=SGD(0.1, 0.9),
    epochs=4,
)


def targets(loss: Loss, soft: bool, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Random y that suits the loss."""
    if soft:
        return rng.dirichlet(np.ones(shape[1]), shape[0])
    if isinstance(loss, Hinge | CrossEntropy):
        return rng.integers(shape[1], size=shape[0])
    if isinstance(loss, Poisson):
        return rng.poisson(2.0, shape).astype(float)
    if isinstance(loss, BinaryCrossEntropy):
        return rng.random(shape)
    return rng.standard_normal(shape)


def differences(a: tuple[np.ndarray, Parameters], b: tuple[np.ndarray, Parameters]) -> tuple[float, float, float]:
    """The largest of two runs' losses, norms and parameters, relative to the first's losses, norms and largest one."""
    (curve, params), (other, others) = a, b
    assert curve.shape == other.shape
    assert np.isfinite(curve).all()
    # a loss may pass through 0, as Poisson's does: its digits are those of the scale it moves on
    scale = np.maximum(np.abs(curve), [0.1, 1e-3])
    loss, norm = (np.abs(curve - other) / scale).max(axis=0)
    return loss, norm, np.abs(params.flat - others.flat).max() / np.abs(params.flat).max()


def assert_agree(training: Training, exact: float = 1e-12) -> None:
    """The compiled engine's run is eager's, to rounding: float32's losses to 1e-4.

    A training may swing, and make more than `exact` of rounding in a gradient: the norms are as near then as eager's
    own are to themselves.
    """
    assert training.params.flat.dtype == training.dtype
    run = training.run(training.eager())
    loss, norm, params = differences(run, training.run(training.compiled()))
    if training.dtype == np.float64:
        assert max(loss, params) <= exact, (loss, params)
        assert norm <= exact or norm <= 4 * max(rounded(training, run)), norm
    else:
        assert loss <= 1e-4, loss


def rounded(training: Training, run: tuple[np.ndarray, Parameters]) -> Iterator[float]:
    """How far eager's norms are from those of `run` when its first parameters are moved by a last digit, up or down.

    Some times over.
    """
    for seed in range(5):
        engine, params = training.eager(), training.params
        digits = np.random.default_rng(seed).choice([-1.0, 1.0], params.flat.shape)
        params.flat[...] = np.nextafter(params.flat, digits * np.inf)
        engine.resume(params)
        yield differences(run, training.run(engine))[1]
