"""Ctrl-C while DuckDB works: it ends the query, and is called what it is."""

import os
import signal
import threading

import pytest

import handgrad as hg
from handgrad.cli.data.sources.duck import Duck

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")

ENDLESS = "SELECT range AS x, range % 2 AS y FROM range(1000000000000) WHERE sin(range) > -5"
SORTED = f"{ENDLESS} ORDER BY hash(range)"  # gives its first row when it has seen all


@pytest.fixture
def soon():
    """soon() sends Ctrl-C in a moment, when a query has begun."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    yield timer.start
    timer.cancel()
    signal.signal(signal.SIGINT, before)


READS = {
    "rows": lambda duck: duck.rows(f"SELECT count(*) FROM ({ENDLESS})"),
    "batches": lambda duck: next(duck.batches(SORTED, 1000)),
}


@pytest.mark.parametrize("read", READS)
def test_a_query_in_the_main_thread(soon, read):
    duck = Duck(None, threads=1)
    soon()
    with pytest.raises(KeyboardInterrupt):
        READS[read](duck)
    assert duck.rows("SELECT 1") == [(1,)]
    duck.close()


def test_a_query_in_another_thread_ends_when_it_is_closed():
    """Or Python would end while the thread is in DuckDB, which ends the process with SIGABRT."""
    duck = Duck(None, threads=1)
    found = []

    def read():
        try:
            next(duck.batches(SORTED, 1000))
        except Exception as error:
            found.append(type(error).__name__)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    while thread.is_alive() and not duck._reading:
        pass
    duck.close()
    thread.join(60)
    assert not thread.is_alive()
    assert found == ["InterruptException"]


@pytest.mark.parametrize("counted", [False, True])
def test_of_a_stream(soon, counted):
    """While its rows are counted there is nothing to keep; in an epoch, what was learnt."""
    import duckdb

    connection, passes = duckdb.connect(config={"threads": 1}), iter(range(10))
    connection.execute("SET enable_progress_bar = false")

    def table():
        if next(passes) < (1 if counted else 4):  # counted, looked at and read twice
            return connection.sql("SELECT range AS x, range % 2 AS y FROM range(100)")
        soon()
        return connection.sql(SORTED)

    def train():
        stream = hg.Stream(table, "y", buffer=10, prefetch=0)
        return hg.fit(hg.mlp([1, 3, 2]), stream, epochs=5, engine="eager", progress=False)

    if counted:
        soon()
        with pytest.raises(KeyboardInterrupt):
            hg.Stream(connection.sql(f"SELECT count(*) AS x, 1 AS y FROM ({ENDLESS})"), "y").count()
    else:
        result = train()
        assert result.stopped == "interrupted"
        assert len(result.history) == 2


def test_the_command_says_so(handgrad, soon, monkeypatch):
    rows = Duck.rows

    def watched(duck, sql):
        if "count" in sql and "DESCRIBE" not in sql:  # the query that has no end
            soon()
        return rows(duck, sql)

    monkeypatch.setattr(Duck, "rows", watched)
    ran = handgrad("train", "--sql", f"SELECT count(*) AS x, 1 AS y FROM ({ENDLESS})", "--target", "y")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "error: interrupted before there was anything to keep; nothing was written\n"
