"""A fitted estimator in one safetensors file, and back. Nothing is pickled, and nothing that is read is trusted.

Tensors: "numbers.median" and so on, the fields of `Numbers`; "levels.0.rows" and so on, those of the first category
column's `Levels`; "members.0.weight" and so on, a parameter of all members, one after the other on its first axis.
What each must be, LAYOUT says. The content of the metadata is all else: columns, levels, classes, the architecture.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from handgrad.errors import DTypeError, HandgradError
from handgrad.estimators.tabular.base import TabularEstimator
from handgrad.estimators.tabular.classifier import TabularClassifier
from handgrad.estimators.tabular.columns import CATEGORY, DATE, EMPTY, NUMBER, Column
from handgrad.estimators.tabular.encoding import Encoder, Levels, Numbers
from handgrad.estimators.tabular.members import Member
from handgrad.estimators.tabular.regressor import TabularRegressor
from handgrad.formats import FormatError
from handgrad.formats.architecture import build, describe
from handgrad.formats.atomic import check_place
from handgrad.formats.container import TABULAR, reading, write
from handgrad.layers import Parameters
from handgrad.models import Sequential
from handgrad.training import History

ESTIMATORS: dict[str, type[TabularEstimator]] = {kind.__name__: kind for kind in (TabularClassifier, TabularRegressor)}
INPUTS = {NUMBER: 1, DATE: 4, CATEGORY: 0, EMPTY: 0}  # columns of numbers that a column of each role is read as
KEYS = (str, int, float, bool, type(None))  # what a level may be in JSON; others, as dates, are not kept
ARGUMENT = (str, int, float, bool, tuple, list, type(None))
CLASSES = {"U": str, "O": object, "b": bool, "i": np.int64, "u": np.uint64, "f": np.float64}
MOST_LABELS = 2**28  # characters of all labels, each as long as the longest, as NumPy keeps them


class Spec(NamedTuple):
    """An array: its type as safetensors calls it, its axes by name, and for indices the axis they point into."""

    dtype: str
    axes: tuple[str, ...]
    into: str = ""


LAYOUT: dict[type, dict[str, Spec]] = {
    Numbers: {
        "median": Spec("F64", ("columns",)),
        "scale": Spec("F64", ("columns",)),
        "plain": Spec("I64", ("plain",), "columns"),
        "absent": Spec("I64", ("absent",), "columns"),
        "source": Spec("I64", ("bins",), "columns"),
        "low": Spec("F64", ("bins",)),
        "inverse": Spec("F64", ("bins",)),
    },
    Levels: {
        "rows": Spec("I64", ("codes",), "inputs"),
        "inputs": Spec("F64", ("inputs", "own")),
        "means": Spec("F64", ("codes", "targets")),
    },
}


def save(estimator: TabularEstimator, path: str | os.PathLike[str], **metadata: Any) -> None:
    """Write a fitted estimator and `metadata`, of JSON's types, to a file that appears whole or not at all.

    The members' histories are not kept. Raises FormatError for columns or levels that are not text, numbers or truth
    values, and for an estimator that is not fitted.
    """
    check_place(path)
    name = type(estimator).__name__
    if ESTIMATORS.get(name) is not type(estimator):
        raise DTypeError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {name}")
    if not hasattr(estimator, "members_"):
        raise FormatError(f"{name} is not fitted; there is nothing to save")
    encoder, model = estimator.encoder_, estimator.model_
    arrays = _tensors("numbers", encoder.numbers)
    for i, levels in enumerate(encoder.levels):
        arrays |= _tensors(f"levels.{i}", levels)
    members = np.stack([member.flat for member in estimator.members_])
    specs = model.parameters()
    views = [Parameters(specs, flat) for flat in members]
    arrays |= {f"members.{each}": np.stack([view[each] for view in views]) for each in specs}
    write(
        path,
        arrays,
        TABULAR,
        estimator=name,
        arguments={k: v if isinstance(v, ARGUMENT) else None for k, v in estimator.get_params().items()},
        columns=[[_plain(f"the name of a column, {c.name!r},", c.name), c.role] for c in estimator.columns_],
        named=hasattr(estimator, "feature_names_in_"),
        levels=[[_plain("a level", level) for level in levels.codes] for levels in encoder.levels],
        target=_target(estimator),
        architecture=describe(model),
        best_epochs=[member.best_epoch for member in estimator.members_],
        metadata=metadata,
    )


def load(path: str | os.PathLike[str]) -> tuple[Any, dict[str, Any]]:
    """(estimator, metadata) from a file that `save` wrote; the estimator predicts what it predicted, to the last bit.

    Raises FormatError, which says what is wrong, for any other file; FileNotFoundError where there is none. Shapes are
    checked before anything is allocated, and no code is run.
    """
    with reading(path, TABULAR) as (file, content):
        try:
            return _estimator(_Tensors(file), content), content["metadata"]
        except FormatError:
            raise
        except (HandgradError, ArithmeticError, TypeError, ValueError, LookupError) as error:
            raise FormatError(f"its estimator can't be read: {error!r:.200}") from None


class _Tensors:
    """The arrays of a file, each to be taken once, as a Spec says."""

    def __init__(self, file: Any):
        self.file, self.left = file, set(file.keys())

    def take(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """The array; None stands for any size."""
        if name not in self.left:
            raise FormatError(f"the array {name!r} is missing")
        self.left.remove(name)
        part = self.file.get_slice(name)
        found = tuple(part.get_shape())
        fits = len(found) == len(shape) and all(want in (None, n) for want, n in zip(shape, found, strict=True))
        if part.get_dtype() != dtype or not fits:
            wanted = " x ".join("any" if n is None else str(n) for n in shape)
            raise FormatError(f"{name!r} must be {dtype} of {wanted}, got {part.get_dtype()} of shape {found}")
        return self.file.get_tensor(name)

    def fields(self, kind: type, prefix: str, sizes: dict[str, int]) -> dict[str, np.ndarray]:
        """The arrays of a dataclass by LAYOUT; sizes: of axes known before."""
        arrays, sizes = {}, dict(sizes)
        for field, spec in LAYOUT[kind].items():
            array = self.take(f"{prefix}.{field}", spec.dtype, tuple(sizes.get(axis) for axis in spec.axes))
            sizes |= zip(spec.axes, array.shape, strict=True)
            arrays[field] = array
        for field, spec in LAYOUT[kind].items():
            array = arrays[field]
            wrong = (array < 0) | (array >= sizes[spec.into]) if spec.into else ~np.isfinite(array)
            if wrong.any():
                expected = f"from 0 to {sizes[spec.into] - 1}" if spec.into else "finite"
                raise FormatError(f"'{prefix}.{field}' must be {expected} everywhere, got {array[wrong][0]}")
        return arrays


def _estimator(tensors: _Tensors, content: Mapping[str, Any]) -> TabularEstimator:
    columns = _columns(content.get("columns"))
    keys = _lists("levels", content.get("levels"), sum(column.role == CATEGORY for column in columns))
    numbers = Numbers(**tensors.fields(Numbers, "numbers", {"columns": sum(INPUTS[c.role] for c in columns)}))
    levels = []
    for i, names in enumerate(keys):
        codes = {name: 1 + place for place, name in enumerate(names)}
        if len(codes) < len(names) or not all(isinstance(name, KEYS) for name in names):
            raise FormatError(f"the levels of category column {i} must be text, numbers or truth values, each once")
        levels.append(Levels(codes, **tensors.fields(Levels, f"levels.{i}", {"codes": 1 + len(codes)})))
    encoder = Encoder(numbers, tuple(levels))
    kind = content.get("estimator")
    if not isinstance(kind, str) or kind not in ESTIMATORS:
        raise FormatError(f"its estimator must be one of {', '.join(ESTIMATORS)}, got {kind!r:.60}")
    arguments = content.get("arguments")
    if not isinstance(arguments, dict) or arguments.keys() != ESTIMATORS[kind]().get_params().keys():
        raise FormatError(f"its arguments are not those of {kind}")
    estimator: Any = ESTIMATORS[kind](**arguments)
    attributes = _attributes(kind, content.get("target"))
    outputs = len(attributes["classes_"]) if "classes_" in attributes else 1
    estimator.model_ = _model(content.get("architecture"), encoder.width, outputs)
    estimator.members_ = _members(tensors, estimator.model_, content.get("best_epochs"))
    if tensors.left:
        raise FormatError(f"unknown arrays: {', '.join(sorted(tensors.left)[:8])}")
    estimator.columns_, estimator.encoder_, estimator.n_features_in_ = columns, encoder, len(columns)
    if content.get("named"):
        estimator.feature_names_in_ = np.array([column.name for column in columns], object)
    vars(estimator).update(attributes)
    estimator._prepare()
    return estimator


def _columns(given: Any) -> tuple[Column, ...]:
    columns = tuple(Column(name, role) for name, role in _lists("columns", given))
    for column in columns:
        if not isinstance(column.name, str | int) or column.role not in INPUTS:
            raise FormatError(f"a column must have a name and a role of {', '.join(INPUTS)}, got {column!r:.80}")
    if not columns or len({column.name for column in columns}) < len(columns):
        raise FormatError("its columns must have names of their own, and be one at least")
    return columns


def _lists(name: str, given: Any, count: int | None = None) -> list[list[Any]]:
    """A list of lists, so many of them."""
    if not isinstance(given, list) or count not in (None, len(given)) or not all(isinstance(e, list) for e in given):
        raise FormatError(f"{name} must be {'a list' if count is None else f'{count} lists'}, got {given!r:.60}")
    return given


def _model(architecture: Any, width: int, outputs: int) -> Sequential:
    model = build(architecture)
    if not isinstance(model, Sequential) or (shape := model.output_shape((width,))) != (outputs,):
        got = f"{type(model).__name__} of {shape}" if isinstance(model, Sequential) else type(model).__name__
        raise FormatError(f"its model must be a Sequential from {width} inputs to {outputs} outputs, got {got}")
    return model


def _members(tensors: _Tensors, model: Sequential, epochs: Any) -> list[Member]:
    if not isinstance(epochs, list) or not epochs or not all(type(n) is int and n >= 0 for n in epochs):
        raise FormatError(f"best_epochs must be a whole number for each member, got {epochs!r:.60}")
    specs = model.parameters()
    stacked = {name: tensors.take(f"members.{name}", "F32", (len(epochs), *s.shape)) for name, s in specs.items()}
    members = []
    for i, epoch in enumerate(epochs):
        flat = np.empty(sum(math.prod(spec.shape) for spec in specs.values()), np.float32)
        for name, view in Parameters(specs, flat).items():
            view[...] = stacked[name][i]
        members.append(Member(flat, History(), epoch))
    return members


def _target(estimator: Any) -> dict[str, Any]:
    """What an estimator knows of its target, as plain data."""
    if isinstance(estimator, TabularClassifier):
        classes, sharpness = estimator.classes_, estimator.sharpness_
        labels = [_plain("a class", label) for label in classes.tolist()]
        return {"classes": labels, "kind": classes.dtype.kind, "sharpness": sharpness}
    return {"center": estimator.center_, "spread": estimator.spread_, "range": list(estimator.range_)}


def _attributes(kind: str, target: Any) -> dict[str, Any]:
    """An estimator's attributes from what `_target` gave."""
    wanted = ("classes", "kind", "sharpness") if kind == "TabularClassifier" else ("center", "spread", "range")
    if not isinstance(target, dict) or target.keys() != set(wanted):
        raise FormatError(f"its target must hold {', '.join(wanted)}")
    if kind == "TabularRegressor":
        low, high = (_finite("range", each) for each in target["range"])
        center, spread = (_finite(name, target[name]) for name in ("center", "spread"))
        if spread <= 0 or low > high:
            raise FormatError(f"its target must have a spread above 0 and a range that rises, got {target}")
        return {"center_": center, "spread_": spread, "range_": (low, high)}
    labels, sharpness = target["classes"], _finite("sharpness", target["sharpness"])
    if sharpness <= 0 or not isinstance(labels, list) or len(labels) < 2 or target["kind"] not in CLASSES:
        raise FormatError(f"its target must be two classes or more, and a sharpness above 0, got {target!r:.80}")
    if len(labels) * max(len(str(label)) for label in labels) > MOST_LABELS:
        raise FormatError(f"its {len(labels)} classes take more than {MOST_LABELS} characters")
    if len(set(labels)) < len(labels):
        raise FormatError("its classes must differ")
    return {"classes_": np.array(labels, CLASSES[target["kind"]]), "sharpness_": sharpness}


def _tensors(prefix: str, fitted: Any) -> dict[str, np.ndarray]:
    return {f"{prefix}.{field}": np.ascontiguousarray(getattr(fitted, field)) for field in LAYOUT[type(fitted)]}


def _plain(what: str, value: Any) -> Any:
    """A value as JSON keeps it, so that it comes back equal."""
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, KEYS):
        raise FormatError(f"{what} must be text, a number or a truth value to be saved, got {type(value).__name__}")
    return str(value) if isinstance(value, str) else value


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FormatError(f"{name} must be a finite number, got {value!r:.60}")
    return float(value)
