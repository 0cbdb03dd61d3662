"""Residual: a layer with a way around it, of its input's own shape."""

from dataclasses import dataclass

import numpy as np
import pytest

from handgrad.errors import ShapeError
from handgrad.layers import Flatten, Layer, LayerNorm, Linear, Softmax, SwiGLU, Tanh
from handgrad.models import Residual, Sequential


def test_values_and_gradients_by_hand():
    block = Residual(Linear(2, 2))
    params = {"layer.weight": np.array([[1.0, 2.0], [3.0, 4.0]]), "layer.bias": np.array([10.0, 20.0])}
    out, cache = block.forward(params, np.array([[1.0, -1.0]]))
    np.testing.assert_array_equal(out, [[1 + 1 - 3 + 10, -1 + 2 - 4 + 20]])
    dx, grads = block.backward(np.array([[1.0, 5.0]]), cache)
    np.testing.assert_array_equal(dx, [[1 + 1 + 10, 5 + 3 + 20]])
    np.testing.assert_array_equal(grads["layer.weight"], [[1.0, 5.0], [-1.0, -5.0]])
    np.testing.assert_array_equal(grads["layer.bias"], [1.0, 5.0])


def test_a_layer_of_zeros_leaves_the_identity():
    block, x = Residual(Linear(3, 3, init="zeros")), np.random.default_rng(0).standard_normal((4, 3))
    out, cache = block.forward(block.init(0), x)
    np.testing.assert_array_equal(out, x)
    np.testing.assert_array_equal(block.backward(x, cache)[0], x)


@pytest.mark.parametrize(
    "layer",
    [
        Linear(3, 4),
        Linear(3, 1),  # (m, 1) would broadcast
        SwiGLU(3, 1),
        Linear(6, 2, flatten=True),
        Sequential([Linear(3, 5), Tanh(), Linear(5, 1)]),
    ],
)
def test_a_layer_that_changes_the_width_is_refused_at_once(layer):
    with pytest.raises(ShapeError, match="must keep its input's shape"):
        Residual(layer)


def test_a_layer_whose_change_shows_with_the_data_is_refused_then():
    block = Residual(Flatten())
    assert block.output_shape() is None
    assert block.output_shape((3,)) == (3,)
    with pytest.raises(ShapeError, match=r"keep its input's shape \(2, 3\), got \(6,\)"):
        block.output_shape((2, 3))
    with pytest.raises(ShapeError, match=r"layer '0': .*\(5, 2, 3\), got \(5, 6\)"):
        Sequential([block]).forward({}, np.ones((5, 2, 3)))
    flat = Residual(Linear(6, 6, flatten=True))
    with pytest.raises(ShapeError, match=r"\(2, 3\), got \(6,\)"):
        flat.output_shape((2, 3))
    with pytest.raises(ShapeError, match=r"\(5, 2, 3\), got \(5, 6\)"):
        flat.forward(flat.init(0), np.ones((5, 2, 3)))


@dataclass(frozen=True)
class Twice(Layer):
    """Every feature twice: a layer for any width, which it never keeps."""

    def output_shape(self, shape=None):
        return None if shape is None else (*shape[:-1], 2 * shape[-1])


def test_a_layer_that_changes_any_width_is_refused_where_the_width_is_known():
    with pytest.raises(ShapeError, match=r"layer '1': .*keep its input's shape \(\.\.\., 3\), got \(\.\.\., 6\)"):
        Sequential([Linear(2, 3), Residual(Twice())])
    with pytest.raises(ShapeError, match=r"keep its input's shape \(3,\), got \(6,\)"):
        Residual(Twice()).output_shape((3,))


def test_what_is_known_of_shapes_is_used():
    inner = Sequential([LayerNorm(4), Linear(4, 4)])
    assert Residual(inner).output_shape() == (..., 4)
    assert Sequential([Linear(2, 4), Residual(inner), Residual(Softmax())]).output_shape((7, 2)) == (7, 4)
    with pytest.raises(ShapeError, match=r"layer '1\.layer\.0': LayerNorm takes 4 features.*\(\.\.\., 3\)"):
        Sequential([Linear(2, 3), Residual(inner)])
