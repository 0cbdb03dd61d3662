"""Every derivation against numbers, before it is shown: lines against each other, gradients against complex steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from handgrad.errors import HandgradError
from handgrad.explain.derive import code
from handgrad.explain.derive.elements import value_of
from handgrad.explain.derive.formula import At, Formula, Name
from handgrad.explain.derive.functions import HELPERS
from handgrad.explain.derive.program import Program
from handgrad.explain.derive.shapes import names_in, sizes

STEP = 1e-30
TOLERANCE = 1e-9
DIRECTIONS = 3  # along which each gradient is compared: a wrong one is orthogonal to none of them by chance
PLACES = 3  # entries of each gradient at which the lines with elements are compared
ATTEMPTS = 20
WIDE = 16


class DerivationError(HandgradError, AssertionError):
    """A derivation that numbers contradict: a mistake in the library, never in the expression."""


def prove(program: Program, source: str, seed: int = 0) -> tuple[float, dict[str, int]]:
    """The largest relative error found, and the lengths it was found at. Raises DerivationError above the tolerance.

    Lengths are drawn at random, all different, so that no transpose can hide; numbers from the normal distribution,
    or where that leaves the domain of a log or a root, from 0.5 to 1.5.
    """
    rng = np.random.default_rng(seed)
    lengths = _lengths(program, rng)
    point = _point(program, lengths, rng)
    namespace: dict[str, Any] = {}
    exec(compile(source, "<derivation>", "exec"), namespace)
    given = [point[name] for name in program.inputs]
    out, cache = namespace["forward"](*given)
    expected = evaluate(program, point)[program.output]
    errors = [_compare(f"the value of {program.output}", out, expected)]
    upstream = rng.standard_normal(np.shape(expected))
    found = namespace["backward"](upstream, cache)
    gradients = dict(zip(program.wanted, found if len(program.wanted) > 1 else (found,), strict=True))
    for name, gradient in gradients.items():
        if np.shape(gradient) != point[name].shape:
            raise DerivationError(f"d{name} has shape {np.shape(gradient)}, {name} has {point[name].shape}")
        for _ in range(DIRECTIONS):
            direction = rng.standard_normal(point[name].shape)
            stepped = evaluate(program, {**point, name: point[name] + 1j * STEP * direction})[program.output]
            slope = float(np.sum(upstream * np.imag(stepped))) / STEP
            scale = float(np.sum(np.abs(gradient * direction)))
            errors.append(_compare(f"d{name} and a complex step", np.sum(gradient * direction), slope, scale))
    errors += _check_lines(program, point, upstream, rng)
    return max(errors), lengths


def evaluate(program: Program, values: Mapping[str, Any]) -> dict[str, Any]:
    """Every result of the program by the library's ops: of real inputs, or of complex ones."""
    values = dict(values)
    kind = np.complex128 if any(np.iscomplexobj(value) for value in values.values()) else np.float64
    for step in program.steps:
        taken = []
        for operand in step.operands:
            array = operand.array
            value = np.asarray(values[array.name] if isinstance(array, Name) else float(array.value))
            value = value.astype(kind) if value.dtype.kind in "fc" else value  # labels stay what they are
            taken.append(np.swapaxes(value, -1, -2) if operand.transposed else value)
        values[step.name] = step.rule.evaluate(taken, step.options)
    return values


def _lengths(program: Program, rng: np.random.Generator) -> dict[str, int]:
    """A size for each name of a length: all different, and different from the numbers that occur."""
    names = list(dict.fromkeys(name for shape in program.inputs.values() for name in names_in(shape)))
    numbers = {n for shape in program.inputs.values() for n in shape if isinstance(n, int)}
    free = [n for n in range(2, 2 + 2 * len(names) + len(numbers) + 3) if n not in numbers]
    return dict(zip(names, map(int, rng.permutation(free)), strict=False))


def _point(program: Program, lengths: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random inputs at which every step is finite."""
    for attempt in range(ATTEMPTS):
        point: dict[str, np.ndarray] = {}
        for name, shape in program.inputs.items():
            size = sizes(shape, lengths)
            if name in program.data:
                point[name] = _data(program, name, size, lengths, rng)
            else:
                wide = max(size, default=1) > WIDE  # else sums over many would drive an exp out of range
                numbers = rng.standard_normal(size) if attempt < 2 else rng.uniform(0.5, 1.5, size)
                point[name] = numbers / np.sqrt(max(size)) if wide else numbers
        with np.errstate(all="ignore"):
            values = evaluate(program, point)
        if all(np.all(np.isfinite(value)) for value in values.values()):
            return point
    raise DerivationError("no random input was found at which every step of the expression is finite")


def _data(
    program: Program, name: str, size: tuple[int, ...], lengths: Mapping[str, int], rng: np.random.Generator
) -> np.ndarray:
    """Targets that suit the loss: labels where they have an axis less than the scores, otherwise numbers in (0, 1)."""
    for step in program.steps:
        for operand in step.operands[1:]:
            scores = step.operands[0].shape
            if (
                isinstance(operand.array, Name)
                and operand.array.name == name
                and len(scores) == len(size) + 1
                and not step.shape
            ):
                return rng.integers(sizes(scores[-1:], lengths)[0], size=size)
    return rng.random(size)


def _check_lines(
    program: Program, point: Mapping[str, np.ndarray], upstream: np.ndarray, rng: np.random.Generator
) -> list[float]:
    """Each line with elements against the same gradient as an array, at a few entries."""
    namespace: dict[str, Any] = {"np": np}
    exec("import math\nimport numpy as np\n" + "\n".join(HELPERS.values()), namespace)
    namespace |= point
    for line, _ in code.forward_lines(program):
        exec(line, namespace)
    namespace[f"d{program.output}"] = upstream
    for line, _ in code.backward_lines(program):
        exec(line, namespace)
    errors = []
    for step in program.steps:
        element = step.rule.elements(step)
        if element is not None:
            errors += _lines(namespace, namespace[step.name], step.rule.output_indices(step), [element], rng)
        for gradient in step.rule.gradients(step):
            if f"d{step.name}" not in namespace or gradient.local is None:
                continue
            whole = np.asarray(eval(gradient.whole.code(), namespace))
            *_, (_, (_, *forms)) = gradient.equations()
            errors += _lines(namespace, whole, gradient.indices, forms, rng)
            for left, lemma in gradient.lemmas:
                assert isinstance(left, At)
                array = np.asarray(namespace[left.array.name])
                errors += _lines(namespace, array, left.indices, [lemma], rng)
    return errors


def _lines(
    namespace: dict[str, Any], array: Any, indices: tuple[str, ...], forms: list[Formula], rng: np.random.Generator
) -> list[float]:
    array, errors = np.asarray(array), []
    for _ in range(PLACES):
        place = tuple(int(rng.integers(n)) for n in array.shape)
        at = {i: k for i, k in zip(indices, place, strict=True) if i != "1"}
        for form in forms:
            said = form.text()
            errors.append(
                _compare(f"the line {said}", value_of(form, at, namespace), array[place], np.max(np.abs(array)))
            )
    return errors


def _compare(what: str, found: Any, expected: Any, scale: float = 0.0) -> float:
    found, expected = np.asarray(found), np.asarray(expected)
    largest = max(float(scale), float(np.max(np.abs(expected), initial=0.0)), 1e-300)
    error = float(np.max(np.abs(found - expected), initial=0.0)) / largest
    if not error < TOLERANCE:
        raise DerivationError(f"numbers contradict the derivation: {what} differs by {error:.1e}, relatively")
    return error
