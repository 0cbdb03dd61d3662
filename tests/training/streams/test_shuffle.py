"""Rows go through the buffer once each, whatever the sizes they come in, and far enough."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.training.data import Rows
from handgrad.training.streams.shuffle import in_order, shuffled
from soak import examples

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def blocks_of(sizes, dtype=np.float64, weighted=True):
    """Rows numbered from 0, in blocks of those sizes."""
    start = 0
    for size in sizes:
        number = np.arange(start, start + size)
        yield Rows(np.stack([number, -number], 1).astype(dtype), number, number / 2 if weighted else None)
        start += size


def numbers(blocks):
    """The rows' numbers, block by block; each row must still be in one piece."""
    found = []
    for block in blocks:
        np.testing.assert_array_equal(block.x, np.stack([block.y, -block.y], 1))
        if block.weight is not None:
            np.testing.assert_array_equal(block.weight, block.y / 2)
        found.append(block.y.copy())
    return found


@given(SIZES, st.integers(1, 9), st.integers(0, 60), st.integers(0, 5), st.booleans())
@settings(max_examples=examples(100))
def test_each_row_comes_once_in_whole_batches(sizes, count, more, seed, weighted):
    capacity, total = count + more, sum(sizes)

    def run(sizes):
        return numbers(shuffled(blocks_of(sizes, weighted=weighted), capacity, count, np.random.default_rng(seed)))

    found = run(sizes)
    assert sorted(np.concatenate(found)) == list(range(total))
    assert [len(block) for block in found[:-1]] == [count] * (len(found) - 1)
    assert 0 < len(found[-1]) <= count
    # the sizes that rows come in make no difference
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(run([total])))


@given(SIZES, st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=examples(50))
def test_what_fits_in_the_buffer_is_permuted_as_data_in_memory_are(sizes, count, seed):
    total = sum(sizes)
    found = numbers(shuffled(blocks_of(sizes), max(total, count), count, np.random.default_rng(seed)))
    np.testing.assert_array_equal(np.concatenate(found), np.random.default_rng(seed).permutation(total))


@given(SIZES, st.integers(1, 50))
@settings(max_examples=examples(50))
def test_without_a_buffer_rows_keep_their_order(sizes, count):
    found = numbers(in_order(blocks_of(sizes), count))
    np.testing.assert_array_equal(np.concatenate(found), np.arange(sum(sizes)))
    assert [len(block) for block in found[:-1]] == [count] * (len(found) - 1)


def test_blocks_that_were_given_stay_as_they_are():
    """Those to come are written elsewhere: a block that is still trained on, or waits, does not change."""
    for made in (in_order(blocks_of([50] * 4), 30), shuffled(blocks_of([50] * 4), 60, 30, np.random.default_rng(0))):
        held = [(block, block.y.copy()) for block in made]
        for block, before in held:
            np.testing.assert_array_equal(block.y, before)


def test_rows_move_a_buffers_length():
    """Those of a buffer of 500 come out 500 places later on the average, some at once, some much later."""
    found = np.concatenate(numbers(shuffled(blocks_of([100] * 200), 500, 25, np.random.default_rng(0))))
    moved = np.argsort(found) - np.arange(20000)  # place in the output, less that in the input
    waited = moved[500:-1000]  # neither the first to fill the buffer nor the last to be left
    assert abs(waited.mean()) < 25
    stayed = waited + 500  # rows that came while it was in the buffer
    assert stayed.min() >= 0
    assert 0.9 < stayed.std() / 500 < 1.1  # as of a geometric distribution, whose deviation is its mean
    assert np.mean(stayed > 500) == pytest.approx(np.exp(-1), abs=0.02)


def test_an_empty_stream_gives_nothing():
    assert list(shuffled(iter(()), 10, 5, np.random.default_rng(0))) == []
    assert list(in_order(iter(()), 5)) == []


def test_tensors_are_shuffled_as_arrays_are():
    torch = pytest.importorskip("torch")
    tensors = (Rows(*map(torch.asarray, (block.x, block.y, block.weight))) for block in blocks_of([30, 50]))
    arrays = numbers(shuffled(blocks_of([30, 50]), 40, 16, np.random.default_rng(1)))
    for block, expected in zip(shuffled(tensors, 40, 16, np.random.default_rng(1)), arrays, strict=True):
        assert isinstance(block.x, torch.Tensor)
        np.testing.assert_array_equal(block.y.numpy(), expected)
        np.testing.assert_array_equal(block.x[:, 0].numpy(), expected)


def test_a_buffer_larger_than_the_data_takes_memory_for_the_data_alone():
    tracemalloc.start()
    try:
        found = numbers(shuffled(blocks_of([30, 10]), 10**8, 7, np.random.default_rng(0)))
        # NumPy counts what it was promised of the buffer; the places of rows that never came would be as much again
        assert tracemalloc.get_traced_memory()[1] < 10**8 * 32 * 1.1
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(np.concatenate(found), np.random.default_rng(0).permutation(40))
