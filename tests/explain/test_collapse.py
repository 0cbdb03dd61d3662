"""What collapse merges computes the same; what it must not merge, it leaves."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import handgrad as hg
from handgrad.errors import ParameterError

L = hg.Linear
SHARED = L(4, 4)
RNG = np.random.default_rng(3)

# (model, what becomes of it, the shape of a sample)
CASES = [
    (hg.Sequential([L(4, 3), L(3, 5, layout="out_in"), hg.ReLU()]), hg.Sequential([L(4, 5), hg.ReLU()]), (4,)),
    (hg.Sequential([L(4, 3, layout="out_in"), L(3, 5)]), hg.Sequential([L(4, 5, layout="out_in")]), (4,)),
    (hg.Sequential([L(4, 3, bias=False), L(3, 5, bias=False)]), hg.Sequential([L(4, 5, bias=False)]), (4,)),
    (hg.Sequential([L(4, 3, bias=False), L(3, 5)]), hg.Sequential([L(4, 5)]), (4,)),
    (hg.Sequential([L(4, 3), L(3, 5, bias=False)]), hg.Sequential([L(4, 5)]), (4,)),
    (hg.Sequential([L(4, 3), L(3, 2), L(2, 6), hg.Tanh(), L(6, 4), L(4, 1)]), hg.mlp([4, 6, 1], "tanh"), (4,)),
    (hg.Sequential([L(4, 3), hg.Identity(), hg.Identity(), L(3, 5)]), hg.Sequential([L(4, 5)]), (4,)),
    (
        hg.Sequential([L(4, 3), hg.Sequential([L(3, 5), hg.Sequential([]), hg.ReLU()]), L(5, 2)]),
        hg.mlp([4, 5, 2]),
        (4,),
    ),
    (hg.Residual(hg.Sequential([L(4, 9), L(9, 4)])), hg.Residual(hg.Sequential([L(4, 4)])), (4,)),
    (
        hg.Sequential([L(4, 4), hg.Residual(hg.Sequential([L(4, 2), L(2, 4), hg.ReLU()])), L(4, 2)]),
        hg.Sequential([L(4, 4), hg.Residual(hg.Sequential([L(4, 4), hg.ReLU()])), L(4, 2)]),
        (4,),
    ),
    (hg.Sequential([L(12, 3, flatten=True), L(3, 2)]), hg.Sequential([L(12, 2, flatten=True)]), (3, 4)),
    (hg.Sequential([L(4, 3), L(3, 2, flatten=True)]), hg.Sequential([L(4, 2, flatten=True)]), (1, 4)),
    (hg.Sequential([L(4, 3), L(3, 2)]), hg.Sequential([L(4, 2)]), (5, 6, 4)),
    (hg.Sequential([SHARED, L(4, 4), L(4, 2), hg.Residual(SHARED)][:3]), hg.Sequential([L(4, 2)]), (4,)),
]
LEFT = [
    hg.mlp([4, 3, 2]),
    hg.Sequential([SHARED, SHARED]),
    hg.Sequential([SHARED, L(4, 4), hg.ReLU(), SHARED]),
    hg.Sequential([L(4, 4), hg.Dropout(0.5), L(4, 2)]),
    hg.Sequential([L(4, 3), L(6, 2, flatten=True)]),
    hg.Sequential([L(4, 4), hg.Residual(L(4, 4)), L(4, 2)]),
    hg.Sequential([hg.Residual(block := hg.Sequential([L(4, 3), L(3, 4)])), hg.Residual(block)]),
    hg.Sequential([L(4, 4), hg.Bilinear(4, 3), L(3, 2)]),
    hg.Sequential([]),
    L(4, 2),
]


def drawn(model, dtype=np.float64):
    params = model.init(0, dtype)
    params.flat[:] = RNG.normal(size=params.flat.size)
    return params


@pytest.mark.parametrize(("model", "expected", "sample"), CASES, ids=lambda case: repr(case)[:60])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_merged(model, expected, sample, dtype):
    params, x = drawn(model, dtype), RNG.normal(size=(7, *sample)).astype(dtype)
    before = params.flat.copy()
    smaller, merged = hg.collapse(model, params)
    assert smaller == expected
    assert list(merged) == list(expected.parameters())
    assert merged.flat.dtype == dtype
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    out, same = model.forward(params, x)[0], smaller.forward(merged, x)[0]
    assert out.shape == same.shape
    np.testing.assert_allclose(out, same, rtol=tolerance, atol=tolerance)
    assert np.array_equal(params.flat, before)
    assert hg.collapse(smaller, merged)[0] is smaller


@pytest.mark.parametrize("model", LEFT, ids=lambda model: repr(model)[:60])
def test_left_alone(model):
    params = drawn(model)
    same, own = hg.collapse(model, params)
    assert same is model
    assert own == params


def layers(width):
    linear = st.builds(
        lambda layout, bias: L(width, width, bias, layout), st.sampled_from(["in_out", "out_in"]), st.booleans()
    )
    leaf = st.one_of(
        linear, linear, st.sampled_from([hg.ReLU(), hg.Identity(), hg.LayerNorm(width), SHARED, hg.Dropout(0.1)])
    )
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4).map(hg.Sequential),
            inner.map(hg.Residual),
            inner.map(lambda x: hg.Sequential([x])),
        ),
        max_leaves=8,
    )


@settings(max_examples=150)
@given(st.lists(layers(4), min_size=1, max_size=5), st.integers(0, 99))
def test_any_nest_computes_the_same(parts, seed):
    model = hg.Sequential(parts)
    params = model.init(seed)
    params.flat[:] = np.random.default_rng(seed).normal(0, 0.6, params.flat.size)
    smaller, merged = hg.collapse(model, params)
    x = np.random.default_rng(seed + 1).normal(size=(3, 4))
    out = model.forward(params, x)[0]
    np.testing.assert_allclose(out, smaller.forward(merged, x)[0], rtol=1e-9, atol=1e-9 * np.abs(out).max())
    assert hg.collapse(smaller, merged)[0] is smaller


def test_parameters_that_do_not_fit():
    with pytest.raises(ParameterError, match="missing"):
        hg.collapse(hg.mlp([4, 3, 2]), {})
