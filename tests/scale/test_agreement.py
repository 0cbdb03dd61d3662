"""Several processes against one: the same parameters, losses and errors. The processes are threads here, see groups."""

from functools import partial

import numpy as np
import pytest

import handgrad as hg
from handgrad.errors import CheckpointError, DivergenceError, UnsupportedError
from scale.groups import together

rng = np.random.default_rng(7)
X = rng.standard_normal((255, 6))
LABELS = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
NUMBERS = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)
WEIGHT = rng.uniform(0.1, 3, len(X))

# Each is 54 steps: the last batch of an epoch has 15 rows, which no number of processes below divides but 1 and 3.
TRAININGS = {
    "momentum": {"loss": "squared_error", "optimizer": hg.SGD(0.05, momentum=0.9), "y": NUMBERS},
    "clipped": {"loss": "squared_error", "optimizer": hg.SGD(0.2), "y": NUMBERS, "clip_norm": 0.5},
    "penalised": {"loss": "hinge", "optimizer": hg.RMSprop(0.01), "y": LABELS, "regularizer": hg.L2(1e-2)},
    "adamw": {"loss": "cross_entropy", "optimizer": hg.AdamW(hg.OneCycle(0.02)), "y": LABELS},
    "weighted": {"loss": "cross_entropy", "optimizer": hg.Adam(0.01), "y": LABELS, "weight": WEIGHT},
}


def train(y, engine="compiled", epochs=6, batch_size=30, weight=None, dtype=np.float64, dropout=0.25, x=X, **options):
    outputs = 2 if y.ndim == 2 else 3
    model = hg.mlp([6, 17, 9, outputs], "gelu", dropout=dropout)
    data = (x.astype(dtype), y, *([] if weight is None else [weight]))
    return hg.fit(model, data, engine=engine, epochs=epochs, batch_size=batch_size, progress=False, **options)


