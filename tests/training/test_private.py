"""Training that bounds what each sample counts for, and hides it in noise."""

from __future__ import annotations

import builtins
import math

import numpy as np
import pytest
import scipy.stats

import handgrad as hg
from handgrad.engines.private import PrivateEngine, SampleClipping
from handgrad.errors import UnsupportedError, ValueRangeError

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 5)), RNG.integers(3, size=60)
MODEL = hg.mlp([5, 8, 3], "tanh")


def trained(**options):
    how = {"loss": "cross_entropy", "optimizer": hg.SGD(0.1), "epochs": 3, "batch_size": 16, "progress": False}
    return hg.fit(MODEL, (X, Y), **how | options)


def test_a_bound_that_none_reaches_changes_nothing():
    plain = trained(engine="eager", regularizer=hg.L2(0.01))
    bound = trained(per_sample_clip=1e6, regularizer=hg.L2(0.01))
    np.testing.assert_allclose(bound.params.flat, plain.params.flat, rtol=1e-12)
    np.testing.assert_allclose(bound.history.column("loss"), plain.history.column("loss"), rtol=1e-12)
    assert bound.privacy is None
    assert bound.engine == "eager"
    assert "each sample's own gradient" in bound.note


def test_a_step_by_hand():
    start = MODEL.init(1)
    result = trained(per_sample_clip=0.3, epochs=1, batch_size=60, params=start)
    steps = []
    for i in range(60):
        _, gradient = hg.value_and_grad(MODEL, "cross_entropy", start, X[i : i + 1], Y[i : i + 1])
        steps.append(gradient.flat * min(1, 0.3 / np.linalg.norm(gradient.flat)))
    np.testing.assert_allclose(result.params.flat, start.flat - 0.1 * np.mean(steps, axis=0), rtol=1e-12)


def test_the_noise_has_its_deviation():
    """Where no gradient is, what moves the parameters is the noise: steps of rate * multiplier * clip / batch_size."""
    model = hg.Linear(40, 50, bias=False)
    zero = np.zeros((32, 40))
    start = model.init(0)
    result = hg.fit(
        model,
        (zero, np.zeros((32, 50))),
        loss="squared_error",
        optimizer=hg.SGD(1.0),
        params=start,
        per_sample_clip=0.5,
        noise_multiplier=2.0,
        epochs=3,
        batch_size=8,
        progress=False,
    )
    moved = (result.params.flat - start.flat) / (2.0 * 0.5 / 8 * math.sqrt(12))
    assert scipy.stats.kstest(moved, "norm").pvalue > 0.01
    assert abs(moved.std() - 1) < 0.05


def test_rows_are_drawn_independently():
    engine = PrivateEngine(
        MODEL, hg.CrossEntropy(), hg.SGD(0.1).bind(1), None, None, MODEL.init(0), SampleClipping(1.0, 1.0)
    )
    steps = [
        rows
        for epoch in range(200)
        for rows in engine._batches(np.arange(60), 15, np.random.Generator(np.random.Philox(epoch)))
    ]
    assert len(steps) == 800
    sizes = np.array([len(rows) for rows in steps])
    assert abs(sizes.mean() - 15) < 4 * math.sqrt(60 * 0.25 * 0.75 / 800)
    assert abs(sizes.var() / (60 * 0.25 * 0.75) - 1) < 0.25  # binomial
    taken = np.array([np.isin(np.arange(60), rows) for rows in steps], float)
    assert abs(taken.mean(0) - 0.25).max() < 5 * math.sqrt(0.25 * 0.75 / 800)
    assert abs(np.corrcoef(taken.T) - np.eye(60)).max() < 5 / math.sqrt(800)


def test_a_step_that_draws_no_row_is_noise_alone():
    result = trained(per_sample_clip=1.0, noise_multiplier=0.5, batch_size=1, epochs=1)  # a third of the steps
    assert len(result.history) == 1
    assert np.isfinite(result.params.flat).all()
    assert result.privacy == hg.Privacy(60, 1, 60, 0.5)


