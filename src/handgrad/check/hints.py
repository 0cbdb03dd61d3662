"""The likely fault behind a gradient that fails, told by how its numbers differ from the right ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from handgrad.check.compare import Finding
from handgrad.check.numeric import Point

CLOSE = 1e-4


def hint(point: Point, name: str, findings: list[Finding], method: str) -> str:
    """A sentence on what is likely wrong; "" when nothing common fits. The gradient may have any shape."""
    gradient = np.asarray(point.gradients[name])
    x = point.values[name]
    entries = [found for found in findings if found.index is not None and not found.kink]
    if not entries:
        return ""
    where = tuple(np.array(axis) for axis in zip(*(found.index for found in entries), strict=True))
    numeric = np.array([found.numeric for found in entries])
    if gradient.shape != x.shape:
        return _of_shape(gradient, x.shape, where, numeric, _batch(point))
    analytic = gradient[where]
    if not np.all(np.isfinite(analytic)):
        return "a division by 0, an overflow or the logarithm of 0 on the way"
    if not np.all(np.isfinite(numeric)):
        return "the function itself is not finite around this point"
    return (
        _of_values(analytic, numeric, _batch(point))
        or _of_layout(gradient, where, numeric)
        or _of_sums(point, name, gradient)
        or _of_penalty(analytic, numeric, x[where])
        or _of_method(point, name, entries, method)
        or _of_some(entries)
    )


def _of_values(analytic: np.ndarray, numeric: np.ndarray, batch: int) -> str:
    if not np.any(analytic):
        return "the gradient is 0 everywhere: a path is missing"
    if _close(analytic, -numeric):
        return "the sign is wrong"
    large = np.abs(numeric) > 1e-3 * np.max(np.abs(numeric), initial=0.0)
    if np.sum(large) < min(3, len(numeric)) or not np.any(large):
        return ""
    ratios = analytic[large] / numeric[large]
    ratio = float(np.median(ratios))
    if ratio == 0 or abs(ratio - 1) < 10 * CLOSE or not _close(analytic, ratio * numeric):
        return ""
    return _factor(ratio, batch)


def _factor(ratio: float, batch: int) -> str:
    named = f"{abs(ratio):.6g}"
    if batch > 1 and np.isclose(abs(ratio), batch, rtol=CLOSE):
        named += ", the batch size: a sum where the mean was meant"
    elif batch > 1 and np.isclose(abs(ratio), 1 / batch, rtol=CLOSE):
        named += f", 1 / {batch}, the batch size: a mean where the sum was meant"
    return f"every entry is off by the factor {named}" + ("; the sign is wrong too" if ratio < 0 else "")


def _of_layout(gradient: np.ndarray, where: tuple[np.ndarray, ...], numeric: np.ndarray) -> str:
    if gradient.ndim == 2 and gradient.shape[0] == gradient.shape[1] > 1 and _close(gradient.T[where], numeric):
        return "transposed: its transpose is right"
    return ""


def _of_shape(
    gradient: np.ndarray, shape: tuple[int, ...], where: tuple[np.ndarray, ...], numeric: np.ndarray, batch: int
) -> str:
    for words, candidate in _reshaped(gradient, shape):
        if candidate.shape == shape and _close(candidate[where], numeric):
            return words
    if gradient.ndim == len(shape) and gradient.shape[:1] == (batch,) != shape[:1]:
        return "it has a row for each sample: the sum runs over the wrong axis"
    return ""


def _reshaped(gradient: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    yield "transposed: its transpose is right", gradient.T
    if gradient.size == int(np.prod(shape)):
        yield f"the numbers are right, but need the shape {shape}", gradient.reshape(shape)
    for axis in range(gradient.ndim):
        yield (
            f"the sum over axis {axis}, the batch, is missing" if axis == 0 else f"the sum over axis {axis} is missing",
            (gradient.sum(axis=axis)),
        )
    if gradient.ndim > len(shape):
        leading = tuple(range(gradient.ndim - len(shape)))
        yield f"the sum over the leading axes {leading} is missing", gradient.sum(axis=leading)
    if gradient.ndim == len(shape):
        stretched = tuple(i for i, n in enumerate(shape) if n == 1)
        yield f"the sum over the broadcast axes {stretched} is missing", gradient.sum(axis=stretched, keepdims=True)


def _of_sums(point: Point, name: str, gradient: np.ndarray) -> str:
    """A sum over the batch that was left out, or taken along another axis."""
    dout = point.upstream
    if np.ndim(dout) == 0 or len(dout) < 2 or gradient.shape == np.shape(dout):
        return ""
    for sample, words in ((0, "first"), (-1, "last")):
        alone = np.zeros_like(dout)
        alone[sample] = dout[sample]
        other = point.target.backward(alone, point.target.forward(point.values)[1]).get(name)
        if other is not None and np.shape(other) == gradient.shape and _close(np.asarray(other), gradient):
            return f"it holds the {words} sample's part alone: the sum over the batch is missing"
    for axis in range(1, np.ndim(dout)):
        summed = dout.sum(axis=axis)
        if summed.shape == gradient.shape and _close(gradient, summed):
            return f"the sum runs over the wrong axis, {axis}"
    return ""


def _of_penalty(analytic: np.ndarray, numeric: np.ndarray, x: np.ndarray) -> str:
    """A regularizer counted a wrong number of times: the error is a multiple of the array itself."""
    square = float(np.sum(x * x))
    if square == 0 or len(x) < 3:
        return ""
    c = float(np.sum((analytic - numeric) * x)) / square
    return f"the error is {c:.4g} times the array itself: an L2 penalty counted wrong" * _close(
        analytic - numeric, c * x
    )


def _of_method(point: Point, name: str, entries: list[Finding], method: str) -> str:
    if method != "complex" or point.target.ours:
        return ""
    worst = max(entries, key=lambda found: found.error)
    real = point.central_slope(name, worst.index, 1e-4)
    if abs(real - worst.analytic) > 1e-5 * max(abs(real), abs(worst.analytic)):
        return ""
    return 'central differences agree with it: forward is no analytic function of complex numbers; use method="central"'


def _of_some(entries: list[Finding]) -> str:
    wrong = sum(not found.ok for found in entries)
    if 0 < wrong < len(entries):
        verb = "is" if wrong == 1 else "are"
        return f"{wrong} of the {len(entries)} entries compared {verb} wrong, the others right"
    return ""


def _batch(point: Point) -> int:
    """The number of samples: of the upstream gradient, or of x where that is one number."""
    if np.ndim(point.upstream):
        return len(point.upstream)
    first = next(iter(point.values.values()))
    return len(first) if first.ndim else 1


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    largest = float(np.max(np.abs(b), initial=0.0))
    return largest > 0 and bool(np.max(np.abs(a - b)) <= CLOSE * largest)
