"""How each run of a folder stands, read from what it has left: whatever that is, it is told, and nothing is raised."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from handgrad.cli.runs.folders import CHECKPOINTS, CONFIG, HISTORY, MODEL, is_trained
from handgrad.cli.runs.history import Row, rows_in

COMPLETE, INTERRUPTED, UNFINISHED = "complete", "interrupted", "unfinished"
TRAINED, BROKEN, FOREIGN = "being trained", "broken", "not a run"
SCORES = ("accuracy", "R2")  # that a run is told by; higher is better
LARGEST = 2**24  # bytes of a config that is read


@dataclass(frozen=True)
class Run:
    """One folder. state: one of those above; problem: what is wrong with a broken one. started: in ISO 8601.

    epochs: that are done, of an ensemble's member that has the most; planned: that were asked for. metric: which number
    score and baseline are, of the test part; baseline: the best of those that the network is measured against.
    seconds: of training.
    """

    folder: Path
    state: str
    problem: str = ""
    started: str | None = None
    data: str | None = None
    task: str | None = None
    target: str | None = None
    rows: int | None = None
    model: str | None = None
    epochs: int = 0
    planned: int | None = None
    metric: str | None = None
    score: float | None = None
    baseline: float | None = None
    seconds: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def history(self) -> list[Row]:
        """Its rows that are whole."""
        return list(rows_in(self.folder / HISTORY))

    def to_json(self) -> dict[str, Any]:
        """All but the config, in JSON's types."""
        about = {name: value for name, value in asdict(self).items() if name != "config"}
        return {"name": self.name, **about, "folder": str(self.folder)}


def read_run(folder: Path) -> Run:
    """How the run in a folder stands."""
    unfinished, model, path = (folder / CHECKPOINTS).is_dir(), (folder / MODEL).is_file(), folder / CONFIG
    if not (unfinished or model or path.is_file()):
        return Run(folder, FOREIGN, f"it has no {CONFIG} and no {MODEL}")
    try:
        config = _config(path)
    except (OSError, ValueError, RecursionError) as error:
        return Run(folder, BROKEN, f"{CONFIG}: {error.strerror if isinstance(error, OSError) else error}")
    state = COMPLETE if model else UNFINISHED
    if unfinished:
        state = TRAINED if is_trained(folder) else INTERRUPTED if model else UNFINISHED
    elif not model:
        return Run(folder, BROKEN, f"it has neither {MODEL} nor {CHECKPOINTS}")
    options = _dict(config, "options")
    history = list(rows_in(folder / HISTORY))
    data, sql = _text(options.get("data")), _text(options.get("sql"))
    source = sql or (data and Path(data).name)
    metric, score, baseline = _score(_dict(config, "test")) if state in (COMPLETE, INTERRUPTED) else (None,) * 3
    counts = [value for value in _dict(config, "rows").values() if is_number(value)]
    return Run(
        folder,
        state,
        started=_text(config.get("started")) or _written(path),
        data=source or ("digits" if options else None),
        task=_text(config.get("task")),
        target=_text(config.get("target")),
        rows=int(sum(counts)) if counts else None,
        model=_text(config.get("model")) or _widths(options),
        epochs=max((row["epoch"] for row in history), default=0),
        planned=_planned(config, options),
        metric=metric,
        score=score,
        baseline=baseline,
        seconds=_number(config.get("seconds")) if state == COMPLETE else _seconds(history),
        config=config,
    )


def _config(path: Path) -> dict[str, Any]:
    """Raises OSError or ValueError for one that can't be read."""
    if path.is_file() and path.stat().st_size > LARGEST:
        raise ValueError(f"it has {path.stat().st_size:,} bytes, more than any config")
    config = json.loads(path.read_text("utf-8"))
    if not isinstance(config, dict):
        raise ValueError(f"it holds a {type(config).__name__}, not an object")
    return config


def _score(test: Mapping[str, Any]) -> tuple[str | None, float | None, float | None]:
    """(metric, the model's own, the best baseline's): the model is the last of those that were tested."""
    for metric in SCORES:
        found = [_number(values.get(metric)) for values in test.values() if isinstance(values, dict)]
        if found and found[-1] is not None:
            others = [value for value in found[:-1] if value is not None]
            return metric, found[-1], max(others, default=None)
    return None, None, None


def _planned(config: Mapping[str, Any], options: Mapping[str, Any]) -> int | None:
    found = _number(options.get("epochs") or _dict(config, "recipe").get("epochs"))
    return None if found is None else int(found)


def _widths(options: Mapping[str, Any]) -> str | None:
    """The model in words, of a run that does not have them."""
    hidden = options.get("hidden")
    return " -> ".join(map(str, hidden)) if isinstance(hidden, list) else None


def _seconds(history: list[Row]) -> float | None:
    found = [row["seconds"] for row in history if is_number(row.get("seconds"))]
    return float(sum(found)) if found else None


def _written(path: Path) -> str | None:
    """When a file was, of a run that does not say when it began."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(timespec="seconds")
    except (OSError, OverflowError, ValueError):
        return None


def _dict(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) else None


def is_number(value: Any) -> bool:
    """Whether it is one, and finite, as a float too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < sys.float_info.max
