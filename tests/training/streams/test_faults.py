"""What goes wrong while a stream is read says where, keeps what was learnt, and leaves no thread behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import handgrad as hg
from handgrad.errors import DivergenceError, DTypeError, HandgradError, ShapeError, StreamError, ValueRangeError
from handgrad.training.streams import prefetch, tables

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 3))
Y = RNG.integers(0, 2, 200)


def fit(data, engine="eager", **options):
    options = {"epochs": 3, "batch_size": 10, "threads": 1, "progress": False} | options
    return hg.fit(hg.mlp([3, 5, 2]), data, engine=engine, **options)


@pytest.fixture(autouse=True)
def nobody_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def after(count, block):
    """50 rows at a time, and that block in the place of the one after `count`."""

    def give():
        for start in range(0, 200, 50):
            yield block if start == count * 50 else (X[start : start + 50], Y[start : start + 50])

    return hg.Stream(give, buffer=20)


def with_value(array, index, value):
    changed = array[:50].astype(float if isinstance(value, float) else int)
    changed[index] = value
    return changed


BAD = {
    "a NaN": ((with_value(X, (7, 2), np.nan), Y[:50]), ValueRangeError, r"X of data .* got nan at row 157, column 2"),
    "an infinity": ((with_value(X, (0, 0), np.inf), Y[:50]), ValueRangeError, "got inf at row 150, column 0"),
    "a label": ((X[:50], with_value(Y, 3, 2)), ValueRangeError, r"data: y must hold labels .* got 2 at sample 153"),
    "narrow": ((X[:50, :2], Y[:50]), ShapeError, r"rows of shape \(3,\), as before, got \(2,\) from row 150 on"),
    "other lengths": ((X[:50], Y[:49]), ShapeError, "y of data must have a row for each of X's 50"),
    "wide numbers": (
        (X[:50], Y[:50] + 0.5),
        DTypeError,
        r"y of data must be int64, as before, got float64 from row 150",
    ),
    "text": ((X[:50], ["a"] * 50), DTypeError, "y of data must hold numbers, got dtype <U1"),
    "weights": ((X[:50], Y[:50], Y[:50]), StreamError, "sample_weight of data is given from row 150 on"),
    "no batch": (X[:50], DTypeError, r"a batch of data must be \(X, y\) or \(X, y, sample_weight\), got ndarray"),
    "a short tuple": ((X[:50],), DTypeError, r"a batch of data must be .*, got tuple of 1"),
}


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_block_says_where_it_is_and_what_was_learnt_stays(name, engine):
    block, kind, match = BAD[name]
    with pytest.raises(kind, match=match) as caught:
        fit(after(3, block), engine)
    assert "in epoch 1" in caught.value.__notes__[0]
    result = caught.value.result
    assert result.stopped == "failed"
    assert np.isfinite(result.params.flat).all()
    assert not np.array_equal(result.params.flat, hg.mlp([3, 5, 2]).init(0).flat)


@pytest.mark.parametrize("name", ["a NaN", "narrow", "text", "no batch", "a label"])
def test_a_bad_first_block_is_found_before_the_first_step(name):
    block, kind, _ = BAD[name]
    before = pytest.raises(HandgradError if name == "narrow" else kind)
    with before as caught:
        fit(after(0, block))
    assert not hasattr(caught.value, "result") or caught.value.result is None


def test_narrower_numbers_are_taken_as_those_before():
    given = [(X[:100], Y[:100]), (X[100:].astype(np.float32), Y[100:].astype(np.int8))]
    again = [(X[:100], Y[:100]), (X[100:].astype(np.float32).astype(float), Y[100:])]
    np.testing.assert_array_equal(fit([*given, *given]).params.flat, fit([*again, *again]).params.flat)


def test_a_column_is_named_and_its_row_is_counted_over_all_blocks(monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 30)
    values = X[:, 1].copy()
    values[170] = np.nan
    table = pa.table({"height": X[:, 0], "width": values, "depth": X[:, 2], "y": Y})
    with pytest.raises(ValueRangeError, match="X of data must be finite, got nan at row 170, column 'width'"):
        fit((table, "y"))


def test_one_class_alone_is_refused_after_the_first_epoch():
    one = [(X[:100], np.ones(100, int)), (X[100:], np.ones(100, int))] * 2
    with pytest.raises(ValueRangeError, match=r"y of data holds one class, 1, in all 400 rows") as caught:
        fit(one)
    assert len(caught.value.result.history) == 0
    fit([(X[:100], np.ones(100, int)), (X[100:], np.zeros(100, int))] * 2)  # in the order of their classes
    with pytest.raises(ValueRangeError, match="y of data is 1 everywhere"):
        hg.fit(hg.mlp([3, 1]), [(X, np.ones(200))] * 4, loss="binary_cross_entropy", epochs=2, progress=False)


def changing(*counts):
    """A source that gives so many rows in its first pass, its second, and so on; the look at the first is none."""
    passes = iter([counts[0], *counts])

    def give():
        count = next(passes)
        for start in range(0, count, 50):
            yield X[start : min(start + 50, count)], Y[start : min(start + 50, count)]

    return give


@pytest.mark.parametrize(
    ("counts", "rows", "match"),
    [
        ((200, 150), None, "data gave 150 rows, not the 200 rows that it gave before"),
        ((150, 200), None, "data gave more than the 150 rows that it gave before"),
        ((150, 150), 200, "data gave 150 rows, not the 200 rows that it was said to have"),
        ((200, 200), 150, "data gave more than the 150 rows that it was said to have"),
        ((200, 0), None, "data gave no batch this time: its source must be one that can be iterated over again"),
    ],
)
def test_another_number_of_rows(counts, rows, match):
    with pytest.raises(StreamError, match=match) as caught:
        fit(hg.Stream(changing(*counts), rows=rows))
    assert caught.value.result.stopped == "failed"


def test_a_function_that_gives_the_same_iterator_again():
    once = iter([(X, Y)])
    with pytest.raises(StreamError, match=r"gave no batch this time: .* a function that makes a new iterator"):
        fit(hg.Stream(lambda: once))


def test_what_the_source_raises_comes_out_as_it_is():
    class Mine(Exception):
        pass

    def give():
        yield X, Y
        raise Mine("line 7 of my file")

    for prefetched in (0, 2):
        with pytest.raises(Mine, match="line 7 of my file") as caught:
            fit(hg.Stream(give, buffer=20, prefetch=prefetched))
        assert caught.value.result.stopped == "failed"


def test_a_callbacks_own_error_is_not_the_sources():
    def callback(end):
        raise OSError("mine")

    with pytest.raises(OSError, match="mine") as caught:
        fit(hg.Stream([(X, Y)], buffer=20), callbacks=callback)
    assert not hasattr(caught.value, "result")


def test_a_validation_stream_that_fails():
    passes = iter(range(9))

    def give():
        yield X[:100], Y[:100]
        if next(passes) == 2:
            raise OSError("gone")
        yield X[100:], Y[100:]

    with pytest.raises(OSError, match="gone") as caught:
        fit((X, Y), validation=hg.Stream(give))
    assert "in epoch 3" in caught.value.__notes__[0]
    assert len(caught.value.result.history) == 2


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_divergence_ends_the_thread_and_keeps_the_last_good(engine):
    blocks = [(X, Y), (X * 1e300, Y)] * 5
    with pytest.raises(DivergenceError) as caught:
        fit(hg.Stream(blocks, buffer=0), engine, optimizer=hg.SGD(1e10))
    assert np.isfinite(caught.value.result.params.flat).all()


def test_a_file_that_vanishes_between_epochs(tmp_path):
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": Y})
    for i in range(2):
        pq.write_table(table.slice(i * 100, 100), tmp_path / f"{i}.parquet")

    def remove(end):
        (tmp_path / "1.parquet").unlink(missing_ok=True)

    with pytest.raises(FileNotFoundError, match=r"1\.parquet") as caught:
        fit((ds.dataset(tmp_path), "y"), callbacks=remove)
    assert len(caught.value.result.history) == 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rows": 0}, "rows must be a whole number of at least 1"),
        ({"prefetch": -1}, "prefetch must be a whole number of at least 0"),
        ({"buffer": -5}, r"buffer must be a number of rows, or text such as '256 MB' or '2 GB', got -5"),
        ({"buffer": "5 rows"}, "buffer must be a number of rows"),
        ({"buffer": "0 MB"}, "buffer must be a number of rows"),
        ({"weight_mean": 0.0}, "weight_mean must be a finite number above 0"),
        ({"weight": "w"}, "weight and features are names of a table's columns; give target"),
        ({"target": "y", "features": []}, "features must be a list of columns' names, one or more, got"),
        ({"target": 5}, "target must be the name of a column, or a list .* got 5"),
        ({"target": "y", "weight": np.ones(3)}, "weight must be the name of a column, got a ndarray"),
        ({"features": "a"}, "features must be a list of columns' names, one or more, got 'a'"),
        ({"target": []}, "target must be the name of a column, or a list of columns' names, one or more, got"),
        ({"source": pa.table({"a": [1]})}, "target must say which column of the table is y"),
        ({"source": 5}, r"source must give batches \(X, y\): .*got int"),
    ],
)
def test_options_that_do_not_go_together(options, match):
    with pytest.raises((ValueRangeError, DTypeError), match=match):
        hg.Stream(**{"source": [(X, Y)], **options})


def test_a_table_without_the_name_of_its_target():
    with pytest.raises(ValueRangeError, match=r"data is a table; give \(data, 'target'\)"):
        fit(pa.table({"a": [1]}))
    with pytest.raises(StreamError, match="rows=5 was given, and the table has 2"):
        fit(hg.Stream(pa.table({"a": [1, 2], "y": [0, 1]}), "y", rows=5))


@pytest.mark.parametrize("weight", [np.zeros(200), np.full(200, np.nan), np.r_[-1.0, np.ones(199)]])
def test_weights_that_cannot_be(weight):
    with pytest.raises(ValueRangeError, match="sample_weight"):
        fit(hg.Stream([(X, Y, weight)] * 2))


@pytest.mark.parametrize(
    ("second", "kind", "match"),
    [
        ((X, Y), StreamError, "sample_weight of data is not given from row 200 on"),
        (5, DTypeError, "a batch of data must be .*, got int"),
        ((X, Y, np.r_[np.ones(199), np.nan]), ValueRangeError, "sample_weight must be finite .* got nan at sample 399"),
    ],
)
def test_weights_that_are_wrong_later_on_are_found_before_the_first_step(second, kind, match):
    with pytest.raises(kind, match=match):
        fit(lambda: iter([(X, Y, np.ones(200)), second]))


def test_a_tables_weight_that_cannot_be_is_told_with_its_row():
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": Y, "w": np.r_[np.ones(199), -1.0]})
    with pytest.raises(
        ValueRangeError, match=r"sample_weight of data must be finite and at least 0, got -1\.0 at row 199"
    ):
        fit((table, "y", "w"))


def test_weights_that_are_all_0_are_found_where_their_mean_was_given():
    nothing = hg.Stream([(X, Y, np.zeros(200))], weight_mean=1.0)
    for data, validation, name in ((nothing, None, "data"), ((X, Y), nothing, "validation")):
        with pytest.raises(ValueRangeError, match=f"sample_weight of {name} is 0 for every sample"):
            fit(data, validation=validation)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_no_memory_in_the_source_is_not_taken_for_a_step_without_memory(engine):
    def give():
        yield X, Y
        raise MemoryError("mine")

    with pytest.raises(MemoryError, match="mine") as caught:
        fit(hg.Stream(give, buffer=20), engine)
    assert type(caught.value) is MemoryError
    assert caught.value.result.stopped == "failed"


def test_a_buffer_that_does_not_fit_says_so():
    with pytest.raises(MemoryError, match=r"a buffer of 10,000,000,000,000,000 rows of 32 bytes does not fit"):
        fit(hg.Stream([(X, Y)], buffer=10**16))


def test_an_iterators_weights_need_their_mean():
    with pytest.raises(ValueRangeError, match="gives its weights once; say their mean, as Stream"):
        fit(iter([(X, Y, np.ones(200))]), epochs=1)
    fit(hg.Stream(iter([(X, Y, np.ones(200))]), weight_mean=1.0), epochs=1)


HANGS = """
import sys, time, threading, numpy as np, handgrad as hg
from handgrad.training.streams import prefetch
prefetch.PATIENCE = 0.2
X, Y = np.random.default_rng(0).standard_normal((200, 3)), np.arange(200) % 2

