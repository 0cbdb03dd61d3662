"""How the products of a graph are divided among threads, where the processor has a matrix unit."""

from __future__ import annotations

from dataclasses import dataclass

from handgrad.engines.compiled.graph import Graph
from handgrad.engines.compiled.kernels import matrix_unit
from handgrad.engines.compiled.kernels.vectors import Vectors


@dataclass(frozen=True)
class Division:
    """Of batches of so many rows among so many threads."""

    graph: Graph
    kind: Vectors
    batch: int
    threads: int

    def columnwise(self, length: int, columns: int) -> bool:
        """Whether threads take columns of a product with a weight, not rows: see `matrix_unit.columnwise`."""
        return self.kind.amx and matrix_unit.columnwise(length, columns, self.batch, self.threads)

    def turns(self, k: int, n: int, columnwise: bool) -> bool:
        """Whether the unit turns the weight (k, n) itself, for the gradient by a linear map's input."""
        rows = self.batch if columnwise else max(1, self.batch // self.threads)
        return self.kind.amx and matrix_unit.turns(k, n, rows)

    @property
    def termwise(self) -> bool:
        """Whether threads share the sums of the first product, whose inputs nothing else needs."""
        if not self.graph.steps or self.graph.steps[0].kind != "linear" or self.graph.uses[0] > 1:
            return False
        k, n = self.graph.widths[0], self.graph.widths[self.graph.steps[0].out]
        return self.kind.amx and matrix_unit.termwise(k, n, self.batch, self.threads)

    @property
    def in_place(self) -> tuple[int, int]:
        """How wide the products of the inputs are, where those can be read in the data, and how many threads share
        their rows; 0 and 0 where anything but products needs them, or products of different widths."""
        takers = [step for step in self.graph.steps if 0 in step.inputs]
        widths = {self.graph.widths[step.out] for step in takers}
        if not self.kind.amx or len(widths) != 1 or any(step.kind != "linear" for step in takers):
            return 0, 0
        (n,) = widths
        return n, 1 if self.termwise or self.columnwise(self.graph.widths[0], n) else self.threads
