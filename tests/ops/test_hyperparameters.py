"""Hyperparameters and upstream gradients as callers give them: NumPy's numbers, by position, past a dtype's range."""

import inspect

import array_api_strict
import numpy as np
import pytest

from handgrad import ops
from handgrad.errors import DeviceError, DTypeError, ShapeError, ValueRangeError

X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
ONES = np.ones(4, np.float32)
LABELS = [0, 1, 3]


@pytest.mark.parametrize(
    ("op", "args", "hyper"),
    [
        (ops.leaky_relu, (X,), {"alpha": 0.1}),
        (ops.swish, (X,), {"beta": 0.1}),
        (ops.softmax, (X,), {"temperature": 0.1}),
        (ops.layer_norm, (X, ONES, ONES), {"epsilon": 0.1}),
        (ops.dropout, (X,), {"rate": 0.1, "rng": 0}),
        (ops.huber, (X, X[::-1]), {"delta": 0.1}),
        (ops.quantile, (X, X[::-1]), {"q": 0.1}),
        (ops.hinge, (X, LABELS), {"margin": 0.1}),
        (ops.cross_entropy, (X, LABELS), {"label_smoothing": 0.1}),
        (ops.l2, (X,), {"strength": 0.1}),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_numbers_of_numpy_widen_nothing(op, args, hyper) -> None:
    name = next(iter(hyper))
    plain, _ = op.forward(*args, **hyper)
    out, cache = op.forward(*args, **{**hyper, name: np.float64(hyper[name])})
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, plain)
    dout = np.float64(1.0) if out.ndim == 0 else np.ones_like(out)
    assert all(g.dtype == np.float32 for g in op.backward(dout, cache))
    for wrong in (None, "a", [0.1], np.nan):
        with pytest.raises(ValueRangeError, match=f"{name} must be a"):
            op.forward(*args, **{**hyper, name: wrong})


def test_hyperparameters_by_position_and_in_the_signature() -> None:
    np.testing.assert_array_equal(ops.leaky_relu.forward(X, 0.5)[0], ops.leaky_relu(X, alpha=0.5))
    assert ops.hinge(X, LABELS, 2.0, [1, 0, 0]) == ops.hinge(X, LABELS, margin=2.0, sample_weight=[1, 0, 0])
    assert ops.squared_error(X, X, None, "none").shape == (3,)
    assert list(inspect.signature(ops.leaky_relu.forward).parameters) == ["x", "alpha"]
    signature = inspect.signature(ops.hinge.forward)
    assert list(signature.parameters) == ["scores", "y", "margin", "sample_weight", "reduction"]
    assert signature.parameters["margin"].default == 1.0
    with pytest.raises(TypeError):
        ops.relu.forward(X, 0.5)
    with pytest.raises(TypeError):
        ops.leaky_relu.forward(X, 0.5, alpha=0.5)


def test_a_number_past_the_range_of_float32_is_its_limit() -> None:
    x = np.array([[1, 2, 0], [0, 0, 1e-3]], np.float32)
    np.testing.assert_array_equal(ops.softmax(x, temperature=1e-46), [[0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(ops.softmax(x, temperature=1e300), np.full((2, 3), 1 / 3, np.float32))
    gate = np.array([-1, 0, 2], np.float32)
    out, cache = ops.swish.forward(gate, beta=1e39)
    np.testing.assert_array_equal(out, [0, 0, 2])
    np.testing.assert_array_equal(ops.swish.backward(np.ones_like(gate), cache)[0], [0, 0.5, 1])


@pytest.mark.parametrize("classes", [300, 256])
@pytest.mark.parametrize("loss", [ops.hinge, ops.cross_entropy])
def test_labels_of_a_type_with_fewer_numbers_than_classes(loss, classes) -> None:
    scores = np.random.default_rng(0).normal(size=(3, classes))
    labels = np.array([1, 44, 255])
    assert loss(scores, labels.astype(np.uint8)) == loss(scores, labels)


@pytest.mark.parametrize(
    ("op", "args"),
    [
        (ops.linear, (X, np.eye(4, dtype=np.float32))),
        (ops.add, (X, X)),
        (ops.matmul, (X, X.T)),
        (ops.relu, (X,)),
        (ops.softmax, (X,)),
        (ops.layer_norm, (X, ONES, ONES)),
        (ops.dropout, (X, 0.5, 0)),
        (ops.glu, (X, np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32))),
        (ops.reshape, (X, (12,))),
        (ops.sum, (X, 0)),
        (ops.mean, (X, 0)),
        (ops.max, (X, 0)),
        (ops.huber, (X, X, 1.0, None, "none")),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_an_upstream_gradient_of_another_kind_is_refused(op, args) -> None:
    out, cache = op.forward(*args)
    dout = np.ones_like(out)
    op.backward(dout, cache)
    with pytest.raises(DTypeError, match="dout has dtype float64 and the output has float32"):
        op.backward(dout.astype(np.float64), cache)
    with pytest.raises(DTypeError, match="dout must be an array, got list"):
        op.backward(dout.tolist(), cache)
    with pytest.raises(DeviceError, match="dout is an array of strict"):
        op.backward(array_api_strict.asarray(dout), cache)
    with pytest.raises(ShapeError, match="dout must"):
        op.backward(1.0, cache)


@pytest.mark.parametrize(("op", "args"), [(ops.mean, (X,)), (ops.squared_error, (X, X)), (ops.l2, (X,))])
@pytest.mark.parametrize("one", [1, 1.0, np.float64(1), np.float32(1)])
def test_any_number_serves_as_the_upstream_gradient_of_a_number(op, args, one) -> None:
    _, cache = op.forward(*args)
    (gradient,) = op.backward(one, cache)
    assert gradient.dtype == np.float32


def test_axes_and_shapes_as_numpy_takes_them() -> None:
    assert ops.reshape(X, shape=12).shape == (12,)
    assert ops.reshape(X, shape=np.int64(-1)).shape == (12,)
    np.testing.assert_array_equal(ops.sum(X, axis=np.int64(0)), X.sum(0))
    np.testing.assert_array_equal(ops.max(X, axis=[0, 1]), X.max())


def test_the_first_bad_target_and_its_place() -> None:
    y = np.zeros((3, 4))
    y[1, 2] = 1.5
    with pytest.raises(ValueRangeError, match=r"from 0 to 1, .*, got 1\.5 at index \(1, 2\)"):
        ops.binary_cross_entropy(X.astype(float), y)
