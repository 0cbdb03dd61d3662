"""Engines go on from given parameters, from a given state of the optimizer, and on other rows."""

import numpy as np
import pytest

from handgrad.engines.compiled.engine import CompiledEngine
from handgrad.engines.eager import EagerEngine
from handgrad.layers import L2, CrossEntropy, SquaredError
from handgrad.models import mlp
from handgrad.optim import SGD, Adam, AdamW, RMSprop
from handgrad.training.data import DROPOUT, Rows, stream

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 5)), RNG.normal(size=(50, 2))
WEIGHT = RNG.uniform(0.5, 2, 50)
OPTIMIZERS = [SGD(0.1), SGD(0.1, 0.9), SGD(0.1, 0.9, nesterov=True), RMSprop(0.01), Adam(0.01), AdamW(0.01)]


def made(engine, optimizer, params=None, data=None, model=None, loss=None):
    model = mlp([5, 17, 2], "tanh") if model is None else model
    args = (model, loss or SquaredError(), optimizer, L2(0.01), None, params or model.init(0))
    return EagerEngine(*args) if engine == "eager" else CompiledEngine(*args, data or Rows(X, Y), 8)


def epochs(engine, count, data=None):
    for _ in range(count):
        engine.epoch([(data or Rows(X, Y), np.arange(50))], 8, lambda: stream(0, DROPOUT, 0), lambda _: None)
    return engine


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_another_goes_on_where_one_stopped(engine, optimizer):
    whole = epochs(made(engine, optimizer), 5)
    first = epochs(made(engine, optimizer), 2)
    state = first.state
    assert state["step"] == 14
    assert set(state) == {"step", *optimizer.slots}
    second = made(engine, optimizer)
    second.resume(first.params, state)
    epochs(second, 3)
    np.testing.assert_array_equal(second.params.flat, whole.params.flat)
    for name in state:
        np.testing.assert_array_equal(second.state[name], whole.state[name])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_the_engines_have_one_form_of_state(optimizer):
    eager, compiled = (epochs(made(engine, optimizer), 3) for engine in ("eager", "compiled"))
    for name, value in eager.state.items():
        np.testing.assert_allclose(compiled.state[name], value, rtol=1e-9, atol=1e-12)
    fresh = made("compiled", optimizer)
    for name, value in made("eager", optimizer).state.items():
        np.testing.assert_array_equal(fresh.state[name], value)
    fresh.resume(eager.params, eager.state)
    np.testing.assert_allclose(epochs(fresh, 2).params.flat, epochs(eager, 2).params.flat, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_without_a_state_the_optimizer_s_own_goes_on(engine):
    runner = epochs(made(engine, Adam(0.01)), 2)
    before = runner.state
    params = runner.params.like(runner.params.flat * 2)
    runner.resume(params)
    np.testing.assert_array_equal(runner.params.flat, params.flat)
    for name, value in before.items():
        np.testing.assert_array_equal(runner.state[name], value)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_what_is_given_stays_as_it_is(engine):
    runner = epochs(made(engine, Adam(0.01)), 1)
    params, state = runner.params.like(runner.params.flat.copy()), runner.state
    kept = params.flat.copy(), {name: np.copy(value) for name, value in state.items()}
    runner.resume(params, state)
    epochs(runner, 2)
    np.testing.assert_array_equal(params.flat, kept[0])
    for name, value in kept[1].items():
        np.testing.assert_array_equal(state[name], value)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_each_epoch_may_have_its_own_rows(weight):
    other = Rows(X[::-1] * 2, Y[::-1] + 1, weight)
    runners = [epochs(epochs(made(engine, Adam(0.01)), 1), 1, other) for engine in ("eager", "compiled")]
    np.testing.assert_allclose(runners[1].params.flat, runners[0].params.flat, rtol=1e-9, atol=1e-12)
    same = epochs(epochs(made("compiled", Adam(0.01)), 1), 1)
    assert not np.allclose(same.params.flat, runners[1].params.flat)


def test_other_rows_may_be_of_another_dtype():
    rows, labels = Rows(X, RNG.integers(0, 2, 50)), RNG.integers(0, 2, 50).astype(np.int32)
    runners = [
        epochs(
            epochs(made(engine, SGD(0.1), data=rows, loss=CrossEntropy()), 1, rows),
            1,
            Rows(X.astype(np.float32), labels),
        )
        for engine in ("eager", "compiled")
    ]
    np.testing.assert_allclose(runners[1].params.flat, runners[0].params.flat, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_the_rate_may_be_set_between_epochs(engine):
    runner = epochs(made(engine, Adam(0.01)), 1)
    before = runner.params.flat.copy()
    runner.optimizer = Adam(0.0)
    np.testing.assert_array_equal(epochs(runner, 1).params.flat, before)
    runner.optimizer = Adam(0.01)
    assert not np.array_equal(epochs(runner, 1).params.flat, before)
