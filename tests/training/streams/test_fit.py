"""Training on a stream: the same as on the same rows in memory, whatever gives them."""

import threading
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handgrad as hg
from handgrad.errors import CheckpointError, ShapeError, ValueRangeError
from handgrad.training import sources
from handgrad.training.metrics import accuracy, r2, rmse, running
from soak import examples
from training.trainings import rows, same

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 4))
LABELS = (X[:, 0] * X[:, 1] > 0).astype(int)
VALUES = X[:, :2] ** 2
WEIGHT = RNG.uniform(0.5, 40, 300)
ENGINES = ["eager", "compiled"]


def blocks(*arrays, sizes=(1, 99, 150, 50)):
    """A function that gives the arrays' rows in blocks of those sizes."""
    return lambda: (
        tuple(array[start:stop] for array in arrays) for start, stop in pairwise(np.cumsum([0, *sizes]).tolist())
    )


def fit(data, engine="eager", model=None, **options):
    options = {"epochs": 3, "batch_size": 16, "threads": 1, "progress": False} | options
    return hg.fit(model or hg.mlp([4, 8, 2], dropout=0.2), data, engine=engine, **options)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_what_fits_in_the_buffer_trains_to_the_same_bits_as_in_memory(engine, dtype, prefetch):
    x = X.astype(dtype)
    options = {"optimizer": hg.AdamW(hg.OneCycle(0.02)), "validation": (x[:50], LABELS[:50]), "metrics": "accuracy"}
    whole = fit((x, LABELS), engine, **options)
    stream = hg.Stream(blocks(x, LABELS), rows=300, prefetch=prefetch)
    same(fit(stream, engine, **options), whole)
    same(fit(stream, engine, **options), whole)  # it can be used again


