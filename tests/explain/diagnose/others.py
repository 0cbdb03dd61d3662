"""Healthy networks unlike those of networks.py: other widths, depths, data and targets, as people have them.

Each family is a function of a seed. What it draws is sound, and is trained as one would: nothing should be said of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import handgrad as hg
from explain.diagnose.networks import Network
from handgrad.layers import loss as loss_of

FIRST_OTHER = 3000  # seeds from here on are measured


def made(seed: int, model: hg.Layer, X: np.ndarray, y: np.ndarray, loss: str, optimizer: object = None) -> Network:
    X = X.astype(np.float32)
    y = y if loss_of(loss).classifies else y.astype(np.float32)
    return Network(model, model.init(seed, np.float32), X, y, loss_of(loss), optimizer or hg.Adam(1e-3), seed=seed)


def drawn(seed: int, rows: int, columns: int) -> tuple[np.random.Generator, np.ndarray]:
    rng = np.random.default_rng([seed, 20])
    return rng, rng.normal(size=(rows, columns))


def signal(rng: np.random.Generator, X: np.ndarray, outputs: int) -> np.ndarray:
    """Numbers of mean 0 and standard deviation 1 that a small network can learn."""
    values = np.tanh(X @ rng.normal(size=(X.shape[1], 16)) / np.sqrt(X.shape[1])) @ rng.normal(size=(16, outputs))
    return (values - values.mean(0)) / values.std(0)


def wide(seed: int) -> Network:
    """A hidden layer of 1,024 units"""
    rng, X = drawn(seed, 256, 20)
    return made(seed, hg.mlp([20, 1024, 4]), X, signal(rng, X, 4).argmax(1), "cross_entropy")


def narrow(seed: int) -> Network:
    """Eight inputs and hidden layers of four tanhs"""
    rng, X = drawn(seed, 256, 8)
    return made(seed, hg.mlp([8, 4, 4, 2], "tanh"), X, signal(rng, X, 2).argmax(1), "cross_entropy", hg.Adam(1e-2))


def deep_tanh(seed: int) -> Network:
    """Ten hidden layers of tanhs, by Glorot's initialization"""
    rng, X = drawn(seed, 256, 20)
    model = hg.mlp([20, *[48] * 10, 3], "tanh", init="glorot_uniform")
    return made(seed, model, X, signal(rng, X, 3).argmax(1), "cross_entropy")


def deep_normalized(seed: int) -> Network:
    """Eight hidden layers of ReLUs with LayerNorm"""
    rng, X = drawn(seed, 256, 20)
    model = hg.mlp([20, *[48] * 8, 1], layer_norm=True)
    return made(seed, model, X, signal(rng, X, 1), "squared_error")


def gated_regression(seed: int) -> Network:
    """A SwiGLU network for one number, by Huber's loss"""
    rng, X = drawn(seed, 256, 12)
    return made(seed, hg.mlp([12, 32, 1], "swiglu"), X, signal(rng, X, 1)[:, 0], "huber")


def yes_or_no(seed: int) -> Network:
    """One output for yes or no, one yes in twenty"""
    rng, X = drawn(seed, 512, 16)
    values = signal(rng, X, 1)
    return made(seed, hg.mlp([16, 32, 1]), X, values > np.quantile(values, 0.95), "binary_cross_entropy")


def imbalanced(seed: int) -> Network:
    """Three classes of 94, 4 and 2 % of the rows"""
    rng, X = drawn(seed, 512, 16)
    values = signal(rng, X, 1)[:, 0]
    y = np.digitize(values, np.quantile(values, [0.94, 0.98]))
    return made(seed, hg.mlp([16, 48, 48, 3], dropout=0.5), X, y, "cross_entropy")


def noise(seed: int) -> Network:
    """Labels that have nothing to do with the inputs"""
    rng, X = drawn(seed, 512, 10)
    return made(seed, hg.mlp([10, 24, 3]), X, rng.integers(3, size=512), "cross_entropy")


def noisy(seed: int) -> Network:
    """Numbers of which the inputs explain a twentieth, by plain SGD"""
    rng, X = drawn(seed, 256, 10)
    y = signal(rng, X, 1) * 0.22 + rng.normal(size=(256, 1)) * 0.97
    return made(seed, hg.mlp([10, 24, 1]), X, y, "squared_error", hg.SGD(0.003))


def categories(seed: int) -> Network:
    """Columns of 0 and 1, one of twelve in each row"""
    rng, _ = drawn(seed, 1, 1)
    X = np.eye(12)[np.arange(512) % 12]
    y = rng.integers(4, size=12)[np.arange(512) % 12]
    return made(seed, hg.mlp([12, 32, 4]), X, y, "cross_entropy", hg.Adam(3e-3))


def positive(seed: int) -> Network:
    """Pixels between 0 and 1, not centred"""
    rng, X = drawn(seed, 512, 64)
    X = 1 / (1 + np.exp(-X))
    return made(seed, hg.mlp([64, 128, 10]), X, signal(rng, X, 10).argmax(1), "cross_entropy")


def counts(seed: int) -> Network:
    """Counts of mean 3, by Poisson's loss"""
    rng, X = drawn(seed, 512, 8)
    y = rng.poisson(3 * np.exp(0.5 * signal(rng, X, 1)))
    return made(seed, hg.mlp([8, 32, 1]), X, y, "poisson")


def quantiles(seed: int) -> Network:
    """Skewed numbers, by the loss of a quantile"""
    rng, X = drawn(seed, 512, 8)
    return made(seed, hg.mlp([8, 32, 1], "gelu"), X, rng.exponential(size=(512, 1)) + signal(rng, X, 1), "quantile")


def memorized(seed: int) -> Network:
    """Forty rows learnt by heart"""
    rng, X = drawn(seed, 40, 20)
    return made(seed, hg.mlp([20, 128, 3]), X, rng.integers(3, size=40), "cross_entropy", hg.Adam(1e-2))


def straight(seed: int) -> Network:
    """No hidden layer"""
    rng, X = drawn(seed, 256, 10)
    return made(seed, hg.Linear(10, 3), X, signal(rng, X, 3).argmax(1), "hinge", hg.SGD(0.05))


# each family, and how many epochs it is trained for
OTHERS: tuple[tuple[Callable[[int], Network], int], ...] = (
    (wide, 10),
    (narrow, 10),
    (deep_tanh, 10),
    (deep_normalized, 10),
    (gated_regression, 40),
    (yes_or_no, 10),
    (imbalanced, 10),
    (noise, 10),
    (noisy, 10),
    (categories, 10),
    (positive, 10),
    (counts, 20),
    (quantiles, 20),
    (memorized, 60),
    (straight, 10),
)
