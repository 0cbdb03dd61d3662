"""How a process ends whose source hangs: with what was learnt, and with the exit code that says what ended it."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import handgrad as hg
from handgrad.training.streams import prefetch
from handgrad.training.streams.prefetch import Prefetched
from handgrad.training.streams.tables import Table

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")

BEGIN = """
import os, signal, sys, threading, time
import numpy as np
import handgrad as hg

def soon(number):
    timer = threading.Timer(0.5, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()
"""
# the first row of a query that sorts comes when it has seen all; the second block of the other never does
QUERIES = {
    "before the first row": "SELECT range / 1e6 AS x, range % 2 AS y FROM range(1000000000000) ORDER BY hash(range)",
    "after some": "SELECT range AS x, range % 2 AS y FROM range(1000000000000) WHERE range < 7e4 OR sin(range) > 5",
}
QUERY = (
    BEGIN
    + """
import duckdb
connection, passes = duckdb.connect(config={"threads": 1}), iter(range(10))
connection.execute("SET enable_progress_bar = false")

def table():
    if next(passes) < 4:  # counted, looked at and read twice
        return connection.sql("SELECT range / 1e6 AS x, range % 2 AS y FROM range(70000)")
    soon(signal.SIGINT)
    return connection.sql(sys.argv[1])

stream = hg.Stream(table, "y", buffer=10)
result = hg.fit(hg.mlp([1, 3, 2]), stream, epochs=5, engine="eager", progress=False, batch_size=100_000)
left = [thread.name for thread in threading.enumerate() if thread.name == "handgrad-stream"]
print(result.stopped, len(result.history), left, connection.sql("SELECT 42").fetchall())
"""
)


def run(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("query", QUERIES)
def test_ctrl_c_in_a_query_ends_it_and_the_process_ends_by_itself(query):
    """DuckDB in another thread when Python ends would abort the process, with the code 134."""
    ran = run(QUERY, QUERIES[query])
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "interrupted 2 [] [(42,)]\n"


# as with DuckDB before version 2: the thread is in C++ that can't be cut off, here for a while
UNREACHED = """
import threading, time
import handgrad.training.streams.prefetch as prefetch

prefetch.PATIENCE = 0.05

def source():
    yield 1
    time.sleep(1)
    print("came back", flush=True)
    yield 2

items = prefetch.Prefetched(source, 2, lambda: None, lambda: False)
next(items)
items.close()
print("closed", flush=True)
"""


def test_a_query_that_cannot_be_reached_is_waited_for_at_the_end():
    ran = run(UNREACHED)
    assert (ran.returncode, ran.stdout) == (0, "closed\ncame back\n"), ran.stderr


def test_what_hangs_is_cut_off_as_often_as_it_takes(monkeypatch):
    monkeypatch.setattr(prefetch, "LOOK", 0.01)
    asked, ended = [], []

    def source():
        try:
            yield 1
            while len(asked) < 3:
                pass
            raise RuntimeError("cut off")
        finally:
            ended.append(True)

    def interrupt():
        asked.append(True)
        return True

    items = Prefetched(source, 1, lambda: None, interrupt)
    assert next(items) == 1
    items.close()
    assert (len(asked), ended) == (3, [True])


def test_a_thread_that_ends_by_itself_is_not_cut_off():
    asked = []
    items = Prefetched(lambda: iter(range(100)), 2, lambda: None, lambda: bool(asked.append(True)))
    assert next(items) == 0
    items.close()
    assert list(Prefetched(lambda: iter(range(100)), 2, lambda: None, lambda: bool(asked.append(True)))) == [
        *range(100)
    ]
    assert asked == []


def test_a_relation_is_reached_while_it_is_read_alone():
    import duckdb

    connection = duckdb.connect()
    table = Table(connection.sql("SELECT range AS x, 1 AS y FROM range(100)").filter("x > 3"), "y", features=("x",))
    assert table.interrupt()  # nothing is read
    blocks = table.blocks()
    next(blocks)
    assert table._read is not None
    assert table.interrupt() is (int(duckdb.__version__.split(".")[0]) >= 2)
    blocks.close()
    assert table._read is None
    assert table.interrupt()
    assert hg.Stream([(np.ones((2, 1)), np.array([0, 1]))]).interrupt()


ROWS = """
RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 3))
Y = (X[:, 0] > 0).astype(int)

def train(source, engine, **how):
    stream = hg.Stream(source, rows=len(X), buffer=50, prefetch=0)
    options = dict(epochs=4, batch_size=10, threads=1, progress=False)
    return hg.fit(hg.mlp([3, 4, 2], dropout=0.2), stream, engine=engine, **options, **how)

def whole():
    yield X[:40], Y[:40]
    yield X[40:], Y[40:]
"""
HANGS = f"""{BEGIN}{ROWS}
passes = iter(range(10))

def hangs():
    last = next(passes) == 3  # one pass looks at the first rows, before the epochs
    for number, block in enumerate(whole()):
        yield block
        if last and number == 0:
            soon(getattr(signal, sys.argv[1]))
            time.sleep(1000)

try:
    result = train(hangs, sys.argv[2], checkpoint=sys.argv[3])
    print(result.stopped, len(result.history))
except hg.errors.Terminated as error:
    print("terminated", len(error.result.history))
    raise
"""


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize(
    ("number", "code", "said"), [("SIGTERM", 143, "terminated 2\n"), ("SIGINT", 0, "interrupted 2\n")]
)
def test_a_source_that_hangs_in_the_thread_that_trains(tmp_path, engine, number, code, said):
    ran = run(HANGS, number, engine, tmp_path)
    assert (ran.returncode, ran.stdout) == (code, said), ran.stderr
    assert ("SIGTERM: training stopped in epoch 3" in ran.stderr) is (number == "SIGTERM")
    space = {"np": np, "hg": hg}
    exec(ROWS, space)
    again = space["train"](space["whole"], engine, checkpoint=tmp_path, resume=True)
    np.testing.assert_array_equal(again.params.flat, space["train"](space["whole"], engine).params.flat)
    assert len(again.history) == 4


VALIDATED = f"""{BEGIN}{ROWS}
passes = iter(range(10))

def hangs():
    last = next(passes) == 2
    yield X[:40], Y[:40]
    if last:
        soon(signal.SIGTERM)
        time.sleep(1000)

train(whole, "eager", checkpoint=sys.argv[1], validation=hg.Stream(hangs, prefetch=0))
"""


def test_validation_that_hangs_in_the_thread_that_trains(tmp_path):
    ran = run(VALIDATED, tmp_path)
    assert ran.returncode == 143, ran.stderr
    assert "SIGTERM: training stopped in epoch 2" in ran.stderr


def test_a_signal_ends_no_more_than_the_read(tmp_path):
    """Outside the source it waits for the step, as ever: a callback of the second epoch is left in peace."""
    done = []

    def callback(end):
        if end.row["epoch"] == 2:
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((50, 3))
        stream = hg.Stream([(x, (x[:, 0] > 0).astype(int))], prefetch=0)
        result = hg.fit(
            hg.mlp([3, 4, 2]),
            stream,
            epochs=5,
            callbacks=[callback],
            checkpoint=tmp_path,
            progress=False,
            engine="eager",
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == [True]
    assert (result.stopped, len(result.history)) == ("interrupted", 2)
