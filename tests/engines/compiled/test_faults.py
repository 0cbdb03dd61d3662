"""What goes wrong: numbers that are finite no more, Ctrl-C, memory shared with the user, what cannot be run."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import handgrad as hg
from handgrad import layers
from handgrad.engines.compiled.engine import CompiledEngine
from handgrad.engines.eager import EagerEngine
from handgrad.errors import DivergenceError, UnsupportedError
from handgrad.layers import L2, Dropout, Flatten, Linear, ReLU, Softmax, SquaredError, Tanh
from handgrad.models import Residual, Sequential, mlp
from handgrad.optim import SGD, Adam
from handgrad.training.data import DROPOUT, Rows, stream

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 3)), RNG.standard_normal((40, 2))
ONE_LARGE, LAST_LARGE = (np.where(np.arange(40) == row, 1e10, 0.0)[:, None] * [1.0, 0.0] for row in (22, 39))
QUIET = {"progress": False}
NETWORK = Sequential([Linear(3, 17), Tanh(), Linear(17, 2)])


@dataclass(frozen=True)
class Case:
    """A training that diverges, at that step, for that reason."""

    x: np.ndarray
    y: np.ndarray
    step: int
    what: str
    place: str
    model: layers.Layer = NETWORK
    rate: float = 0.0
    batch_size: int = 8
    zero: bool = False  # whether the parameters start at 0
    clip_norm: float | None = None
    dtype: type = np.float64

    def engines(self, threads):
        params = self.model.init(0, self.dtype)
        params.flat[...] *= not self.zero
        data = Rows(self.x.astype(self.dtype), self.y.astype(self.dtype))
        args = self.model, SquaredError(), SGD(self.rate), None, self.clip_norm, params
        return data, EagerEngine(*args), CompiledEngine(*args, data, self.batch_size, threads=threads)


LINEAR = Linear(3, 2)
DIVERGES = {
    "the first loss": Case(X * 1e200, Y, 0, "loss became inf", "the loss", LINEAR),
    "the first loss, of an output": Case(
        np.sign(X) * 1.7e308, Y, 0, "loss became", "the output of layer '0' (Linear)", Sequential([LINEAR])
    ),
    "the first gradient": Case(1e300 + 0 * X, 1e10 + 0 * Y, 0, "norm became inf", "weight'", LINEAR, zero=True),
    "a gradient within the epoch": Case(
        1e300 + 0 * X, ONE_LARGE, 2, "norm became", "weight'", LINEAR, batch_size=8, zero=True
    ),
    "a loss within an epoch": Case(X, Y, 13, "loss became", "", LINEAR, rate=1e12),
    "a loss of float32": Case(X, Y, 5, "loss became inf", "the loss", rate=1e4, dtype=np.float32),
    "an update within an epoch": Case(X * 1e5, Y, 1, "loss became nan", "parameter ", LINEAR, rate=1e306),
    "an update at the end of an epoch": Case(
        X * 1e5, Y, 0, "update was not finite", "the new parameters", LINEAR, rate=1e306, batch_size=40
    ),
    "an update at the end of an epoch of many": Case(
        1e5 + 0 * X, LAST_LARGE, 39, "update was not", "the new parameters", LINEAR, 1e303, 1, zero=True
    ),
    "a clipped update": Case(1e9 * X, Y, 0, "update was not", "the new parameters", LINEAR, 1e308, 40, clip_norm=1e10),
}


def failure(engine, data, batch_size, epochs=10):
    for _ in range(epochs):
        try:
            engine.epoch([(data, np.arange(len(data)))], batch_size, lambda: stream(0, DROPOUT, 0), lambda _: None)
        except DivergenceError as error:
            return error, engine.params
    pytest.fail(f"{engine.name} did not diverge")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", DIVERGES.values(), ids=DIVERGES)
def test_divergence_is_seen_where_the_eager_engine_sees_it(case, threads):
    data, *engines = case.engines(threads)
    (expected, good), (error, params) = (failure(engine, data, case.batch_size) for engine in engines)
    assert expected.step == case.step
    assert case.what in str(expected)
    assert case.place in expected.place
    assert (error.step, error.place, str(error)) == (expected.step, expected.place, str(expected))
    assert np.isfinite(params.flat).all()
    scale = np.abs(good.flat).max() or 1.0
    np.testing.assert_allclose(
        params.flat / scale, good.flat / scale, rtol=0, atol=1e-3 if case.dtype is np.float32 else 1e-10
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_fit_hands_over_the_last_good_parameters(engine, threads):
    """Of an epoch well after the first, with the history up to it."""
    rates = hg.optim.WarmUp(28, hg.optim.Constant(1e200), start=1e-3)
    options = {"loss": "squared_error", "optimizer": SGD(rates), "batch_size": 4, "epochs": 9, "engine": engine}
    with pytest.raises(DivergenceError) as caught:
        hg.fit(mlp([3, 17, 2], "tanh"), (X, Y), threads=threads, **options, **QUIET)
    result = caught.value.result
    assert (result.stopped, result.engine, len(result.history)) == ("diverged", engine, 0)
    assert np.isfinite(result.params.flat).all()


def test_weights_of_samples_alone_make_the_gradient_overflow():
    """Which the search for the place, that knows no weights, does not see."""
    x, y, weight = np.full((100, 1), 1e30, np.float32), np.full((100, 1), 1e7, np.float32), np.zeros(100)
    weight[0] = 1
    start = Linear(1, 1).init(0, np.float32)
    options = {"loss": "squared_error", "params": start.like(0 * start.flat), "batch_size": 1, "epochs": 1}
    for engine in ("eager", "compiled"):
        with pytest.raises(DivergenceError, match="gradient's norm became inf"):
            hg.fit(Linear(1, 1), (x, y, weight), optimizer=SGD(0.0), engine=engine, **options, **QUIET)


def test_the_place_is_found_with_what_the_step_itself_dropped():
    """Each step has one number, which overflows where dropout keeps and scales it: in the step it is kept in."""
    model = Sequential([Dropout(0.9), Linear(1, 2)])
    case = Case(np.full((40, 1), 1.7e308), Y, 4, "loss became nan", "'0' (Dropout)", model, batch_size=1, zero=True)
    data, *engines = case.engines(1)
    (expected, _), (error, _) = (failure(engine, data, 1) for engine in engines)
    assert expected.step > 0
    assert "layer '0' (Dropout)" in expected.place
    assert (error.step, error.place) == (expected.step, expected.place)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["the first loss", "the first gradient", "an update at the end of an epoch", "none"])
def test_tiny_numbers_are_numbers_again_after_training(name, threads):
    """The kernels may round them to 0 to be fast; the thread that called them is as it was, however they ended."""
    if name == "none":
        train(threads=threads)
    else:
        case = DIVERGES[name]
        data, _, engine = case.engines(threads)
        failure(engine, data, case.batch_size)
    tiny = np.full(8, np.finfo(np.float64).smallest_normal)
    assert (tiny / 1024 * 1024 == tiny).all()
    assert (tiny / 1024 > 0).all()


# The signal comes once the first steps are done of an epoch that takes minutes.
INTERRUPTED = """
import json, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
import numpy as np
import handgrad as hg
from handgrad.engines.compiled.engine import CompiledEngine
threads = int(sys.argv[1])
rng = np.random.default_rng(0)
x, y = rng.standard_normal((300_000, 16), np.float32), rng.integers(10, size=300_000)
model = hg.mlp([16, 512, 512, 10])
options = {"engine": "compiled", "threads": threads, "batch_size": 2, "epochs": 2, "progress": False}
hg.fit(model, (x[:20], y[:20]), **options)
sent, stepped, run = [], threading.Event(), CompiledEngine._run
def steps(*args):
    done = run(*args)
    stepped.set()
    return done
