"""The compiled forward pass: the eager one's scores, for any number of rows, from no memory but its own."""

import os
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handgrad as hg
from engines.architectures import models
from handgrad.engines.compiled import inference
from handgrad.engines.compiled.inference import BATCH, Forward
from handgrad.engines.compiled.kernels.vectors import SWITCH, available, detected, vectors
from handgrad.errors import UnsupportedError
from layers.table import LAYERS

SCORES = (np.float32, 1e-5), (np.float64, 1e-12)
# Trains and predicts, and prints what of Numba that compiles was imported.
BEGINNING = """
import sys
import numpy as np
import handgrad as hg

X = np.zeros((64, 3), np.float32)
result = hg.fit(hg.mlp([3, 4, 2]), (X, np.arange(64) % 2), epochs=1, engine="compiled", progress=False)
predictor = hg.Predictor(result.model, result.params)
predictor(X), predictor(X[:1])
print(*(name for name in ("numba.np.arrayobj", "numba.np.linalg", "numba.cpython.unicode") if name in sys.modules))
"""
WAYS = {"one by one": 10**9, "in blocks": 0}  # the `few` that forces it
EVERYTHING = hg.Sequential(
    [
        hg.Flatten(),
        hg.Linear(12, 33, layout="out_in"),
        hg.GELU(),
        hg.Residual(
            hg.Sequential([hg.LayerNorm(33), hg.SwiGLU(33, 17), hg.Dropout(0.5), hg.Linear(17, 33, bias=False)])
        ),
        hg.Tanh(),
        hg.GEGLU(33, 16, bias=False),
        hg.Linear(16, 15),
        hg.LeakyReLU(0.1),
        hg.Softmax(0.5),
    ]
)


def random_params(model, real, seed=1):
    params = model.init(0, real)
    params.flat[...] = np.random.default_rng(seed).normal(0, 0.4, params.flat.shape)
    return params


def rows(m, shape, real, seed=2):
    return np.random.default_rng(seed).standard_normal((m, *shape)).astype(real)


def assert_as_eager(forward, model, params, x, tolerance, **how):
    with np.errstate(invalid="ignore"):  # seldom, OpenBLAS says so though all is right: NumPy's issue 24067
        expected, _ = model.forward(params, x)
    assert np.isfinite(expected).all()
    given = forward.scores(params.flat, x, **how)
    assert given.dtype == expected.dtype
    assert given.shape == expected.shape
    np.testing.assert_allclose(given, expected, rtol=tolerance, atol=tolerance * max(1.0, abs(expected).max(initial=0)))


@pytest.mark.parametrize("few", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("real", "tolerance"), SCORES)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name, real, tolerance, few):
    case = LAYERS[name]
    params, x = case.params(real), case.x(real)
    try:
        forward = Forward(case.layer, params.specs, case.sample, real)
    except UnsupportedError:
        assert len(case.out) != 1 or len(case.sample) != 1 or not params
        return
    assert_as_eager(forward, case.layer, params, x, tolerance, few=few)


@settings(max_examples=60, derandomize=True, database=None)
@given(models(), st.integers(0, 2**31), st.integers(0, 30))
def test_any_model(model, seed, m):
    params, x = random_params(model, np.float64, seed), rows(m, (2, 2), np.float64, seed)
    forward = Forward(model, params.specs, (2, 2), np.float64, rows=8)
    for few in WAYS.values():
        assert_as_eager(forward, model, params, x, 1e-11, few=few)


@pytest.mark.parametrize("few", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("real", "tolerance"), SCORES)
def test_any_number_of_rows(real, tolerance, few):
    params = random_params(EVERYTHING, real)
    forward = Forward(EVERYTHING, params.specs, (3, 4), real)
    block = int(forward._many[3][BATCH])
    for m in (0, 1, 2, 7, 13, block - 1, block, block + 1, 3 * block + 5):
        assert_as_eager(forward, EVERYTHING, params, rows(m, (3, 4), real), tolerance, few=few)


