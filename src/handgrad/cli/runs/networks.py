"""The networks of a run and how they were trained, for `handgrad explain`: one, or the members of an ensemble."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.cli.data.columns import Features
from handgrad.cli.data.tables import Table
from handgrad.cli.data.targets import Classes, Target
from handgrad.cli.presets.base import preprocessing
from handgrad.cli.presets.plain import PEAK_RATES
from handgrad.cli.runs.folders import CONFIG, HISTORY
from handgrad.formats import FormatError, load
from handgrad.formats.container import TABULAR, kind_of
from handgrad.layers import L2, CrossEntropy, Layer, Loss, Parameters, SquaredError
from handgrad.optim import AdamW, Optimizer
from handgrad.optim.names import NAMED, by_name

Row = dict[str, Any]


@dataclass(frozen=True)
class Networks:
    """What a run holds. styles: how cells of text files were written. encode: a table as X. scaled: what the networks
    learn in place of the encoded target. params, histories: of each member, the histories empty where the model file
    stands alone. optimizer: at the highest rate of its schedule."""

    features: Features
    target: Target
    styles: dict[str, str]
    model: Layer
    encode: Callable[[Table], np.ndarray]
    scaled: Callable[[np.ndarray], np.ndarray]
    params: list[Parameters]
    histories: list[list[Row]]
    loss: Loss
    optimizer: Optimizer
    regularizer: L2 | None
    config: Row


def open_networks(path: Path) -> Networks:
    """Those of a model file. Raises FormatError for one that is damaged, and for a broken file beside it."""
    config, history = _beside(path.parent)
    return _members(path, config, history) if kind_of(path) == TABULAR else _plain(path, config, history)


def _plain(path: Path, config: Row, history: list[Row]) -> Networks:
    model, params, metadata = load(path)
    features, target, styles = preprocessing(metadata, path)
    options = config.get("options", {})
    smoothing = options.get("label_smoothing", 0.0)
    return Networks(
        features,
        target,
        styles,
        model,
        lambda table: features.encode(table, params.flat.dtype),
        lambda y: y,
        [params],
        [history],
        CrossEntropy(smoothing) if isinstance(target, Classes) else SquaredError(),
        _optimizer(options),
        L2(options["l2"]) if options.get("l2") else None,
        config,
    )


def _optimizer(options: Row) -> Optimizer:
    """The run's; fit's own for a run that does not say."""
    name = options.get("optimizer")
    if not isinstance(name, str) or name not in NAMED:
        return by_name("adam")
    rate, optimizer = options.get("learning_rate"), by_name(name)
    return replace(optimizer, learning_rate=PEAK_RATES[type(optimizer)] if rate is None else rate)


def _members(path: Path, config: Row, history: list[Row]) -> Networks:
    from handgrad.cli.presets.ensemble import Frame
    from handgrad.estimators.tabular import TabularClassifier, files
    from handgrad.estimators.tabular.columns import table_of
    from handgrad.estimators.tabular.recipe import CLASSIFICATION, REGRESSION, Recipe

    estimator, metadata = files.load(path)
    features, target, styles = preprocessing(metadata, path)
    classifies = isinstance(estimator, TabularClassifier)
    if isinstance(target, Classes) != classifies:
        raise FormatError(f"{str(path)!r}: its target is not that of its estimator")
    known, written = {each.name for each in fields(Recipe)}, config.get("recipe", {})
    recipe = replace(
        CLASSIFICATION if classifies else REGRESSION,
        **{name: value for name, value in written.items() if name in known},
    )
    specs = estimator.model_.parameters()
    count = range(1, len(estimator.members_) + 1)
    return Networks(
        features,
        target,
        styles,
        estimator.model_,
        lambda table: estimator.encoder_.encode(table_of(Frame(features.raw(table)), estimator.columns_)),
        lambda y: y if classifies else (y - estimator.center_) / estimator.spread_,
        [Parameters(specs, member.flat) for member in estimator.members_],
        [[row for row in history if row.get("member") == number] for number in count],
        CrossEntropy(recipe.label_smoothing) if classifies else SquaredError(),
        AdamW(recipe.learning_rate, beta2=recipe.beta2, weight_decay=recipe.weight_decay),
        None,
        config,
    )


def _row(line: str) -> Any:
    """A line of JSON. Raises OverflowError for a whole number that no float can hold."""
    return json.loads(line, parse_int=lambda digits: int(digits) if float(int(digits)) else 0)


def _beside(folder: Path) -> tuple[Row, list[Row]]:
    """(config, history) of a run; empty ones where the model file stands alone."""
    config, history = folder / CONFIG, folder / HISTORY
    try:
        options = json.loads(config.read_text("utf-8")) if config.exists() else {}
        lines = history.read_text("utf-8").splitlines() if history.exists() else []
        rows = [{name: float("nan") if v is None else v for name, v in _row(line).items()} for line in lines]
    except (ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise FormatError(f"the run {str(folder)!r} can't be read: {error!s:.200}") from None
    parts = [options] + [options.get(part, {}) for part in ("options", "recipe") if isinstance(options, dict)]
    if not all(isinstance(part, dict) for part in parts):
        raise FormatError(f"{str(config)!r} can't be read: it holds no options")
    return options, rows
