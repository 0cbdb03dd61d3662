"""The proofs of a gradient: plain functions of a row of the table, which raise AssertionError where it is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from definitions import DEFINITIONS
from handgrad import ops
from table import Case, Exact

COMPLEX_STEP = 1e-30
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(24)


def close(given: Any, expected: Any, tolerance: float, what: str, scale: Any = 0.0) -> None:
    """Assert that two arrays agree to `tolerance`, relative to the largest number among them (and to `scale`)."""
    given, expected = np.asarray(given), np.asarray(expected)
    assert given.shape == expected.shape, f"{what}: shape {given.shape} instead of {expected.shape}"
    if given.size:
        error = np.max(np.abs(given - expected))
        size = max(np.max(np.abs(expected)), np.max(np.abs(given)), float(scale))
        assert error <= tolerance * size, f"{what}: error {error:.3g} of {size:.3g}"


def given_inputs(inputs: tuple[Any, ...]) -> Iterator[int]:
    return (i for i, x in enumerate(inputs) if x is not None)


def arrays_in(tree: Any) -> Iterator[np.ndarray]:
    """Every array in nested tuples, such as a cache."""
    if isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, tuple | list):
        for item in tree:
            yield from arrays_in(item)


def identical(a: Any, b: Any, what: str) -> None:
    """Assert that two trees of arrays and numbers are equal, bit by bit."""
    if isinstance(a, tuple | list):
        assert len(a) == len(b), f"{what}: {len(a)} parts instead of {len(b)}"
        for one, other in zip(a, b, strict=True):
            identical(one, other, what)
    elif not isinstance(a, np.ndarray | np.generic | float):
        assert a == b, f"{what}: {a} instead of {b}"
    else:
        one, other = np.asarray(a), np.asarray(b)
        same = (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
        assert same, f"{what} is not bitwise equal"


def definition(case: Case) -> None:
    """The output is what the op's definition says: a gradient of the wrong function is wrong, however exact."""
    inputs = case.draw()
    expected = DEFINITIONS[case.op.name](*inputs, *case.args, **case.hyper)
    close(case.forward(inputs)[0], expected, 1e-12, "output", scale=1e-3)


def adjoint(case: Case) -> None:
    """<J v, u> = <v, J^T u> for random u and v."""
    inputs, tangents = case.draw(), case.draw(1)
    out, cache = case.forward(inputs)
    u = case.upstream(out)
    tangent = case.op.jvp(tangents, cache)
    gradients = case.op.backward(u, cache)
    assert np.shape(tangent) == np.shape(out), f"jvp: shape {np.shape(tangent)} instead of {np.shape(out)}"
    forwards = np.ravel(u * tangent)
    backwards = np.concatenate([np.ravel(tangents[i] * gradients[i]) for i in given_inputs(inputs)])
    # where terms cancel, as in a softmax that is nearly one-hot, it is the numbers before that are rounded
    before = np.abs(u).sum() * max(np.abs(tangents[i]).max(initial=0) for i in given_inputs(inputs))
    scale = np.abs(forwards).sum() + np.abs(backwards).sum() + before
    close(forwards.sum(), backwards.sum(), 1e-13, "<Jv, u> = <v, J^T u>", scale)


def numbers(case: Case, step: complex, tolerance: float) -> None:
    """The gradient by every single element equals the change of <u, output> over a step of that element."""
    inputs = case.draw()
    out, cache = case.forward(inputs)
    u = case.upstream(out)
    gradients = case.op.backward(u, cache)
    dtype = np.complex128 if isinstance(step, complex) else np.float64
    moved = [None if x is None else x.astype(dtype) for x in inputs]
    for i in given_inputs(inputs):
        expected = np.empty(inputs[i].shape)
        for at in np.ndindex(expected.shape):
            element = inputs[i][at]
            if isinstance(step, complex):
                moved[i][at] = element + step
                expected[at] = np.sum(u * np.imag(case.forward(moved)[0])) / step.imag
            else:
                moved[i][at] = element + step
                above = np.array(case.forward(moved)[0])  # a copy: reshape gives a view
                moved[i][at] = element - step
                expected[at] = np.sum(u * (above - case.forward(moved)[0])) / (2 * step)
            moved[i][at] = element
        close(gradients[i], expected, tolerance, f"gradient by {case.op.inputs[i]}", scale=1e-3)


def complex_step(case: Case) -> None:
    """The imaginary part of the output over an imaginary step: exact to rounding, as nothing is subtracted."""
    numbers(case, COMPLEX_STEP * 1j, 1e-12)


def central_differences(case: Case) -> None:
    """What anyone may check with forward alone: (f(x + h) - f(x - h)) / 2h."""
    numbers(case, 1e-6, 1e-6)


