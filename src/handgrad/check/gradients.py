"""`check_gradients`: the gradient of an op, a layer, a model, its loss or a user's functions, proved by numbers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from handgrad.check.compare import TOLERANCE, Finding, Judge, Neighbourhood, chosen_entries, compare
from handgrad.check.habits import Habits, observe
from handgrad.check.hints import hint
from handgrad.check.numeric import Point
from handgrad.check.report import ArrayReport, GradientReport, Kinked
from handgrad.check.targets import Target, lift, target_of, to_numpy
from handgrad.errors import DeviceError, ShapeError, ValueRangeError
from handgrad.threads import blas_threads

METHODS = ("auto", "complex", "central")


def check_gradients(
    target: Any,
    *inputs: Any,
    seed: int = 0,
    samples: int = 64,
    tolerance: float | None = None,
    method: str = "auto",
    wrt: str | int | Iterable[str | int] | None = None,
    hyper: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> GradientReport:
    """Compare what backward says with what forward does, for every input and parameter.

    What can be checked, and what it takes:

        check_gradients(ops.linear, x, w, b, layout="out_in")          an op; hyperparameters by keyword
        check_gradients(ops.cross_entropy, scores, y)                  arguments after an op's inputs are passed on
        check_gradients(CrossEntropy(0.1), scores, y)                  a loss
        check_gradients(model, params, x)                              a layer or model
        check_gradients(model, params, x, y, loss="cross_entropy", regularizer=L2(1e-3), sample_weight=None)
                                                                       the whole loss that training lowers
        check_gradients((forward, backward), *inputs)                  functions of your own:
                                     out, cache = forward(*inputs);  grads = backward(dout, cache)

    A layer or model, with a loss or without, also takes train=False and rng (a generator or a seed; `seed` if left
    out): every evaluation starts from the same one, so that dropout drops the same elements. For an op, a loss and
    functions of your own, all keywords but the options below go to forward.

    Options:
        seed: decides the entries, the directions and the upstream gradient, which is random and never all ones; for
            a model's whole loss it is 1, so that the numbers shown are those of the loss.
        samples: how many entries of each array are compared one by one; all when it has no more. Besides, three
            random directions over all entries, so that one wrong entry anywhere is seen, and traced.
        tolerance: the largest error accepted; 1e-8 with complex steps and 1e-5 with central differences by default.
        method: "complex", (f(x + ih) - f(x)) / ih with h = 1e-30, exact to rounding; "central", differences
            extrapolated to fourth order; "auto", the first for the library's own code and the second for yours.
        wrt: names or positions of the inputs to check, where others are data.
        hyper: hyperparameters whose names collide with these options, as a mapping.

    The error is |analytic - numeric| / max(|analytic|, |numeric|, floor); the floor is a thousandth of the array's
    largest gradient (along a direction, its root mean square), and at least 1e-6 (central: 1e-5) of sum |dout * out|,
    below which a gradient is lost in the rounding of the output. Where the function has a kink, the gradient must lie
    between the slopes from the left and from the right; such entries are listed in the report.

    Both sides are computed in float64 with NumPy. Inputs of another dtype or library are also run as given: the
    gradient's dtype and shape must be theirs, and `rounding` tells how far it lies from the one in float64. Checked
    as well: names, and that backward changes nothing it is given and returns the same when called again.

    Raises DTypeError, ShapeError, ParameterError, DeviceError or ValueRangeError for arguments that can't be checked.
    A wrong gradient is no error here: see GradientReport.ok and GradientReport.raise_if_failed.
    """
    started = time.perf_counter()
    _check_options(samples, tolerance, method)
    keywords = {**keywords, **(hyper or {})}
    native = target_of(target, inputs, keywords, seed).only(wrt)
    if native.inputs and not any(np.size(array) for array in native.inputs.values()):
        raise ShapeError("the inputs have no entry at all (an empty batch?), so that there is no gradient to check")
    lifted = target_of(target, [lift(each) for each in inputs], lift(keywords), seed).only(wrt)
    if method == "auto":
        method = "complex" if native.ours else "central"
    tolerance = TOLERANCE[method] if tolerance is None else tolerance
    # what is not finite is reported, not warned of; and many small products are no work for many threads
    with np.errstate(all="ignore"), blas_threads(1):
        habits = observe(native, seed)
        problems = list(habits.problems)
        if habits.finite:
            point = _numeric_point(native, lifted, habits)
            near = Neighbourhood(point, seed)
            rows = [
                _row(name, native, habits, point, near, method=method, tolerance=tolerance, samples=samples, seed=seed)
                for name in native.inputs
            ]
        else:
            problems.append("the output is not finite, so that it has no gradient")
            rows = [_blank(name, native, habits, method, "") for name in native.inputs]
    seconds = time.perf_counter() - started
    return GradientReport(native.title, tuple(rows), tuple(problems), method, tolerance, seconds)


def _check_options(samples: Any, tolerance: Any, method: Any) -> None:
    if isinstance(samples, bool) or not isinstance(samples, int | np.integer) or samples < 1:
        raise ValueRangeError(f"samples must be a whole number of at least 1, got {samples!r}")
    if tolerance is not None and not (np.isfinite(tolerance) and tolerance > 0):
        raise ValueRangeError(f"tolerance must be a finite number above 0, got {tolerance!r}")
    if method not in METHODS:
        raise ValueRangeError(f"method must be one of {', '.join(METHODS)}, got {method!r}")


def _numeric_point(native: Target, lifted: Target, habits: Habits) -> Point:
    """The same inputs and upstream gradient in float64, with the gradients there."""
    dout = habits.upstream
    upstream = dout if isinstance(dout, float) and not isinstance(dout, np.generic) else np.float64(to_numpy(dout))
    try:
        return Point.at(lifted, lifted.inputs, upstream)
    except Exception as error:
        foreign = [name for name, x in native.inputs.items() if not isinstance(x, np.ndarray)]
        if not foreign:
            raise
        raise DeviceError(
            f"{foreign[0]} is no NumPy array, and {native.title} can't run on NumPy arrays, which the numeric side "
            f"needs: {error}"
        ) from error


def _row(
    name: str,
    native: Target,
    habits: Habits,
    point: Point,
    near: Neighbourhood,
    *,
    method: str,
    tolerance: float,
    samples: int,
    seed: int,
) -> ArrayReport:
    fault = habits.faults.get(name, "")
    place = list(native.inputs).index(name)
    if point.gradients.get(name) is None:
        return _blank(name, native, habits, method, fault or "backward returns no gradient for it")
    if np.shape(point.gradients[name]) != point.values[name].shape:
        return _blank(name, native, habits, method, _join(fault, _hint_for_shape(point, name, method, seed)))
    findings = compare(point, name, near, method=method, tolerance=tolerance, samples=samples, seed=(seed, place))
    wrong = not all(found.ok for found in findings)
    if wrong:
        fault = _join(fault, hint(point, name, findings, method))
    return _report(name, native, habits, point, method, findings, fault, ok=not (wrong or name in habits.faults))


def _report(
    name: str,
    native: Target,
    habits: Habits,
    point: Point,
    method: str,
    findings: list[Finding],
    text: str,
    ok: bool,
) -> ArrayReport:
    x = native.inputs[name]
    # of equal errors, an entry says more than a direction
    worst = max(
        findings, key=lambda found: (not found.ok, found.index is not None and not found.ok, found.error), default=None
    )
    entries = [found for found in findings if found.index is not None]
    kinks = tuple(Kinked(f.index, *f.kink, f.analytic + 0.0) for f in entries if f.kink and f.index is not None)
    return ArrayReport(
        name=name,
        shape=tuple(x.shape),
        dtype=str(x.dtype),
        ok=ok,
        error=worst.error if worst else 0.0,
        index=worst.index if worst else None,
        analytic=worst.analytic if worst else float("nan"),
        numeric=worst.numeric if worst else float("nan"),
        entries=len({found.index for found in entries}),
        directions=len(findings) - len(entries),
        kinks=kinks,
        method=method,
        rounding=_rounding(x, habits.gradients.get(name), np.asarray(point.gradients[name])),
        hint=text,
    )


def _blank(name: str, native: Target, habits: Habits, method: str, text: str) -> ArrayReport:
    """The row of an array whose gradient could not be compared."""
    x, nan = native.inputs[name], float("nan")
    text = text or (habits.faults.get(name, "") if habits.finite else "")
    return ArrayReport(name, tuple(x.shape), str(x.dtype), False, nan, None, nan, nan, 0, 0, (), method, None, text)


def _hint_for_shape(point: Point, name: str, method: str, seed: int) -> str:
    """What a gradient of a wrong shape has to do with the right one."""
    judge = Judge(point, name, method, TOLERANCE[method])
    indices = chosen_entries(np.zeros(point.values[name].shape), 16, np.random.default_rng(seed))
    findings = [Finding(index, float("nan"), judge.slope(index), float("nan"), False) for index in indices]
    return hint(point, name, findings, method)


def _rounding(x: Any, given: Any, exact: np.ndarray) -> float | None:
    """How far the gradient lies from the one in float64, relative to the largest; None where x is float64 itself."""
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        return None
    if given is None or np.shape(given) != exact.shape or exact.size == 0:
        return None
    largest = float(np.max(np.abs(exact)))
    return float(np.max(np.abs(to_numpy(given).astype(np.float64) - exact))) / largest if largest else 0.0


def _join(*texts: str) -> str:
    return "; ".join(text for text in texts if text)
