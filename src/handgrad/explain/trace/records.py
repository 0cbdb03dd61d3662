"""What a trace says of each layer, of each parameter, and of the whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from handgrad.explain.plain import Plain
from handgrad.explain.trace.spread import Spread
from handgrad.explain.trace.tape import Tape
from handgrad.layers import Parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from handgrad.explain.view import View


@dataclass(frozen=True)
class LayerTrace(Plain):
    """One layer's part of the batch, or an op's of a Graph, containers aside; a Residual is its addition.

    name: its place, "2.layer.0". kind: its class; of an op that no layer binds, the op's name. text: as it is written.
    inputs: the names of the layers whose outputs it takes, "X" for the input. input_shape: of what it takes first;
    output_shape: with the batch. values: of its output. gradient: of the loss
    by its output, the upstream gradient. parameters: the model's names of its parameters; parameter_gradient_norms: of
    the part of their gradient that arises here, which is all of it unless they are shared. saturation: the share of
    outputs where a sigmoid or tanh is flat (less than 5 % of its steepest slope), None for other layers. dead: the
    units of a ReLU that are 0 for every sample, None for other layers; units: out of how many. cache_bytes: the arrays
    its cache holds, parameters left out.
    """

    name: str
    kind: str
    text: str
    inputs: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    values: Spread
    gradient: Spread
    parameters: tuple[str, ...]
    parameter_gradient_norms: tuple[float, ...]
    saturation: float | None
    dead: np.ndarray | None
    units: int
    cache_bytes: int


@dataclass(frozen=True)
class ParameterTrace(Plain):
    """One parameter, all its places together: `layers` names them.

    gradient: of the loss, with the penalty. update_norm: of the optimizer's step. update_ratio: that over the norm of
    the values, NaN where they are all 0.
    """

    name: str
    layers: tuple[str, ...]
    shape: tuple[int, ...]
    decays: bool
    values: Spread
    gradient: Spread
    update_norm: float
    update_ratio: float


@dataclass(frozen=True)
class Trace(Plain):
    """One batch followed through a model: `layers` in the order they run, `parameters` in the model's.

    title: the model, in short. rows: samples. dtype: of the parameters. inputs: the spread of X. loss, loss_value: its
    name, and its value with the penalty. optimizer, learning_rate: what the updates are by. loss_after_step: of the
    same batch, once they are made; loss_predicted: what that would be if the loss were as straight as its gradient
    says. gradient_norm: of all parameters together. cache_bytes: all caches, each array counted once. parameter_count:
    numbers in all.
    tape, updates: the batch itself, with every value, cache and gradient, and the optimizer's step: what `.view()` is
    made of; neither is in `.to_dict()`.
    `print` shows it as a table, `rich.print` in colour, `.plot()` as a figure, `.to_dict()` gives it as JSON's types.
    """

    title: str
    rows: int
    dtype: str
    inputs: Spread
    input_shape: tuple[int, ...]
    loss: str
    loss_value: float
    loss_after_step: float
    loss_predicted: float
    optimizer: str
    learning_rate: float
    gradient_norm: float
    parameter_count: int
    cache_bytes: int
    layers: tuple[LayerTrace, ...]
    parameters: tuple[ParameterTrace, ...]
    tape: Tape = field(repr=False, compare=False)
    updates: Parameters = field(repr=False, compare=False)

    def __getitem__(self, name: str) -> LayerTrace | ParameterTrace:
        known: dict[str, LayerTrace | ParameterTrace] = {each.name: each for each in self.layers}
        known |= {each.name: each for each in self.parameters}
        if name not in known:
            raise KeyError(f"{name!r} is neither a layer nor a parameter of this trace; they are {list(known)}")
        return known[name]

    def __str__(self) -> str:
        from handgrad.explain.trace.table import text

        return text(self)

    def __rich__(self) -> Any:
        from handgrad.explain.trace.table import rendered

        return rendered(self)

    def plot(self) -> Figure:
        """A matplotlib figure: the spread of values, the norms of gradients, update-to-weight ratios, by layer."""
        from handgrad.explain.plots import plot_trace

        return plot_trace(self)

    def to_svg(self) -> str:
        """A picture of the model as SVG text: a box for each layer, edges with the shapes that flow on them."""
        from handgrad.explain.svg import trace_svg

        return trace_svg(self)

    def view(self, **options: Any) -> View:
        """A page on which every value and gradient is to be seen: `handgrad.view` of this trace, with its options."""
        from handgrad.explain.view import view

        return view(self, **options)
