"""Every derivation against numbers, before it is shown: lines against each other, gradients against complex steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from handgrad.errors import HandgradError
from handgrad.explain.derive import code
from handgrad.explain.derive.elements import value_of
from handgrad.explain.derive.formula import At, Formula, Name, Partial
from handgrad.explain.derive.functions import HELPERS
from handgrad.explain.derive.matching import matching
from handgrad.explain.derive.places import fail
from handgrad.explain.derive.program import Program
from handgrad.explain.derive.rules import Gradient, Step
from handgrad.explain.derive.rules.reductions import Flatten
from handgrad.explain.derive.shapes import Dim, Shape, names_in, sizes

STEP = 1e-30
TOLERANCE = 1e-9
ROUNDING = 1e-13  # of the largest number on the way: so much is no difference
DIRECTIONS = 3  # along which each gradient is compared: a wrong one is orthogonal to none of them by chance
PLACES = 3  # entries of each gradient at which the lines with elements are compared
ATTEMPTS = 40
LARGEST = 200_000  # elements of an array
WIDE = 12  # a length that is a larger number has a smaller one put in its place


class DerivationError(HandgradError, AssertionError):
    """A derivation that numbers contradict: a mistake in the library, never in the expression."""


def prove(program: Program, source: str, seed: int = 0) -> tuple[float, dict[str, int]]:
    """The largest relative error found, and the lengths it was found at. Raises DerivationError above the tolerance.

    Lengths are drawn at random, all different, so that no transpose can hide; numbers from the normal distribution,
    or where that leaves the domain of a log or a root, far from 0 and of one sign for each array. Raises
    ExpressionError for a step that is finite at none of them, with its place.
    """
    rng = np.random.default_rng(seed)
    lengths = _lengths(program, rng)
    point = _point(program, lengths, rng)
    namespace: dict[str, Any] = {}
    exec(compile(source, "<derivation>", "exec"), namespace)
    given = [point[name] for name in program.inputs]
    out, cache = namespace["forward"](*given)
    expected = evaluate(program, point)[program.output]
    upstream = rng.standard_normal(np.shape(expected))
    arrays = _arrays(program, point, upstream)
    floor = _floor(arrays, program.shapes)
    steep = _floor(arrays, [f"d{name}" for name in program.shapes])
    errors = [_compare(f"the value of {program.output}", out, expected, floor)]
    found = namespace["backward"](upstream, cache)
    gradients = dict(zip(program.wanted, found if len(program.wanted) > 1 else (found,), strict=True))
    for name, gradient in gradients.items():
        if np.shape(gradient) != point[name].shape:
            raise DerivationError(f"d{name} has shape {np.shape(gradient)}, {name} has {point[name].shape}")
        for _ in range(DIRECTIONS):
            direction = rng.standard_normal(point[name].shape)
            stepped = evaluate(program, {**point, name: point[name] + 1j * STEP * direction})[program.output]
            slope = float(np.sum(upstream * np.imag(stepped))) / STEP
            scale = max(steep, float(np.sum(np.abs(gradient * direction))))
            errors.append(_compare(f"d{name} and a complex step", np.sum(gradient * direction), slope, scale))
    errors += _check_lines(program, arrays, floor, steep, rng)
    return max(errors), {str(name): length for name, length in lengths.items() if name in program.lengths}


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
        try:
            values[step.name] = step.rule.evaluate(taken, step.options)
        except HandgradError as error:  # an option out of its range
            fail(str(error), program.expression.splitlines(), step.place, type(error))
    return values


def _lengths(program: Program, rng: np.random.Generator) -> dict[Dim, int]:
    """A size for each name of a length, and for each large number: all different, and none that occurs otherwise.

    Arrays of many axes would be too large so: their lengths are 2 or 3.
    """
    given = list(dict.fromkeys(n for shape in program.inputs.values() for n in shape))
    products = {step.shape[1]: step.operands[0].shape[1:] for step in program.steps if isinstance(step.rule, Flatten)}
    numbers = [n for n in given if isinstance(n, int) and n > 1 and n not in products]
    words: list[Dim] = list(dict.fromkeys(name for shape in program.inputs.values() for name in names_in(shape)))
    names = [*words, *(n for n in numbers if n > WIDE)]
    free = [n for n in range(2, 2 + 2 * len(names) + len(numbers) + 3) if n not in numbers]
    found = _flattened(dict(zip(names, map(int, rng.permutation(free)), strict=False)), products)
    if max(math.prod(sizes(shape, found)) for shape in program.shapes.values()) <= LARGEST:
        return found
    return _flattened({n: int(rng.integers(2, 4)) for n in [*words, *numbers]}, products)


def _flattened(found: dict[Dim, int], products: Mapping[Dim, Shape]) -> dict[Dim, int]:
    """The lengths, and those that are products of others."""
    for flat, dims in products.items():
        if isinstance(flat, int):
            found[flat] = math.prod(sizes(dims, found))
    return found


def _point(program: Program, lengths: Mapping[Dim, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random inputs at which every step is finite."""
    for attempt in range(ATTEMPTS):
        point: dict[str, np.ndarray] = {}
        for name, shape in program.inputs.items():
            size = sizes(shape, lengths)
            if name in program.data:
                point[name] = _data(program, name, size, lengths, rng)
            else:
                wide = max(size, default=1) > WIDE  # else sums over many would drive an exp out of range
                sign = rng.choice([-1.0, 1.0]) if attempt > ATTEMPTS // 4 else 1.0
                numbers = rng.standard_normal(size) if attempt < 2 else sign * rng.uniform(0.5, 1.5, size)
                point[name] = numbers / np.sqrt(max(size)) if wide else numbers
        with np.errstate(all="ignore"):
            values = evaluate(program, point)
        if all(np.all(np.isfinite(value)) for value in values.values()):
            return point
    step = next(step for step in program.steps if not np.all(np.isfinite(values[step.name])))
    fail("no numbers were found at which this is finite", program.expression.splitlines(), step.place)


