"""The products of panels beside NumPy's, of any number of rows, columns and steps: right, and nothing else touched."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from handgrad.engines.compiled.kernels import calls
from handgrad.engines.compiled.kernels.options import ENTRY
from handgrad.engines.compiled.kernels.tiles import LOCAL, MASK, RELU, STORE, SUMS
from handgrad.engines.compiled.kernels.units import addresses
from handgrad.engines.compiled.kernels.vectors import KINDS, LINE, available
from handgrad.pages import zeros

EACH = [
    (real, KINDS[name]) for real in (np.float32, np.float64) for name in available() if KINDS[name].bits
]  # of np.dot there is nothing to be shown
CASES = pytest.mark.parametrize(("real", "kind"), EACH, ids=lambda case: getattr(case, "name", case.__class__))
LEFT = 7.0  # in all places that are nobody's


@cache
def callers():
    rows, columns = calls.call(calls.BY_ROWS), calls.call(calls.BY_COLUMNS)

    @njit(**ENTRY)
    def by_rows(table, A, a_panel, k, B, w, C, m, start, add, saved, sums, mode):
        rows(table, A, a_panel, k, B, w, C, m, start, add, saved, sums, mode)

    @njit(**ENTRY)
    def by_columns(table, A, height, B, w, C, m, add, zeros, c_panel, wanted, second, third, fourth):
        columns(table, A, height, B, w, C, m, add, zeros, c_panel, wanted, second, third, fourth)

    return by_rows, by_columns


class Memory:
    """Arrays with a line of LEFT before and after, which must be there still at the end."""

    def __init__(self, real):
        self.real, self.all, self.guard = real, [], LINE // np.dtype(real).itemsize

    def __call__(self, *shape):
        whole = zeros(int(np.prod(shape)) + 2 * self.guard, self.real)
        whole[:] = LEFT
        self.all.append(whole)
        return whole[self.guard : -self.guard].reshape(shape)

    def assert_kept(self):
        for whole in self.all:
            assert (whole[: self.guard] == LEFT).all()
            assert (whole[-self.guard :] == LEFT).all()


def panels_of(matrix, wide, make):
    """(m, n) in panels with room to spare, each (m, wide)."""
    m, n = matrix.shape
    out = make(-(-n // wide), m, wide)
    for q in range(len(out)):
        part = matrix[:, q * wide : (q + 1) * wide]
        out[q, :, : part.shape[1]] = part
    return out


def drawn(rng, real, *shape):
    """Whole numbers, whose sums are exact in whatever order."""
    return rng.integers(-8, 9, shape).astype(real)


def assert_finished(found, sums, y, old, kept, here, mode):
    """The rows `here` of the result are what the mode makes of the sums y, all else is as it was; sums began at 1."""
    w = y.shape[1]
    if mode == RELU:
        y = np.maximum(y, 0)
    elif mode == MASK:
        y = np.where(kept[here, :w] > 0, y, 0)
    elif mode == LOCAL:
        y = y * kept[here, :w]
    expected = old.copy()
    expected[here, :w] = y
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(sums, 1 + (y.sum(axis=0) if mode >= SUMS else 0))


@CASES
@given(
    rows=st.integers(1, 40),
    before=st.integers(0, 3),
    k=st.integers(1, 70),
    wide=st.integers(1, 33),
    mode=st.sampled_from((STORE, RELU, SUMS, MASK, LOCAL)),
    add=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_by_rows(real, kind, rows, before, k, wide, mode, add, seed):
    panel, size, rng, make = kind.panel(real), np.dtype(real).itemsize, np.random.default_rng(seed), Memory(real)
    w = 2 * panel if wide > panel and kind.abreast == 2 else min(wide, panel)
    m, each = before + rows + 2, min(w, panel)
    x, weight, bias = drawn(rng, real, m, k), drawn(rng, real, k, w), drawn(rng, real, w)
    a, c, saved = panels_of(x, panel, make), make(-(-w // panel), m, panel), make(-(-w // panel), m, panel)
    b, start, sums = make(w // each, k, each), make(w), make(w)
    b[:], start[:], sums[:] = weight.reshape(k, -1, each).swapaxes(0, 1), bias, 1
    c[:], saved[:] = drawn(rng, real, *c.shape), drawn(rng, real, *c.shape)
    old, kept = c.swapaxes(0, 1).reshape(m, -1).copy(), saved.swapaxes(0, 1).reshape(m, -1).copy()

    skip = before * panel * size
    places = (a.ctypes.data + skip, m * panel * size, k, b.ctypes.data, w, c.ctypes.data + skip, rows)
    more = (start.ctypes.data, int(add), saved.ctypes.data + skip, sums.ctypes.data, mode)
    callers()[0](addresses(real, kind).ctypes.data, *places, *more)

    here = slice(before, before + rows)
    y = x[here] @ weight + (old[here, :w] if add else bias)
    assert_finished(c.swapaxes(0, 1).reshape(m, -1), sums, y, old, kept, here, mode)
    make.assert_kept()


@CASES
@given(
    rows=st.integers(1, 300),
    height=st.integers(1, 32),
    wide=st.integers(1, 64),
    add=st.booleans(),
    ahead=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_by_columns(real, kind, rows, height, wide, add, ahead, seed):
    panel, size, rng, make = kind.panel(real), np.dtype(real).itemsize, np.random.default_rng(seed), Memory(real)
    w, height = min(wide, panel * kind.abreast), min(height, panel)
    x, dz = drawn(rng, real, rows, height), drawn(rng, real, rows, w)
    a, b, zeros = panels_of(x, panel, make), panels_of(dz, panel, make), make(2 * panel)
    zeros[:] = 0
    widths = [min(panel, w - j) for j in range(0, w, panel)]
    parts = [make(height, width) for width in widths]
    for part in parts:
        part[:] = drawn(rng, real, *part.shape)
    old = np.hstack([part.copy() for part in parts])

    next_panel = parts[-1].ctypes.data - parts[0].ctypes.data
    wanted = (parts[0].ctypes.data, size, 2 * size, 3 * size) if ahead else (0, 0, 0, 0)
    places = (a.ctypes.data, height, b.ctypes.data, w, parts[0].ctypes.data, rows, int(add), zeros.ctypes.data)
    callers()[1](addresses(real, kind).ctypes.data, *places, next_panel, *wanted)

    np.testing.assert_array_equal(np.hstack(parts), x.T @ dz + (old if add else 0))
    make.assert_kept()
