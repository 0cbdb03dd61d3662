"""f = W2 max(0, W1 x + b1) + b2 with the multiclass hinge and L2, against a loop of its own in plain NumPy."""

import numpy as np
import pytest

from handgrad import value_and_grad
from handgrad.layers import L2, Linear, ReLU
from handgrad.models import Sequential
from handgrad.optim import SGD

D, H, C, M = 5, 8, 4, 24
RATE, STRENGTH, STEPS = 0.05, 0.01, 100
NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")


def loop_step(W1, b1, W2, b2, X, y):
    """Loss and gradients, sample by sample and class by class; weights as (units out, units in), x a column."""
    loss = 0.0
    dW1, db1, dW2, db2 = (np.zeros_like(array) for array in (W1, b1, W2, b2))
    for x, label in zip(X, y, strict=True):
        a = np.einsum("hd,d->h", W1, x) + b1
        h = np.where(a > 0, a, 0.0)
        s = np.einsum("ch,h->c", W2, h) + b2
        ds = np.zeros(C)
        for j in range(C):
            excess = s[j] - s[label] + 1.0
            if j != label and excess > 0:
                loss += excess / M
                ds[j] += 1 / M
                ds[label] -= 1 / M
        dW2 += np.einsum("c,h->ch", ds, h)
        db2 += ds
        da = np.einsum("ch,c->h", W2, ds) * (a > 0)
        dW1 += np.einsum("h,d->hd", da, x)
        db1 += da
    loss += STRENGTH * (np.einsum("hd,hd->", W1, W1) + np.einsum("ch,ch->", W2, W2))
    return loss, [dW1 + 2 * STRENGTH * W1, db1, dW2 + 2 * STRENGTH * W2, db2]


@pytest.fixture(scope="module")
def start():
    rng = np.random.default_rng(11)
    X, y = rng.standard_normal((M, D)), rng.integers(C, size=M)
    W1, W2 = rng.normal(0, np.sqrt(2 / D), (H, D)), rng.normal(0, np.sqrt(2 / H), (C, H))
    return X, y, [W1, rng.normal(0, 0.1, H), W2, rng.normal(0, 0.1, C)]


@pytest.fixture(scope="module")
def by_loop(start):
    X, y, arrays = start
    losses = []
    for _ in range(STEPS):
        loss, gradients = loop_step(*arrays, X, y)
        losses.append(loss)
        arrays = [array - RATE * gradient for array, gradient in zip(arrays, gradients, strict=True)]
    assert losses[-1] < 0.7 * losses[0], "nothing was learnt, so that nothing is compared"
    return losses, arrays


@pytest.mark.parametrize("layout", ["in_out", "out_in"])
@pytest.mark.parametrize("how", ["by hand", "SGD"])
def test_100_steps_equal_the_loop(start, by_loop, layout, how):
    X, y, arrays = start
    model = Sequential([Linear(D, H, layout=layout), ReLU(), Linear(H, C, layout=layout)])

    def turned(arrays):
        return [array.T if layout == "in_out" else array for array in arrays]

    params = model.init(0).pack(dict(zip(NAMES, turned(arrays), strict=True)))
    optimizer = SGD(learning_rate=RATE)
    state, losses = optimizer.init(params.flat), []
    for _ in range(STEPS):
        value, grads = value_and_grad(model, "hinge", params, X, y, regularizer=L2(STRENGTH))
        losses.append(float(value))
        if how == "SGD":
            state, update = optimizer.update(state, grads.flat)
        else:
            update = -RATE * grads.flat
        params = params.like(params.flat + update)
    expected_losses, expected = by_loop
    np.testing.assert_allclose(losses, expected_losses, rtol=0, atol=1e-10)
    for name, array in zip(NAMES, turned(expected), strict=True):
        np.testing.assert_allclose(params[name], array, rtol=0, atol=1e-10)
