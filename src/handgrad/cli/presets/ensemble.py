"""--preset tabular: an ensemble by `TabularClassifier` or `TabularRegressor`, which take columns as they are."""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from handgrad.check import GradientReport, check_gradients
from handgrad.cli.data.columns import Category, Features
from handgrad.cli.data.memory import check_memory
from handgrad.cli.data.tables import Table
from handgrad.cli.data.targets import Classes
from handgrad.cli.data.tasks import Task
from handgrad.cli.faults import InputError
from handgrad.cli.options import Tabular
from handgrad.cli.presets.base import CHECKED_ROWS, Keeping, Loaded, Plan, Trained, described, preprocessing
from handgrad.engines.choice import cores, engine_of
from handgrad.estimators import tabular
from handgrad.estimators.tabular import files
from handgrad.estimators.tabular.columns import CATEGORY, DATE, NUMBER, roles_of, table_of
from handgrad.estimators.tabular.encoding import Encoder
from handgrad.estimators.tabular.members import network
from handgrad.estimators.tabular.recipe import Recipe
from handgrad.estimators.tabular.rows import held_out
from handgrad.formats import FormatError
from handgrad.layers import CrossEntropy, Loss, Parameters, SquaredError
from handgrad.models import Sequential
from handgrad.optim import AdamW
from handgrad.training.data import Rows

LEAST = 1e-30  # of a probability, where its logarithm is taken