def test_the_seed_decides_all():
    how = {"per_sample_clip": 1.0, "noise_multiplier": 1.0}
    first, again, other = trained(**how), trained(**how), trained(**how, seed=1)
    assert np.array_equal(first.params.flat, again.params.flat)
    assert not np.array_equal(first.params.flat, other.params.flat)


def test_it_learns():
    x = RNG.standard_normal((600, 5))
    y = (x[:, 0] > 0).astype(int)
    private = {"per_sample_clip": 1.0, "noise_multiplier": 1.0}
    result = hg.fit(hg.mlp([5, 16, 2]), (x, y), epochs=30, batch_size=60, progress=False, **private)
    assert np.mean(result.predict(x).argmax(1) == y) > 0.9


def gaussian_delta(epsilon, sigma):
    """Balle and Wang (2018), "Improving the Gaussian mechanism for differential privacy", theorem 8."""
    normal = scipy.stats.norm.cdf
    return normal(0.5 / sigma - epsilon * sigma) - math.exp(epsilon) * normal(-0.5 / sigma - epsilon * sigma)


@pytest.mark.parametrize(("sigma", "steps"), [(1.0, 1), (3.0, 4), (20.0, 100)])
def test_accounting_of_all_rows_in_each_step(sigma, steps):
    epsilon = hg.Privacy(100, 100, steps, sigma).epsilon(1e-5)
    exact = gaussian_delta(epsilon, sigma / math.sqrt(steps))
    assert exact <= 1e-5 * 1.0001
    assert gaussian_delta(0.99 * epsilon, sigma / math.sqrt(steps)) > 1e-5


def test_accounting_of_samples():
    usual = hg.Privacy(60000, 256, 14063, 1.1)
    assert 2.0 < usual.epsilon(1e-5) < 3.01  # Renyi accounting, less tight, is known to give 3.01 here
    assert usual.epsilon(1e-5) > usual.epsilon(1e-4)
    assert hg.Privacy(60000, 256, 14063, 2.0).epsilon(1e-5) < usual.epsilon(1e-5)
    assert hg.Privacy(60000, 256, 100, 1.1).epsilon(1e-5) < usual.epsilon(1e-5)
    assert hg.Privacy(60000, 256, 0, 1.1).epsilon(1e-5) == 0


def test_the_result_tells():
    result = trained(per_sample_clip=1.0, noise_multiplier=4.0)
    assert result.privacy == hg.Privacy(rows=60, batch_size=16, steps=12, noise_multiplier=4.0)
    assert 0.5 < result.privacy.epsilon(1e-3) < 5


def test_bad_input(monkeypatch):
    with pytest.raises(ValueRangeError, match=r"noise_multiplier=1\.0 is in units of per_sample_clip; give that too"):
        trained(noise_multiplier=1.0)
    for clip in (0, -1, np.inf, np.nan, "1"):
        with pytest.raises(ValueRangeError, match="per_sample_clip must be"):
            trained(per_sample_clip=clip)
    for noise in (-1, np.nan, "1"):
        with pytest.raises(ValueRangeError, match="noise_multiplier must be"):
            trained(per_sample_clip=1.0, noise_multiplier=noise)
    with pytest.raises(UnsupportedError, match="each sample's own gradient"):
        trained(per_sample_clip=1.0, engine="compiled")
    with pytest.raises(ValueRangeError, match="sample_weight cannot be given with noise_multiplier"):
        hg.fit(MODEL, (X, Y, np.ones(60)), per_sample_clip=1.0, noise_multiplier=1.0, progress=False)
    with pytest.raises(ValueRangeError, match="batch_size must be at most rows, 10, got 11"):
        hg.Privacy(10, 11, 1, 1.0)
    for delta in (0, 1, -1, np.nan):
        with pytest.raises(ValueRangeError, match="delta must be a number above 0 and below 1"):
            hg.Privacy(10, 1, 1, 1.0).epsilon(delta)
    plain_import = builtins.__import__

    def without(name, *rest, **how):
        if name.startswith("dp_accounting"):
            raise ImportError(name)
        return plain_import(name, *rest, **how)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install handgrad\[private\]"):
        hg.Privacy(10, 1, 1, 1.0).epsilon(0.1)