def interrupt():
    stepped.wait()
    time.sleep(0.1)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
CompiledEngine._run = steps
threading.Thread(target=interrupt, daemon=True).start()
result = hg.fit(model, (x, y), **options)
late = time.perf_counter() - sent[0]
moved = float(np.abs(result.params.flat - model.init(0, np.float32).flat).max())
again = hg.fit(model, (x[:20], y[:20]), params=result.params, **options)
print(json.dumps([result.stopped, result.engine, len(result.history), moved, late, again.stopped]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_within_an_epoch_keeps_what_was_learnt(threads):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERRUPTED, str(threads)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode == 0, run.stderr
    stopped, engine, epochs, moved, late, again = json.loads(run.stdout)
    assert (stopped, engine, epochs, again) == ("interrupted", "compiled", 0, "epochs")
    assert 0 < moved < np.inf
    assert late < 5


def test_an_interrupt_leaves_whole_steps(monkeypatch):
    """It comes between two parts of an epoch: the parameters are those after the last step of the first."""
    monkeypatch.setattr(CompiledEngine, "_part", lambda self, x: 2)
    model, data = mlp([3, 17, 2], "tanh"), Rows(X, Y)
    args = model, SquaredError(), Adam(), None, None, model.init(0)

    def trained(engine, stop):
        def on_step(step):
            if step + 1 >= stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            engine.epoch([(data, np.arange(40))], 8, lambda: stream(0, DROPOUT, 0), on_step)
        return engine.params.flat

    after_two = trained(EagerEngine(*args), 2)
    np.testing.assert_allclose(trained(CompiledEngine(*args, data, 8, threads=2), 2), after_two, rtol=0, atol=1e-12)


def train(params=None, epochs=2, engine="compiled", model=None, data=(X, Y), **options):
    options = {"loss": "squared_error", "batch_size": 8, "engine": engine} | options
    return hg.fit(model or mlp([3, 17, 2], "tanh"), data, params=params, epochs=epochs, **options, **QUIET)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("model", [mlp([3, 17, 2], "tanh"), Linear(3, 2), Linear(3, 2, layout="out_in")])
def test_the_users_parameters_stay_as_they_are(model, dtype):
    params = model.init(0, dtype)
    data = X.astype(dtype), Y
    before = params.flat.tobytes()
    first = train(params, model=model, data=data)
    assert params.flat.tobytes() == before
    assert first.params.flat.dtype == dtype
    kept = first.params.flat.tobytes()
    second = train(first.params, model=model, data=data)
    assert first.params.flat.tobytes() == kept != second.params.flat.tobytes()
    assert not np.shares_memory(first.params.flat, second.params.flat)


def test_what_a_callback_keeps_stays_as_it_was():
    seen, copies = [], []

    def keep(end):
        assert not end.params.flat.flags.writeable
        seen.append(end)
        copies.append((dict(end.row), end.params.flat.copy()))

    result = train(epochs=5, callbacks=keep)
    for end, (row, flat) in zip(seen, copies, strict=True):
        assert end.row == row
        assert np.array_equal(end.params.flat, flat)
    assert len({flat.tobytes() for _, flat in copies}) == 5
    assert np.array_equal(result.params.flat, copies[-1][1])


def test_what_a_user_writes_into_the_results_parameters_goes_nowhere():
    engine = CompiledEngine(Linear(3, 2), SquaredError(), SGD(0.1), None, None, Linear(3, 2).init(0), Rows(X, Y), 8)

    def epoch():
        return engine.epoch([(Rows(X, Y), np.arange(40))], 8, lambda: stream(0, DROPOUT, 0), lambda _: None)

    epoch()
    kept = engine.params
    copy = kept.flat.copy()
    epoch()
    assert np.array_equal(kept.flat, copy)
    assert not np.array_equal(engine.params.flat, copy)


def test_early_stopping_returns_the_best_epoch():
    options = {"epochs": 12, "patience": 3, "optimizer": SGD(0.4), "validation": (X[:9], Y[:9])}
    eager, compiled = train(engine="eager", **options), train(**options)
    assert compiled.best_epoch == eager.best_epoch < 12
    assert compiled.stopped == eager.stopped
    np.testing.assert_allclose(compiled.params.flat, eager.params.flat, rtol=0, atol=1e-9)


class Doubled(ReLU):
    """A layer of the user's own, which no engine but the eager one may know."""

    def forward(self, params, x, *, train=False, rng=None):
        return 2 * x, None

    def backward(self, dout, cache):
        return 2 * dout, {}


class OwnTanh(Tanh):
    pass


class OwnLinear(Linear):
    pass


class OwnSequential(Sequential):
    pass


class OwnResidual(Residual):
    pass


class OwnLoss(SquaredError):
    pass


class OwnSGD(SGD):
    pass


class OwnL2(L2):
    def value_and_grad(self, params):
        value, grads = super().value_and_grad(params)
        return 3 * value, {name: 3 * grad for name, grad in grads.items()}


def around(layer):
    """A model in which it stands in a nested place."""
    return Sequential([Linear(3, 3), Residual(Sequential([Tanh(), layer])), Linear(3, 2)])


UNSUPPORTED = {
    "own layer": (around(Doubled()), {}, r"layer '1\.layer\.1': the compiled engine cannot run Doubled\(\)"),
    "own kind of tanh": (around(OwnTanh()), {}, r"'1\.layer\.1'.*OwnTanh"),
    "own kind of linear": (around(OwnLinear(3, 3)), {}, r"'1\.layer\.1'.*OwnLinear"),
    "own sequential": (around(OwnSequential([Linear(3, 3)])), {}, r"'1\.layer\.1'.*OwnSequential"),
    "own residual": (around(OwnResidual(Tanh())), {}, r"'1\.layer\.1'.*OwnResidual"),
    "own model": (OwnSequential([Linear(3, 2)]), {}, "cannot run OwnSequential"),
    "softmax over samples": (around(Softmax(axis=0)), {}, r"'1\.layer\.1'.*Softmax\(axis=0\)"),
    "own loss": (Linear(3, 2), {"loss": OwnLoss()}, "loss OwnLoss"),
    "own optimizer": (Linear(3, 2), {"optimizer": OwnSGD(0.1)}, "optimizer OwnSGD"),
    "own penalty": (Linear(3, 2), {"regularizer": OwnL2(0.1)}, "OwnL2"),
    "no parameters": (Tanh(), {"data": (X[:, :2], Y)}, "with parameters"),
    "many axes": (
        Sequential([Linear(3, 4), Residual(Linear(4, 4)), Flatten(), Linear(16, 2)]),
        {"data": (RNG.standard_normal((40, 4, 3)), Y)},
        r"layer '0': .*one axis here, got shape \(4, 3\); flatten",
    ),
    "scores of many axes": (
        Sequential([Linear(12, 3, flatten=True), Residual(Sequential([Tanh()]))]),
        {"data": (RNG.standard_normal((40, 4, 3)), np.zeros((40, 3)))},
        None,
    ),
}


@pytest.mark.parametrize(("model", "options", "match"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_cannot_be_run_is_said_and_run_eagerly(model, options, match):
    if match is None:  # looks as if it could not be, but can
        assert train(model=model, engine="auto", **options).engine == "compiled"
        return
    with pytest.raises(UnsupportedError, match=match):
        train(model=model, **options)
    expected, result = (train(model=model, engine=engine, **options) for engine in ("eager", "auto"))
    assert (result.engine, expected.engine, expected.note) == ("eager", "eager", "")
    assert re.search(match, result.note)
    assert np.array_equal(result.params.flat, expected.params.flat)


def test_auto_takes_the_compiled_engine_where_it_can():
    result, expected = train(engine="auto"), train()
    assert (result.engine, result.note) == ("compiled", "")
    assert np.array_equal(result.params.flat, expected.params.flat)


def test_arrays_of_other_libraries_are_run_eagerly():
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
    data = torch.from_numpy(X), torch.from_numpy(Y)
    with pytest.raises(UnsupportedError, match="NumPy arrays, got X as a Tensor"):
        train(data=data)
    result = train(data=data, engine="auto")
    assert result.engine == "eager"
    assert "Tensor" in result.note
