"""Estimators for tables as ONNX nodes: how each column is read, the members, their mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from handgrad.formats.errors import FormatError
from handgrad.formats.onnx.layers import emit
from handgrad.formats.onnx.writer import ML, Writer
from handgrad.layers import Parameters

FAR, SMOOTH = 1e9, 3.0  # see handgrad.estimators.tabular.encoding.Numbers
DIRECT = ("number", "category", "empty")


def emit_tabular(write: Writer, estimator: Any) -> None:
    """Add the graph of a fitted TabularClassifier or TabularRegressor.

    Raises FormatError for columns that no ONNX input stands for: dates, levels that are neither text nor whole numbers.
    """
    columns, encoder = estimator.columns_, estimator.encoder_
    for column in columns:
        if column.role not in DIRECT:
            raise FormatError(f"{column} holds dates, which to_onnx cannot read; give their parts as numbers")
    plain = all(column.role == "number" for column in columns)
    codes: list[str] = []
    numbers: list[str] = []
    if plain:
        numbers.append(write.input("x", np.float64, (len(columns),)))
    for column in () if plain else columns:
        if column.role == "category":
            codes.append(_code(write, column, encoder.levels[len(codes)]))
        else:  # an empty column is read by nothing, and stays an input all the same
            value = write.input(str(column.name), np.float64, (1,))
            numbers += [value] if column.role == "number" else []
    parts = [write.cast(part, write.dtype) for part in _numbers(write, encoder.numbers, numbers)]
    for code, levels in zip(codes, encoder.levels, strict=True):
        if levels.width:
            table = np.concatenate([levels.inputs[levels.rows], levels.means], axis=1)
            parts.append(write("Gather", write.constant(table, "levels"), code, axis=0))
    if not parts:
        raise FormatError("no column of the table varies, so that there is nothing to compute from")
    x = parts[0] if len(parts) == 1 else write("Concat", *parts, axis=1)
    scores = [_member(write, estimator, i, x) for i in range(len(estimator.members_))]
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        _emit_number(write, estimator, scores)
        return
    from handgrad.formats.onnx.estimators import emit_label

    sharpness = write.constant(estimator.sharpness_)
    p = [write("Softmax", write("Mul", sharpness, each), axis=-1) for each in scores]
    mean = _mean(write, p)
    emit_label(write, mean, classes)
    write.output(mean, "probabilities", write.dtype, (len(classes),))


def _mean(write: Writer, values: list[str]) -> str:
    if len(values) == 1:
        return values[0]
    return write("Div", write("Sum", *values), write.constant(len(values)))  # ONNX Runtime has Mean in float32 alone


def _emit_number(write: Writer, estimator: Any, scores: list[str]) -> None:
    mean = write.cast(write("Squeeze", _mean(write, scores), write.constant([1], dtype=np.int64)), np.float64)
    scale, center, low, high = (
        write.constant(value, dtype=np.float64) for value in (estimator.spread_, estimator.center_, *estimator.range_)
    )
    y = write("Clip", write("Add", write("Mul", mean, scale), center), low, high)
    write.output(y, "prediction", np.float64, ())


def _member(write: Writer, estimator: Any, i: int, x: str) -> str:
    params = Parameters(estimator.model_.parameters(), estimator.members_[i].flat)
    names = {name: f"members.{i}.{name}" for name in params}
    for name, array in params.items():
        write.parameter(names[name], array.astype(write.dtype))
    with write.at(f"member {i}"):
        return emit(write, estimator.model_, names, x, (estimator.encoder_.width,))[0]


def _code(write: Writer, column: Any, levels: Any) -> str:
    """The number of a category's level, (m,); 0 for one that was never seen."""
    keys = [key for key in levels.codes if key is not None]
    name = str(column.name)
    if all(isinstance(key, str) for key in keys):
        if "" in keys and None in levels.codes:
            raise FormatError(f"{column} holds both '' and missing values, which ONNX cannot tell apart")
        given = write.input(name, object, (1,))
        known: dict[str, Any] = {"keys_strings": ["" if key is None else key for key in levels.codes]}
    elif all(isinstance(key, int) for key in keys) and None not in levels.codes:  # truth values are 0 and 1
        given = write.input(name, np.int64, (1,))
        known = {"keys_int64s": [int(key) for key in keys]}
    else:
        raise FormatError(f"the levels of {column} must be all text, or all whole numbers, for ONNX")
    flat = write("Squeeze", given, write.constant([1], dtype=np.int64))
    numbers = list(levels.codes.values())
    return write("LabelEncoder", flat, domain=ML, values_int64s=numbers, default_int64=0, **known)


def _numbers(write: Writer, fitted: Any, given: list[str]) -> list[str]:
    """The inputs that columns of numbers become, as Numbers.encode has them, in float64."""

    def constant(value: Any) -> str:
        return write.constant(value, dtype=np.float64)

    def pick(values: str, index: np.ndarray) -> str:
        return write("Gather", values, write.constant(index, "columns", dtype=np.int64), axis=1)

    if not given:
        return []
    x = given[0] if len(given) == 1 else write("Concat", *given, axis=1)
    missing = write("IsNaN", x)
    x = write("Where", missing, constant(fitted.median), x)
    parts = []
    if len(fitted.plain):
        median, scale = fitted.median[fitted.plain], fitted.scale[fitted.plain]
        z = write("Mul", write("Sub", pick(x, fitted.plain), constant(median)), constant(scale))
        z = write("Clip", z, constant(-FAR), constant(FAR))
        third = write("Div", z, constant(SMOOTH))
        root = write("Sqrt", write("Add", write("Mul", third, third), constant(1)))
        parts.append(write("Div", z, root))
    if len(fitted.absent):
        parts.append(write.cast(pick(missing, fitted.absent), np.float64))
    if len(fitted.source):
        bins = write("Sub", pick(x, fitted.source), constant(fitted.low))
        parts.append(write("Clip", write("Mul", bins, constant(fitted.inverse)), constant(0), constant(1)))
    return parts
