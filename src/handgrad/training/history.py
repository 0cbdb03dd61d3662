"""What `fit` returns: the parameters, and how they were reached, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from handgrad.checks import by_name
from handgrad.layers import Layer, Parameters
from handgrad.ops.arrays import Array
from handgrad.training.privacy import Privacy


@dataclass(frozen=True)
class History:
    """One row an epoch: epoch, loss, gradient_norm, learning_rate, seconds, and validation_loss and metrics if asked.

    loss is the mean over the epoch's samples, each at the step it was seen, penalty included; gradient_norm the mean
    over its steps, before clipping; learning_rate that of its last step; seconds its duration, validation included.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def column(self, name: str) -> list[Any]:
        """The values of one column, an epoch each."""
        return [by_name("column", name, row) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def plot(self, ax: Any = None) -> Any:
        """Loss curves on a logarithmic axis, drawn with matplotlib; the axes they are on."""
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        epochs = self.column("epoch")
        for name, label in (("loss", "training loss"), ("validation_loss", "validation loss")):
            if self.rows and name in self.rows[0]:
                ax.plot(epochs, self.column(name), label=label)
        ax.set(xlabel="epoch", ylabel="loss", yscale="log")
        ax.legend(frameon=False)
        return ax


@dataclass(frozen=True)
class Result:
    """The outcome of `fit`.

    params: those of the best epoch where early stopping was asked for, else the last. best_epoch: the epoch they are
    of, counted from 1; 0 when no epoch was finished. stopped: "epochs", "patience", "callback", "interrupted", or, in
    the `result` of an error, "diverged", "terminated" (by SIGTERM) or "failed" (of a stream's source). engine:
    "compiled" or "eager"; note: why engine="auto" did not take the compiled one. privacy: of a training with
    noise_multiplier, what its parameters tell of any one sample; None of any other.
    """

    model: Layer
    params: Parameters
    history: History
    best_epoch: int
    stopped: str
    engine: str
    note: str = ""
    privacy: Privacy | None = None

    def predict(self, X: Any, batch_size: int = 4096) -> Array:
        """The scores of each row of X (see `handgrad.predict`)."""
        from handgrad.training.predict import predict

        return predict(self.model, self.params, X, batch_size=batch_size)

    def __repr__(self) -> str:
        last = self.history.rows[-1] if self.history.rows else {}
        losses = ", ".join(f"{name} {last[name]:.4g}" for name in ("loss", "validation_loss") if name in last)
        return f"Result({len(self.history)} epochs, {losses or 'none finished'}, stopped by {self.stopped!r})"