def give():
    yield X, Y
    print("hangs", flush=True)
    threading.Event().wait()

options = {"checkpoint": sys.argv[1]} if len(sys.argv) > 1 else {}
try:
    result = hg.fit(hg.mlp([3, 5, 2]), hg.Stream(give, buffer=20), progress=False, engine="eager", **options)
    print(result.stopped)
except SystemExit as error:
    print(error, error.code)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
@pytest.mark.parametrize(("number", "kept"), [("SIGINT", False), ("SIGINT", True), ("SIGTERM", True)])
def test_a_source_that_hangs_holds_no_signal_up(tmp_path, number, kept):
    """Ctrl-C ends the training while nothing comes from the source, with a checkpoint where they are kept."""
    arguments = [str(tmp_path)] if kept else []
    process = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.signal(2, signal.default_int_handler)\n" + HANGS, *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if line.strip() == "hangs":
                break
        time.sleep(3 * prefetch.LOOK)  # until it waits
        process.send_signal(getattr(signal, number))
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    if number == "SIGINT":
        assert said.split() == ["interrupted"]
    else:
        assert "SIGTERM: training stopped in epoch 1, step" in said
        assert "143" in said
    if kept:
        newest = max(Path(tmp_path).glob("step-*"))
        assert int(newest.stem.removeprefix("step-")) > 0
