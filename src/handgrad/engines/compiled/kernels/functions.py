"""exp and its kin for one number, without a branch, so that LLVM vectorises the loops that they are inlined into.

Bounds are in ulp: the spacing of floats at the exact result. They hold with and without fused multiply-adds.
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from handgrad.engines.compiled.kernels.options import EXACT

# "contract" is safe: a fused product only rounds less, and the sums that must not be reordered are not.
# forceinline: by LLVM, once each function has its own fast-math flags, so that a caller's "reassoc" cannot reach them.
FUNCTION = EXACT | {"fastmath": {"contract"}, "forceinline": True}

# Polynomials, lowest power first. Each was fitted for this file with mpmath at 50 digits or more, then rounded, and the
# errors are those of the rounded.
# EXP: (e^r - 1 - r) / r^2 for |r| <= 0.348, by Remez exchange with the weight (r^2 + 0.02) e^-r. As e^r, off by 2^-27.6
#   of it in float32 and 2^-57.1 in float64.
# ATANH: (atanh(s) / s - 1) / s^2 in s^2 for 0 <= s <= 1/3, by Remez exchange with the weight s^2 + 0.0001. As atanh(s),
#   off by 2^-27.4 of it and 2^-58.4.
# MILLS: e^(a^2/2) Phi(-a), decreasing from 1/2, as the quotient of NUMERATOR and DENOMINATOR, by interpolation at
#   Chebyshev nodes in a / (a + k), a = 0 one of them, with k = 3 up to a = 14.5 in float32, 4.5 and 38.6 in float64.
#   Off by 2^-25.8 of it and 2^-54. All coefficients are positive, so that nothing cancels.
EXP = {
    np.float32: (
        0.4999999403953552,
        0.16666531562805176,
        0.04166819155216217,
        0.008367760106921196,
        0.001381981186568737,
    ),
    np.float64: (
        *(0.5000000000000003, 0.16666666666666483, 0.041666666666586534, 0.008333333333473735, 0.0013888888930062653),
        *(0.00019841269514138396, 2.480150599810906e-05, 2.755760369529078e-06, 2.7626011242524103e-07),
        2.498895521526555e-08,
    ),
}
ATANH = {
    np.float32: (0.3333320617675781, 0.20010818541049957, 0.13999997079372406, 0.14010374248027802),
    np.float64: (
        *(0.3333333333333316, 0.20000000000076879, 0.14285714274108383, 0.11111111975166126, 0.09090872264512977),
        *(0.0769327416581069, 0.06650556292165344, 0.0605253558121151, 0.0417211569847358, 0.08505698946995913),
    ),
}
NUMERATOR = {
    np.float32: (0.5, 0.43689051270484924, 0.18212482333183289, 0.040238697081804276, 0.004051975440233946),
    np.float64: (
        *(0.5, 0.8324299732440257, 0.6866816901039425, 0.3628314132156789, 0.13475045089846033, 0.03659249975972935),
        *(0.007349521110618108, 0.0010795485262712497, 0.00011143301824414448, 7.352817565152023e-06),
        2.3856884203685677e-07,
    ),
}
DENOMINATOR = {
    np.float32: (
        *(1.0, 1.6716657876968384, 1.1980427503585815, 0.46652209758758545, 0.10087008774280548),
        0.01015667337924242,
    ),
    np.float64: (
        *(1.0, 2.4627445072909167, 2.8383491997773587, 2.024927097723179, 0.9959796431216597, 0.355639139649184),
        *(0.09439296006073734, 0.018700642561615417, 0.0027244576403411885, 0.0002799191576609497),
        *(1.843078040703348e-05, 5.98003404895479e-07),
    ),
}


def _polynomial(coefficients: tuple[float, ...]) -> Any:
    """x -> sum of c_k x^k by Horner's rule, unrolled here, which compiles faster than a loop that LLVM unrolls."""
    from numba.extending import intrinsic

    @intrinsic
    def polynomial(typingctx: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            constants = [context.get_constant(signature.return_type, c) for c in reversed(coefficients)]
            total = constants[0]
            for constant in constants[1:]:
                product = builder.fmul(total, args[0], flags=("contract",))
                total = builder.fadd(product, constant, flags=("contract",))
            return total

        return x(x), codegen

    return polynomial


@functools.cache
def functions(real: Any) -> SimpleNamespace:
    """exp, tanh, sigmoid, log1p_exp_neg, normal_cdf and log of one number of type `real`, NumPy's float32 or float64.

    NaN gives NaN in each. Python's own floats are float64: a literal among the arithmetic would widen float32.
    """
    from numba import njit

    info = np.finfo(real)
    integer = np.int32 if real is np.float32 else np.int64
    bits = info.nmant
    zero, half, one, two, inf, nan = real(0), real(0.5), real(1), real(2), real(np.inf), real(np.nan)
    minus_zero, tiny = real(-0.0), info.smallest_normal
    one_bits, sign_bit = integer(one.view(integer)), integer(np.iinfo(integer).min)
    # A number of size < 2^(bits - 1), added to this, is rounded to an integer that stands in the sum's last bits.
    magic = real(1.5 * 2.0**bits)
    magic_bits = integer(magic.view(integer))
    # ln 2 in two parts; the first is short enough for its product with any exponent to be exact (Cody and Waite 1980).
    short = 2.0 ** (15 if real is np.float32 else 41)
    log2_e, ln2_high = real(1 / math.log(2)), real(math.floor(math.log(2) * short) / short)
    ln2_low = real(1.4286068203094173e-06 if real is np.float32 else 2.8235290563031577e-13)
    exp_low, exp_high = (real(-104), real(89)) if real is np.float32 else (real(-746), real(710))
    tanh_high, cdf_high = (real(10), real(14.5)) if real is np.float32 else (real(20), real(38.6))
    # Leaves the leading half of a significand, so that its square is exact.
    upper_half = integer(-(1 << (12 if real is np.float32 else 27)))
    root_bits = integer(real(math.sqrt(0.5)).view(integer))
    lift, lifted = real(2.0**bits), real(bits)
    exp_rest, atanh_rest = _polynomial(EXP[real]), _polynomial(ATANH[real])
    numerator, denominator = _polynomial(NUMERATOR[real]), _polynomial(DENOMINATOR[real])

    @njit(**FUNCTION)
    def power_of_two(n: Any) -> Any:
        """2^n, for the exponents of normal numbers."""
        return integer(integer(n << bits) + one_bits).view(real)

    @njit(**FUNCTION)
    def reduced(high: Any, low: Any) -> tuple[Any, Any]:
        """(e^r - 1, n) with e^(high + low) = 2^n e^r and |r| <= ln(2)/2, for a `high` within the range of exp."""
        shifted = (high + low) * log2_e + magic
        n = shifted - magic
        r = ((high - n * ln2_high) - n * ln2_low) + low
        return r + (r * r) * exp_rest(r), integer(real(shifted).view(integer) - magic_bits)

    @njit(**FUNCTION)
    def scaled(x: Any, n: Any) -> Any:
        """2^n x in two steps, since 2^n alone may be too large or too small for a float; the second one rounds."""
        first = integer(n >> 1)
        return x * power_of_two(first) * power_of_two(integer(n - first))

    @njit(**FUNCTION)
    def exp(x: Any) -> Any:
        """e^x = 2^n e^r, within 2 ulp, subnormal results included."""
        x = exp_high if x > exp_high else x
        x = exp_low if x < exp_low else x
        e, n = reduced(x, minus_zero)
        return scaled(one + e, n)

    @njit(**FUNCTION)
    def tanh(x: Any) -> Any:
        """|m| / (m + 2) with m = e^(-2|x|) - 1, and the sign of x; within 3 ulp."""
        a = abs(x)
        a = tanh_high if a > tanh_high else a
        e, n = reduced(-two * a, minus_zero)
        scale = power_of_two(n)
        m = scale * e + (scale - one)
        size = abs(m) / (m + two)
        return integer(real(size).view(integer) | (real(x).view(integer) & sign_bit)).view(real)

    @njit(**FUNCTION)
    def sigmoid(x: Any) -> Any:
        """1 / (1 + e^-x), or e^x / (1 + e^x) where x < 0; within 3 ulp in both tails."""
        e = exp(-abs(x))
        return (e if x < zero else one) / (one + e)

    @njit(**FUNCTION)
    def twice_atanh(s: Any) -> Any:
        """ln((1 + s) / (1 - s)) for |s| <= 1/3."""
        z = s * s
        return two * s + (two * s) * (z * atanh_rest(z))

    @njit(**FUNCTION)
    def log1p_exp_neg(a: Any) -> Any:
        """ln(1 + e^-a) = 2 atanh(e^-a / (2 + e^-a)) for a >= 0, within 4 ulp."""
        e = exp(-a)
        return twice_atanh(e / (two + e))

    @njit(**FUNCTION)
    def log(x: Any) -> Any:
        """ln x = n ln 2 + 2 atanh(f / (2 + f)) with x = 2^n (1 + f) and sqrt(1/2) <= 1 + f < sqrt(2), within 3 ulp.

        NaN where x < 0.
        """
        normal = x if x >= tiny else x * lift
        pattern = real(normal).view(integer)
        exponent = integer((pattern - root_bits) >> bits)
        f = integer(pattern - (exponent << bits)).view(real) - one
        n = integer(exponent + magic_bits).view(real) - magic
        n = n if x >= tiny else n - lifted
        y = n * ln2_high + (twice_atanh(f / (two + f)) + n * ln2_low)
        y = y if x < inf else x
        outside = -inf if x == zero else nan
        return y if x > zero else outside

    @njit(**FUNCTION)
    def normal_cdf(x: Any) -> Any:
        """Phi(-|x|) = e^(-x^2/2) times its Mills ratio's fit, or 1 - Phi(-x) where x > 0; within 10 ulp.

        x^2 is split into two parts: its rounding alone would cost up to x^2/4 ulp.
        """
        a = abs(x)
        a = cdf_high if a > cdf_high else a
        high = integer(real(a).view(integer) & upper_half).view(real)
        e, n = reduced(-half * high * high, -half * (a - high) * (a + high))
        tail = scaled((one + e) * (numerator(a) / denominator(a)), n)
        return one - tail if x > zero else tail

    return SimpleNamespace(
        exp=exp, tanh=tanh, sigmoid=sigmoid, log1p_exp_neg=log1p_exp_neg, normal_cdf=normal_cdf, log=log
    )
