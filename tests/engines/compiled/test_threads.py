"""Threads share a batch: the same bits from run to run, and the same training whatever their number."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from engines.compiled.trainings import COLUMNWISE, TERMWISE, Training, differences
from handgrad import fit
from handgrad.engines.compiled import engine as engine_module
from handgrad.engines.compiled.kernels import program as p
from handgrad.engines.compiled.kernels.vectors import available
from handgrad.layers import GELU, L2, Dropout, LayerNorm, Linear, Parameters, ReLU, SquaredError, SwiGLU, Tanh
from handgrad.models import Residual, Sequential, mlp
from handgrad.optim import SGD, AdamW
from handgrad.training.data import Rows

BLOCK = Residual(Sequential([LayerNorm(33), Linear(33, 65), GELU(), Linear(65, 33)]))
MODEL = Sequential([Linear(20, 33), Dropout(0.3), BLOCK, Dropout(0.1), BLOCK, SwiGLU(33, 5)])
TRAINING = Training(MODEL, optimizer=AdamW(0.01), regularizer=L2(0.01), clip_norm=0.5, weights="random", epochs=4)
SHARED = [TRAINING, COLUMNWISE.but(dtype=np.float32), TERMWISE.but(dtype=np.float32)]
COUNTS = pytest.mark.parametrize("threads", [1, 2, 3])


def bits(training, **how):
    curve, params = training.run(training.compiled(**how))
    return curve.tobytes() + params.flat.tobytes()


@pytest.fixture
def eager_switching():
    """Python threads that take turns far more often than they would: a race that can happen, does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@COUNTS
def test_the_same_bits_from_run_to_run(threads, dtype):
    training = TRAINING.but(threads=threads, dtype=dtype)
    results = [bits(training) for _ in range(6)]
    assert len(set(results)) == 1
    assert bits(training.but(seed=1)) != results[0]


@COUNTS
def test_the_same_bits_from_call_to_call(threads, monkeypatch):
    """An epoch goes in parts, by the clock: where they are cut is not to be seen."""
    from handgrad.engines.compiled.engine import CompiledEngine

    training = TRAINING.but(threads=threads, batch_size=4)
    whole = bits(training)
    for steps in (1, 3, 1000):
        monkeypatch.setattr(CompiledEngine, "_part", lambda self, x, steps=steps: steps)
        assert bits(training) == whole


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_any_count_trains_alike(threads):
    one = TRAINING.run(TRAINING.compiled())
    many = TRAINING.but(threads=threads)
    assert max(differences(one, many.run(many.compiled()))) < 1e-12


@pytest.mark.parametrize("rows", [1, 2, 9, 17])
@pytest.mark.parametrize("threads", [2, 7, 16])
def test_more_threads_than_rows(threads, rows):
    training = TRAINING.but(rows=rows, epochs=2, batch_size=16)
    many = training.but(threads=threads)
    engine = many.compiled()
    assert engine.threads == min(threads, rows, 16)
    assert max(differences(training.run(training.compiled()), many.run(engine))) < 1e-12


@COUNTS
def test_dropout_drops_the_same_whatever_the_threads(threads):
    """Each row has features of its own, so that the weights that a step moves tell what was kept of which row."""
    model = Sequential([Dropout(0.5), Linear(128, 1, bias=False)])
    training = Training(model, (128,), 1, SquaredError(), optimizer=SGD(1.0), rows=8, epochs=1, threads=threads)
    data = Rows(np.repeat(np.eye(8), 16, axis=1), np.full((8, 1), 1e3))
    kept = [
        training.run(engine, data)[1].flat != training.params.flat
        for engine in (training.eager(), training.compiled(data=data))
    ]
    assert np.array_equal(*kept)
    assert 32 < kept[0].sum() < 96


def test_dropout_is_other_in_each_epoch_layer_and_row():
    model = Sequential([Dropout(0.5), Residual(Sequential([])), Dropout(0.5), Linear(200, 3, bias=False)])
    training = Training(model, (200,), 3, SquaredError(), optimizer=SGD(0.0), rows=4, batch_size=1, epochs=3)
    (curve, _), (eager, _) = training.run(training.compiled()), training.run(training.eager())
    assert len(set(curve[:, 0])) == 3
    np.testing.assert_allclose(curve, eager, rtol=1e-12)


def test_two_trainings_at_once_give_the_bits_of_one_after_the_other(eager_switching):
    trainings = [TRAINING.but(seed=seed, threads=threads) for seed, threads in ((0, 1), (1, 1), (2, 2), (0, 2))]
    alone = [bits(training) for training in trainings]
    assert len(set(alone)) == len(trainings)
    barrier = Barrier(len(trainings))

    def repeat(training):
        barrier.wait()
        return [bits(training) for _ in range(4)]

    with ThreadPoolExecutor(len(trainings)) as pool:
        for expected, results in zip(alone, pool.map(repeat, trainings), strict=True):
            assert results == [expected] * len(results)


