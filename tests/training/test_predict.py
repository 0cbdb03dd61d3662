"""`predict`: any number of rows, in bounded memory, as forward gives them."""

import copy
import gc
import importlib
import os
import pickle
import subprocess
import sys
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import handgrad as hg

module = importlib.import_module("handgrad.training.predict")  # whose name in the package is the function's
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


def test_nothing_is_compiled_for_a_little_work():
    """Nor is Numba imported, whose import takes longer."""
    script = (
        "import sys, numpy, handgrad as hg; m = hg.mlp([3, 2]); p = m.init(0); "
        "[hg.predict(m, p, numpy.ones((5, 3))) for _ in range(20)]; assert 'numba' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", script], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )


class Sized(hg.ReLU):
    """A layer of the user's own."""


@pytest.fixture
def compiled(monkeypatch):
    """predict goes through the compiled engine where that can run the model."""
    monkeypatch.setattr(module, "_ready", {np.dtype(real): True for real in (np.float32, np.float64)})


WAYS = {
    "predict": lambda model, params, X: hg.predict(model, params, X),
    "Predictor": lambda model, params, X: hg.Predictor(model, params)(X),
    "Predictor, 2 threads": lambda model, params, X: hg.Predictor(model, params, threads=2)(X),
}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request, compiled):
    return request.param


MODELS = {
    "compiled": (MODEL, (5,)),
    "of a user's layer": (hg.Sequential([hg.Linear(5, 4), Sized()]), (5,)),
    "images": (hg.Sequential([hg.Flatten(), hg.Linear(6, 2)]), (2, 3)),
    "leading axes": (hg.Linear(3, 2), (4, 3)),
}


@pytest.mark.parametrize("m", [0, 1, 2, 40])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8, bool, ">f8"])
@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_forward(name, real, dtype, m, way):
    model, shape = MODELS[name]
    params = model.init(0, real)
    X = (3 * np.random.default_rng(1).standard_normal((m, *shape))).astype(dtype)
    expected, _ = model.forward(params, X.astype(real))
    for _ in range(2):  # the second time all is known
        given = way(model, params, X)
        assert given.dtype == real
        assert given.shape == expected.shape
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 if real is np.float32 else 1e-13)


def test_bad_input_whatever_came_before(way):
    """A model, parameters and a shape that are known already must not lead past a check."""
    X = np.ones((2, 5))
    way(MODEL, PARAMS, X)
    for bad, place in ((X * [1, 1, np.nan, 1, 1], "row 0, column 2"), (X * np.inf, "row 0, column 0")):
        with pytest.raises(hg.errors.ValueRangeError, match=f"X must be finite, got (nan|inf) at {place}"):
            way(MODEL, PARAMS, bad)
    with pytest.raises(hg.errors.ShapeError, match=r"layer '0'"):
        way(MODEL, PARAMS, X[:, :4])
    with pytest.raises(hg.errors.ShapeError):
        way(MODEL, PARAMS, X[0])
    with pytest.raises(hg.errors.ShapeError, match="single number"):
        way(MODEL, PARAMS, 3.0)
    with pytest.raises(hg.errors.DTypeError, match="masked"):
        way(MODEL, PARAMS, np.ma.masked_array(X))
    with pytest.raises(hg.errors.DTypeError, match="complex"):
        way(MODEL, PARAMS, X + 1j)
    with pytest.raises(hg.errors.ParameterError, match="missing"):
        way(MODEL, {"0.weight": np.ones((5, 16))}, X)
    with pytest.raises(hg.errors.ShapeError, match="params hold"):
        way(MODEL, hg.mlp([5, 3, 3], dropout=0.5).init(0), X)
    with pytest.raises(hg.errors.ValueRangeError, match="batch_size"):
        hg.predict(MODEL, PARAMS, X, batch_size=True)


def test_numbers_too_large_for_the_parameters_dtype(way):
    params, X = MODEL.init(0, np.float32), np.full((1, 5), 1e300)
    with np.errstate(all="ignore"):
        expected, _ = MODEL.forward(params, X.astype(np.float32))
        np.testing.assert_array_equal(way(MODEL, params, X), expected)


def test_changed_parameters_are_seen_by_predict_and_not_by_a_predictor(compiled):
    params, X = MODEL.init(0), np.random.default_rng(0).standard_normal((40, 5))
    predictor = hg.Predictor(MODEL, params)
    for m in (1, 40):
        before = predictor(X[:m])
        np.testing.assert_array_equal(hg.predict(MODEL, params, X[:m])[:1], before[:1])
    params.flat[...] *= 2
    params["0.weight"][0, 0] = 5
    for m in (1, 40):
        np.testing.assert_allclose(hg.predict(MODEL, params, X[:m]), MODEL.forward(params, X[:m])[0], atol=1e-13)
    np.testing.assert_array_equal(predictor(X), before)
    plain = {name: array.copy() for name, array in params.items()}
    np.testing.assert_array_equal(hg.predict(MODEL, plain, X), hg.predict(MODEL, params, X))
    np.testing.assert_array_equal(hg.Predictor(MODEL, plain)(X), hg.predict(MODEL, params, X))


