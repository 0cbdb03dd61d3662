"""From a model, or a fitted estimator, to an ONNX file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handgrad.errors import DTypeError
from handgrad.formats.atomic import check_place, replacing
from handgrad.formats.errors import FormatError
from handgrad.formats.onnx.estimators import emit_estimator, emit_steps
from handgrad.formats.onnx.layers import CONTAINERS, EMITTERS, emit, sample_shape, unknown
from handgrad.formats.onnx.writer import Writer
from handgrad.formats.packing import packed
from handgrad.layers.base import Layer
from handgrad.ops.arrays import Array

DTYPES = ("float32", "float64")


def to_onnx(
    model: Any,
    params: Mapping[str, Array] | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    before: Any = None,
    shape: Sequence[int] | None = None,
    dtype: str = "float32",
) -> Any:
    """An onnx.ModelProto, written to `path` too where one is given; the number of samples is free.

    model: a Layer, with its params; or, without params, a fitted MLPClassifier, MLPRegressor, TabularClassifier or
        TabularRegressor, or a scikit-learn Pipeline that ends in one, with all that it does to a table before.
    before: a fitted scikit-learn scaler, or a list of them, that rows go through first: StandardScaler, MinMaxScaler,
        MaxAbsScaler, RobustScaler, SimpleImputer.
    shape: of one sample, where the model does not say it: (28, 28), say, before a Flatten.
    dtype: what the network computes in, "float32" or "float64".

    A model has one input "x" and one output "y". A classifier has the outputs "label" and "probabilities" ("scores"
    with a hinge loss), a regressor "prediction". An estimator's input is "x", or for a table with columns of text one
    input (m, 1) for each column, by its name; numbers of a Tabular estimator's table are taken in float64, NaN where
    missing, and missing text is "". Dropout is left out. The operator set is 20, the format's version 9.
    Raises FormatError, with its place, for what has no operator, ParameterError or ShapeError for parameters that do
    not fit, FileNotFoundError or IsADirectoryError for a `path` where no file can be, ImportError without onnx.
    """
    if path is not None:
        check_place(path)
    if dtype not in DTYPES:
        raise DTypeError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    write = Writer(np.dtype(dtype))
    if not isinstance(model, Layer):
        if params is not None or before is not None or shape is not None:
            raise FormatError("params, before and shape go with a Layer; an estimator has its own")
        emit_estimator(write, model)
    elif params is None:
        raise FormatError("a Layer has no parameters of its own; give params")
    else:
        _emit_model(write, model, params, before, shape)
    made = write.model()
    if path is not None:
        with replacing(path) as file:
            file.write(made.SerializeToString(deterministic=True))
    return made


def _emit_model(
    write: Writer, model: Layer, params: Mapping[str, Array], before: Any, shape: Sequence[int] | None
) -> None:
    taken = sample_shape(model) if shape is None else tuple(shape)
    if taken is None:
        if type(model) not in (*EMITTERS, *CONTAINERS):
            raise unknown(model)
        raise FormatError("the model does not say what shape its samples have; give shape=, such as shape=(28, 28)")
    for name, array in packed(model, params).items():
        write.parameter(name, array.astype(write.dtype))
    x = write.input("x", write.dtype, taken)
    steps = [] if before is None else before if isinstance(before, list | tuple) else [before]
    start = emit_steps(write, steps, x, taken)
    y, out = emit(write, model, {name: name for name in model.parameters()}, start, taken)
    write.output(y, "y", write.dtype, out)
