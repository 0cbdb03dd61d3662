"""Layers one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from handgrad.errors import DTypeError, HandgradError, UnsupportedError
from handgrad.layers.base import Gradients, Layer, Shape, Visit
from handgrad.models.container import Container, within
from handgrad.ops.arrays import Array
from handgrad.ops.base import Cache


@dataclass(frozen=True, init=False, repr=False)
class Sequential(Container):
    """Each layer's output is the next one's input. Forward keeps the caches in a list, backward reads it in reverse.

    Its parameters are named by place: "0.weight", "2.bias", and "3.0.weight" in a Sequential within. Layers whose
    widths do not fit are refused at once, with a ShapeError that names the place.
    """

    layers: tuple[Layer, ...]

    def __init__(self, layers: Iterable[Layer]):
        if isinstance(layers, Layer) or not isinstance(layers, Iterable):
            raise DTypeError(f"layers must be a list of layers, such as [Linear(3, 2)], got {layers!r}")
        object.__setattr__(self, "layers", tuple(layers))
        self._bind()
        self.output_shape()

    def children(self) -> dict[str, Layer]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def output_shape(self, shape: Shape = None) -> Shape:
        for place, layer in enumerate(self.layers):
            with within(str(place)):
                shape = layer.output_shape(shape)
        return shape

    def forward(
        self, params: Mapping[str, Array], x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Cache]:
        rng = one_stream(rng)
        caches = []
        for i, layer in enumerate(self.layers):
            place = str(i)
            try:  # not `within`: its cost would show in the step of a small network
                x, cache = layer.forward(self._params_of(params, place), x, train=train, rng=rng)
            except HandgradError as error:
                raise error.within(place) from error.__cause__
            caches.append(cache)
        return x, tuple(caches)

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, Gradients]:
        grads: Gradients = {}
        for i in reversed(range(len(self.layers))):
            with within(str(i)):
                dout, of_layer = self.layers[i].backward(dout, cache[i])
            self._add_gradients(grads, str(i), of_layer)
        return dout, grads

    def jvp(self, tangent: Array, tangents: Mapping[str, Array], cache: Cache) -> Array:
        for i, layer in enumerate(self.layers):
            with within(str(i)):
                tangent = layer.jvp(tangent, self._params_of(tangents, str(i)), cache[i])
        return tangent

    def parameter_gradients(self, dout: Array, cache: Cache) -> Gradients:
        """As backward, but it goes no further down than the first layer with parameters, and takes no dx there."""
        first = next((i for i, layer in enumerate(self.layers) if self._names[str(i)]), len(self.layers))
        grads: Gradients = {}
        for i in reversed(range(first, len(self.layers))):
            layer = self.layers[i]
            try:  # not `within`, as in forward
                if i == first:
                    of_layer = layer.parameter_gradients(dout, cache[i])
                else:
                    dout, of_layer = layer.backward(dout, cache[i])
            except HandgradError as error:
                raise error.within(str(i)) from error.__cause__
            self._add_gradients(grads, str(i), of_layer)
        return grads

    def sample_gradients(self, dout: Array, cache: Cache, dx: bool = True) -> tuple[Array | None, Gradients]:
        first = next((i for i, layer in enumerate(self.layers) if self._names[str(i)]), len(self.layers))
        grads: Gradients = {}
        down: Array | None = dout
        for i in range(0 if dx else first):  # no gradient comes down to them, to meet what they mix
            if not self.layers[i].keeps_apart(cache[i]):
                raise UnsupportedError(f"{self.layers[i]!r} is not known to keep samples apart").within(str(i))
        for i in reversed(range(0 if dx else first, len(self.layers))):
            with within(str(i)):
                down, of_layer = self.layers[i].sample_gradients(down, cache[i], dx or i > first)
            self._add_gradients(grads, str(i), of_layer)
        return down, grads

    def keeps_apart(self, cache: Cache) -> bool:
        return all(layer.keeps_apart(each) for layer, each in zip(self.layers, cache, strict=True))

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
        rng = one_stream(rng)
        for i, layer in enumerate(self.layers):
            place = str(i)
            inner = f"{name}.{place}" if name else place
            x = layer.visit(visit, self._params_of(params, place), x, train=train, rng=rng, name=inner)
        return x


def one_stream(rng: np.random.Generator | int | None) -> np.random.Generator | None:
    """A seed as one generator for all layers: each would draw the same numbers from the seed itself."""
    return rng if rng is None or isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