def test_parameters_begin_on_a_line_of_the_cache(tmp_path):
    """As one row's product reads them a third faster then; NumPy's own arrays seldom do."""
    X = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    hg.save(MODEL, MODEL.init(0, np.float32), tmp_path / "model.safetensors")
    for _ in range(8):
        apart = MODEL.init(0, np.float32).like(np.zeros(PARAMS.flat.size + 1, np.float32)[1:])
        result = hg.fit(MODEL, (X, X[:, 0].astype(int) % 3), epochs=1, progress=False, engine="compiled")
        _, loaded, _ = hg.load(tmp_path / "model.safetensors")
        packed = hg.Predictor(MODEL, apart)
        packed(X)
        vectors = [packed._flat, *(pack for _, pack in packed._ready.values()), result.params.flat, loaded.flat]
        assert [vector.ctypes.data % 64 for vector in vectors] == [0] * 4


def test_read_only_parameters(way):
    params = MODEL.init(3)
    flat = params.flat.copy()
    flat.flags.writeable = False
    X = np.random.default_rng(0).standard_normal((1, 5))
    np.testing.assert_array_equal(way(MODEL, params.like(flat), X), way(MODEL, params, X))


def test_parameters_in_another_order(way):
    """The names tell which is which, not the place in the vector."""
    params, X = MODEL.init(0), np.random.default_rng(0).standard_normal((30, 5))
    turned = hg.Parameters(dict(reversed(params.specs.items())), params.flat.copy()).pack(dict(params))
    assert not np.array_equal(turned.flat, params.flat)
    for m in (1, 30, 1, 30):
        for given in (params, turned):
            np.testing.assert_allclose(way(MODEL, given, X[:m]), MODEL.forward(params, X[:m])[0], atol=1e-13)


def test_parameters_in_another_byte_order(way):
    params, X = MODEL.init(0), np.random.default_rng(0).standard_normal((30, 5))
    with pytest.raises(hg.errors.DTypeError, match=">f8"):  # as value_and_grad says
        way(MODEL, params.like(params.flat.astype(">f8")), X)


def test_nothing_of_the_callers_is_kept_alive(compiled):
    model = hg.mlp([5, 4, 3])
    flat = model.init(0).flat
    X = np.ones((20, 5))
    marks = weakref.ref(flat), weakref.ref(X), weakref.ref(model)
    params = model.init(0).like(flat)
    hg.predict(model, params, X)
    del params, flat, X
    gc.collect()
    assert [mark() is None for mark in marks] == [True, True, False]
    known = len(module._known)
    del model
    gc.collect()
    assert marks[2]() is None
    assert len(module._known) < known


def test_models_that_come_and_go_are_not_mixed_up(compiled):
    X = np.random.default_rng(0).standard_normal((1, 5))
    for width in range(1, 60):  # a new model often has the address of the last
        model = (
            hg.mlp([5, width, 3]) if width % 2 else hg.Sequential([hg.Linear(5, width), hg.Tanh(), hg.Linear(width, 2)])
        )
        params = model.init(width)
        np.testing.assert_allclose(hg.predict(model, params, X), model.forward(params, X)[0], atol=1e-13)


@pytest.mark.parametrize("prepared", [True, False])
def test_many_threads_on_one_model_give_the_bits_of_one(prepared, compiled):
    model = hg.mlp([5, 64, 33, 3], activation="gelu")
    first = model.init(0)
    several = [first.like(first.flat * scale) for scale in (1.0, 0.5, 2.0)]
    batches = [np.random.default_rng(m).standard_normal((m, 5)) for m in (1, 2, 9, 50, 300)]
    predictors = [hg.Predictor(model, params) for params in several]

    def work(_):
        return [
            (predictor(X) if prepared else hg.predict(model, params, X)).tobytes()
            for params, predictor in zip(several, predictors, strict=True)
            for X in batches
        ]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(24)))
    assert all(result == results[0] for result in results)
    assert len(set(results[0])) == 15


def test_a_predictor_travels():
    predictor, X = hg.Predictor(MODEL, PARAMS), np.ones((3, 5))
    for other in (pickle.loads(pickle.dumps(predictor)), copy.deepcopy(predictor)):
        np.testing.assert_array_equal(other(X), predictor(X))
    assert "Predictor(Sequential" in repr(predictor)
    with pytest.raises(hg.errors.ValueRangeError, match="threads"):
        hg.Predictor(MODEL, PARAMS, threads=0)
