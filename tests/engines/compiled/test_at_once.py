"""The optimizer's step of a weight's block right after its gradient: as in a pass of its own."""

import numpy as np
import pytest

import handgrad as hg
from engines.compiled.test_bounds import NARROWER, TRAININGS
from engines.compiled.trainings import Training
from handgrad.engines.compiled import lower
from handgrad.engines.compiled.engine import CompiledEngine
from handgrad.engines.compiled.kernels.program import CLAIM
from handgrad.errors import DivergenceError

PLAIN = {name: training.but(regularizer=None, clip_norm=None) for name, training in TRAININGS.items()}
SHARED, WIDE = hg.Linear(20, 20), hg.Linear(130, 130)
MORE = {
    "weights used twice": Training(hg.Sequential([SHARED, hg.ReLU(), SHARED, hg.Linear(20, 5)])),
    "decay of the weights alone": Training(hg.mlp([20, 40, 5]), optimizer=hg.AdamW(0.01, weight_decay=0.1)),
    "Nesterov": Training(hg.mlp([20, 40, 5]), optimizer=hg.SGD(0.1, momentum=0.9, nesterov=True)),
    # of the size that the matrix unit takes
    "wide, by Adam": Training(hg.mlp([20, 150, 130, 5]), optimizer=hg.Adam(1e-4), rows=300, batch_size=140, epochs=3),
    "wide, a weight twice": Training(
        hg.Sequential([hg.Linear(20, 130), WIDE, hg.ReLU(), WIDE, hg.Linear(130, 5)]),
        **{"optimizer": hg.SGD(0.1, 0.9), "rows": 300, "batch_size": 140, "epochs": 3},
    ),
    "batches of many chunks": Training(hg.mlp([20, 70, 5]), rows=900, batch_size=600, epochs=3),
    "batches of two chunks": Training(hg.mlp([20, 70, 5]), rows=500, batch_size=250, epochs=3),
}


def generator():
    return np.random.Generator(np.random.Philox(0))


