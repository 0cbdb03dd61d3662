"""A model with its parameters, and scikit-learn's two lists of arrays, which are views of these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import is_
from typing import Any

import numpy as np

from handgrad.layers import Dropout, Layer, Linear, Parameters, Softmax
from handgrad.layers.activations import activation as activation_layer
from handgrad.layers.gated import GATED, Gated
from handgrad.models import Sequential
from handgrad.models.mlp import mlp

# scikit-learn's names of what the library calls otherwise
NAMES = {"logistic": "sigmoid"}
# Glorot's bound is sqrt(6 / (n_in + n_out)); for the logistic function scikit-learn takes sqrt(2 / (n_in + n_out))
FACTOR, LOGISTIC_FACTOR = 6.0, 2.0


class Network:
    """An MLP and its numbers.

    design: (widths, activations, dropout), plain data from which the same model can be made again: the width of the
    inputs, of each hidden layer and of the outputs; an activation for each hidden layer; the rate of dropout.

    coefs and intercepts have an array for each layer: (n_in, n_out) and (n_out,), or for a gated one (2, n_in, n_out)
    and (2, n_out), content first, gate second. They are views of params.flat: to write to them is to change the model.
    """

    def __init__(self, design: tuple[Sequence[int], Sequence[Any], float], params: Parameters | None, dtype: Any):
        """params: of the model's names, or None for zeros of the dtype."""
        widths, activations, dropout = design
        self.design = design
        self.model = mlp(widths, [_unit(activation) for activation in activations], dropout=dropout)
        specs = self.model.parameters()
        size = sum(math.prod(spec.shape) for spec in specs.values())
        self._set(Parameters(specs, np.zeros(size, dtype)) if params is None else params)
        self._softmax: tuple[float, Sequential] | None = None

    def _set(self, params: Parameters) -> None:
        self.params = params
        self.coefs: list[np.ndarray] = []
        self.intercepts: list[np.ndarray] = []
        at = 0
        for layer in self.model.layers:
            if not isinstance(layer, Linear | Gated):
                continue
            maps = (2,) if isinstance(layer, Gated) else ()
            for views, shape in (
                (self.coefs, (*maps, layer.n_in, layer.n_out)),
                (self.intercepts, (*maps, layer.n_out)),
            ):
                views.append(params.flat[at : at + math.prod(shape)].reshape(shape))
                at += math.prod(shape)

    def softmax(self, temperature: float) -> Sequential:
        """The model with softmax(scores / temperature) on top, of the same parameters; the last asked for is kept."""
        if self._softmax is None or self._softmax[0] != temperature:
            self._softmax = temperature, Sequential([*self.model.layers, Softmax(temperature)])
        return self._softmax[1]

    def hold(self, params: Parameters) -> None:
        """Take these parameters in the place of its own."""
        if params is not self.params:
            self._set(params)

    def draw(self, random_state: np.random.RandomState) -> None:
        """Glorot's uniform first values, weights and biases, drawn in scikit-learn's order: the same seed, the same."""
        activations = self.design[1]
        for i, (coef, intercept) in enumerate(zip(self.coefs, self.intercepts, strict=True)):
            after = activations[min(i, len(activations) - 1)] if activations else None
            factor = LOGISTIC_FACTOR if after in ("logistic", "sigmoid") else FACTOR
            bound = np.sqrt(factor / (coef.shape[-2] + coef.shape[-1]))
            coef[...] = random_state.uniform(-bound, bound, coef.shape)
            intercept[...] = random_state.uniform(-bound, bound, intercept.shape)

    def current(self, coefs: list[Any], intercepts: list[Any]) -> Parameters:
        """The parameters that these lists hold: its own, or those that somebody has put into the lists, packed.

        Raises ValueError for arrays that are not of the model.
        """
        as_many = len(coefs) == len(self.coefs) and len(intercepts) == len(self.intercepts)
        if as_many and all(map(is_, coefs, self.coefs)) and all(map(is_, intercepts, self.intercepts)):
            return self.params
        return self.packed(coefs, intercepts)

    def packed(self, coefs: list[Any], intercepts: list[Any]) -> Parameters:
        """Copies of these arrays as parameters. Raises ValueError for arrays that are not of the model."""
        fresh = Network(self.design, None, self.params.flat.dtype)
        for name, given, targets in (("coefs_", coefs, fresh.coefs), ("intercepts_", intercepts, fresh.intercepts)):
            if len(given) != len(targets):
                raise ValueError(f"{name} must hold an array for each of {len(targets)} layers, got {len(given)}")
            for i, (array, target) in enumerate(zip(given, targets, strict=True)):
                if np.shape(array) != target.shape:
                    raise ValueError(f"{name}[{i}] must have shape {target.shape}, got {np.shape(array)}")
                target[...] = array
        return self.params.like(fresh.params.flat)


def activations_of(activation: Any, hidden: int) -> list[Any]:
    """One activation for each hidden layer, from one for all or a list. Raises ValueError for what can't be one."""
    many = isinstance(activation, list | tuple)
    given = list(activation) if many else [activation] * hidden
    if len(given) != hidden:
        raise ValueError(f"activation must have one for each of {hidden} hidden layers, got {activation!r}")
    for each in given:
        unit = _unit(each)
        if isinstance(unit, str) and unit in GATED:
            continue
        layer = activation_layer(unit)
        if isinstance(layer, Dropout):
            raise ValueError("activation must not be a Dropout; give its rate as dropout=")
        if layer.parameters():
            raise ValueError(f"activation must have no parameters of its own, got {layer!r}")
    return given


def _unit(activation: Any) -> str | Layer | Any:
    return NAMES.get(activation, activation) if isinstance(activation, str) else activation
