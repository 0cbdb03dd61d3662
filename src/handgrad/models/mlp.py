"""A multilayer perceptron from its widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from handgrad.checks import by_name
from handgrad.errors import ValueRangeError
from handgrad.initializers import Initializer, he_normal
from handgrad.layers.activations import ACTIVATIONS, OTHERS
from handgrad.layers.activations import activation as activation_layer
from handgrad.layers.base import Layer
from handgrad.layers.gated import GATED, Gated
from handgrad.layers.linear import Linear
from handgrad.layers.regularization import Dropout, LayerNorm
from handgrad.models.sequential import Sequential

Unit = str | Layer | Callable[[], Layer]


def mlp(
    widths: Sequence[int],
    activation: Unit | Sequence[Unit] = "relu",
    *,
    dropout: float = 0.0,
    layer_norm: bool = False,
    bias: bool = True,
    layout: str = "in_out",
    init: str | Initializer = he_normal,
) -> Sequential:
    """A Sequential [n_in, hidden ..., n_out]: linear layers with an activation after each but the last.

    widths: the number of inputs, of each hidden layer's units and of outputs; [n_in, n_out] is a linear model.
    activation: a name, a layer or a function that makes one; "glu", "swiglu", "bilinear", "reglu" and "geglu" make
        each hidden layer a gated unit (these keep the in_out layout). A list has one for each hidden layer.
    dropout: the rate after each hidden layer. layer_norm: a LayerNorm after each hidden linear layer.
    The last layer gives scores: the losses take them as they are.
    """
    if isinstance(widths, str) or not hasattr(widths, "__len__") or len(widths) < 2:
        raise ValueRangeError(f"widths must list the inputs and the outputs at least, such as [3, 2], got {widths!r}")
    hidden = list(pairwise(widths[:-1]))
    if isinstance(activation, list | tuple):
        units = [_unit(each) for each in activation]
    else:
        units = [_unit(activation)] * len(hidden)
    if len(units) != len(hidden):
        raise ValueRangeError(f"activation must have one for each of {len(hidden)} hidden layers, got {activation!r}")
    Dropout(dropout)  # refuses a rate out of range, where no hidden layer would
    layers: list[Layer] = []
    for (n_in, n_out), unit in zip(hidden, units, strict=True):
        gated = isinstance(unit, type) and issubclass(unit, Gated)
        if gated:
            layers.append(unit(n_in, n_out, bias=bias, init=init))  # type: ignore[operator, call-arg]
        else:
            layers.append(Linear(n_in, n_out, bias=bias, layout=layout, init=init))
        if layer_norm:
            layers.append(LayerNorm(n_out))
        if not gated:
            layers.append(activation_layer(unit))
        if dropout:
            layers.append(Dropout(dropout))
    layers.append(Linear(widths[-2], widths[-1], bias=bias, layout=layout, init=init))
    return Sequential(layers)


def _unit(activation: Any) -> Unit:
    """A name's class; anything else as it is."""
    if not isinstance(activation, str):
        return activation
    return by_name("activation", activation, {**ACTIVATIONS, **GATED}, OTHERS)
