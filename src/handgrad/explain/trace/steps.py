"""One step of a batch's way through a model: a layer or an op, what it read, what it gave, and its way back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handgrad.layers import Layer
from handgrad.models import Residual
from handgrad.ops.base import Cache, Op

INPUT = -1  # stands for X among the numbers of steps

Source = int | str | None  # a step's number, a parameter's name in the model, None for what has no gradient


@dataclass
class Step:
    """One layer's or op's part of the pass. A Residual is the op `add`, after the steps of its layer, of x and f(x).

    name: its place in the model, "2.layer.0". kind: its layer's class, or the op's name. text: as it is written.
    function: the layer or op that ran. layer: the layer it counts as, which is the function itself, or the layer that
    binds the op; None for other ops. sources: what each of its arguments is, those of a layer being x and its
    parameters; None for a constant, and for an argument that was left out. names: the own name of each parameter, as
    the layer it counts as has them, or as the op's argument is called -> the model's. out, cache: as forward gave them.
    operands: the values of the arguments; of a layer, x. hyper: an op's options. data: the steps that it reads without
    a gradient, such as labels. graph: the place of the Graph it stands in, None outside of one. of_x: whether it is
    made of X, not of parameters alone.

    After the way back: dout, the gradient of the loss by `out`, summed over all that take it; reached: whether one came
    back at all, dout being 0 otherwise. downstream: what flows on to each of `inputs`. gradients: this place's own part
    of each parameter's gradient, under the model's names.
    """

    name: str
    kind: str
    text: str
    function: Layer | Op
    layer: Layer | None
    sources: tuple[Source, ...]
    names: dict[str, str]
    out: np.ndarray
    cache: Cache
    operands: tuple[Any, ...]
    hyper: dict[str, Any] = field(default_factory=dict)
    data: tuple[int, ...] = ()
    graph: str | None = None
    of_x: bool = True
    dout: np.ndarray = field(default_factory=lambda: np.zeros(0))
    reached: bool = False
    downstream: tuple[np.ndarray | None, ...] = ()
    gradients: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[int, ...]:
        """The steps a gradient goes back to, one for each argument that is a step's output; INPUT for X."""
        return tuple(source for source in self.sources if isinstance(source, int))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The model's names of the parameters it reads, each once."""
        return tuple(dict.fromkeys(self.names.values()))

    @property
    def is_sum(self) -> bool:
        """Whether it is a Residual's addition."""
        return isinstance(self.layer, Residual)

    def backward(self) -> list[tuple[int | str, np.ndarray | None]]:
        """(the step or the parameter, what flows on to it from `dout`), for each argument that may have a gradient;
        None in place of one that the function does not give."""
        if isinstance(self.function, Op):
            parts = self.function.backward(self.dout, self.cache)
        else:
            dx, grads = self.function.backward(self.dout, self.cache)
            parts = (dx, *(grads.get(own) for own in self.names))
        return [
            (source, None if part is None else np.asarray(part))
            for source, part in zip(self.sources, parts, strict=False)  # a loss's targets have no gradient
            if source is not None
        ]


def flow_back(steps: list[Step], last: int, dscores: np.ndarray) -> dict[int | str, np.ndarray]:
    """The gradients by X, under INPUT, and by the parameters, under their names; each step's own are written to it.

    One loop in reverse: what comes back along several ways adds, to a step's output as to a parameter.
    """
    arrived: dict[int | str, np.ndarray] = {last: dscores}
    for number in reversed(range(len(steps))):
        step = steps[number]
        step.reached = number in arrived
        step.dout = arrived[number] if step.reached else np.zeros(step.out.shape, dscores.dtype)
        flows = step.backward() if step.reached else []
        step.downstream = tuple(part for source, part in flows if isinstance(source, int))
        for source, part in flows:
            if part is None:
                continue
            arrived[source] = arrived[source] + part if source in arrived else part
            if isinstance(source, str):
                own = step.gradients
                own[source] = own[source] + part if source in own else part
    return arrived