@dataclass(frozen=True)
class Frame:
    """Columns of equal length by their names, as the estimators read a DataFrame."""

    arrays: dict[str, np.ndarray]

    @property
    def columns(self) -> list[str]:
        """The names."""
        return list(self.arrays)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(next(iter(self.arrays.values()))), len(self.arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def slice(self, start: int, length: int) -> Frame:
        """Those rows."""
        return Frame({name: array[start : start + length] for name, array in self.arrays.items()})


def plan(options: Tabular, task: Task) -> Plan:
    """The members and the rows they hold out. Raises InputError for an ensemble that memory does not hold."""
    estimator = _estimator(options, isinstance(task.target, Classes))
    recipe: Recipe = estimator._settings()
    frame = Frame(task.features.raw(task.table.take(task.parts.train)))
    rows, members, outputs = frame.shape[0], estimator.n_ensemble, task.target.outputs
    inputs = _inputs(frame, outputs, recipe)
    widths = [inputs, *recipe.hidden, outputs]
    at_once = min(cores(), members)
    means = any(isinstance(column, Category) for column in task.features.columns)  # of which each has its own
    copies = 1 + at_once * (2 if means else 1)
    check_memory(widths, recipe.batch_size_for(rows), "float32", at_once, rows, copies)
    model = network(inputs, outputs, recipe)
    size = sum(int(np.prod(spec.shape)) for spec in model.parameters().values())
    held = held_out(np.zeros(rows), 1, estimator.validation_fraction, np.random.default_rng(0))[0]
    each = f"{members} members of " if members > 1 else ""
    who = "each member" if members > 1 else "the network"
    return Plan(
        inputs,
        f"{rows:,} rows to train on, of which {who} holds out about {len(held):,} to choose its epoch by, "
        f"{len(task.parts.test):,} to test on",
        f"{each}{' -> '.join(map(str, widths))}, {recipe.activation}, {members * size:,} parameters, float32",
        partial(_train, estimator, recipe, frame, options, task),
    )


def load(path: Path) -> Loaded:
    """The run of a model file. Raises FormatError."""
    estimator, metadata = files.load(path)
    features, target, styles = preprocessing(metadata, path)
    roles = {column.name: column.role for column in estimator.columns_}
    outputs = len(estimator.classes_) if isinstance(estimator, tabular.TabularClassifier) else 1
    same_task = isinstance(target, Classes) == isinstance(estimator, tabular.TabularClassifier)
    if not same_task or target.outputs != outputs or {c.name: _role(c) for c in features.columns} != roles:
        raise FormatError(f"{str(path)!r}: its columns or its target are not those of its estimator")
    keys = [name for name, role in roles.items() if role == CATEGORY]
    levels = dict(zip(keys, (each.codes for each in estimator.encoder_.levels), strict=True))
    return Loaded(
        features,
        target,
        styles,
        lambda table: _scores(estimator, features, table),
        lambda table: features.unlike(table, levels),
        lambda unlike: features.notes(unlike, "the median"),
    )


def _estimator(options: Tabular, classifies: bool) -> Any:
    """One with what was asked for, the rest by its own defaults."""
    given = {
        "hidden_layer_sizes": options.hidden,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "dropout": options.dropout,
        "n_ensemble": options.ensemble,
        "validation_fraction": options.validation,
    }
    estimator = tabular.TabularClassifier() if classifies else tabular.TabularRegressor()
    chosen = {name: value for name, value in given.items() if value is not None}
    return estimator.set_params(random_state=options.seed, **chosen)


def _role(column: Any) -> str:
    return CATEGORY if isinstance(column, Category) else DATE if column.kind == "time" else NUMBER


def _inputs(frame: Frame, outputs: int, recipe: Recipe) -> int:
    """The width of the network's input, before it is trained."""
    table = table_of(frame, roles_of(frame))
    known = np.zeros((len(table), outputs if outputs > 2 else 1))
    return Encoder.of(table, known, np.ones(len(table)), recipe.bins_for(*table.numbers.shape)).width


def _scores(estimator: Any, features: Features, table: Table) -> np.ndarray:
    """(rows, outputs) in float32: the logarithms of the probabilities, or standardised numbers."""
    frame = Frame(features.raw(table))
    if isinstance(estimator, tabular.TabularClassifier):
        return np.log(np.maximum(estimator.predict_proba(frame), LEAST)).astype(np.float32)
    return estimator.predict(frame)[:, None].astype(np.float32)


def _train(
    estimator: Any, recipe: Recipe, frame: Frame, options: Tabular, task: Task, progress: bool, keeping: Keeping
) -> Trained:
    classifies = isinstance(task.target, Classes)
    loss: Loss = CrossEntropy(recipe.label_smoothing) if classifies else SquaredError()
    y = task.train[1] if classifies else task.train[1][:, 0]
    estimator._keeping = lambda i: {
        "callbacks": keeping.callbacks(i + 1),
        "checkpoint": keeping.checkpoints / f"member-{i + 1}",
        "every": options.checkpoint,
        "resume": True,
    }
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, in the command's words
        estimator.set_params(progress=progress).fit(frame, y)
    seconds = time.perf_counter() - start
    members = estimator.members_
    best = [member.best_epoch for member in members]
    diverged = [i for i, member in enumerate(members) if len(member.history) < recipe.epochs]
    if len(diverged) == len(members):
        epoch = max(len(member.history) for member in members) + 1
        raise InputError(
            f"training diverged by epoch {epoch}{' in every member' * (len(members) > 1)}; "
            f"give a lower --learning-rate than {recipe.learning_rate:g}"
        )
    engine = _engine(estimator.model_, estimator.encoder_.width, loss, task)
    written = described(task)
    done = f"{'at most ' * bool(diverged)}{recipe.epochs} epochs"
    each = f"{len(members)} members, {done} each" if len(members) > 1 else done
    chosen = f"the best were {min(best)} to {max(best)}" if min(best) < max(best) else f"the best was {best[0]}"
    return Trained(
        name="this model",
        whose="The first member's" if len(members) > 1 else "Its",
        outcome=f"{each}, {chosen}; {seconds:.1f} s, {engine} engine",
        notes=[
            f"member {i + 1} diverged in epoch {len(members[i].history) + 1}, and is as it was before; "
            f"a lower --learning-rate than {recipe.learning_rate:g} may help"
            for i in diverged
        ],
        scores=_scores(estimator, task.features, task.table.take(task.parts.test)),
        history=[{"member": i, **row} for i, member in enumerate(members, 1) for row in member.history],
        facts={
            "recipe": asdict(recipe),
            "validation_fraction": estimator.validation_fraction,
            "members": [{"epochs": len(member.history), "best_epoch": member.best_epoch} for member in members],
            "engine": engine,
            "seconds": seconds,
        },
        check=lambda: _check(estimator, frame.slice(0, CHECKED_ROWS), task, loss, options.seed),
        save=lambda path: files.save(estimator, path, preprocessing=written),
    )


def _engine(model: Sequential, width: int, loss: Loss, task: Task) -> str:
    """The name of the engine that trained it: the estimator's choice is that of `fit`, "auto"."""
    y = task.train[1][:1]
    rows = Rows(np.zeros((1, width), np.float32), y, None)
    params = model.init(0, np.float32)
    return engine_of("auto", model, loss, AdamW(), None, None, params, rows, 1, 1)[0].name


def _check(estimator: Any, frame: Frame, task: Task, loss: Loss, seed: int) -> GradientReport:
    """The gradients of the first member, on rows that it was trained on."""
    x = estimator.encoder_.encode(table_of(frame, estimator.columns_)).astype(np.float64)
    y = task.train[1][: len(x)]
    y = y if isinstance(task.target, Classes) else y.astype(np.float64)
    model = estimator.model_
    params = Parameters(model.parameters(), estimator.members_[0].flat.astype(np.float64))
    return check_gradients(model, params, x, y, loss=loss, seed=seed, train=True)
