"""What a cache holds and what is copied: layouts cost a change of strides, gated units x and two projections."""

import tracemalloc

import numpy as np
import pytest

from handgrad import ops
from proofs import arrays_in

RNG = np.random.default_rng(2)


@pytest.mark.parametrize("layout", ["in_out", "out_in"])
def test_linear_keeps_references_and_copies_no_weight(layout: str) -> None:
    n = 700
    x, w, b = RNG.normal(size=(8, n)), RNG.normal(size=(n, n)), np.zeros(n)
    _, cache = ops.linear.forward(x, w, b, layout=layout)
    kept = list(arrays_in(cache))
    assert [any(k is given for given in (x, w)) for k in kept] == [True, True]
    ops.linear.backward(np.ones((8, n)), cache)  # once, for what is imported on first use
    tracemalloc.start()
    out, cache = ops.linear.forward(x, w, b, layout=layout)
    dx, _, _ = ops.linear.backward(out, cache, needs=(True, False, False))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert dx.shape == x.shape
    assert peak < 3 * x.nbytes < w.nbytes / 20


@pytest.mark.parametrize("unit", [ops.glu, ops.swiglu, ops.bilinear, ops.reglu, ops.geglu])
def test_gated_unit_keeps_x_and_two_projections(unit) -> None:
    x, w1, w2, b = RNG.normal(size=(9, 4)), RNG.normal(size=(4, 7)), RNG.normal(size=(4, 7)), np.zeros(7)
    _, cache = unit.forward(x, w1, w2, b, b)
    kept = list(arrays_in(cache))
    own = [k for k in kept if not any(k is given for given in (x, w1, w2))]
    assert len(own) == 2
    assert sum(k.nbytes for k in own) == 2 * 9 * 7 * 8
    assert sum(any(k is given for given in (x, w1, w2)) for k in kept) == 3


@pytest.mark.parametrize(
    ("op", "inputs", "hyper", "limit"),
    [
        (ops.add, 2, {}, 0),
        (ops.subtract, 2, {}, 0),
        (ops.sum, 1, {"axis": 0}, 0),
        (ops.mean, 1, {"axis": 0}, 0),
        (ops.reshape, 1, {}, 0),
        (ops.sigmoid, 1, {}, 0),
        (ops.tanh, 1, {}, 0),
        (ops.relu, 1, {}, 0),
        (ops.exp, 1, {}, 0),
        (ops.softmax, 1, {}, 0),
        (ops.dropout, 1, {"rng": 0}, 1 / 8),
        (ops.swish, 1, {}, 1),
        (ops.gelu, 1, {}, 1),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_cache_beyond_inputs_and_output(op, inputs: int, hyper, limit: float) -> None:
    """In units of an input's bytes: an op saves its input or output by reference, or what its docstring says."""
    xs = [RNG.normal(size=(16, 8)) for _ in range(inputs)]
    out, cache = op.forward(*xs, **hyper)
    extra = sum(k.nbytes for k in arrays_in(cache) if not any(np.shares_memory(k, given) for given in (*xs, out)))
    assert extra <= limit * xs[0].nbytes
