"""The options of `handgrad train`, a class for each preset, with its defaults. Nothing heavy: --help shows these."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from typing import Any

from handgrad.cli.data.given import Data
from handgrad.cli.faults import InputError, UsageError


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every preset takes; `handgrad train --help` says what each is."""

    preset: str
    data: str | None = None
    target: str | None = None
    task: str = "auto"
    ignore: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    table: str | None = None
    sql: str | None = None
    skip_bad_rows: bool = False
    test: float = 0.2
    seed: int = 0
    name: str | None = None
    runs: str = "runs"
    tensorboard: str | None = None
    mlflow: str | None = None

    @property
    def set_aside(self) -> float:
        """The share of the rows not tested on that training does not see."""
        return 0.0

    def named(self, **more: Any) -> Data:
        """The rows that DATA and the options beside it name. more: of Data."""
        return Data(self.data, self.table, self.sql, self.skip_bad_rows, **more)


@dataclass(frozen=True, kw_only=True)
class Plain(Options):
    """One network as it is asked for, on numbers standardised and text one-hot."""

    preset: str = "plain"
    validation: float = 0.1
    hidden: tuple[int, ...] = (256, 128)
    activation: str = "relu"
    dropout: float = 0.3
    dtype: str = "float32"
    optimizer: str = "adamw"
    learning_rate: float | None = None
    batch_size: int = 64
    epochs: int = 40
    patience: int = 15
    l2: float = 0.0
    label_smoothing: float = 0.01
    checkpoint: str = "1 minute"
    stream: bool | None = None
    workers: int = 1
    address: str | None = None

    @property
    def set_aside(self) -> float:
        return self.validation


@dataclass(frozen=True, kw_only=True)
class Tabular(Options):
    """An ensemble by TabularClassifier or TabularRegressor; what is None is theirs to decide.

    validation is of the training rows, which each member holds out others of.
    """

    preset: str = "tabular"
    validation: float | None = None
    ensemble: int | None = None
    hidden: tuple[int, ...] | None = None
    dropout: float | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    epochs: int | None = None
    checkpoint: str = "1 minute"


PRESETS: dict[str, type[Options]] = {"plain": Plain, "tabular": Tabular}
TYPES: dict[str, Any] = {  # of the options above, or of the parts of one
    "str": str,
    "str | None": str | None,
    "bool": bool,
    "bool | None": bool | None,
    "int": int,
    "int | None": int | None,
    "float": float | int,
    "float | None": float | int | None,
    "tuple[str, ...]": str,
    "tuple[int, ...]": int,
    "tuple[int, ...] | None": int | None,
}
SHARED = {field.name for field in fields(Options)}


def options_of(preset: str, **given: Any) -> Options:
    """The options of a preset; None stands for what is not given. Raises UsageError for those that it does not take."""
    taken = [field.name for field in fields(PRESETS[preset])]
    chosen = {name: value for name, value in given.items() if value is not None}
    wrong = [_flag(name) for name in chosen if name not in taken]
    if wrong:
        own = [_flag(name) for name in taken if name not in SHARED]
        raise UsageError(
            f"--preset {preset} does not take {' and '.join(wrong)}; what it can be told is {', '.join(own)}"
        )
    return PRESETS[preset](**chosen)


def options_in(config: Any, path: str) -> Options:
    """The options that a run's config holds. Raises InputError where it holds none, or others than there are."""
    written = config.get("options") if isinstance(config, dict) else None
    kind = PRESETS.get(str(written.get("preset"))) if isinstance(written, dict) else None
    if kind is None or not isinstance(written, dict):
        raise InputError(f"{path}: it holds no options of a training")
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in written.items()}
    known = {field.name: str(field.type) for field in fields(kind)}
    if unknown := given.keys() - known.keys():
        raise InputError(
            f"{path}: it has the options {', '.join(sorted(unknown)):.200}, which this version does not know"
        )
    for name, value in given.items():
        parts = value if known[name].startswith("tuple[") and isinstance(value, tuple) else (value,)
        if not all(_may_be(known[name], part) for part in parts):
            raise InputError(f"{path}: its option {name} must be {known[name]}, got {value!r:.60}")
    return kind(**given)


def _may_be(kind: str, value: Any) -> bool:
    """Whether an option of that kind may hold it, read from JSON: True is no number, nor is what no float can hold."""
    if isinstance(value, bool) and "bool" not in kind:
        return False
    if isinstance(value, int) and "float" in kind and abs(value) > sys.float_info.max:
        return False
    return isinstance(value, TYPES[kind])


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
