"""Rows to train on and to predict: dense as they are, sparse ones made dense a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse

from handgrad.training.data import Rows

DENSE = 2**27  # bytes up to which a sparse matrix is made dense as a whole, which is faster
PART = 2**24  # bytes of dense rows at a time where it is not


class Samples:
    """X (m, n), dense or CSR, with targets and weights for each row, of which those of `index` are to be used."""

    def __init__(self, x: Any, y: np.ndarray, weight: np.ndarray | None, dtype: Any, index: np.ndarray | None = None):
        self.dtype = np.dtype(dtype)
        self.index = np.arange(x.shape[0]) if index is None else index
        if scipy.sparse.issparse(x):
            x = x.tocsr()
            if x.shape[0] * x.shape[1] * self.dtype.itemsize <= DENSE:
                x = x.toarray()
        self.x, self.y, self.weight = x, y, weight
        self.whole = None if scipy.sparse.issparse(x) else Rows(x, y, weight)

    def __len__(self) -> int:
        return len(self.index)

    def parts(self, order: np.ndarray, batch_size: int) -> Iterator[tuple[Rows, np.ndarray]]:
        """(rows, which of them, in what order): all at once, or a part of whole batches at a time."""
        if self.whole is not None:
            yield self.whole, order
            return
        count = max(1, PART // (self.x.shape[1] * self.dtype.itemsize) // batch_size) * batch_size
        for start in range(0, len(order), count):
            here = order[start : start + count]
            weight = None if self.weight is None else self.weight[here]
            yield (
                Rows(self.x[here].toarray().astype(self.dtype, copy=False), self.y[here], weight),
                np.arange(len(here)),
            )

    def first(self, batch_size: int) -> Rows:
        """Rows from which an engine sees what it will be given."""
        return next(self.parts(self.index[:batch_size], batch_size))[0]


def scores_in_parts(scores: Callable[[np.ndarray], np.ndarray], x: Any, dtype: Any) -> np.ndarray:
    """scores(x), for a sparse x a dense part of its rows at a time."""
    if not scipy.sparse.issparse(x):
        return scores(x)
    x = x.tocsr()
    count = max(1, PART // max(1, x.shape[1] * np.dtype(dtype).itemsize))
    return np.concatenate([scores(x[at : at + count].toarray()) for at in range(0, x.shape[0], count)])
