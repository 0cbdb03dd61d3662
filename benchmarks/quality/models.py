"""The models, each as a competent user would set it up, with its own defaults. What is not installed is left out."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import handgrad

if TYPE_CHECKING:
    from benchmarks.quality.sets import Table

UNUSED = ("cli", "check", "explain", "formats", "scale")  # of handgrad, by its estimators


@dataclass(frozen=True)
class Model:
    """A model: its title in tables, how it is made for (a set, a seed, threads), and the packages that it needs."""

    title: str
    make: Callable[[Table, int, int], Any]
    packages: tuple[str, ...] = ("scikit-learn",)
    names: tuple[str, ...] = ()  # that handgrad must have

    def missing(self) -> str | None:
        """Why it can't run here, or None."""
        absent = [name for name in self.packages if name not in ("scikit-learn", "handgrad") and not find_spec(name)]
        absent += [f"handgrad.{name}" for name in self.names if not _public(name)]
        return f"{' and '.join(absent)} not installed" if absent else None

    def versions(self) -> dict[str, str]:
        """Of all that decides its results; handgrad's is a hash of its sources."""
        return {name: sources() if name == "handgrad" else version(name) for name in self.packages}


def _public(name: str) -> bool:
    """Whether this handgrad has it."""
    try:
        return hasattr(handgrad, name)
    except ImportError:  # named, but its module is not there
        return False


def sources() -> str:
    """A hash of the files of handgrad that its estimators can use."""
    folder, digest = Path(handgrad.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        if parts[0] not in UNUSED:
            digest.update("/".join(parts).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def numeric(table: Table) -> ColumnTransformer:
    """Numbers scaled to mean 0 and variance 1, missing ones replaced and marked, and categories one-hot."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    codes = OneHotEncoder(handle_unknown="ignore")
    return ColumnTransformer([("numbers", numbers, table.numbers), ("codes", codes, table.categories)])


def scaled(table: Table, classifier: Any, regressor: Any) -> Any:
    """One of the two behind `numeric`; the regressor learns a scaled target."""
    if table.classes:
        return make_pipeline(numeric(table), classifier)
    return make_pipeline(numeric(table), TransformedTargetRegressor(regressor, transformer=StandardScaler()))


def filled(table: Table, model: Any) -> Any:
    """The model behind medians for missing numbers, and marks of them, where there are any; categories as they are."""
    if not table.x[table.numbers].isna().any(axis=None):
        return model
    fill = ("fill", SimpleImputer(strategy="median", add_indicator=True), table.numbers)
    filling = ColumnTransformer([fill], remainder="passthrough", verbose_feature_names_out=False)
    return make_pipeline(filling.set_output(transform="pandas"), model)


def constant(table: Table, seed: int, threads: int) -> Any:
    """The classes' shares, or the mean."""
    return DummyClassifier(strategy="prior") if table.classes else DummyRegressor()


def linear(table: Table, seed: int, threads: int) -> Any:
    """Logistic regression, which needs more than its 100 iterations, or ridge regression."""
    return scaled(table, LogisticRegression(max_iter=1000), Ridge())


def boosting(table: Table, seed: int, threads: int) -> Any:
    """scikit-learn's, which finds categories by their type."""
    kind = HistGradientBoostingClassifier if table.classes else HistGradientBoostingRegressor
    return kind(random_state=seed)


def lightgbm(table: Table, seed: int, threads: int) -> Any:
    """LightGBM, which finds categories by their type."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    kind = LGBMClassifier if table.classes else LGBMRegressor
    return kind(random_state=seed, n_jobs=threads, verbosity=-1)


def mlp(table: Table, seed: int, threads: int) -> Any:
    """scikit-learn's."""
    return scaled(table, MLPClassifier(random_state=seed), MLPRegressor(random_state=seed))


def own_mlp(table: Table, seed: int, threads: int) -> Any:
    """handgrad's in the place of scikit-learn's."""
    options = {"random_state": seed, "threads": threads}
    return scaled(table, handgrad.MLPClassifier(**options), handgrad.MLPRegressor(**options))


def tabular(table: Table, seed: int, threads: int) -> Any:
    """handgrad's for tables, which takes them as they are."""
    kind = handgrad.TabularClassifier if table.classes else handgrad.TabularRegressor
    return kind(random_state=seed, threads=threads)


def realmlp(variant: str) -> Callable[[Table, int, int], Any]:
    """pytabkit's, which refuse missing numbers and take the rest as it is."""

    def make(table: Table, seed: int, threads: int) -> Any:
        import pytabkit

        for name in ("pytorch_lightning", "lightning.pytorch"):
            logging.getLogger(name).setLevel(logging.ERROR)
        kind = getattr(pytabkit, f"RealMLP_{variant}_{'Classifier' if table.classes else 'Regressor'}")
        return filled(table, kind(random_state=seed, n_threads=threads, device="cpu"))

    return make


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """No more threads than these for BLAS, OpenMP and PyTorch."""
    from threadpoolctl import threadpool_limits

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    with threadpool_limits(threads):
        yield


CONSTANT = "constant"
MODELS = {  # in the order they are run: quick ones first
    CONSTANT: Model("constant guess", constant),
    "linear": Model("logistic or ridge regression", linear),
    "tabular": Model(
        "handgrad Tabular", tabular, ("handgrad", "scikit-learn"), ("TabularClassifier", "TabularRegressor")
    ),
    "mlp": Model("handgrad MLP", own_mlp, ("handgrad", "scikit-learn"), ("MLPClassifier", "MLPRegressor")),
    "lightgbm": Model("LightGBM", lightgbm, ("lightgbm",)),
    "boosting": Model("HistGradientBoosting", boosting),
    "sklearn": Model("scikit-learn MLP", mlp),
    "realmlp_s": Model("RealMLP-TD-S", realmlp("TD_S"), ("pytabkit", "torch")),
    "realmlp": Model("RealMLP-TD", realmlp("TD"), ("pytabkit", "torch")),
}