@pytest.mark.parametrize("few", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("layout", ["in_out", "out_in"])
@pytest.mark.parametrize(("real", "tolerance"), SCORES)
def test_any_width(real, tolerance, layout, few):
    for n in (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33):
        for k in (1, 5, 16, 35):
            model = hg.Sequential([hg.Linear(k, n, layout=layout), hg.ReLU(), hg.Linear(n, k, n != 8, layout)])
            params = random_params(model, real)
            forward = Forward(model, params.specs, (k,), real, rows=8)
            assert_as_eager(forward, model, params, rows(11, (k,), real), tolerance, few=few)


@pytest.mark.parametrize("kind", [kind for kind in available() if kind != detected().name])
def test_other_vectors(kind, monkeypatch):
    monkeypatch.setenv(SWITCH, kind)
    params = random_params(EVERYTHING, np.float64)
    forward = Forward(EVERYTHING, params.specs, (3, 4), np.float64, rows=24)
    for few in WAYS.values():
        assert_as_eager(forward, EVERYTHING, params, rows(61, (3, 4), np.float64), 1e-12, few=few)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("m", [1, 50, 192, 230, 700])
def test_layers_of_the_matrix_units_size(m, threads):
    """Float32's scores are float64's, by parts of the rows, blocks and what is left of them."""
    model = hg.Sequential([hg.Linear(1200, 130), hg.ReLU(), hg.SwiGLU(130, 120), hg.Linear(120, 70), hg.Linear(70, 5)])
    params = random_params(model, np.float32)
    forward, x = Forward(model, params.specs, (1200,), np.float32), rows(m, (1200,), np.float32)
    around = np.full((m + 64, 1200), np.nan, np.float32)
    around[32:-32] = x
    scores = forward.scores(params.flat, around[32:-32], threads=threads)
    exact = model.forward(params.like(params.flat.astype(float)), x.astype(float))[0]
    np.testing.assert_allclose(scores, exact, rtol=0, atol=3e-6 * np.abs(exact).max())


@pytest.mark.parametrize("m", [1, 3, 300])
def test_nothing_is_read_from_beside_the_arrays(m):
    params = random_params(EVERYTHING, np.float32)
    forward = Forward(EVERYTHING, params.specs, (3, 4), np.float32)

    def among_nan(array):
        around = np.full(array.size + 256, np.nan, np.float32)
        inner = around[128:-128].reshape(array.shape)
        inner[...] = array
        return inner

    x = rows(m, (3, 4), np.float32)
    expected = forward.scores(params.flat, x)
    given = forward.scores(among_nan(params.flat), among_nan(x))
    assert np.isfinite(expected).all()
    assert given.tobytes() == expected.tobytes()
    packed = forward.pack(params.flat)
    assert forward.scores(params.flat, x, packed, few=0).tobytes() == (
        forward.scores(params.flat, among_nan(x), among_nan(packed), few=0).tobytes()
    )


@pytest.mark.parametrize("few", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite_are_found(bad, few):
    params = random_params(EVERYTHING, np.float64)
    forward = Forward(EVERYTHING, params.specs, (3, 4), np.float64, rows=8)
    for place in (0, 100, 19 * 12 - 1):
        x = rows(19, (3, 4), np.float64)
        x.flat[place] = bad
        assert forward.scores(params.flat, x, few=few) is None
        assert forward.scores(params.flat, x, few=few, threads=2) is None


@pytest.mark.parametrize("few", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_the_largest_and_smallest_numbers_are_finite(real, few):
    """Of which a sum would not be."""
    info, model = np.finfo(real), hg.Linear(40, 3)
    params = model.init(0, real)
    params.flat[...] *= real(1e-3)
    for number in (info.max, -info.max, info.smallest_subnormal):
        forward = Forward(model, params.specs, (40,), real)
        assert forward.scores(params.flat, np.full((9, 40), number), few=few) is not None


@pytest.mark.parametrize("m", [5, 400])
def test_any_memory_order(m):
    params, x = random_params(EVERYTHING, np.float32), rows(m, (3, 4), np.float32)
    forward = Forward(EVERYTHING, params.specs, (3, 4), np.float32)
    expected = forward.scores(params.flat, x).tobytes()
    frozen, loose = x.copy(), np.zeros(2 * params.flat.size, np.float32)[::2]
    frozen.flags.writeable = False
    loose[...] = params.flat
    sealed = params.flat.copy()
    sealed.flags.writeable = False
    odd = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    odd[...] = x
    assert not odd.flags.aligned
    orders = [np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x[::-1].copy()[::-1], frozen, odd]
    for other in [*orders, x.astype(np.float64), x.astype(">f4")]:
        assert forward.scores(params.flat, other).tobytes() == expected
    for flat in (loose, sealed):
        assert forward.scores(flat, x).tobytes() == expected
    whole = np.arange(m * 12).reshape(m, 3, 4)
    assert (
        forward.scores(params.flat, whole).tobytes() == forward.scores(params.flat, whole.astype(np.float32)).tobytes()
    )


def test_memory_is_bounded():
    model = hg.mlp([4, 512, 1])
    params, x = model.init(0, np.float32), np.zeros((300_000, 4))
    forward = Forward(model, params.specs, (4,), np.float32)
    tracemalloc.start()
    forward.scores(params.flat, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15e6  # all hidden values at once would take 600 MB, x in float32 5 MB


def test_blocks_of_wide_models_are_short():
    model = hg.mlp([3, 200_000, 1])
    forward = Forward(model, model.parameters(), (3,), np.float64)
    assert int(forward._many[3][BATCH]) == inference.FEWEST
    params = model.init(0)
    assert_as_eager(forward, model, params, rows(30, (3,), np.float64), 1e-11)


@pytest.mark.parametrize("few", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_nothing_is_written_beside_the_workspace_and_nothing_read_that_was_not_written(real, few):
    params, x = random_params(EVERYTHING, real), rows(250, (3, 4), real)
    forward = Forward(EVERYTHING, params.specs, (3, 4), real)
    how, room = (forward._one, forward._rooms[1]) if few else (forward._many, forward._rooms[0])
    flat = params.flat if few else forward.pack(params.flat)
    results = set()
    for byte in (0xFF, 0x7E, 0x21):  # NaN, huge, tiny
        around, out = np.full(room + 8192, byte, np.uint8), np.full((252, 15), 7, real)
        assert forward._kernel(*how, flat, x.reshape(250, 12), out[1:-1], around[4096:-4096]) == inference.FINITE
        assert (around[:4096] == byte).all()
        assert (around[-4096:] == byte).all()
        assert (out[[0, -1]] == 7).all()
        results.add(out.tobytes())
    assert len(results) == 1


@pytest.mark.skipif(not vectors().bits, reason="np.dot within kernels is of numba.np.linalg")
def test_a_process_with_kernels_on_the_disk_imports_nothing_that_compiles():
    for last in (False, True):  # the first may have to compile them
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", BEGINNING]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=True)
        if last:
            assert run.stdout.split() == []
            assert run.stderr == ""


def test_a_large_prediction_is_made_in_parts(monkeypatch):
    params, x = random_params(EVERYTHING, np.float64), rows(1000, (3, 4), np.float64)
    expected = Forward(EVERYTHING, params.specs, (3, 4), np.float64).scores(params.flat, x)
    monkeypatch.setattr(inference, "PART", 1)
    forward, calls = Forward(EVERYTHING, params.specs, (3, 4), np.float64, rows=48), []
    kernel = forward._kernel

    def counted(*arguments):
        calls.append(len(arguments[6]))
        if len(calls) == 30:
            raise KeyboardInterrupt
        return kernel(*arguments)

    forward._kernel = counted
    assert forward.scores(params.flat, x).tobytes() == expected.tobytes()
    assert calls == [48] * 20 + [40]
    with pytest.raises(KeyboardInterrupt):
        forward.scores(params.flat, x)


@pytest.mark.parametrize("threads", [2, 3, 50])
def test_threads_share_the_rows(threads):
    params, x = random_params(EVERYTHING, np.float64), rows(999, (3, 4), np.float64)
    forward = Forward(EVERYTHING, params.specs, (3, 4), np.float64, rows=48)
    before = threading.active_count()
    np.testing.assert_allclose(
        forward.scores(params.flat, x, threads=threads), forward.scores(params.flat, x), rtol=1e-13
    )
    assert threading.active_count() == before


def test_threads_at_once_give_the_bits_of_one():
    params = random_params(EVERYTHING, np.float32)
    forward = Forward(EVERYTHING, params.specs, (3, 4), np.float32)
    batches = [rows(1 + 37 * seed, (3, 4), np.float32, seed) for seed in range(8)]

    def work(x):
        return [forward.scores(params.flat, x).tobytes() for _ in range(20)]

    alone = [forward.scores(params.flat, x).tobytes() for x in batches]
    with ThreadPoolExecutor(8) as pool:
        for expected, given in zip(alone, pool.map(work, batches), strict=True):
            assert set(given) == {expected}


def test_what_it_cannot_run_is_refused():
    for model in (hg.Sequential([]), hg.Tanh()):
        with pytest.raises(UnsupportedError):
            Forward(model, model.parameters(), (3,), np.float64)
    with pytest.raises(UnsupportedError):
        Forward(hg.Linear(3, 2), hg.Linear(3, 2).parameters(), (3,), np.float16)
    with pytest.raises(UnsupportedError):
        Forward(hg.Linear(3, 2), hg.Linear(3, 2).parameters(), (5, 3), np.float64)
