"""Another thread makes items ready: in their order, no more than asked for, and it never outlives its use."""

import threading
import time
import traceback

import pytest

from handgrad.training.streams import prefetch
from handgrad.training.streams.prefetch import Prefetched


def nothing():
    pass


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "handgrad-stream"]


def until(condition):
    """Wait for what another thread does."""
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    pytest.fail("it did not come to it")


@pytest.fixture(autouse=True)
def nobody_is_left():
    yield
    until(lambda: not threads())


@pytest.mark.parametrize("ahead", [0, 1, 2, 7])
def test_items_come_in_their_order(ahead):
    assert list(Prefetched(lambda: iter(range(20)), ahead, nothing)) == list(range(20))
    assert list(Prefetched(lambda: iter(()), ahead, nothing)) == []


def test_another_thread_makes_them_and_no_more_than_asked_for():
    made, by = [], set()

    def source():
        for i in range(20):
            made.append(i)
            by.add(threading.current_thread().name)
            yield i

    items = Prefetched(source, 3, nothing)
    until(lambda: len(made) == 4)  # 3 that wait, and one that waits for room
    time.sleep(2 * prefetch.LOOK)
    assert len(made) == 4
    assert next(items) == 0
    until(lambda: len(made) == 5)
    items.close()
    assert by == {"handgrad-stream"}


def test_what_the_source_raises_comes_out_in_its_place_with_its_traceback():
    def deep():
        raise OSError("the disk is on fire")

    def source():
        yield 1
        deep()

    items = Prefetched(source, 2, nothing)
    assert next(items) == 1
    with pytest.raises(OSError, match="on fire") as caught:
        next(items)
    assert "deep" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert list(items) == []  # it has ended


def test_what_making_the_source_raises_comes_out_too():
    def source():
        raise ValueError("no such table")

    with pytest.raises(ValueError, match="no such table"):
        list(Prefetched(source, 2, nothing))


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_ends_the_thread_and_the_source(taken):
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = Prefetched(source, 2, nothing)
    for _ in range(taken):
        next(items)
    until(lambda: items._ready.full())  # it waits for room
    items.close()
    assert closed.is_set()
    assert not threads()
    items.close()  # again does no harm
    assert list(items) == []


def test_a_source_without_a_thread_is_closed_too():
    closed = []

    def source():
        try:
            yield from range(5)
        finally:
            closed.append(True)

    items = Prefetched(source, 0, nothing)
    assert next(items) == 0
    items.close()
    assert closed == [True]
    assert not threads()


def test_a_source_that_hangs_holds_nobody_up(monkeypatch):
    """Who waits is asked every so often, and may leave; the thread is left behind until its source comes back."""
    monkeypatch.setattr(prefetch, "PATIENCE", 0.05)
    go_on, asked = threading.Event(), []

    def source():
        yield 1
        go_on.wait()
        yield 2

    def waiting():
        asked.append(True)
        if len(asked) == 2:
            raise KeyboardInterrupt

    items = Prefetched(source, 2, waiting)
    assert next(items) == 1
    with pytest.raises(KeyboardInterrupt):
        next(items)
    items.close()
    assert len(threads()) == 1
    assert threads()[0].daemon  # it does not keep the process alive
    go_on.set()
    until(lambda: not threads())
