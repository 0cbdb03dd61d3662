"""What is trained: networks, their data and first weights, and the least time that a step of theirs can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import handgrad.checks as checks

ADAM_BYTES = 28  # a parameter and step: reads the gradient, two moments, the parameter; writes the last three
KINDS = {"linear": 1, "relu": 1, "swiglu": 2}  # linear maps of each
LOSSES = {"squared_error": "mean squared error", "cross_entropy": "cross-entropy"}


@dataclass(frozen=True)
class Block:
    """One layer with parameters: a linear map, alone or with ReLU after it, or SwiGLU, which has two maps."""

    kind: str
    n_in: int
    n_out: int

    def __post_init__(self) -> None:
        checks.by_name("kind", self.kind, KINDS)
        checks.counts(self, "n_in", "n_out")

    @property
    def maps(self) -> int:
        return KINDS[self.kind]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of its parameters, in handgrad's order: weights, then biases."""
        return [(self.n_in, self.n_out)] * self.maps + [(self.n_out,)] * self.maps


@dataclass(frozen=True)
class Configuration:
    """A network, its loss, and `batches` batches of `batch` random rows; Adam at a rate of 0.001, float32."""

    name: str
    blocks: tuple[Block, ...]
    loss: str
    batch: int
    batches: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(b if isinstance(b, Block) else Block(**b) for b in self.blocks))
        checks.by_name("loss", self.loss, LOSSES)
        checks.counts(self, "batch", "batches")

    def as_json(self) -> dict[str, Any]:
        """What `Configuration(**...)` takes, in another process."""
        return asdict(self)

    @property
    def rows(self) -> int:
        return self.batch * self.batches

    @property
    def classifies(self) -> bool:
        return self.loss == "cross_entropy"

    @property
    def parameters(self) -> int:
        return sum(block.maps * (block.n_in + 1) * block.n_out for block in self.blocks)

    @property
    def flops(self) -> int:
        """Of the matrix products of a step: two forward and backward by weights and inputs, those of the data apart."""
        return sum(
            2 * self.batch * block.n_in * block.n_out * block.maps * (3 if i else 2)
            for i, block in enumerate(self.blocks)
        )

    def limit(self, peak: float, bandwidth: float) -> float:
        """The least seconds of a step, at `peak` floating-point operations and `bandwidth` bytes a second."""
        return self.flops / peak + ADAM_BYTES * self.parameters / bandwidth

    @property
    def text(self) -> str:
        """The network in a few words."""
        widths = [str(self.blocks[0].n_in)]
        widths += [f"[SwiGLU {b.n_out}]" if b.kind == "swiglu" else str(b.n_out) for b in self.blocks]
        return f"{'-'.join(widths)}, batch {self.batch}, {LOSSES[self.loss]}"

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """X (rows, n_in) and y, labels or (rows, n_out); the first batch holds every class."""
        rng, n_out = np.random.default_rng(0), self.blocks[-1].n_out
        x = rng.standard_normal((self.rows, self.blocks[0].n_in), np.float32)
        if not self.classifies:
            return x, rng.standard_normal((self.rows, n_out), np.float32)
        y = rng.integers(0, n_out, self.rows)
        y[:n_out] = np.arange(n_out)[: self.rows]
        return x, y

    def weights(self) -> list[list[np.ndarray]]:
        """First values for each block, in the order of its shapes: normal, scaled by the width; biases 0."""
        rng = np.random.default_rng(1)
        return [
            [
                (rng.standard_normal(shape) * (2 / block.n_in) ** 0.5).astype(np.float32)
                if len(shape) == 2
                else np.zeros(shape, np.float32)
                for shape in block.shapes
            ]
            for block in self.blocks
        ]


def mlp(name: str, widths: Sequence[int], loss: str, batch: int, batches: int = 64) -> Configuration:
    """Linear maps with ReLU between them."""
    pairs = list(pairwise(widths))
    kinds = ["relu"] * (len(pairs) - 1) + ["linear"]
    blocks = tuple(Block(kind, *pair) for kind, pair in zip(kinds, pairs, strict=True))
    return Configuration(name, blocks, loss, batch, batches)


GATED = (
    Block("swiglu", 512, 1024),
    Block("linear", 1024, 512),
    Block("swiglu", 512, 1024),
    Block("linear", 1024, 512),
    Block("linear", 512, 10),
)

CONFIGURATIONS = {
    configuration.name: configuration
    for configuration in (
        mlp("A", (8, 64, 64, 1), "squared_error", 32),
        mlp("B", (32, 128, 128, 10), "cross_entropy", 128),
        mlp("C", (784, 256, 128, 10), "cross_entropy", 128),
        mlp("D", (256, 512, 512, 512, 256), "squared_error", 256),
        Configuration("E", GATED, "cross_entropy", 512, batches=8),
    )
}
