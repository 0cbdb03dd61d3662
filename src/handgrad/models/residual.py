"""A layer with a way around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad.errors import ShapeError
from handgrad.layers.base import Gradients, Layer, Shape, Visit, shape_text
from handgrad.models.container import Container, within
from handgrad.ops.arrays import Array
from handgrad.ops.base import Cache


@dataclass(frozen=True, repr=False)
class Residual(Container):
    """y = x + f(x), f the layer within, whose output has its input's shape. Parameters: "layer.weight" and so on.

    The addition copies the upstream gradient to both ways, and where x forks the two add: dx = dy + df.
    He et al. (2016), "Deep residual learning for image recognition".
    """

    layer: Layer

    def __post_init__(self) -> None:
        self._bind()
        out = self.output_shape()
        if out is not None:  # a layer that keeps its input's shape takes its own output
            try:
                self.output_shape(out)
            except ShapeError as error:
                raise ShapeError(
                    f"the layer of a Residual must keep its input's shape, but cannot take its own output: {error}"
                ) from None

    def children(self) -> dict[str, Layer]:
        return {"layer": self.layer}

    def output_shape(self, shape: Shape = None) -> Shape:
        with within("layer"):
            out = self.layer.output_shape(shape)
        if shape is not None and out is not None and not _may_agree(shape, out):
            raise ShapeError(
                f"the layer of a Residual must keep its input's shape {shape_text(shape)}, got {shape_text(out)}"
            )
        return out

    def forward(
        self, params: Mapping[str, Array], x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Cache]:
        with within("layer"):
            out, cache = self.layer.forward(self._params_of(params, "layer"), x, train=train, rng=rng)
        if out.shape != x.shape:
            raise ShapeError(
                f"the layer of a Residual must keep its input's shape {tuple(x.shape)}, got {tuple(out.shape)}"
            )
        return x + out, cache

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, Gradients]:
        with within("layer"):
            dx, of_layer = self.layer.backward(dout, cache)
        grads: Gradients = {}
        self._add_gradients(grads, "layer", of_layer)
        return dout + dx, grads

    def jvp(self, tangent: Array, tangents: Mapping[str, Array], cache: Cache) -> Array:
        with within("layer"):
            return tangent + self.layer.jvp(tangent, self._params_of(tangents, "layer"), cache)

    def parameter_gradients(self, dout: Array, cache: Cache) -> Gradients:
        grads: Gradients = {}
        with within("layer"):
            of_layer = self.layer.parameter_gradients(dout, cache)
        self._add_gradients(grads, "layer", of_layer)
        return grads

    def sample_gradients(self, dout: Array, cache: Cache, dx: bool = True) -> tuple[Array | None, Gradients]:
        grads: Gradients = {}
        with within("layer"):
            down, of_layer = self.layer.sample_gradients(dout, cache, dx)
        self._add_gradients(grads, "layer", of_layer)
        return dout + down if dx else None, grads

    def keeps_apart(self, cache: Cache) -> bool:
        return self.layer.keeps_apart(cache)

    def visit(
        self,
        visit: Visit,
        params: Mapping[str, Array],
        x: Array,
        *,
        train: bool = False,
        rng: np.random.Generator | None = None,
        name: str = "",
    ) -> Array:
        inner = f"{name}.layer" if name else "layer"
        y = x + self.layer.visit(visit, self._params_of(params, "layer"), x, train=train, rng=rng, name=inner)
        visit(name, self, y)
        return y


def _may_agree(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Whether two shapes can be one, where ... in front stands for any axes."""
    if ... not in (*a, *b):
        return a == b
    known = min(len(a) - (... in a), len(b) - (... in b))  # of axes at the end that both name
    return known == 0 or a[-known:] == b[-known:]
