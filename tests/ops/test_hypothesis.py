"""Shapes and values no one thought of: adjoint, complex step and purity for what Hypothesis draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import broadcastable_shapes, mutually_broadcastable_shapes

from handgrad import ops
from handgrad.ops.arrays import sum_to_shape
from proofs import adjoint, complex_step, definition, purity, types
from soak import FACTOR, examples
from table import Case, Drawn, labels, normal, positive

DRAWN = settings(max_examples=examples(25), derandomize=FACTOR == 1)
LENGTHS = st.integers(1, 4)
SHAPES = st.lists(LENGTHS, min_size=1, max_size=3).map(tuple)


def prove(op, inputs, args=(), draw=normal, **hyper) -> None:
    drawn = tuple(None if shape is None else Drawn(shape, draw) for shape in inputs)
    for proof in (definition, adjoint, complex_step, purity, types):
        proof(Case(op, drawn, args, hyper))


@pytest.mark.parametrize("op", [ops.add, ops.subtract, ops.multiply, ops.divide, ops.power, ops.maximum], ids=repr)
@DRAWN
@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3))
def test_broadcasting(op, shapes) -> None:
    prove(op, shapes.input_shapes, draw=positive)


@DRAWN
@given(data=st.data(), shape=st.lists(LENGTHS, max_size=4).map(tuple))
def test_sum_to_shape_is_the_transpose_of_broadcasting(data, shape) -> None:
    out = np.broadcast_shapes(shape, data.draw(broadcastable_shapes(shape, max_dims=5, max_side=3)))
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=shape), rng.normal(size=out)
    back = sum_to_shape(np, u, shape)
    assert back.shape == shape
    assert np.sum(np.broadcast_to(x, out) * u) == pytest.approx(np.sum(x * back), rel=1e-10, abs=1e-12)


@DRAWN
@given(
    leading=mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3),
    sizes=st.tuples(LENGTHS, LENGTHS, LENGTHS),
    vectors=st.sampled_from([(False, False), (True, False), (False, True), (True, True)]),
)
def test_matmul(leading, sizes, vectors) -> None:
    m, k, n = sizes
    x, y = ((*lead, *matrix) for lead, matrix in zip(leading.input_shapes, ((m, k), (k, n)), strict=True))
    prove(ops.matmul, ((k,) if vectors[0] else x, (k,) if vectors[1] else y))


@DRAWN
@given(leading=st.lists(LENGTHS, max_size=3).map(tuple), sizes=st.tuples(LENGTHS, LENGTHS), data=st.data())
def test_linear(leading, sizes, data) -> None:
    n_in, n_out = sizes
    layout = data.draw(st.sampled_from(["in_out", "out_in"]))
    bias = data.draw(st.sampled_from([None, (n_out,)]))
    prove(ops.linear, ((*leading, n_in), sizes if layout == "in_out" else sizes[::-1], bias), layout=layout)


@pytest.mark.parametrize("op", [ops.sum, ops.mean, ops.max], ids=repr)
@DRAWN
@given(shape=SHAPES, data=st.data(), keepdims=st.booleans())
def test_reductions(op, shape, data, keepdims) -> None:
    some = st.lists(st.integers(0, len(shape) - 1), unique=True).map(tuple)
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1) | some)
    prove(op, (shape,), axis=axis, keepdims=keepdims)


@DRAWN
@given(shape=SHAPES, data=st.data(), temperature=st.floats(0.2, 20))
def test_softmax(shape, data, temperature) -> None:
    prove(ops.softmax, (shape,), temperature=temperature, axis=data.draw(st.integers(-len(shape), len(shape) - 1)))


@pytest.mark.parametrize("op", [ops.hinge, ops.cross_entropy, ops.squared_error, ops.huber, ops.quantile], ids=repr)
@DRAWN
@given(shape=st.lists(LENGTHS, min_size=2, max_size=3).map(tuple), data=st.data())
def test_weighted_losses(op, shape, data) -> None:
    by_class = op in (ops.hinge, ops.cross_entropy)
    shape = (*shape[:-1], max(shape[-1], 2)) if op is ops.cross_entropy else shape  # of one class it is none
    target = labels(*shape[:-1], classes=shape[-1]) if by_class else normal(np.random.default_rng(3), shape)
    count = int(np.prod(shape[:-1]))
    weight = np.array(data.draw(st.lists(st.floats(0, 1e6), min_size=count, max_size=count))).reshape(shape[:-1])
    weight.flat[0] += 1
    prove(op, (shape,), (target,), sample_weight=weight, reduction=data.draw(st.sampled_from(["mean", "none"])))
