"""The recipe: what a network for a table is made of and how it is trained, as data."""

from __future__ import annotations

from dataclasses import dataclass

SMALL, MIDDLE = 2**10, 2**13  # rows


@dataclass(frozen=True)
class Recipe:
    """After RealMLP-TD (Holzmüller, Grinsztajn and Steinwart, 2024, "Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data", table A.1), with narrower networks and fewer epochs: an ensemble takes their place.
    RealMLP's rate r is for weights divided by the root of the fan-in n, and so r / sqrt(n) here: for classes
    0.04 / sqrt(128); its decay of 0.02 per rate is 0.02 sqrt(128).

    bins: of a numeric column at most, and `binned` in all; twice as many for more than MIDDLE rows. binned_from: rows
    below which there are none: of small tables they made squared errors larger, log-losses not.
    """

    hidden: tuple[int, ...] = (128, 128, 128)
    activation: str = "swish"
    epochs: int = 48
    batch_size: int | None = None
    learning_rate: float = 0.0035
    beta2: float = 0.95
    weight_decay: float = 0.22
    dropout: float = 0.15
    label_smoothing: float = 0.1
    bins: int = 16
    binned: int = 256
    binned_from: int = 0

    def bins_for(self, rows: int, columns: int) -> int:
        """Bins of a numeric column, for a table of that size."""
        if rows < self.binned_from:
            return 0
        return min(self.bins, self.binned // max(1, columns)) * (2 if rows > MIDDLE else 1)

    def batch_size_for(self, rows: int) -> int:
        """Rows of a step: as asked, or RealMLP's by the size of the table."""
        return self.batch_size or (64 if rows <= SMALL else 128 if rows <= MIDDLE else 256)


CLASSIFICATION = Recipe()
REGRESSION = Recipe(learning_rate=0.005, binned_from=1000)