def path_integral(case: Case) -> None:
    """The integral of the gradient along a path equals the change of <u, output> between its ends.

    Gauss-Legendre over a straight path between two random points; a short piece of it where kinks would be crossed.
    """
    start, end = case.draw(), case.draw(1)
    length, tolerance = (0.1, 1e-10) if case.smooth else (1e-4, 1e-9)
    steps = [None if x is None else length * (y - x) for x, y in zip(start, end, strict=True)]
    out, _ = case.forward(start)
    u = case.upstream(out)
    total = 0.0
    for node, weight in zip(NODES, NODE_WEIGHTS, strict=True):
        at = tuple(None if x is None else x + (node + 1) / 2 * d for x, d in zip(start, steps, strict=True))
        gradients = case.op.backward(u, case.forward(at)[1])
        total += weight / 2 * sum(np.sum(gradients[i] * steps[i]) for i in given_inputs(start))
    last, _ = case.forward(tuple(None if x is None else x + d for x, d in zip(start, steps, strict=True)))
    close(total, np.sum(u * (last - out)), tolerance, "the integral of the gradient", scale=length)


def purity(case: Case) -> None:
    """Nothing is written to but what is returned: inputs, upstream and cache are read-only, and serve again."""
    inputs = case.draw()
    for x in arrays_in(inputs):
        x.flags.writeable = False
    out, cache = case.forward(inputs)
    again, cache_again = case.forward(inputs)
    identical(out, again, "output")
    u = case.upstream(out)
    for x in arrays_in((u, cache)):
        x.flags.writeable = False
    first = case.op.backward(u, cache)
    case.op.jvp(inputs, cache)
    identical(first, case.op.backward(u, cache), "gradient, of one cache used twice")
    identical(cache, cache_again, "cache, after backward")
    identical(inputs, case.draw(), "inputs, after backward")
    identical(u, case.upstream(out), "dout, after backward")
    gradients = list(arrays_in(first))
    viewed = () if case.op is ops.reshape else (u,)  # reshape gives dout back in another shape, as a view
    for i, g in enumerate(gradients):
        for other in arrays_in((*gradients[:i], inputs, cache, *viewed)):
            assert not np.may_share_memory(g, other), "a gradient shares memory with another array"


def types(case: Case) -> None:
    """Gradients have the shape and dtype of their inputs; float32 stays float32, and near float64."""
    results = {}
    for dtype in (np.float64, np.float32):
        inputs, tangents = case.draw(dtype=dtype), case.draw(1, dtype)
        out, cache = case.forward(inputs)
        gradients = case.op.backward(case.upstream(out), cache)
        assert len(gradients) == len(case.op.inputs), f"{len(gradients)} gradients of {len(case.op.inputs)} inputs"
        for name, x, g in zip(case.op.inputs, inputs, gradients, strict=False):
            assert (x is None) == (g is None), f"gradient by {name} is {g}"
            if x is not None:
                assert (g.shape, g.dtype) == (x.shape, x.dtype), f"gradient by {name}: {g.shape}, {g.dtype}"
        tangent = case.op.jvp(tangents, cache)
        assert np.asarray(out).dtype == np.asarray(tangent).dtype == dtype
        results[dtype] = [out, tangent, *(g for g in gradients if g is not None)]
    for one, other in zip(results[np.float32], results[np.float64], strict=True):
        close(one, other, 1e-4, "float32", scale=1e-2)


def needs(case: Case) -> None:
    """Where backward takes `needs`, what is left out is None and the rest is what it was."""
    if "needs" not in inspect.signature(case.op.backward).parameters:
        return
    out, cache = case.forward(case.draw())
    u = case.upstream(out)
    every = case.op.backward(u, cache)
    for left_out in range(len(every)):
        wanted = [i != left_out for i in range(len(every))]
        expected = tuple(g if keep else None for g, keep in zip(every, wanted, strict=True))
        identical(case.op.backward(u, cache, needs=wanted), expected, f"gradients without number {left_out}")


def declared(point: Exact) -> None:
    """At a kink, and on the edge of a domain, backward gives the subgradient that is declared."""
    out, cache = point.op.forward(*(np.asarray(x) for x in point.inputs), *map(np.asarray, point.args), **point.hyper)
    gradients = point.op.backward(np.ones(out.shape), cache)
    for name, given, expected in zip(point.op.inputs, gradients, point.gradients, strict=False):
        if expected is None:
            assert given is None
        else:
            np.testing.assert_allclose(given, expected, rtol=1e-15, err_msg=f"gradient by {name}")


PROOFS: tuple[Callable[[Case], None], ...] = (
    definition,
    adjoint,
    complex_step,
    central_differences,
    path_integral,
    purity,
    types,
    needs,
)
