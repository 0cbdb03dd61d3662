"""The edges of what the compiled engine takes: odd targets, numbers at the end of the range, switches of Numba's."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import handgrad as hg
from engines.compiled.trainings import Training, assert_agree
from handgrad.engines import choice
from handgrad.engines.choice import step_threads
from handgrad.engines.compiled.kernels.vectors import vectors
from handgrad.errors import ValueRangeError
from handgrad.layers import Linear, Quantile
from handgrad.models import Sequential, mlp
from handgrad.optim import SGD, Adam

QUIET = {"progress": False}
RNG = np.random.default_rng(5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("scale", [1, 7])
def test_distributions_of_any_dtype_are_no_labels(dtype, scale):
    """One row a sample, whatever its dtype: counts, and tables of dummies, too."""
    X = RNG.standard_normal((40, 4))
    y = (np.eye(3, dtype=np.int64)[np.arange(40) % 3] * scale).astype(dtype)
    eager, compiled = (
        hg.fit(mlp([4, 8, 3]), (X, y), epochs=5, engine=engine, **QUIET).history.column("loss")
        for engine in ("eager", "compiled")
    )
    np.testing.assert_allclose(compiled, eager, rtol=1e-12)


@pytest.mark.parametrize("q", [1e-6, 0.5, 0.9999, 0.99999])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantiles_near_the_ends(q, dtype):
    assert_agree(Training(mlp([20, 17, 5]), loss=Quantile(q), optimizer=SGD(0.01), dtype=dtype))


def one_step(optimizer, x, y, dtype, engine, clip_norm=None):
    model = Sequential([Linear(40, 1, bias=False)])
    params = model.init(0, dtype)
    params.flat[...] = 0
    data = np.full((1, 40), x, dtype), np.full((1, 1), y, dtype)
    return hg.fit(
        model, data, loss="squared_error", optimizer=optimizer, epochs=1, params=params, engine=engine,
        clip_norm=clip_norm, **QUIET,
    ).params.flat  # fmt: skip


def test_a_second_moment_past_the_range_stops_the_step():
    """Its root is infinite: nothing moves, in the groups of sixteen as in the rest."""
    eager, compiled = (one_step(Adam(), 1e12, 1e13, np.float32, engine) for engine in ("eager", "compiled"))
    assert not eager.any()
    assert not compiled.any()


@pytest.mark.parametrize(("dtype", "large", "clip_norm"), [(np.float32, 1e19, 1e-3), (np.float64, 1e150, 1e-100)])
def test_a_clipping_factor_too_small_for_the_dtype(dtype, large, clip_norm):
    rate = SGD(1.0 if dtype == np.float32 else 1e90)
    eager, compiled = (one_step(rate, large, large, dtype, engine, clip_norm) for engine in ("eager", "compiled"))
    assert eager.all()
    np.testing.assert_allclose(compiled, eager, rtol=1e-5)


def test_an_epsilon_that_would_be_flushed_is_left_to_eager():
    result = hg.fit(mlp([3, 2]), (np.ones((4, 3)), [0, 1, 0, 1]), optimizer=Adam(epsilon=1e-310), epochs=1, **QUIET)
    assert result.engine == "eager"
    assert "epsilon" in result.note


def test_threads_follow_the_work(monkeypatch):
    monkeypatch.setattr(choice, "cores", lambda: 64)
    small, large = mlp([8, 64, 64, 1]).init(0), mlp([256, 512, 512, 512, 256]).init(0)
    assert step_threads("auto", small, 32) == 1
    assert 1 < step_threads("auto", large, 256) <= 32
    assert step_threads("auto", large, 9) == 1
    assert step_threads(3, small, 32) == 3


def test_the_thread_that_reads_keeps_a_core_where_a_step_is_short(monkeypatch):
    monkeypatch.setattr(choice, "cores", lambda: 2)
    params = mlp([50, 128, 128, 1]).init(0)
    assert step_threads("auto", params, 1024) == step_threads("auto", params, 1024, 10) == 2
    assert step_threads("auto", params, 1024, 50) == 1
    assert step_threads(2, params, 1024, 50) == 2


def test_threads_that_there_cannot_be():
    small = mlp([8, 64, 64, 1]).init(0)
    with pytest.raises(ValueRangeError, match="threads"):
        step_threads(0, small, 32)


def test_a_kind_that_the_processor_has_not(monkeypatch):
    monkeypatch.setattr("handgrad.engines.compiled.kernels.vectors.available", lambda: ("dot",))
    monkeypatch.setenv("HANDGRAD_VECTORS", "avx2")
    with pytest.raises(
        ValueRangeError, match=r"HANDGRAD_VECTORS must be one of \('dot',\) on this processor, got 'avx2'"
    ):
        vectors()


SCRIPT = """
import json, warnings
import numpy as np
import handgrad as hg
X, y = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2
result = hg.fit(hg.mlp([3, 4, 2]), (X, y), epochs=2, progress=False)
print(json.dumps([result.engine, result.note, result.predict(X).shape]))
"""


def test_numba_without_its_compiler():
    variable = "NUMBA_DISABLE_JIT"
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, env=os.environ | {variable: "1"}
    )
    assert run.returncode == 0, run.stderr
    used, note, shape = json.loads(run.stdout)
    assert (used, shape) == ("eager", [20, 2])
    assert variable in note


def test_parameters_in_another_order_of_the_vector():
    """What predict remembers of a model is of one order of its parameters."""
    model = Sequential([hg.Flatten(), Linear(20, 8), hg.ReLU(), Linear(8, 2)])
    ordered = model.init(0)
    names = list(ordered.specs)[::-1]
    turned = hg.Parameters({name: ordered.specs[name] for name in names}, np.zeros_like(ordered.flat)).pack(ordered)
    flat, square = RNG.standard_normal((30, 20)), RNG.standard_normal((30, 4, 5))
    expected = model.forward(ordered, flat)[0]
    hg.Predictor(model, ordered)(flat)  # the kernels are at hand from here on
    for params, x in ((ordered, flat), (turned, square), (turned, flat), (ordered, flat)):
        scores = hg.predict(model, params, x)
        np.testing.assert_allclose(scores, model.forward(params, x)[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(scores, expected, rtol=1e-10, atol=1e-12)
