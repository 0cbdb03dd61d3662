"""Arrays in the document: exact within the budget, in blocks beyond, and never more than it allows."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import handgrad as hg
from explain.view.batches import array, only, traced
from handgrad.explain.view.tensors import EXACT, packed, tensor

SHAPES = array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=9)


@given(st.sampled_from([np.float32, np.float64, np.int64]).flatmap(lambda kind: arrays(kind, SHAPES)))
def test_exact_to_the_bit(numbers):
    found = tensor(numbers)
    assert found["dtype"] == str(numbers.dtype)
    assert array(found).tobytes() == numbers.tobytes()


@pytest.mark.parametrize(
    ("given_dtype", "kept"), [(bool, "int64"), (np.int8, "int64"), (np.float16, "float32"), (">f8", "float64")]
)
def test_other_dtypes_become_the_next_that_holds_them(given_dtype, kept):
    found = tensor(np.array([[0, 1], [1, 0]]).astype(given_dtype).T)
    assert found["dtype"] == kept
    np.testing.assert_array_equal(array(found), [[0, 1], [1, 0]])


def blocks(found, name):
    pooled = found["pooled"]
    return np.frombuffer(base64.b64decode(pooled[name]), "<f4").reshape(pooled["rows"], pooled["cols"])


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)).filter(lambda shape: shape[0] * shape[1] > 8),
    st.integers(4, 8),
    st.integers(0, 2**32 - 1),
)
def test_blocks_hold_what_is_in_them(shape, limit, seed):
    numbers = np.random.default_rng(seed).standard_normal(shape)
    found = tensor(numbers, limit)
    mean, low, high = (blocks(found, name) for name in ("mean", "low", "high"))
    assert mean.size <= max(1, limit // 4)
    assert (low <= mean + 1e-6).all()
    assert (mean <= high + 1e-6).all()
    assert low.min() == np.float32(numbers.min())
    assert high.max() == np.float32(numbers.max())
    tall, wide = -(-shape[0] // mean.shape[0]), -(-shape[1] // mean.shape[1])
    first = numbers[:tall, :wide]
    assert mean[0, 0] == pytest.approx(first.mean(), rel=1e-5, abs=1e-6)


def test_a_million_values_are_summarised_with_the_reason():
    numbers = np.arange(1_000_000.0).reshape(1000, 1000)
    found = tensor(numbers)
    assert found["why"] == "1,000,000 values; blocks of 16 by 16 are shown"
    assert found["shape"] == [1000, 1000]
    assert blocks(found, "low")[0, 0] == 0
    assert blocks(found, "high")[-1, -1] == 999_999
    assert len(json.dumps(found)) < 70_000


def test_what_is_not_finite_shows_in_its_block():
    numbers = np.zeros((300, 300))
    numbers[0, 0], numbers[-1, -1], numbers[0, -1] = np.nan, np.inf, 1e300  # the last beyond float32
    found = tensor(numbers)
    assert np.isnan(blocks(found, "mean")[0, 0])
    assert blocks(found, "high")[-1, -1] == np.inf
    assert blocks(found, "low")[-1, -1] == 0
    assert np.isnan(blocks(found, "mean")).sum() == 1


@given(st.integers(0, 400_000))
def test_a_budget_is_kept(budget):
    rng = np.random.default_rng(0)
    tree = {"a": rng.standard_normal((200, 100)), "b": {"c": rng.standard_normal(50), "d": None, "e": "gradient"}}
    found = packed(tree, budget)
    assert found["b"]["d"] is None
    assert found["b"]["e"] == "gradient"
    least = len(json.dumps(packed(tree, 0)))
    assert len(json.dumps(found)) <= max(budget, least) + 100
    assert set(packed(tree, 0)["a"]) == {"shape", "dtype", "omitted", "why"}
    assert "data" in packed(tree, 10**9)["a"]


def test_small_arrays_stay_exact_where_large_ones_give_way():
    tree = {"large": np.ones((300, 200)), "small": np.arange(60.0)}
    found = packed(tree, 100_000)
    assert "pooled" in found["large"]
    assert "data" in found["small"]
    assert packed({"large": np.ones((256, 256))}, 10**9)["large"].keys() == {"shape", "dtype", "data"}
    assert "pooled" in packed({"large": np.ones((EXACT + 1,))}, 10**9)["large"]


def test_the_last_moment_has_the_most_room():
    layers = [hg.Linear(40, 40), hg.ReLU(), hg.Linear(40, 3)]
    frames = [(f"epoch {i}", traced(layers, 40, rows=32)) for i in range(8)]
    view = hg.view(traced(layers, 40, rows=32), frames=frames, budget=500_000, checks=False)
    assert len(view.to_json()) < 650_000
    moments = view.document["variants"][0]["frames"]
    assert [moment["label"] for moment in moments] == [f"epoch {i}" for i in range(8)] + ["now"]
    assert "data" in moments[-1]["parameters"]["0.weight"]["value"]
    assert "data" not in moments[0]["parameters"]["0.weight"]["value"]
    _, _, last = only(view)
    assert last == moments[-1]
