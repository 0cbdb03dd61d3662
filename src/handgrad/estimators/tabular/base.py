"""What the two estimators share: tables in, members trained at once, their scores out."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from handgrad.checks import positive, share, whole
from handgrad.engines.choice import cores, engine_name
from handgrad.errors import ShapeError, ValueRangeError
from handgrad.estimators.tabular.columns import Column, Table, is_frame, names_of, part_of, roles_of, table_of
from handgrad.estimators.tabular.encoding import FOLDS, HELD, Encoder
from handgrad.estimators.tabular.members import Data, Member, Metric, network, train
from handgrad.estimators.tabular.recipe import Recipe
from handgrad.estimators.tabular.rows import held_out, settled
from handgrad.layers import Loss
from handgrad.training import Predictor

PREDICTED = 4096  # rows encoded at a time, so that the memory for them is bounded
SEEDS = 2**31 - 1
EXTREME = 1e15  # weights whose largest is above it, or below 1 / EXTREME, are taken as shares of that


@dataclass(frozen=True)
class Given:
    """What there is to learn from: rows with a weight, read, in the order of `settled`."""

    columns: tuple[Column, ...]
    table: Table
    y: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, X: Any, y: np.ndarray, weight: np.ndarray) -> Given:
        """From a checked X, y (m,) of numbers, and a weight for each row."""
        check_consistent_length(X, y)
        columns, kept = roles_of(X), weight > 0
        table = table_of(X, columns)
        if not kept.all():
            table, y, weight = table.take(kept), y[kept], weight[kept]
        return cls(columns, *settled(table, y, weight))


class TabularEstimator(BaseEstimator):
    """Fitting and predicting, but for what the target is."""

    _recipe: ClassVar[Recipe]
    _keeping: Callable[[int], Mapping[str, Any]] | None = None  # of each member: further options of its `fit`

    def __init__(
        self,
        *,
        hidden_layer_sizes: Any = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        dropout: float | None = None,
        n_ensemble: int = 4,
        validation_fraction: float = 0.2,
        random_state: Any = None,
        engine: str = "auto",
        threads: int | str = "auto",
        progress: bool = False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.n_ensemble = n_ensemble
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.engine = engine
        self.threads = threads
        self.progress = progress

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = tags.input_tags.allow_nan = True
        return tags

    def _settings(self) -> Recipe:
        """The recipe with what the arguments change, all of them checked."""
        sizes = self.hidden_layer_sizes
        if sizes is not None:
            sizes = tuple(whole("hidden_layer_sizes", n) for n in (sizes if isinstance(sizes, Iterable) else (sizes,)))
        given = {
            "hidden": sizes,
            "epochs": None if self.epochs is None else whole("epochs", self.epochs),
            "batch_size": None if self.batch_size is None else whole("batch_size", self.batch_size),
            "learning_rate": None if self.learning_rate is None else positive("learning_rate", self.learning_rate),
            "dropout": None if self.dropout is None else share("dropout", self.dropout),
        }
        whole("n_ensemble", self.n_ensemble)
        fraction = positive("validation_fraction", self.validation_fraction)
        if fraction > 0.5:
            raise ValueRangeError(f"validation_fraction must be at most 0.5, got {fraction}")
        engine_name(self.engine)
        return replace(self._recipe, **{name: value for name, value in given.items() if value is not None})

    def _rows(self, X: Any, reset: bool) -> Any:
        """X as a frame or an array with two axes, whose columns are named as those of fit."""
        if is_frame(X):
            if 0 in X.shape:
                raise ShapeError(f"X must have a row and a column at least, got shape {tuple(X.shape)}")
            validate_data(self, X, reset=reset, skip_check_array=True)
            names = [] if reset else [column.name for column in self.columns_]
            if not reset and names != names_of(X) and set(names) == set(names_of(X)):  # names that are no text
                raise ShapeError(f"columns must be in the order of fit, {names}, got {names_of(X)}")
            return X
        if isinstance(X, list | tuple) and np.asarray(X).dtype.kind in "US":
            X = np.array(X, object)  # or numbers beside text would be text
        return validate_data(self, X, dtype=None, ensure_all_finite=False, reset=reset)

    def _train(
        self,
        given: Given,
        known: np.ndarray,
        y: np.ndarray,
        strata: np.ndarray,
        outputs: int,
        loss: Loss,
        metric: Metric,
        recipe: Recipe,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Fit the encoder and the members. known (m, k): what a level may be told the mean of; y: the targets as the
        loss takes them. Returns, for each member, the rows it did not see and its scores of them."""
        random = check_random_state(self.random_state)
        seeds = random.randint(SEEDS, size=1 + self.n_ensemble)
        rng = np.random.default_rng(seeds[0])
        table, weight = given.table, given.weight
        encoder = Encoder.of(table, known, weight, recipe.bins_for(*table.numbers.shape))
        x = encoder.encode(table)
        folds = rng.permutation(len(table)) % FOLDS
        model = network(encoder.width, outputs, recipe)
        held = held_out(strata, self.n_ensemble, self.validation_fraction, rng)
        stopped = threading.Event()
        threads = min(cores() if self.threads == "auto" else whole("threads", self.threads), self.n_ensemble)

        def run(i: int) -> tuple[Member, np.ndarray]:
            """A member, and the inputs of the rows that it did not see, nor means of their targets."""
            own = folds.copy()
            own[held[i]] = HELD
            rows = encoder.encode_fitted(x, table, known, weight, own)
            data = Data(rows, y, None if (weight == weight[0]).all() else weight)
            show = self.progress and i == 0
            seed, keeping = int(seeds[1 + i]), self._keeping(i) if self._keeping else None
            member = train(model, data, held[i], loss, metric, recipe, seed, self.engine, stopped.is_set, show, keeping)
            return member, rows[held[i]]

        with ThreadPoolExecutor(threads) as pool:
            jobs = [pool.submit(run, i) for i in range(self.n_ensemble)]
            try:
                wait(jobs, return_when=FIRST_EXCEPTION)
            finally:  # after Ctrl-C, or an error of one, members end with the epoch that they are at, or never begin
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
        members, unseen = zip(*(job.result() for job in jobs), strict=True)
        if diverged := sum(len(member.history) < recipe.epochs for member in members):
            warnings.warn(
                f"{diverged} of {len(members)} members diverged, and are as they were before; "
                f"a lower learning_rate than {recipe.learning_rate:g} may help",
                ConvergenceWarning,
                stacklevel=3,
            )
        self.columns_, self.encoder_, self.model_, self.members_ = given.columns, encoder, model, list(members)
        self._prepare()
        scores = [predict(np.float64(rows)) for predict, rows in zip(self._predictors, unseen, strict=True)]
        return list(zip(held, scores, strict=True))

    def _prepare(self) -> None:
        # in double precision, so that a row alone and among others is given the same to twelve places or more
        params = self.model_.init(0, np.float64)
        self._predictors = [Predictor(self.model_, params.like(np.float64(member.flat))) for member in self.members_]

    def _scores(self, X: Any) -> Iterator[np.ndarray]:
        """The scores of all members (members, rows, outputs), some rows at a time."""
        if not hasattr(self, "members_"):
            check_is_fitted(self, "members_")  # raises; it takes as long as to predict a row
        if not self._is_plain(X):
            X = self._rows(X, reset=False)
        return (self._scores_of(X, start) for start in range(0, X.shape[0], PREDICTED))

    def _is_plain(self, X: Any) -> bool:
        """Whether X is an array of numbers as at fit, in which scikit-learn would find nothing to refuse."""
        plain = type(X) is np.ndarray and X.dtype.kind in "fiub" and not hasattr(self, "feature_names_in_")
        return plain and X.ndim == 2 and X.shape[0] > 0 and X.shape[1] == self.n_features_in_

    def _scores_of(self, X: Any, start: int) -> np.ndarray:
        table = table_of(part_of(X, start, start + PREDICTED), self.columns_, start)
        x = np.float64(self.encoder_.encode(table))
        return np.stack([predict(x) for predict in self._predictors])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_predictors"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "members_" in state:
            self._prepare()


def weights(sample_weight: Any, rows: int) -> np.ndarray:
    """A weight for each row, 1 where none are given. Raises ShapeError or ValueRangeError."""
    if sample_weight is None:
        return np.ones(rows)
    weight = np.asarray(sample_weight, np.float64)
    if weight.ndim == 0:
        weight = np.full(rows, weight)
    if weight.shape != (rows,):
        raise ShapeError(f"sample_weight must have shape {(rows,)}, a weight for each row, got {weight.shape}")
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueRangeError("sample_weight must be finite and at least 0 everywhere")
    largest = weight.max()
    if not largest:
        raise ValueRangeError("sample_weight is zero for every row; training needs rows with a weight")
    return weight if 1 / EXTREME < largest < EXTREME else weight / largest
