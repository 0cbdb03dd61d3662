"""Between the parameters as the model has them and as the kernels do."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from handgrad.engines.compiled.graph import Graph
from handgrad.engines.compiled.kernels.program import PIECE_AT, TURNED
from handgrad.engines.compiled.layout import Layout
from handgrad.layers import Parameter
from handgrad.pages import empty


class Packing:
    """Each weight in its panels, in the place that it has in the model's flat vector; all else as it is."""

    def __init__(self, specs: Mapping[str, Parameter], graph: Graph, layout: Layout):
        self.layout = layout
        outward = {step.weight: step.outward for step in graph.steps if step.kind == "linear"}
        self.length = 0
        self.parts: list[tuple[int, tuple[int, ...], bool | None]] = []  # (place, shape, outward or None for no weight)
        for name, spec in specs.items():
            self.parts.append((self.length, spec.shape, outward.get(name)))
            self.length += math.prod(spec.shape)

    def pack(self, flat: np.ndarray, target: np.ndarray, transposed: np.ndarray, pieces: np.ndarray) -> None:
        """The flat vector into `target`, and the transposes that `pieces` ask for into `transposed`."""
        turned = {int(piece[PIECE_AT]): int(piece[TURNED]) for piece in pieces if piece[TURNED] >= 0}
        for at, shape, outward in self.parts:
            here = slice(at, at + math.prod(shape))
            if outward is None:
                target[here] = flat[here]
                continue
            weight = flat[here].reshape(shape)
            weight = weight.T if outward else weight
            self.layout.pack(weight, target[here])
            if at in turned:
                self.layout.pack(weight.T, transposed[turned[at] : turned[at] + weight.size])

    def unpack(self, source: np.ndarray) -> np.ndarray:
        """The flat vector in the model's order."""
        flat = empty(self.length, source.dtype)
        for at, shape, outward in self.parts:
            here = slice(at, at + math.prod(shape))
            if outward is None:
                flat[here] = source[here]
            else:
                weight = flat[here].reshape(shape)
                self.layout.unpack(source[here], weight.T if outward else weight)
        return flat
