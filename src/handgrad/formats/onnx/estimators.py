"""Fitted estimators as ONNX nodes: scalers, scikit-learn's and Handgrad's MLPs, pipelines of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from handgrad.errors import HandgradError, ShapeError
from handgrad.formats.errors import FormatError
from handgrad.formats.onnx.layers import Shape, emit
from handgrad.formats.onnx.tabular import emit_tabular
from handgrad.formats.onnx.writer import Writer
from handgrad.formats.sklearn import from_sklearn


def emit_estimator(write: Writer, estimator: Any) -> None:
    """Add a whole graph for a fitted estimator, its inputs and outputs too. Raises FormatError for any other."""
    before: list[Any] = []
    if hasattr(estimator, "steps"):  # a Pipeline
        before = [step for _, step in estimator.steps[:-1] if step not in (None, "passthrough")]
        estimator = estimator.steps[-1][1]
    if hasattr(estimator, "encoder_") and hasattr(estimator, "members_"):
        if before:
            raise FormatError(f"{type(estimator).__name__} reads tables itself; to_onnx takes no step before it")
        emit_tabular(write, estimator)
        return
    model, params = from_sklearn(estimator)
    for name, array in params.items():
        write.parameter(name, array.astype(write.dtype))
    n = before[0].n_features_in_ if before else estimator.n_features_in_
    x = write.input("x", write.dtype, (n,))
    start = emit_steps(write, before, x, (n,))
    scores, (outputs,) = emit(write, model, {name: name for name in params}, start, (estimator.n_features_in_,))
    if hasattr(estimator, "classes_"):
        _emit_classes(write, estimator, scores, outputs)
        return
    if estimator.out_activation_ == "exp":
        scores = write("Exp", scores)
    if outputs == 1:  # as predict gives it
        scores = write("Squeeze", scores, write.constant([1], dtype=np.int64))
    write.output(scores, "prediction", write.dtype, () if outputs == 1 else (outputs,))


def _emit_classes(write: Writer, estimator: Any, scores: str, outputs: int) -> None:
    kind = estimator.out_activation_
    name, values, decided = "probabilities", scores, scores
    if kind == "softmax":
        temperature = getattr(estimator, "temperature_", 1.0)
        scaled = scores if temperature == 1 else write("Div", scores, write.constant(temperature))
        values = write("Softmax", scaled, axis=-1)
    elif kind == "logistic":
        if outputs == 1:
            decided = write("Concat", write("Neg", scores), scores, axis=1)
        temperature = getattr(estimator, "temperature_", 1.0)
        scaled = decided if temperature == 1 else write("Div", decided, write.constant(temperature))
        values = write("Sigmoid", scaled)
    else:
        name = "scores"
    if kind == "logistic" and outputs > 1:  # multilabel
        above = write("Greater", scores, write.constant(0))
        write.output(write.cast(above, np.int64), "label", np.int64, (outputs,))
    else:
        emit_label(write, decided, estimator.classes_)
    write.output(values, name, write.dtype, (2 if outputs == 1 else outputs,))


def emit_label(write: Writer, scores: str, classes: np.ndarray) -> None:
    """The output "label": the class with the greatest score. classes: numbers, truth values or text."""
    if classes.dtype.kind == "O" and all(isinstance(label, str) for label in classes):
        classes = classes.astype(str)
    if classes.dtype.kind not in "iubfU":
        raise FormatError(f"classes must be numbers, truth values or text, got {classes[:4].tolist()!r:.60}")
    if classes.dtype.kind in "iu":
        classes = classes.astype(np.int64)
    kept = classes.astype(object) if classes.dtype.kind == "U" else classes
    labels = write.constant(kept, "classes", dtype=kept.dtype)
    place = write("ArgMax", scores, axis=1, keepdims=0)
    write.output(write("Gather", labels, place, axis=0), "label", kept.dtype, ())


def emit_steps(write: Writer, steps: Sequence[Any], x: str, shape: Shape) -> str:
    """Add fitted transformers of rows in turn; returns the name of what comes out."""
    for step in steps:
        name = type(step).__name__
        emitter = STEPS.get(name) if type(step).__module__.startswith("sklearn.") else None
        if emitter is None:
            raise FormatError(f"to_onnx has no operator for {name}; it knows {', '.join(STEPS)}")
        if not hasattr(step, "n_features_in_"):
            raise FormatError(f"{name} is not fitted")
        if shape != (step.n_features_in_,):
            raise ShapeError(f"{name} takes {step.n_features_in_} features, got samples of shape {shape}")
        try:
            with write.at(name):
                x = emitter(write, step, x)
        except HandgradError as error:
            raise error from None
    return x


def _scale(write: Writer, x: str, center: Any, scale: Any) -> str:
    """(x - center) / scale; None leaves either out."""
    if center is not None:
        x = write("Sub", x, write.constant(center))
    return x if scale is None else write("Div", x, write.constant(scale))


def _min_max(write: Writer, step: Any, x: str) -> str:
    y = write("Add", write("Mul", x, write.constant(step.scale_)), write.constant(step.min_))
    if not step.clip:
        return y
    low, high = step.feature_range
    return write("Clip", y, write.constant(low), write.constant(high))


def _impute(write: Writer, step: Any, x: str) -> str:
    values = np.asarray(step.statistics_)
    if step.add_indicator or values.dtype.kind != "f" or np.isnan(values).any():
        raise FormatError("SimpleImputer must fill every column with a number, and add none")
    if not isinstance(step.missing_values, float) or not np.isnan(step.missing_values):
        raise FormatError(f"SimpleImputer must fill what is NaN, got missing_values={step.missing_values!r}")
    return write("Where", write("IsNaN", x), write.constant(values), x)


STEPS: dict[str, Callable[[Writer, Any, str], str]] = {
    "StandardScaler": lambda write, step, x: _scale(
        write, x, step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None
    ),
    "RobustScaler": lambda write, step, x: _scale(
        write, x, step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None
    ),
    "MaxAbsScaler": lambda write, step, x: _scale(write, x, None, step.scale_),
    "MinMaxScaler": _min_max,
    "SimpleImputer": _impute,
}
