"""One training step of the eager engine beside the same step written directly in NumPy.

    python -m benchmarks.eager

784-256-128-10, batch 128, float32, cross-entropy, Adam. Each runs in its own process, in turn, on one BLAS thread;
printed is the median over rounds of each process's median step, and the ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

WIDTHS, BATCH = (784, 256, 128, 10), 128


def data() -> tuple[np.ndarray, np.ndarray]:
    """32 batches of random rows."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((32 * BATCH, WIDTHS[0]), np.float32), rng.integers(0, WIDTHS[-1], 32 * BATCH)


def handgrad_steps(X, y):
    """Yields after each step of `EagerEngine`, the loop that `fit` runs: gather, gradient, norm, Adam."""
    import handgrad as hg
    from handgrad.engines.eager import EagerEngine
    from handgrad.training.data import Rows

    model = hg.mlp(WIDTHS)
    engine = EagerEngine(model, hg.CrossEntropy(), hg.Adam(), None, None, model.init(0, np.float32))
    rows, rng = Rows(X, y), np.random.default_rng(0)
    while True:
        ticks: list[float] = []
        order = rng.permutation(len(X))
        engine.epoch([(rows, order)], BATCH, lambda: rng, lambda _, ticks=ticks: ticks.append(time.perf_counter()))
        yield from np.diff(ticks)


def numpy_steps(X, y):
    """The same step as one would write it by hand: no checks, no names, in place where it pays."""
    rng = np.random.default_rng(0)
    pairs = list(pairwise(WIDTHS))
    weights = [(rng.standard_normal(s) * np.sqrt(2 / s[0])).astype(np.float32) for s in pairs]
    params = weights + [np.zeros(n, np.float32) for _, n in pairs]
    m, v, t = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params], 0
    rows = np.arange(BATCH)
    while True:
        order = rng.permutation(len(X))
        for start in range(0, len(X), BATCH):
            began = time.perf_counter()
            index = order[start : start + BATCH]
            (w1, w2, w3, b1, b2, b3), x, labels = params, X[index], y[index]
            h1 = np.maximum(x @ w1 + b1, 0)
            h2 = np.maximum(h1 @ w2 + b2, 0)
            s = h2 @ w3 + b3
            s -= s.max(1, keepdims=True)
            p = np.exp(s)
            total = p.sum(1, keepdims=True)
            float((np.log(total[:, 0]) - s[rows, labels]).mean())
            p /= total
            p[rows, labels] -= 1
            p /= BATCH
            d2 = (p @ w3.T) * (h2 > 0)
            d1 = (d2 @ w2.T) * (h1 > 0)
            grads = [x.T @ d1, h1.T @ d2, h2.T @ p, d1.sum(0), d2.sum(0), p.sum(0)]
            t += 1
            for i, g in enumerate(grads):
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g * g
                params[i] = params[i] - 1e-3 * (m[i] / (1 - 0.9**t)) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
            yield time.perf_counter() - began


RUNNERS = {"handgrad": handgrad_steps, "numpy": numpy_steps}


def limit() -> float:
    """The least a step can cost on one thread here, in microseconds.

    Its matrix products at the rate of a large one, and 28 bytes a parameter, one pass of Adam, at that of a large copy.
    """
    a, b = np.ones((1024, 1024), np.float32), np.empty(2**26, np.uint8)
    flops = 2 * 1024**3 / min(timed(lambda: a @ a) for _ in range(9))
    bandwidth = 2 * b.nbytes / min(timed(b.copy) for _ in range(9))
    products = sum(2 * BATCH * n_in * n_out * (3 if i else 2) for i, (n_in, n_out) in enumerate(pairwise(WIDTHS)))
    parameters = sum(n_in * n_out + n_out for n_in, n_out in pairwise(WIDTHS))
    return 1e6 * (products / flops + 28 * parameters / bandwidth)


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(name: str, steps: int) -> float:
    """The median step, in microseconds, after a warm-up of a tenth."""
    stream = RUNNERS[name](*data())
    times = [next(stream) for _ in range(steps + steps // 10)]
    return 1e6 * statistics.median(times[steps // 10 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", choices=[*RUNNERS, "limit"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(limit() if options.only == "limit" else measure(options.only, options.steps))
        return
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    found: dict[str, list[float]] = {name: [] for name in (*RUNNERS, "limit")}
    for round_ in range(options.rounds):
        for name in found:
            command = [sys.executable, "-m", "benchmarks.eager", "--only", name, "--steps", str(options.steps)]
            found[name].append(float(subprocess.check_output(command, env=environment)))
        print(f"round {round_ + 1}: " + ", ".join(f"{n} {t[-1]:.0f} us" for n, t in found.items()), flush=True)
    ours, theirs, least = (statistics.median(times) for times in found.values())
    print(f"median step: handgrad {ours:.0f} us, NumPy by hand {theirs:.0f} us, ratio {ours / theirs:.2f} (goal 1.3)")
    print(f"limit {least:.0f} us: handgrad at {least / ours:.0%} of it, NumPy by hand at {least / theirs:.0%}")


if __name__ == "__main__":
    main()
