"""How the products of a graph are divided among threads, where the processor has a matrix unit."""

from __future__ import annotations

from bisect import bisect_left
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
        """How wide the products of the inputs are, and the fewest rows of a batch with which each thread's part of them
        goes to the unit, so that they can be read in the data; 0 and 0 where that is never so: where anything but
        products needs the inputs, or products of different widths."""
        takers = [step for step in self.graph.steps if 0 in step.inputs]
        widths = {self.graph.widths[step.out] for step in takers}
        if not self.kind.amx or len(widths) != 1 or any(step.kind != "linear" for step in takers):
            return 0, 0
        (n,), k = widths, self.graph.widths[0]
        gated = any(step.kind == "gate" and takers[0].out in step.inputs for step in self.graph.steps)
        by_columns = not gated and not self.termwise and self.columnwise(k, n)
        share = 1 if self.termwise or by_columns else self.threads
        columns, most = n // self.threads if by_columns else n, matrix_unit.rows_at_once(matrix_unit.bytes_of(k))
        rows = range(1, self.batch + 1)
        fewest = bisect_left(rows, True, key=lambda m: matrix_unit.pays(min(m // share, most), columns, k))
        return (n, rows[fewest]) if fewest < len(rows) else (0, 0)
