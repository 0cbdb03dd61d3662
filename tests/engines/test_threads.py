"""Many threads on one model: nothing is stored on it, so that they cannot meet."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from handgrad import value_and_grad
from handgrad.layers import L2, Dropout, LayerNorm, Linear, ReLU, SwiGLU
from handgrad.models import Residual, Sequential
from handgrad.threads import join

THREADS, REPEATS = 16, 25
SHARED = Linear(32, 32)
MODEL = Sequential(
    [Linear(20, 32), ReLU(), Dropout(0.2), Residual(Sequential([LayerNorm(32), SHARED])), SHARED, SwiGLU(32, 10)]
)


@pytest.fixture
def eager_switching():
    """Threads that take turns far more often than they would: a race that can happen, does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def work(params, seed):
    """Everything one thread makes from its own batch, as bytes."""
    rng = np.random.default_rng(seed)
    x, y, upstream = rng.standard_normal((16, 20)), rng.integers(10, size=16), rng.standard_normal((16, 10))
    out, cache = MODEL.forward(params, x, train=True, rng=np.random.default_rng(seed))
    dx, grads = MODEL.backward(upstream, cache)
    value, total = value_and_grad(
        MODEL, "cross_entropy", params, x, y, regularizer=L2(0.1), train=True, rng=np.random.default_rng(seed)
    )
    return tuple(array.tobytes() for array in (out, dx, *grads.values(), np.asarray(value), total.flat))


def test_16_threads_give_the_bits_of_one(eager_switching):
    params = MODEL.init(0)
    with threadpool_limits(1):
        alone = [work(params, seed) for seed in range(THREADS)]
        assert len(set(alone)) == THREADS
        barrier = Barrier(THREADS)

        def repeat(seed):
            barrier.wait()
            return [work(params, seed) for _ in range(REPEATS)]

        with ThreadPoolExecutor(THREADS) as pool:
            together = list(pool.map(repeat, range(THREADS)))
    for expected, results in zip(alone, together, strict=True):
        assert all(result == expected for result in results)


def test_an_interrupt_leaves_no_thread_running():
    """Kernels in other threads write to memory that is freed once the interrupt is out."""
    may_end, asked = threading.Event(), []

    class Interrupted(threading.Thread):
        def join(self, timeout=None):
            asked.append(self)
            if len(asked) == 1:
                threading.Timer(0.05, may_end.set).start()
                raise KeyboardInterrupt
            super().join(timeout)

    others = [Interrupted(target=may_end.wait) for _ in range(2)]
    for other in others:
        other.start()
    with pytest.raises(KeyboardInterrupt):
        join(others)
    assert not any(other.is_alive() for other in others)