def run(training, at_once, monkeypatch):
    monkeypatch.setattr(lower, "APART", 0 if at_once else 2**62)
    engine = training.compiled()
    if engine.layout.panel:
        assert (engine.program.stepped > 0) == at_once
    curve, params = training.run(engine)
    return curve, params.flat


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", PLAIN | MORE)
def test_the_result_is_that_of_a_pass_apart(name, threads, monkeypatch):
    training = (PLAIN | MORE)[name].but(dtype=np.float32, threads=threads)
    curve, params = run(training, True, monkeypatch)
    other, others = run(training, False, monkeypatch)
    if threads == 1:
        assert params.tobytes() == others.tobytes()
        assert curve[:, 0].tobytes() == other[:, 0].tobytes()
        np.testing.assert_allclose(curve[:, 1], other[:, 1], rtol=1e-12)  # sums of squares, in another order
    else:  # a pass apart cuts the parameters where threads meet: there Adam's estimates give way to roots and quotients
        np.testing.assert_allclose(params, others, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(curve, other, rtol=1e-4)


@pytest.mark.parametrize("threads", [2, 4])
def test_norms_are_the_same_from_run_to_run(threads, monkeypatch):
    """Which thread takes a block depends on which is free: what is summed up does not."""
    training = MORE["batches of many chunks"].but(dtype=np.float32, threads=threads)
    first = run(training, True, monkeypatch)
    for _ in range(5):
        again = run(training, True, monkeypatch)
        assert again[0].tobytes() == first[0].tobytes()
        assert again[1].tobytes() == first[1].tobytes()


MANY_BLOCKS = Training(hg.mlp([20, 300, 90, 5]), rows=120, batch_size=40, epochs=4, dtype=np.float32)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("threads", [2, 3, 5])
def test_it_does_not_matter_which_thread_takes_a_block(threads, at_once, monkeypatch):
    monkeypatch.setattr(lower, "APART", 0 if at_once else 2**62)
    training = MANY_BLOCKS.but(threads=threads)
    free, bound = training.compiled(), training.compiled()
    assert free.program.claims == 3
    bound.program.code[:, CLAIM] = -1  # each thread takes its own alone
    (curve, params), (other, others) = training.run(free), training.run(bound)
    assert curve.tobytes() == other.tobytes()
    assert params.flat.tobytes() == others.flat.tobytes()
    for name in ("first_moment", "second_moment"):
        assert free.state[name].tobytes() == bound.state[name].tobytes()


@pytest.mark.parametrize("kind", NARROWER)
def test_narrower_vectors(kind, monkeypatch):
    monkeypatch.setenv("HANDGRAD_VECTORS", kind)
    curve, params = run(MANY_BLOCKS, True, monkeypatch)
    other, others = run(MANY_BLOCKS, False, monkeypatch)
    np.testing.assert_allclose(params, others, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(curve, other, rtol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_goes_on_within_an_epoch_to_the_bit(threads, monkeypatch):
    monkeypatch.setattr(lower, "APART", 0)
    monkeypatch.setattr("handgrad.engines.compiled.engine.PART_SECONDS", 1e-9)  # a call a step
    monkeypatch.setattr("handgrad.engines.compiled.engine.FIRST_STEPS", 1)
    training = MANY_BLOCKS.but(threads=threads, rows=400)
    data, seen = training.data, {}
    whole, rest = training.compiled(), training.compiled()

    def keep(step):
        if step == 5:
            seen.update(begun=whole.begun, state=whole.state, params=whole.params)

    def epoch(engine, on_step, begun=None):
        return engine.epoch([(data, np.arange(400))], 40, generator, on_step, begun)

    ended = epoch(whole, keep)
    rest.resume(seen["params"], seen["state"])
    assert epoch(rest, lambda _: None, seen["begun"]) == ended
    assert rest.params.flat.tobytes() == whole.params.flat.tobytes()
    assert rest.steps == whole.steps == 10


def test_an_interrupt_counts_the_steps_that_were_taken(monkeypatch):
    training = MANY_BLOCKS.but(rows=400)
    engine, data = training.compiled(), training.data
    call = engine._call

    def interrupted(run):
        call(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "_call", interrupted)
    monkeypatch.setattr("handgrad.engines.compiled.engine.FIRST_STEPS", 3)
    with pytest.raises(KeyboardInterrupt):
        engine.epoch([(data, np.arange(400))], 40, generator, lambda _: None)
    assert engine.steps == engine.begun.steps == engine.state["step"] == 3
    three = training.compiled()
    three.epoch([(data, np.arange(120))], 40, generator, lambda _: None)
    assert engine.params.flat.tobytes() == three.params.flat.tobytes()


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("width", "batch"), [(50, 16), (150, 160)])
def test_steps_of_a_gradient_that_overflows_are_taken_back(width, batch, threads, at_once, monkeypatch):
    """Most blocks have taken theirs by the time that the norm is known; the loss itself is finite."""
    monkeypatch.setattr(lower, "APART", 0 if at_once else 2**62)
    training = Training(hg.mlp([40, width, width, 5]), (40,), loss=hg.SquaredError(), dtype=np.float32, rows=3 * batch)
    data, params = training.data, training.params
    data.x[:, 39] = 0
    data.x[2 * batch :, 39], data.y[2 * batch :] = 1e30, 1e12  # in the third batch
    params["0.weight"][39] = 0  # so that it is not seen in the outputs

    def engine():
        optimizer = training.bound
        return CompiledEngine(training.model, training.loss, optimizer, None, None, params, data, batch, threads)

    two, three = engine(), engine()
    two.epoch([(data, np.arange(2 * batch))], batch, generator, lambda _: None)
    with pytest.raises(DivergenceError) as caught:
        three.epoch([(data, np.arange(3 * batch))], batch, generator, lambda _: None)
    assert caught.value.step == 2
    assert "norm became" in str(caught.value)
    assert three.params.flat.tobytes() == two.params.flat.tobytes()
    assert np.any(two.params.flat != params.flat)