@pytest.mark.parametrize("engine", ENGINES)
def test_every_form_of_data_gives_the_same(engine):
    whole = fit((X, LABELS), engine)
    names = [f"x{i}" for i in range(4)]
    table = pa.table([*X.T, LABELS], names=[*names, "class"])
    for data in (
        list(blocks(X, LABELS)()),
        blocks(X, LABELS),
        (table, "class"),
        (duckdb.from_arrow(table), "class"),
        hg.Stream(table, "class", features=names, buffer=300),
        hg.Stream(lambda: table, "class", buffer="1 MB"),
    ):
        same(fit(data, engine), whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_small_buffer_trains_on_each_row_once_an_epoch(engine):
    """With a rate of 0 the loss of an epoch is the mean over all rows, in whatever order they came."""
    options = {"optimizer": hg.SGD(0.0), "model": hg.mlp([4, 8, 2]), "epochs": 2}
    whole = fit((X, LABELS), engine, **options)
    for buffer in (0, 1, 16, 40, 299):
        found = fit(hg.Stream(blocks(X, LABELS), buffer=buffer), engine, **options)
        np.testing.assert_allclose(found.history.column("loss"), whole.history.column("loss"), rtol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_speed_of_the_threads_makes_no_difference(engine):
    def slow():
        for block in blocks(X, LABELS)():
            threading.Event().wait(0.01)
            yield block

    first = fit(hg.Stream(slow, buffer=64, prefetch=3), engine)
    same(fit(hg.Stream(blocks(X, LABELS, sizes=(300,)), buffer=64, prefetch=0), engine), first)
    other = fit(hg.Stream(blocks(X, LABELS), buffer=64), engine, seed=1)
    assert not np.array_equal(other.params.flat, first.params.flat)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_buffer_of_0_keeps_the_order(engine, monkeypatch):
    """As of data in memory whose order is never changed, of any size of block."""
    monkeypatch.setattr(sources, "BLOCK", 3000)  # bytes
    found = fit(hg.Stream(blocks(X, LABELS), buffer=0), engine)
    same(fit(hg.Stream(blocks(X, LABELS, sizes=(7, 293)), buffer=0), engine), found)

    class Order:
        def permutation(self, count):
            return np.arange(count)

    original = sources.stream
    monkeypatch.setattr(sources, "stream", lambda seed, *key: Order() if key[0] == 0 else original(seed, *key))
    same(fit((X, LABELS), engine), found)


@pytest.mark.parametrize("engine", ENGINES)
def test_tensors_are_streamed_too(engine):
    torch = pytest.importorskip("torch")
    x, y = torch.asarray(X), torch.asarray(LABELS)
    if engine == "compiled":
        with pytest.raises(hg.errors.UnsupportedError, match="takes NumPy arrays"):
            fit(hg.Stream(blocks(x, y)), engine)
        return
    found, whole = (fit(data, engine) for data in (hg.Stream(blocks(x, y), buffer=64), (x, y)))
    assert type(found.params.flat) is type(whole.params.flat)
    assert found.history.rows[-1]["loss"] == pytest.approx(whole.history.rows[-1]["loss"], rel=0.1)
    same(fit(hg.Stream(blocks(x, y)), engine), whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_are_over_their_mean(engine):
    options = {"loss": "squared_error"}
    whole = fit((X, VALUES, WEIGHT), engine, **options)
    table = pa.table([*X.T, *VALUES.T, WEIGHT], names=["a", "b", "c", "d", "y0", "y1", "w"])
    columns = {"target": ["y0", "y1"], "weight": "w"}
    for stream in (
        hg.Stream(blocks(X, VALUES, WEIGHT)),
        hg.Stream(blocks(X, VALUES, WEIGHT * 7), weight_mean=WEIGHT.mean() * 7),
        hg.Stream(table, **columns),
    ):
        found = fit(stream, engine, **options)
        np.testing.assert_allclose(found.params.flat, whole.params.flat, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.history.column("loss"), whole.history.column("loss"), rtol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("loss", "y", "metrics"),
    [("cross_entropy", LABELS, ["accuracy"]), ("squared_error", VALUES, ["rmse", "r2"])],
    ids=["classes", "values"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_validation_on_a_stream_is_that_on_its_rows(engine, loss, y, metrics, weighted):
    held = (X[:120], y[:120], *([WEIGHT[:120]] if weighted else []))
    options = {"loss": loss, "metrics": metrics, "patience": 2, "monitor": "validation_loss"}
    whole = fit((X, y), engine, validation=held, **options)
    for validation in (hg.Stream(blocks(*held, sizes=(50, 3, 67))), [tuple(part[:60] for part in held)] * 4):
        found = fit((X, y), engine, validation=validation, **options)
        if isinstance(validation, hg.Stream):
            np.testing.assert_array_equal(found.params.flat, whole.params.flat)
            for name in (f"validation_{name}" for name in ("loss", *metrics)):
                np.testing.assert_allclose(found.history.column(name), whole.history.column(name), rtol=1e-12)
        assert found.history.column("loss") == whole.history.column("loss")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 3), st.floats(-1e6, 1e6))
@settings(max_examples=examples(50))
def test_metrics_over_blocks_are_those_over_all_rows(sizes, outputs, offset):
    rng = np.random.default_rng(sum(sizes))
    y = rng.standard_normal((sum(sizes), outputs)) + offset
    scores = y + rng.standard_normal(y.shape)
    labels = rng.integers(0, outputs, len(y))
    for metric, target in ((rmse, y), (r2, y), (accuracy, labels)):
        found, start = running(metric), 0
        for size in sizes:
            found.add(scores[start : start + size], target[start : start + size])
            start += size
        assert found.value == pytest.approx(metric(scores, target), rel=1e-6, abs=1e-9)


def test_r2_over_blocks_of_a_constant_target():
    found = running(r2)
    for _ in range(3):
        found.add(np.full((4, 1), 2.0), np.full((4, 1), 2.0))
    assert found.value == 1.0
    found.add(np.full((4, 1), 3.0), np.full((4, 1), 2.0))
    assert found.value == 0.0


def test_metrics_of_a_users_own_need_all_rows():
    def median(scores, y):
        return float(np.median(scores))

    with pytest.raises(ValueRangeError, match=r"metrics: 'median' is a function of all scores at once.*'accuracy'"):
        fit((X, LABELS), validation=hg.Stream(blocks(X, LABELS)), metrics=[median])


@pytest.mark.parametrize("engine", ENGINES)
def test_without_their_number_the_rows_are_counted(engine):
    found = fit(hg.Stream(blocks(X, LABELS), buffer=64), engine, optimizer=hg.Adam(hg.Step(0.01, 19)))
    assert found.history.column("learning_rate") == pytest.approx([0.01, 0.001, 0.0001])
    with pytest.raises(ValueRangeError, match=r"OneCycle.* needs to know the number of steps; say how many rows"):
        fit(hg.Stream(blocks(X, LABELS)), engine, optimizer=hg.Adam(hg.OneCycle(0.01)))
    fit(hg.Stream(blocks(X, LABELS)), engine, optimizer=hg.Adam(hg.OneCycle(0.01, steps=57)))


def test_more_rows_than_a_batch_than_the_buffer_than_the_data():
    whole = fit((X, LABELS), batch_size=1000)
    same(fit(hg.Stream(blocks(X, LABELS), buffer=10), batch_size=1000), whole)
    same(fit(hg.Stream(blocks(X, LABELS), rows=300), batch_size=1000), whole)
    assert fit(hg.Stream(blocks(X, LABELS), rows=300, buffer=10), batch_size=200).history.rows


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("epochs", [1, 2])
def test_an_iterator_serves_one_epoch(engine, epochs):
    if epochs == 1:
        same(fit(blocks(X, LABELS)(), engine, epochs=1), fit((X, LABELS), engine, epochs=1))
        return
    with pytest.raises(ValueRangeError, match=r"data is an iterator, which gives its batches once, and epochs=2"):
        fit(blocks(X, LABELS)(), engine, epochs=2)


def test_early_stopping_and_callbacks_end_the_thread():
    before = threading.active_count()
    stream = hg.Stream(blocks(X, LABELS), buffer=32, prefetch=2)
    assert fit(stream, callbacks=lambda end: True).stopped == "callback"
    assert fit(stream, patience=1, min_delta=10.0, epochs=9).stopped == "patience"
    assert threading.active_count() == before


@pytest.mark.parametrize("sizes", [(120, 180), (100, 100, 100)])
def test_a_list_of_two_or_three_batches_is_no_pair_of_arrays(sizes):
    same(fit(list(blocks(X, LABELS, sizes=sizes)())), fit((X, LABELS)))


def test_a_list_of_targets_is_as_one():
    table = pa.table([*X.T, *VALUES.T], names=[*"abcd", "u", "v"])
    options = {"model": hg.mlp([4, 5, 2]), "loss": "squared_error"}
    same(fit((table, ["u", "v"]), **options), fit((X, VALUES), **options))


def test_a_file_of_another_size_than_at_the_checkpoint_is_refused(tmp_path):
    def train(x, **options):
        pq.write_table(pa.table([*x.T, LABELS], names=[*"abcd", "y"]), tmp_path / "t.parquet")
        return fit((ds.dataset(tmp_path / "t.parquet"), "y"), checkpoint=tmp_path / "kept", **options)

    train(X, epochs=1)
    train(X, resume=True)  # written again, the same
    with pytest.raises(CheckpointError, match=r"1 files of \d+ bytes"):
        train(np.r_[X[:200], 0 * X[200:]], resume=True, epochs=4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_checkpoint_is_of_the_same_stream_alone(tmp_path, engine):
    options = {"engine": engine, "checkpoint": tmp_path, "every": "7 steps", "model": hg.mlp([4, 8, 2], dropout=0.2)}
    whole = fit(hg.Stream(blocks(X, LABELS), buffer=64), **options)
    again = {**options, "resume": True}
    same(fit(hg.Stream(blocks(X, LABELS, sizes=(299, 1)), buffer=64, prefetch=0), **again, epochs=3), whole)
    for other, match in (
        (hg.Stream(blocks(X, LABELS), buffer=65), "buffer 64 in the checkpoint, .*buffer 65 now"),
        (hg.Stream(blocks(X, LABELS), buffer=64, rows=300), r"X \(rows, 4\) .* in the checkpoint, .*X \(300, 4\)"),
        (hg.Stream(blocks(X + 1, LABELS), buffer=64), "the values of data are others"),
        ((X, LABELS), "data is a stream of"),
    ):
        with pytest.raises(CheckpointError, match=match):
            fit(other, **again)


def test_a_checkpoint_within_the_first_epoch_knows_no_number_of_steps_and_goes_on(tmp_path):
    class Stop(Exception):
        pass

    def fails():
        for i, block in enumerate(blocks(X, LABELS)()):
            if i == 2:
                raise Stop
            yield block

    whole = fit(hg.Stream(blocks(X, LABELS), buffer=32))
    with pytest.raises(Stop) as caught:
        fit(hg.Stream(fails, buffer=32), checkpoint=tmp_path, every="1 step")
    assert caught.value.result.stopped == "failed"
    same(fit(hg.Stream(blocks(X, LABELS), buffer=32), checkpoint=tmp_path, resume=True), whole)


def test_noise_needs_all_rows_and_clipping_does_not():
    stream = hg.Stream(blocks(X, LABELS), rows=300)
    with pytest.raises(ValueRangeError, match="noise_multiplier draws the rows of each step from all of them"):
        fit(stream, per_sample_clip=1.0, noise_multiplier=1.0)
    same(fit(stream, per_sample_clip=1.0), fit((X, LABELS), per_sample_clip=1.0))


def test_a_fraction_for_validation_is_of_data_in_memory():
    with pytest.raises(ValueRangeError, match=r"validation=0.2 is a part of data in memory; with a stream give"):
        fit(hg.Stream(blocks(X, LABELS)), validation=0.2)


def test_a_stream_that_gives_nothing():
    for empty in ([], lambda: iter(()), [(X[:0], LABELS[:0])], (pa.table({"a": [1.0], "y": [1]}).slice(1), "y")):
        with pytest.raises(ShapeError, match="data gave no batch; training needs one row or more"):
            fit(empty)


def test_batches_without_rows_are_passed_over():
    given = [(X[:0], LABELS[:0]), (X[:100], LABELS[:100]), (X[:0], LABELS[:0]), (X[100:], LABELS[100:])]
    same(fit(given), fit((X, LABELS)))


def test_rows_seen_in_the_history(tmp_path):
    """The number of rows that a table has is known before the first step."""
    table = pa.table([*X.T, LABELS], names=[*"abcd", "y"])
    found = fit((table, "y"), optimizer=hg.Adam(hg.OneCycle(0.02)))
    assert rows(found) == rows(fit((X, LABELS), optimizer=hg.Adam(hg.OneCycle(0.02))))
