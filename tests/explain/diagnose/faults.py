"""Each fault that `diagnose` knows, planted in a random network: (the network, as it is diagnosed)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import handgrad as hg
from explain.diagnose.networks import GATED, KINDS, Network, draw
from handgrad.explain.trace import trace
from handgrad.layers import loss as loss_of

DENSE = tuple(kind for kind in KINDS if kind not in GATED)


@dataclass(frozen=True)
class Planted:
    """A network with a fault. layer: where, None where it is of the whole network or of all its layers."""

    network: Network
    layer: str | None


def changed(network: Network, **values: Any) -> Network:
    """The network with other parameters: name -> array."""
    params = network.params.like(network.params.flat.copy())
    for name, value in values["params"].items():
        params[name][...] = value
    return replace(network, params=params)


def deep(seed: int, kinds: tuple[str, ...], low: int, high: int) -> tuple[Network, np.random.Generator]:
    rng = np.random.default_rng([seed, 8])
    hidden = [int(n) for n in rng.choice([24, 32, 48, 64], rng.integers(low, high + 1))]
    return draw(seed, kinds, hidden, plain=True), rng


def scaled(network: Network, factor: float, names: list[str]) -> Network:
    return changed(network, params={name: network.params[name] * factor for name in names})


def weights(network: Network) -> list[str]:
    return [name for name, spec in network.params.specs.items() if spec.decays]


def vanishing(seed: int) -> Planted:
    """Eight to twelve sigmoids, or weights of 5 to 20 % of what they should be in five to eight layers."""
    if seed % 2:
        return Planted(deep(seed, ("sigmoid",), 8, 12)[0], "0")
    network, rng = deep(seed, ("relu", "tanh", "gelu"), 5, 8)
    return Planted(scaled(network, rng.uniform(0.05, 0.2), weights(network)), None)


def exploding(seed: int) -> Planted:
    """Weights four to ten times too large in six to ten layers."""
    network, rng = deep(seed, ("relu", "leaky_relu", "swish"), 6, 10)
    return Planted(scaled(network, rng.uniform(4, 10), weights(network)), None)


def dead(seed: int) -> Planted:
    """Biases far below 0 for 50 to 100 % of a ReLU layer's units."""
    network, rng = deep(seed, ("relu",), 1, 4)
    at = 2 * int(rng.integers((len(network.model.layers) - 1) // 2))
    bias = network.params[f"{at}.bias"].copy()
    count = int(np.ceil(rng.uniform(0.5, 1) * bias.size))
    bias[rng.permutation(bias.size)[:count]] = -rng.uniform(20, 50)
    return Planted(changed(network, params={f"{at}.bias": bias}), str(at + 1))


def saturated(seed: int) -> Planted:
    """Inputs 20 to 100 times too large, or one layer's weights."""
    network, rng = deep(seed, ("tanh", "sigmoid"), 1, 3)
    factor = rng.uniform(20, 100)
    if seed % 2:
        return Planted(replace(network, X=network.X * network.X.dtype.type(factor)), "1")
    at = 2 * int(rng.integers((len(network.model.layers) - 1) // 2))
    return Planted(scaled(network, factor, [f"{at}.weight"]), str(at + 1))


def symmetric(seed: int) -> Planted:
    """All parameters 0, all weights one number, or some units of a layer copies of another, in and out."""
    network, rng = deep(seed, ("relu", "tanh", "sigmoid", "gelu", *GATED), 1, 3)
    if seed % 3 == 0:
        return Planted(changed(network, params=dict.fromkeys(network.params, 0)), "0")
    if seed % 3 == 1:
        number = rng.uniform(0.01, 0.2)
        return Planted(changed(network, params=dict.fromkeys(weights(network), number)), "0")
    network, rng = deep(seed, ("relu", "tanh", "sigmoid", "gelu"), 1, 3)
    at = 2 * int(rng.integers((len(network.model.layers) - 1) // 2))
    into, out = network.params[f"{at}.weight"].copy(), network.params[f"{at + 2}.weight"].copy()
    if network.model.layers[at].layout == "out_in":
        into[1:4], out[:, 1:4] = into[0], out[:, :1]
    else:
        into[:, 1:4], out[1:4] = into[:, :1], out[0]
    return Planted(changed(network, params={f"{at}.weight": into, f"{at + 2}.weight": out}), str(at))


def linear(seed: int) -> Planted:
    """One activation left out."""
    network, rng = deep(seed, DENSE, 1, 4)
    layers = list(network.model.layers)
    at = 2 * int(rng.integers((len(layers) - 1) // 2)) + 1
    del layers[at]
    model = hg.Sequential(layers)
    return Planted(replace(network, model=model, params=model.init(seed, network.X.dtype)), str(at))


def start(seed: int) -> Planted:
    """The last weights 30 to 100 times too large, or targets 10 to 100 standard deviations from 0."""
    network = draw(seed)
    rng = np.random.default_rng([seed, 9])
    last = str(len(network.model.layers) - 1)
    if network.loss == loss_of("squared_error"):
        return Planted(replace(network, y=network.y + network.y.dtype.type(rng.uniform(10, 100))), last)
    return Planted(scaled(network, rng.uniform(30, 100), [f"{last}.weight"]), last)


def with_ratio(network: Network, ratio: float) -> Network:
    """Trained at the rate at which a first step changes a typical weight by that share."""
    optimizer = replace(network.optimizer, learning_rate=1e-3)
    traced = trace(network.model, network.params, network.X, network.y, loss=network.loss, optimizer=optimizer)
    typical = np.median([p.update_ratio for p in traced.parameters if p.decays])
    return replace(network, optimizer=replace(optimizer, learning_rate=float(1e-3 * ratio / typical)))


def fast(seed: int) -> Planted:
    """A rate at which a step changes the weights by 1 to 10 times their own size."""
    return Planted(with_ratio(draw(seed), 10 ** np.random.default_rng([seed, 10]).uniform(0, 1)), None)


def slow(seed: int) -> Planted:
    """A rate at which a step changes the weights by 1e-8 to 1e-6 of their size."""
    return Planted(with_ratio(draw(seed), 10 ** np.random.default_rng([seed, 11]).uniform(-8, -6)), None)


def fast_trained(seed: int) -> Planted:
    """The same, after six epochs, with the history."""
    return Planted(fast(seed).network.trained(6), None)


def slow_trained(seed: int) -> Planted:
    """The same, after six epochs, with the history."""
    return Planted(slow(seed).network.trained(6), None)


def zero(seed: int) -> Planted:
    """Weights further on that are all 0, tanhs driven to their very end, or margins that are all met."""
    network, _ = deep(seed, ("tanh",), 2, 4)
    if seed % 3 == 0:
        return Planted(changed(network, params={"2.weight": 0}), "0")
    if seed % 3 == 1:
        return Planted(changed(network, params={"2.bias": 80}), "0")
    bias = np.zeros(network.params[weights(network)[-1][:-6] + "bias"].size)
    bias[0] = 1e3
    name = weights(network)[-1][:-6] + "bias"
    y = np.zeros(len(network.X), int)
    return Planted(replace(changed(network, params={name: bias}), y=y, loss=loss_of("hinge")), "0")


def unused(seed: int) -> Planted:
    """One to three columns of X that are 0 throughout."""
    network = draw(seed)
    rng = np.random.default_rng([seed, 12])
    X = network.X.copy()
    X[:, rng.permutation(X.shape[1])[: rng.integers(1, 4)]] = 0
    return Planted(replace(network, X=X), None)


# the row's name in docs/diagnose.md, the fault to be found, and how it is planted
FAULTS: dict[str, tuple[str, Callable[[int], Planted]]] = {
    "vanishing gradients": ("vanishing_gradients", vanishing),
    "exploding gradients": ("exploding_gradients", exploding),
    "dead ReLUs": ("dead_relus", dead),
    "saturated sigmoids and tanhs": ("saturation", saturated),
    "broken symmetry": ("broken_symmetry", symmetric),
    "an activation left out": ("linear_layers", linear),
    "loss at the start": ("start_loss", start),
    "learning rate too large, before training": ("rate_too_large", fast),
    "learning rate too large, by the history": ("rate_too_large", fast_trained),
    "learning rate too small, before training": ("rate_too_small", slow),
    "learning rate too small, by the history": ("rate_too_small", slow_trained),
    "a gradient that is 0": ("zero_gradient", zero),
    "unused inputs": ("unused_input", unused),
}
