"""`predict`: any number of rows, in bounded memory, as forward gives them."""

import tracemalloc

import numpy as np
import pytest

import handgrad as hg

MODEL = hg.mlp([5, 16, 3], dropout=0.5)
PARAMS = MODEL.init(0)


@pytest.mark.parametrize("m", [0, 1, 7, 8, 9, 30])
def test_batches_join(m):
    X = np.random.default_rng(m).standard_normal((m, 5))
    whole, _ = MODEL.forward(PARAMS, X)
    np.testing.assert_allclose(hg.predict(MODEL, PARAMS, X, batch_size=8), whole, rtol=1e-12, atol=1e-14)


def test_memory_is_bounded():
    wide = hg.mlp([1, 512, 1])
    params, X = wide.init(0, np.float32), np.zeros((200_000, 1), np.float32)
    tracemalloc.start()
    hg.predict(wide, params, X, batch_size=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # all hidden values at once would take 400 MB


def test_the_result_is_the_callers_own():
    X = np.ones((2, 3))
    out = hg.predict(hg.Sequential([]), {}, X)
    out[...] = 0
    assert (X == 1).all()


def test_params_dtype_decides():
    params32 = MODEL.init(0, np.float32)
    assert hg.predict(MODEL, params32, np.ones((2, 5))).dtype == np.float32
    assert hg.predict(MODEL, PARAMS, np.ones((2, 5), np.float32)).dtype == np.float64
    assert hg.predict(MODEL, PARAMS, [[1, 2, 3, 4, 5]]).shape == (1, 3)


def test_bad_input():
    with pytest.raises(hg.errors.ShapeError, match=r"layer '0'.*takes 5.*|layer '0'.*4 features"):
        hg.predict(MODEL, PARAMS, np.ones((2, 4)))
    with pytest.raises(hg.errors.ValueRangeError, match=r"X must be finite, got nan at row 1, column 2"):
        hg.predict(MODEL, PARAMS, [[1, 2, 3, 4, 5], [1, 2, float("nan"), 4, 5]])
    with pytest.raises(hg.errors.DTypeError, match=r"X must hold numbers, got dtype <U1"):
        hg.predict(MODEL, PARAMS, [["a"] * 5])
    with pytest.raises(hg.errors.ValueRangeError, match="batch_size"):
        hg.predict(MODEL, PARAMS, np.ones((2, 5)), batch_size=0)
