"""The scalar functions of the compiled engine: against float64 or mpmath, at their limits, in a loop and alone."""

import re
from functools import cache

import mpmath
import numpy as np
import pytest
from numba import njit
from scipy import special

from handgrad.engines.compiled.kernels.functions import functions
from handgrad.engines.compiled.kernels.options import ENTRY

REALS = (np.float32, np.float64)
# float64's NumPy and SciPy for float32, and mpmath for float64; and the bounds that the docstrings state, in ulp.
FUNCTIONS = {
    "exp": (np.exp, mpmath.exp, 2),
    "tanh": (np.tanh, mpmath.tanh, 3),
    "sigmoid": (special.expit, lambda x: 1 / (1 + mpmath.exp(-x)), 3),
    "log1p_exp_neg": (lambda a: np.log1p(np.exp(-a)), lambda a: mpmath.log1p(mpmath.exp(-a)), 4),
    "normal_cdf": (special.ndtr, lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2, 10),
    "log": (np.log, mpmath.log, 3),
}
NONNEGATIVE = ("log1p_exp_neg", "log")
every_function = pytest.mark.parametrize("name", FUNCTIONS)
every_real = pytest.mark.parametrize("real", REALS)


@cache
def loop(name, real):
    f = getattr(functions(real), name)

    @njit(**ENTRY)
    def over(x, y):
        for i in range(x.size):
            y[i] = f(x[i])

    return over


def values(name, x):
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    loop(name, x.dtype.type)(x, y)
    return y


def points(name, real, n):
    """Finite numbers: even over the range where the function changes, even in the logarithm, and the extreme ones."""
    info = np.finfo(real)
    first, last = {"exp": (-104, 89), "tanh": (-11, 11), "normal_cdf": (-14.5, 10)}.get(name, (-104, 104))
    if real is np.float64:
        first, last = {"exp": (-746, 710), "tanh": (-21, 21), "normal_cdf": (-38.6, 10)}.get(name, (-746, 746))
    rng = np.random.default_rng(0)
    even = rng.uniform(first, last, n)
    near = rng.uniform(-2, 2, n)
    wide = np.exp2(rng.uniform(np.log2(float(info.smallest_subnormal)), info.maxexp - 1e-3, n)) * rng.choice([-1, 1], n)
    extreme = [info.smallest_subnormal, info.smallest_normal, info.eps, 0.5, 1, np.sqrt(0.5), np.sqrt(2), info.max]
    x = np.concatenate([even, near, wide, extreme, np.negative(extreme)]).astype(real)
    return np.abs(x) if name in NONNEGATIVE else x


def ulps(y, exact):
    """|y - exact| in units of the spacing of y's floats at `exact`; 0 where both overflow."""
    info = np.finfo(y.dtype)
    spacing = np.maximum(np.exp2(np.frexp(np.abs(np.float64(exact)))[1] - 1.0 - info.nmant), info.smallest_subnormal)
    both = (y == exact) | (np.isinf(y) & (np.abs(exact) > info.max))
    return np.where(both, 0, np.abs(y - np.where(both, 0, exact)) / np.where(both, 1, spacing))


def error64(y, x, function):
    """ulps of float64 numbers, in mpmath: float64 itself could not hold the exact results."""
    worst = 0.0
    with mpmath.workdps(40):
        for a, b in zip(x.tolist(), y.tolist(), strict=True):
            exact = function(mpmath.mpf(a))
            if np.isinf(b):
                assert abs(exact) > np.finfo(np.float64).max
            else:
                spacing = mpmath.ldexp(1, max(mpmath.frexp(exact)[1] - 53, -1074))
                worst = max(worst, float(abs(b - exact) / spacing))
    return worst


@every_function
def test_float32_is_within_its_bound(name):
    function, _, bound = FUNCTIONS[name]
    x = points(name, np.float32, 300_000)
    with np.errstate(all="ignore"):
        exact = function(x.astype(np.float64))
    assert ulps(values(name, x), exact).max() <= bound


@every_function
def test_float64_is_within_its_bound(name):
    _, function, bound = FUNCTIONS[name]
    # Past a million mpmath would take long, and every function but log has reached its limit.
    x = points(name, np.float64, 1000)
    x = x if name == "log" else x[np.abs(x) < 1e6]
    assert error64(values(name, x), x, function) <= bound


@every_real
def test_limits(real):
    info = np.finfo(real)
    inf, big, nan = np.inf, info.max, np.nan
    expected = {
        "exp": {-inf: 0, -big: 0, 0.0: 1, big: inf, inf: inf},
        "tanh": {-inf: -1, -big: -1, 0.0: 0, big: 1, inf: 1},
        "sigmoid": {-inf: 0, -big: 0, 0.0: 0.5, big: 1, inf: 1},
        "log1p_exp_neg": {big: 0, inf: 0},
        "normal_cdf": {-inf: 0, -big: 0, 0.0: 0.5, big: 1, inf: 1},
        "log": {-inf: nan, -1.0: nan, 0.0: -inf, 1.0: 0, inf: inf},
    }
    for name, cases in expected.items():
        x, y = (np.array([*part, nan], real) for part in (cases, cases.values()))
        np.testing.assert_array_equal(values(name, x), y, err_msg=name)
        np.testing.assert_array_equal(values(name, np.repeat(x, 64)), np.repeat(y, 64), err_msg=name)


@every_function
@every_real
def test_a_zero_keeps_its_sign_in_tanh_alone(name, real):
    plus, minus = values(name, np.array([0.0, -0.0], real))
    assert plus == minus
    assert np.signbit(plus) == (name == "log")
    assert np.signbit(minus) == (name in ("log", "tanh"))


@every_real
def test_exp_at_overflow_and_underflow(real):
    info = np.finfo(real)
    top, bottom = real(np.log(info.max)), real(np.log(float(info.smallest_subnormal)))
    below, above = np.nextafter(top, -np.inf, dtype=real), np.nextafter(top, np.inf, dtype=real)
    assert np.isfinite(values("exp", np.array([below], real)))[0]
    assert np.isinf(values("exp", np.array([above], real)))[0]
    assert values("exp", np.array([bottom + real(0.1), bottom - real(1)], real)).tolist() == [
        float(info.smallest_subnormal),
        0,
    ]


@every_real
def test_tanh_is_odd(real):
    x = points("tanh", real, 1000)
    np.testing.assert_array_equal(values("tanh", -x), -values("tanh", x))


@every_function
@every_real
def test_a_vectorised_loop_and_a_scalar_call_give_equal_bits(name, real):
    x = points(name, real, 400)
    alone = np.concatenate([values(name, x[i : i + 1]) for i in range(x.size)])
    assert values(name, x).tobytes() == alone.tobytes()


@every_function
@every_real
def test_a_loop_vectorises(name, real):
    over = loop(name, real)
    values(name, np.ones(1, real))
    (signature,) = over.signatures
    assert re.search(r"fmul (contract )?<\d+ x (float|double)>", over.inspect_llvm(signature))
