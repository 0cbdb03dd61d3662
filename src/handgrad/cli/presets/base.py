"""What each preset gives the commands: a plan of a training, what came of it, and a run to predict with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.check import GradientReport
from handgrad.cli.data import targets
from handgrad.cli.data.columns import Features, Unlike
from handgrad.cli.data.tables import Table
from handgrad.cli.data.targets import Target
from handgrad.cli.data.tasks import Task
from handgrad.formats import FormatError
from handgrad.training.fit import Callback

CHECKED_ROWS = 32  # of the training part, for the gradient check


@dataclass(frozen=True)
class Trained:
    """What came of a training. name, whose: what results and gradients are shown as.

    scores: of the test part, logits or standardised numbers (rows, outputs). facts: for the run's config.
    check: the gradients by hand against numbers. save: writes the model file.
    """

    name: str
    whose: str
    outcome: str
    notes: list[str]
    scores: np.ndarray
    history: list[dict[str, Any]]
    facts: dict[str, Any]
    check: Callable[[], GradientReport]
    save: Callable[[Path], None]


@dataclass(frozen=True)
class Keeping:
    """What keeps a training while it lasts: the folder of its checkpoints, and the callbacks that tell of its epochs.

    callbacks: given which member of an ensemble a network is, counted from 1, or None.
    """

    checkpoints: Path
    callbacks: Callable[[int | None], list[Callback]]


@dataclass(frozen=True)
class Plan:
    """What is going to be trained: the number of features, the parts and the model in words, and the training itself.

    train: takes whether to show its progress, and what keeps it.
    """

    features: int
    parts: str
    model: str
    train: Callable[[bool, Keeping], Trained]


@dataclass(frozen=True)
class Loaded:
    """A run to predict with. scores: of the rows of a table; unlike: what the training part had none of in them, which
    `notes` says in words. styles: how cells of text files were written."""

    features: Features
    target: Target
    styles: dict[str, str]
    scores: Callable[[Table], np.ndarray]
    unlike: Callable[[Table], Unlike]
    notes: Callable[[Unlike], list[str]]


def described(task: Task) -> dict[str, Any]:
    """How a run encodes a table and its target, as plain data for its model file."""
    names = {*task.features.names, task.target.name}
    return {
        "features": task.features.to_json(),
        "target": targets.to_json(task.target),
        "styles": {name: style for name, style in task.styles.items() if name in names},
    }


def preprocessing(metadata: dict[str, Any], path: Path) -> tuple[Features, Target, dict[str, str]]:
    """The features, the target and the styles of a run.

    Raises FormatError for a model that `handgrad train` did not write.
    """
    data = metadata.get("preprocessing")
    if not isinstance(data, dict):
        raise FormatError(
            f"{str(path)!r} holds a model without preprocessing: it was not written by handgrad train; "
            "handgrad.load opens it in Python"
        )
    styles = data.get("styles", {})  # of which the first versions wrote none
    if not isinstance(styles, dict) or not all(isinstance(style, str) for style in styles.values()):
        raise FormatError(f"{str(path)!r}: its styles can't be read: {styles!r:.60}")
    return Features.from_json(data.get("features")), targets.from_json(data.get("target")), styles
