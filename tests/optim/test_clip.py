"""The norm of any vector a float can hold, and clipping that leaves alone what is short enough."""

import math

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from handgrad.errors import DTypeError, ShapeError, ValueRangeError
from handgrad.optim import clip_by_norm, global_norm


def libraries():
    yield pytest.param(np.asarray, id="numpy")
    yield pytest.param(array_api_strict.asarray, id="array_api_strict")
    try:
        import torch
    except ImportError:
        mark = pytest.mark.skip(reason="needs PyTorch")
        yield pytest.param(None, id="torch", marks=mark)
    else:
        yield pytest.param(torch.asarray, id="torch")


each_library = pytest.mark.parametrize("asarray", list(libraries()))
EDGES = [0.0, 5e-324, 1e-310, 1e-160, 1e-45, 1e-38, 1e-30, 1e-20, 1.0, 1e18, 1e19, 1e30, 3e38, 1e160, 1e300]


@each_library
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("n", [1, 3, 1000, 20_000])
def test_norm_of_huge_and_tiny_entries(asarray, dtype, size, n):
    if dtype is np.float32:
        size = min(size, 3e38)
    entry = float(dtype(size))
    vector = np.full(n, entry, dtype)
    vector[::2] *= -1
    assert global_norm(asarray(vector)) == pytest.approx(
        entry * math.sqrt(n), rel=2e-6 if dtype is np.float32 else 1e-13, abs=5e-324
    )


def entries(width, largest):
    """Numbers of every size, not of the few that a uniform draw would give."""
    powers = st.floats(-2, 2, width=width), st.integers(-1070 if width == 64 else -145, largest)
    return st.builds(lambda x, e: math.ldexp(x, e), *powers)


@given(hnp.arrays(np.float64, st.integers(0, 40), elements=entries(64, 1000)))
def test_norm_of_float64_against_hypot(vector):
    assert global_norm(vector) == pytest.approx(math.hypot(*vector), rel=1e-14, abs=5e-324)


@given(st.lists(entries(32, 125), max_size=40))
def test_norm_of_float32_against_hypot(numbers):
    vector = np.array(numbers, np.float32)
    assert global_norm(vector) == pytest.approx(math.hypot(*map(float, vector)), rel=1e-6, abs=1e-60)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_few_large_entries_among_many_that_underflow(dtype):
    tiny = np.finfo(dtype).smallest_normal
    vector = np.full(100_000, math.sqrt(tiny) / 10, dtype)
    exact = float(vector[0]) * math.sqrt(vector.size)
    assert global_norm(vector) == pytest.approx(exact, rel=1e-5)
    vector[0] = exact
    assert global_norm(vector) == pytest.approx(exact * math.sqrt(2), rel=1e-5)


@each_library
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_non_finite_entries(asarray, dtype):
    for bad, check in ((math.inf, math.isinf), (-math.inf, math.isinf), (math.nan, math.isnan)):
        for other in (0.0, 1e30, 1e-30):
            vector = asarray(np.array([other, bad, other], dtype))
            assert check(global_norm(vector))
            kept, norm = clip_by_norm(vector, 1.0)
            assert kept is vector
            assert check(norm)
    assert math.isnan(global_norm(asarray(np.array([math.inf, math.nan], dtype))))


@each_library
def test_zero_and_empty(asarray):
    for vector in (asarray(np.zeros(5, np.float32)), asarray(np.zeros(0, np.float32))):
        kept, norm = clip_by_norm(vector, 1e-30)
        assert kept is vector
        assert norm == 0.0
        assert type(norm) is float


@each_library
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping(asarray, dtype):
    vector = asarray(np.array([3.0, -4.0, 0.0], dtype))
    for enough in (5.0, 6, 1e300):
        kept, norm = clip_by_norm(vector, enough)
        assert kept is vector
        assert norm == 5.0
    clipped, norm = clip_by_norm(vector, 1.0)
    assert norm == 5.0
    assert clipped is not vector
    assert clipped.dtype == vector.dtype
    assert type(clipped) is type(vector)
    np.testing.assert_allclose(np.asarray(clipped), [0.6, -0.8, 0], rtol=1e-6)
    assert np.asarray(vector).tolist() == [3, -4, 0]


@pytest.mark.parametrize("bound", [1e-10, 1e-3, 1.0])
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e30, 3e38])
def test_float32_keeps_its_digits_when_the_factor_is_no_normal_float32(size, bound):
    vector = np.full(10_000, size, np.float32)
    clipped, norm = clip_by_norm(vector, bound)
    assert norm == pytest.approx(size * 100, rel=1e-5)
    assert clipped.dtype == np.float32
    np.testing.assert_allclose(clipped, min(bound / 100, size), rtol=1e-5)


def test_float64_likewise():
    clipped, _ = clip_by_norm(np.array([3e307, -4e307]), 5e-12)
    np.testing.assert_allclose(clipped, [3e-12, -4e-12], rtol=1e-13)


@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-(2.0**60), 2.0**60, width=32)),
    st.floats(1e-6, 1e6),
)
def test_shorter_in_the_same_direction(vector, bound):
    vector.flags.writeable = False
    clipped, norm = clip_by_norm(vector, bound)
    assert global_norm(clipped) <= bound * (1 + 1e-5)
    if norm > bound:
        np.testing.assert_allclose(clipped, vector.astype(np.float64) * (bound / norm), rtol=1e-5, atol=1e-38)
    else:
        assert clipped is vector
    again, same = clip_by_norm(vector, bound)
    assert again.tobytes() == clipped.tobytes()
    assert same == norm


def test_the_norm_of_a_long_vector_is_of_all_its_blocks():
    vector = np.zeros(100_000, np.float32)
    for i in (0, 8191, 8192, 50_000, 99_999):
        vector[i] = 2
        assert global_norm(vector) ** 2 == pytest.approx(4 * np.count_nonzero(vector), rel=1e-12)
    assert global_norm(np.repeat(vector, 2)[::2]) == global_norm(vector)


def test_many_terms_lose_no_digits():
    vector = np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)
    assert global_norm(vector) == pytest.approx(float(np.linalg.norm(vector.astype(np.float64))), rel=1e-6)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_float16_too(library):
    asarray = pytest.importorskip(library, reason="needs PyTorch").asarray
    for entry in (1e-7, 1e-3, 1.0, 6e4):
        vector = np.full(70_000, entry, np.float16)
        assert global_norm(asarray(vector)) == pytest.approx(float(vector[0]) * math.sqrt(70_000), rel=2e-3)


@pytest.mark.parametrize("bound", [0, -1, math.inf, math.nan, True, "1", None, np.array(1.0)])
def test_a_bound_that_is_none(bound):
    with pytest.raises(ValueRangeError, match="max_norm must be a finite number above 0, got "):
        clip_by_norm(np.ones(2), bound)


@pytest.mark.parametrize("function", [global_norm, lambda g: clip_by_norm(g, 1.0)])
def test_what_is_no_gradient(function):
    with pytest.raises(ShapeError, match=r"gradient must be a flat vector, \(n,\), got shape \(2, 2\)"):
        function(np.ones((2, 2)))
    with pytest.raises(DTypeError, match="gradient must hold real floating-point numbers, got dtype int64"):
        function(np.arange(2))
    with pytest.raises(DTypeError, match="gradient must be an array, got list"):
        function([1.0])
