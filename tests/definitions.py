"""What each op computes, from its textbook definition, in plain float64 NumPy: neither fast nor stable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
normal_cdf = np.vectorize(lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2))))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "none":
        return x * normal_cdf(x)
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def linear(x: Array, w: Array, b: Array | None, layout: str = "in_out", flatten: bool = False) -> Array:
    x = x.reshape(len(x), -1) if flatten else x
    z = np.einsum("...i,io->...o" if layout == "in_out" else "...i,oi->...o", x, w)
    return z if b is None else z + b


def gated(gate: Callable[[Array], Array]) -> Callable[..., Array]:
    def unit(x: Array, w_content: Array, w_gate: Array, b_content: Array | None, b_gate: Array | None) -> Array:
        return linear(x, w_content, b_content) * gate(linear(x, w_gate, b_gate))

    return unit


def softmax(x: Array, temperature: float = 1.0, axis: int = -1) -> Array:
    e = np.exp(x / temperature)
    return e / e.sum(axis=axis, keepdims=True)


def dropout(x: Array, rate: float, rng: int) -> Array:
    """The numbers a seed draws, in float32, are kept from `rate` on."""
    return np.where(np.random.default_rng(rng).random(x.shape, dtype=np.float32) >= rate, x / (1 - rate), 0)


def layer_norm(x: Array, scale: Array, shift: Array, epsilon: float = 1e-5) -> Array:
    deviation = x - x.mean(-1, keepdims=True)
    return scale * deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + epsilon) + shift


def loss(of_sample: Callable[..., float]) -> Callable[..., Array]:
    """The weighted mean over samples, or each weighted loss, from the loss of one sample's scores and target."""

    def reduced(
        scores: Array, y: Array, sample_weight: Array | None = None, reduction: str = "mean", **hyper: Any
    ) -> Array:
        samples = y.shape if y.ndim < scores.ndim or y.ndim == 1 else y.shape[:-1]
        weight = np.ones(samples) if sample_weight is None else sample_weight
        each = np.array([w * of_sample(scores[i], y[i], **hyper) for i, w in np.ndenumerate(weight)]).reshape(samples)
        return each if reduction == "none" else each.sum() / weight.sum()

    return reduced


def hinge(s: Array, y: int, margin: float = 1.0) -> float:
    return sum(max(0.0, s[j] - s[y] + margin) for j in range(len(s)) if j != y)


def cross_entropy(s: Array, y: Array, label_smoothing: float = 0.0) -> float:
    q = y if np.ndim(y) else np.eye(len(s))[y]
    smoothed = (1 - label_smoothing) * q + label_smoothing / len(s)
    return -sum(smoothed * np.log(softmax(s)))


def binary_cross_entropy(s: Array, y: Array) -> float:
    return -np.mean(y * np.log(sigmoid(s)) + (1 - y) * np.log(1 - sigmoid(s)))


def huber(s: Array, y: Array, delta: float = 1.0) -> float:
    r = np.abs(s - y)
    return np.mean(np.where(r <= delta, r**2 / 2, delta * (r - delta / 2)))


def quantile(s: Array, y: Array, q: float = 0.5) -> float:
    return np.mean(np.maximum(q * (y - s), (q - 1) * (y - s)))


DEFINITIONS: dict[str, Callable[..., Array]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "power": lambda x, y: np.exp(y * np.log(x)),
    "maximum": lambda x, y: np.where(x > y, x, y),
    "negative": lambda x: 0 - x,
    "exp": lambda x: math.e**x,
    "log": lambda x: np.log2(x) * math.log(2),
    "matmul": np.matmul,
    "linear": linear,
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "reshape": lambda x, shape=(-1,): x.reshape(shape),
    "identity": lambda x: x,
    "sigmoid": sigmoid,
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "relu": lambda x: x * (x > 0),
    "leaky_relu": lambda x, alpha=0.01: x * np.where(x > 0, 1, alpha),
    "swish": lambda x, beta=1.0: x * sigmoid(beta * x),
    "gelu": gelu,
    "softmax": softmax,
    "glu": gated(sigmoid),
    "swiglu": gated(lambda g: g * sigmoid(g)),
    "bilinear": gated(lambda g: g),
    "reglu": gated(lambda g: g * (g > 0)),
    "geglu": gated(gelu),
    "dropout": dropout,
    "layer_norm": layer_norm,
    "hinge": loss(hinge),
    "cross_entropy": loss(cross_entropy),
    "binary_cross_entropy": loss(binary_cross_entropy),
    "squared_error": loss(lambda s, y: np.mean((s - y) ** 2)),
    "huber": loss(huber),
    "poisson": loss(lambda s, y: np.mean(np.exp(s) - y * s)),
    "quantile": loss(quantile),
    "l2": lambda w, strength=1.0: strength * np.sum(w**2),
}