def same(result, alone, tolerance=1e-10):
    """The relative distance of the parameters, of the losses and of the norms is at most `tolerance`."""
    pairs = [(result.params.flat, alone.params.flat)]
    pairs += [(result.history.column(name), alone.history.column(name)) for name in ("loss", "gradient_norm")]
    for given, expected in pairs:
        expected = np.asarray(expected)
        assert np.abs(np.asarray(given) - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("engine", ["compiled", "eager"])
@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_many_are_as_one(size, name, engine):
    alone = train(engine=engine, **TRAININGS[name])
    results = together(size, lambda rank: train(engine=engine, **TRAININGS[name]))
    for result in results:
        assert result.engine == engine
        same(result, alone)
        np.testing.assert_array_equal(result.params.flat, results[0].params.flat)  # to the bit, so that none drifts


@pytest.mark.parametrize("name", ["momentum", "adamw", "penalised"])
def test_float32_to_its_rounding(name):
    options = TRAININGS[name] | {"dtype": np.float32, "epochs": 2}
    alone = train(**options)
    for result in together(3, lambda rank: train(**options)):
        same(result, alone, 1e-4)


def test_threads_within_each_process():
    options = TRAININGS["adamw"] | {"batch_size": 64}
    alone = train(**options)
    for result in together(2, lambda rank: train(threads=2, **options)):
        same(result, alone)


def test_a_batch_with_fewer_rows_than_processes():
    options = TRAININGS["momentum"] | {"batch_size": 127, "epochs": 27}  # 127, 127 and 1
    for engine in ("compiled", "eager"):
        alone = train(engine=engine, **options)
        for result in together(3, lambda rank, engine=engine: train(engine=engine, **options)):
            same(result, alone)


def test_rows_that_are_converted_in_parts():
    alone = train(x=X.astype(np.float32), **TRAININGS["momentum"])
    for result in together(2, lambda rank: train(x=X.astype(np.float32), **TRAININGS["momentum"])):
        same(result, alone)


def test_the_first_validates_and_calls_back_for_all():
    called = []

    def run(rank):
        options = TRAININGS["adamw"] | {"validation": 0.2, "metrics": "accuracy", "patience": 2, "epochs": 30}
        return train(callbacks=[lambda end: called.append(rank)], **options)

    alone = run("alone")
    for result in together(2, run):
        assert result.best_epoch == alone.best_epoch
        assert result.history.column("validation_accuracy") == alone.history.column("validation_accuracy")
    assert alone.stopped == "patience"


@pytest.mark.parametrize("engine", ["compiled", "eager"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divergence_is_seen_by_all_at_once(engine, dtype):
    options = TRAININGS["momentum"] | {"optimizer": hg.SGD(1e4), "dropout": 0.0, "dtype": dtype, "engine": engine}
    with pytest.raises(DivergenceError) as found:
        train(**options)
    alone = found.value
    for error in together(3, lambda rank: train(**options)):
        assert isinstance(error, DivergenceError)
        assert (error.step, error.place) == (alone.step, alone.place)
        good, expected = error.result.params.flat, alone.result.params.flat
        np.testing.assert_allclose(good, expected, rtol=1e-2 if dtype is np.float32 else 1e-9)


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_divergence_in_the_rows_of_one_alone(engine):
    """A row whose square overflows is in one process's share: all say so, and hold the parameters from before."""
    x = X.copy()
    x[200] = 1e200
    options = TRAININGS["momentum"] | {"x": x, "engine": engine, "dropout": 0.0, "optimizer": hg.SGD(1e-3)}
    with pytest.raises(DivergenceError) as found:
        train(**options)
    alone = found.value
    for error in together(4, lambda rank: train(**options)):
        assert isinstance(error, DivergenceError), error
        assert (error.step, error.place) == (alone.step, alone.place)
        np.testing.assert_allclose(error.result.params.flat, alone.result.params.flat, rtol=1e-9)


class Cut(Exception):
    pass


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_a_checkpoint_is_gone_on_from_by_another_number(tmp_path, engine):
    options = TRAININGS["adamw"] | {"engine": engine, "validation": 0.2, "patience": 4}
    alone = train(**options)

    def run(rank, resume, cut):
        def stop(end):
            if cut and end.row["epoch"] == 3:
                raise Cut

        folder = {"checkpoint": tmp_path, "resume": resume} if rank == 0 else {}
        try:
            return train(callbacks=[stop], **folder, **options)
        except Cut:
            return None

    assert together(3, lambda rank: run(rank, False, True)) == [None] * 3
    for result in together(2, lambda rank: run(rank, True, False)):
        same(result, alone)
        assert result.best_epoch == alone.best_epoch


def test_rows_apart():
    """Each with rows of its own: as one process that has a batch of each one's batches."""
    size, own = 3, 80
    parts = [np.arange(rank, size * own, size) for rank in range(size)]
    options = TRAININGS["momentum"] | {"epochs": 7, "batch_size": 10}

    def run(rank):
        return train(**(options | {"x": X[parts[rank]], "y": NUMBERS[parts[rank]]}))

    results = together(size, run, apart=True)
    for result in results:
        np.testing.assert_array_equal(result.params.flat, results[0].params.flat)
    order = [hg_order(own, epoch) for epoch in range(7)]
    mixed = in_one(parts, order, options["optimizer"])
    np.testing.assert_allclose(results[0].params.flat, mixed, rtol=1e-10)


def hg_order(rows, epoch):
    from handgrad.training.data import SHUFFLE, stream

    return stream(0, SHUFFLE, epoch).permutation(rows)


def in_one(parts, orders, optimizer):
    """The same steps by hand, by the eager engine's parts: the batches of all, one after the other."""
    from handgrad.engines.eager import EagerEngine
    from handgrad.layers import SquaredError
    from handgrad.training.data import DROPOUT, Rows, stream

    model = hg.mlp([6, 17, 9, 2], "gelu", dropout=0.25)
    engine = EagerEngine(model, SquaredError(), optimizer, None, None, model.init(0, np.float64))
    data = Rows(X, NUMBERS)
    for epoch, order in enumerate(orders):
        batches = [part[order[at : at + 10]] for at in range(0, len(order), 10) for part in parts]
        rows = np.concatenate(batches)
        engine.epoch([(data, rows)], 10 * len(parts), partial(stream, 0, DROPOUT, epoch), lambda step: None)
    return engine.params.flat


def streamed(rows, batch_size, weight=None, **options):
    """A process's own rows, as a stream, of which all processes look at the same sample first."""
    passes = iter([np.arange(64)])

    def blocks():
        mine = next(passes, rows)
        yield (X[mine], LABELS[mine], *([] if weight is None else [np.full(len(mine), weight)]))

    data = hg.Stream(blocks, rows=len(rows), weight_mean=None if weight is None else 0.5)
    return hg.fit(hg.mlp([6, 9, 3]), data, batch_size=batch_size, progress=False, **options)


def test_a_share_of_one_class_or_without_weight_is_trained_on():
    """The other process has the other class, and rows that count."""
    parts = [np.flatnonzero(label == LABELS)[:40] for label in (0, 1)]
    for weight in (None, [0.0, 1.0]):
        results = together(
            2, lambda rank, w=weight: streamed(parts[rank], 8, None if w is None else w[rank], epochs=2), apart=True
        )
        for result in results:
            assert np.isfinite(result.history.column("loss")).all()
            np.testing.assert_array_equal(result.params.flat, results[0].params.flat)


def test_rows_apart_are_gone_on_with_by_another_number(tmp_path):
    """The checkpoint is of all their rows and batches, whoever has which of them."""

    def run(rank, size, epochs, batch_size=24):
        folder = {"checkpoint": tmp_path, "resume": True} if rank == 0 else {}
        return streamed(np.arange(rank, 240, size), batch_size // size, epochs=epochs, **folder)

    together(3, lambda rank: run(rank, 3, 2), apart=True)
    results = together(2, lambda rank: run(rank, 2, 5), apart=True)
    assert [len(result.history) for result in results] == [5, 5]
    np.testing.assert_array_equal(results[0].params.flat, results[1].params.flat)
    first, _ = together(2, lambda rank: run(rank, 2, 6, batch_size=16), apart=True, patience=10)
    assert isinstance(first, CheckpointError)
    assert "batch_size is 24 in the checkpoint, 16 now" in str(first)


def test_private_training_is_of_one_process():
    for error in together(2, lambda rank: train(per_sample_clip=1.0, **TRAININGS["momentum"])):
        assert isinstance(error, UnsupportedError)
        assert "one worker" in str(error)