@pytest.mark.skipif("amx" not in available(), reason="this processor has no AMX")
@pytest.mark.parametrize("threads", [2, 3])
def test_products_shared_by_columns(threads, eager_switching):
    training = COLUMNWISE.but(threads=threads, dtype=np.float32)
    program = training.compiled().program
    shared, waits = program.code[:, p.COLUMNWISE] > 0, program.code[:, p.WAIT] > 0
    assert set(program.code[shared, p.OP]) == {p.LINEAR, p.INPUT_GRADIENT}
    assert program.code[shared, p.ADD].sum() > 0
    first = slice(1, program.split)
    assert np.array_equal(waits[first], (shared | np.roll(shared, 1))[first])
    assert max(differences(COLUMNWISE.run(COLUMNWISE.eager()), training.run(training.compiled()))) < 1e-4
    assert len({bits(training) for _ in range(4)}) == 1


@pytest.mark.skipif("amx" not in available(), reason="this processor has no AMX")
@pytest.mark.parametrize("activation", [Tanh(), ReLU(), None], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("threads", [2, 3])
def test_sums_of_a_wide_inputs_product_are_shared(activation, bias, threads, eager_switching):
    layers = [Linear(430, 100, bias), *([activation] if activation else []), Linear(100, 3)]
    training = TERMWISE.but(model=Sequential(layers), threads=threads, dtype=np.float32)
    code = training.compiled().program.code
    assert code[:3, p.OP].tolist() == [p.GATHER, p.PARTIAL_SUMS, p.JOIN_SUMS]
    assert code[:4, p.WAIT].tolist() == [0, 0, 1, 0]
    assert max(differences(training.run(training.eager()), training.run(training.compiled()))) < 1e-4
    assert len({bits(training) for _ in range(4)}) == 1


@pytest.mark.skipif("amx" not in available(), reason="this processor has no AMX")
@pytest.mark.parametrize(
    ("first", "shared"),
    [
        (Linear(430, 100), True),
        (Residual(Sequential([Linear(430, 100), Linear(100, 430)])), False),
        (SwiGLU(430, 100), False),
        (Tanh(), False),
    ],
    ids=["linear", "residual", "gated", "another layer"],
)
def test_sums_are_shared_where_the_first_linear_layer_alone_needs_the_inputs(first, shared):
    last = Linear(first.n_out if isinstance(first, Linear | SwiGLU) else 430, 3)
    training = TERMWISE.but(dtype=np.float32, threads=2, model=Sequential([first, last]))
    assert (p.PARTIAL_SUMS in training.compiled().program.code[:, p.OP]) == shared
    for other in (training.but(threads=1), training.but(dtype=np.float64)):
        assert p.PARTIAL_SUMS not in other.compiled().program.code[:, p.OP]


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("training", SHARED, ids=["by rows", "by columns", "by terms"])
def test_an_interrupt_before_the_first_thread_has_come(training, threads, monkeypatch):
    """The others, which wait for it, go home and leave the parameters as they are."""
    training, run = training.but(threads=threads, epochs=1), engine_module.in_thread
    engine = training.compiled()
    before = training.run(engine)[1].flat.copy()

    def interrupted(kernel, arguments, kept, thread):
        if thread == 0:
            time.sleep(0.1)  # so long that the others are there and wait
            raise KeyboardInterrupt
        run(kernel, arguments, kept, thread)

    monkeypatch.setattr(engine_module, "in_thread", interrupted)
    steps = engine.steps
    with pytest.raises(KeyboardInterrupt):
        training.run(engine)
    assert engine.steps == steps
    assert np.array_equal(Parameters(engine._specs, engine.packing.unpack(engine._params)).flat, before)


def test_fits_at_once_of_one_model(eager_switching):
    model, data = mlp([20, 33, 5], dropout=0.2), TRAINING.data

    def train(seed):
        options = {"engine": "compiled", "epochs": 5, "threads": 1 + seed % 2, "progress": False}
        return fit(model, (data.x, data.y), seed=seed, **options).params.flat.tobytes()

    alone = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(train, range(4))) == alone


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", [1e-170, 1e160], ids=["underflow", "overflow"])
def test_norms_whose_squares_cannot_be_held(size, threads):
    """They are taken again, in other units: all threads at once, while none may change the gradient yet."""
    training = Training(mlp([20, 300, 40, 5], "tanh"), loss=SquaredError(), rows=512, epochs=3, threads=threads)
    training = training.but(optimizer=SGD(1.0), clip_norm=min(size, 1e-3) * 1e-3)
    data = training.data
    data = Rows(data.x, data.y, np.full(len(data), size))
    eager, compiled = (training.run(engine, data) for engine in (training.eager(), training.compiled(data=data)))
    np.testing.assert_allclose(compiled[0], eager[0], rtol=1e-12)
    np.testing.assert_allclose(compiled[1].flat, eager[1].flat, rtol=0, atol=1e-12)
