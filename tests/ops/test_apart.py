"""Which calls keep samples apart: the rule, against what really moves when one row does."""

import numpy as np
import pytest

from handgrad import ops
from handgrad.ops.apart import keeps_apart

X, Y = np.arange(1.0, 17.0).reshape(4, 4) / 7, np.linspace(0.5, 2, 16).reshape(4, 4)

CALLS = {
    "elementwise": (ops.tanh, (X,), {}),
    "dropout": (ops.dropout, (X,), {"rng": 3}),
    "one shape": (ops.multiply, (X, Y), {}),
    "a column for each row": (ops.add, (X, X.sum(1, keepdims=True)), {}),
    "a vector of samples along the features": (ops.multiply, (X, X.sum(1)), {}),
    "a number": (ops.add, (X, X.sum()), {}),
    "rows and a matrix of samples": (ops.matmul, (X, X), {}),
    "sum of features": (ops.sum, (X,), {"axis": 1}),
    "sum of samples": (ops.sum, (X,), {"axis": 0}),
    "mean of features, kept": (ops.mean, (X,), {"axis": -1, "keepdims": True}),
    "mean of samples, kept": (ops.mean, (X,), {"axis": 0, "keepdims": True}),
    "mean of all": (ops.mean, (X,), {}),
    "largest of features": (ops.max, (X,), {"axis": 1}),
    "largest of samples": (ops.max, (X,), {"axis": 0}),
    "features reshaped": (ops.reshape, (X,), {"shape": (4, 2, 2)}),
    "samples joined": (ops.reshape, (X,), {"shape": (2, 8)}),
    "softmax of features": (ops.softmax, (X,), {}),
    "softmax of samples": (ops.softmax, (X,), {"axis": -2}),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_rule_is_what_happens(name):
    op, inputs, hyper = CALLS[name]
    out, cache = op.forward(*inputs, **hyper)

    def moved(i):
        """Where the output changes when sample i does, all that was made of it with it."""
        other = X.copy()
        other[i] += 0.25
        again = [other if x is X else x if x is Y else _again(x, other) for x in inputs]
        return np.not_equal(op.forward(*again, **hyper)[0], out)

    def alone(i):
        changed = moved(i)
        return changed.shape[:1] == (4,) and not np.delete(changed, i, axis=0).any()

    assert keeps_apart(op, cache) == all(alone(i) for i in range(4))


def _again(x, other):
    """Another sum of X's features, as the table has them, of the changed X."""
    return {(4, 1): other.sum(1, keepdims=True), (4,): other.sum(1), (): other.sum()}[np.shape(x)]


def test_constants_hold_no_samples():
    _, cache = ops.multiply.forward(X, np.ones(4))
    assert keeps_apart(ops.multiply, cache, (False, True))
    assert not keeps_apart(ops.multiply, cache)
    _, cache = ops.matmul.forward(X, Y)
    assert keeps_apart(ops.matmul, cache, (False, True))
    assert not keeps_apart(ops.matmul, cache, (True, False))


def test_what_is_not_known_is_not_trusted():
    _, cache = ops.cross_entropy.forward(X, [0, 1, 2, 3])
    assert not keeps_apart(ops.cross_entropy, cache)
    assert not keeps_apart(None, None)
