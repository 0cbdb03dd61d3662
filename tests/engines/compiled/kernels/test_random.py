"""The numbers that dropout is decided by: NumPy's own, whichever of the stream, however many, at whatever rate."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from handgrad.engines.compiled.kernels.options import ENTRY, INNER
from handgrad.engines.compiled.kernels.random import random

REALS = (np.float32, np.float64)
RATES = (0.0, 2.0**-24, 0.1, 0.3, 0.5, 1 - 2.0**-24, 0.99999999)  # the last is 1 in float32
LEFT = 7.0  # in the places beside


@cache
def kernel(real):
    keep = njit(**INNER)(random(real))

    @njit(**ENTRY)
    def run(first, count, key_0, key_1, rate, scale, target):
        keep(first, count, key_0, key_1, rate, scale, target)

    return run


def drawn(real, first, count, key, rate, scale):
    """What is written, and that nothing else is."""
    target = np.full(count + 2, LEFT, real)
    keys = (np.uint64(part) for part in key)
    kernel(real)(np.int64(first), np.int64(count), *keys, float(rate), float(scale), target[1:].ctypes.data)
    assert target[0] == target[-1] == LEFT
    return target[1:-1]


@pytest.mark.parametrize("real", REALS)
@given(
    first=st.integers(0, 200),
    count=st.integers(0, 70),
    key=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    rate=st.sampled_from(RATES) | st.floats(0, 1, exclude_max=True),
)
def test_it_keeps_what_numpy_would(real, first, count, key, rate):
    numpy = np.random.Generator(np.random.Philox(key=np.array(key, np.uint64)))
    u = numpy.random(first + count, dtype=np.float32)[first:]
    expected = np.where(u >= np.float32(rate), real(1.5), real(0))
    np.testing.assert_array_equal(drawn(real, first, count, key, rate, 1.5), expected)


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("beside", [0, 1])  # a whole block, and one cut short
def test_a_number_that_is_the_rate_is_kept(real, beside):
    """Whatever the eight bits are that are left of its half word: none set is the least that is kept."""
    halves = np.random.Philox(key=np.array((5, 6), np.uint64)).random_raw(4096).view(np.uint32)
    for bits in (0, 255):
        at = np.flatnonzero(halves & 255 == bits)[0]
        rate = (halves[at] >> 8) * 2.0**-24
        first = at - at % 8 + beside * (at % 8)
        assert drawn(real, first, 8, (5, 6), rate, 1.0)[at - first] == 1
        assert drawn(real, first, 8, (5, 6), rate + 2.0**-24, 1.0)[at - first] == 0


def test_far_into_the_stream():
    far = 8 * 10**12
    stream = np.random.Philox(key=(3, 4)).advance(far // 8)  # by blocks of four words, which are eight numbers
    u = np.random.Generator(stream).random(64, dtype=np.float32)
    np.testing.assert_array_equal(drawn(np.float32, far, 64, (3, 4), 0.5, 1.0), u >= 0.5)