def _data(
    program: Program, name: str, size: tuple[int, ...], lengths: Mapping[Dim, int], rng: np.random.Generator
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


def _arrays(program: Program, point: Mapping[str, np.ndarray], upstream: np.ndarray) -> dict[str, Any]:
    """Every array of forward and backward by its name, and the helper functions."""
    namespace: dict[str, Any] = {"np": np}
    exec("import math\nimport numpy as np\n" + "\n".join(HELPERS.values()), namespace)
    namespace |= point
    for line, _ in code.forward_lines(program):
        exec(line, namespace)
    namespace[f"d{program.output}"] = upstream
    for line, _ in code.backward_lines(program):
        exec(line, namespace)
    return namespace


def _floor(arrays: Mapping[str, Any], names: Iterable[str]) -> float:
    """What a difference is compared with at least: a sum of zero is none but for the rounding of its terms."""
    numbers = [np.max(np.abs(arrays[name]), initial=0.0) for name in names if name in arrays]
    return ROUNDING / TOLERANCE * float(max(numbers))


def _check_lines(
    program: Program, namespace: dict[str, Any], floor: float, steep: float, rng: np.random.Generator
) -> list[float]:
    """Each line with elements against the same gradient as an array, at a few entries. floor, steep: of values and
    of gradients, see `_floor`."""
    errors = []
    for step in program.steps:
        element = step.rule.elements(step)
        if element is not None:
            errors += _lines(namespace, namespace[step.name], step.rule.output_indices(step), [element], rng, floor)
        for gradient in program.gradients[step.name]:
            if f"d{step.name}" not in namespace or gradient.local is None:
                continue
            whole = np.asarray(eval(gradient.whole.code(), namespace))
            *_, (_, (_, *forms)) = gradient.equations()
            errors += _lines(namespace, whole, gradient.indices, forms, rng, steep)
            errors += [_compare(*claim, steep) for claim in _claims(step, gradient, namespace, whole, rng)]
            for left, lemma in gradient.lemmas:
                if isinstance(left, At):
                    errors += _lines(namespace, namespace[left.array.name], left.indices, [lemma], rng, floor)
    return errors


def _claims(
    step: Step, gradient: Gradient, namespace: dict[str, Any], whole: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[str, Any, Any]]:
    """(what, found, expected) of what is said on the way: forms of local gradients, partial ones, products."""
    assert gradient.local is not None
    letters = dict(zip(gradient.indices, namespace[gradient.wrt.name].shape, strict=True))
    letters |= dict(zip(gradient.out, namespace[step.name].shape, strict=True))
    for _ in range(PLACES):
        at = {i: int(rng.integers(n)) for i, n in letters.items() if i != "1"}
        for form in gradient.first:
            yield f"the line {form.text()}", value_of(form, at, namespace), value_of(gradient.local, at, namespace)
        for left, lemma in gradient.lemmas:
            if isinstance(left, Partial):
                yield f"the line {lemma.text()}", value_of(lemma, at, namespace), _slope(step, left, at, namespace)
    found = matching(gradient)
    if found is not None:
        rows = {name: namespace[name] for name in (f"d{step.name}", *(o.array.text() for o in step.operands[:2]))}
        for operand, shape in ((step.operands[0], (1, -1)), (step.operands[1], (-1, 1))):
            name = operand.array.text()
            rows[name] = rows[name].reshape(shape) if rows[name].ndim == 1 else rows[name]
        upstream = rows[f"d{step.name}"]
        if upstream.ndim == 1:
            rows[f"d{step.name}"] = upstream.reshape((1, -1) if len(step.operands[0].shape) == 1 else (-1, 1))
        product = np.asarray(eval(found.chosen.code(), rows))
        yield f"the product {found.chosen.text()}", product.reshape(whole.shape), whole


def _slope(step: Step, left: Partial, at: Mapping[str, int], namespace: dict[str, Any]) -> float:
    """A partial derivative of an auxiliary array of the step, by a complex step."""
    moved = namespace[left.by.array.name].astype(complex)
    moved[tuple(at[i] for i in left.by.indices)] += 1j * STEP
    inner = {**namespace, left.by.array.name: moved}
    for line, _ in code.step_lines(step):
        exec(line, inner)
    return float(np.imag(value_of(left.of, at, inner))) / STEP


def _lines(
    namespace: dict[str, Any],
    array: Any,
    indices: tuple[str, ...],
    forms: list[Formula],
    rng: np.random.Generator,
    floor: float,
) -> list[float]:
    array, errors = np.asarray(array), []
    scale = max(floor, float(np.max(np.abs(array))))
    for _ in range(PLACES):
        place = tuple(int(rng.integers(n)) for n in array.shape)
        at = {i: k for i, k in zip(indices, place, strict=True) if i != "1"}
        for form in forms:
            said = form.text()
            errors.append(_compare(f"the line {said}", value_of(form, at, namespace), array[place], scale))
    return errors


def _compare(what: str, found: Any, expected: Any, scale: float = 0.0) -> float:
    found, expected = np.asarray(found), np.asarray(expected)
    largest = max(float(scale), float(np.max(np.abs(expected), initial=0.0)), 1e-300)
    error = float(np.max(np.abs(found - expected), initial=0.0)) / largest
    if not error < TOLERANCE:
        raise DerivationError(f"numbers contradict the derivation: {what} differs by {error:.1e}, relatively")
    return error
