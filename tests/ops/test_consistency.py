"""A fused form equals its composition, in output and every gradient; limits, shapes of curves and edge cases hold."""

import numpy as np
import pytest

from handgrad import ops
from proofs import close
from table import CASES, Case, distributions, labels, weights

RNG = np.random.default_rng(11)
X, W1, W2 = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
B1, B2, U = RNG.normal(size=3), RNG.normal(size=3), RNG.normal(size=(5, 3))


@pytest.mark.parametrize(
    ("unit", "gate"),
    [
        (ops.glu, ops.sigmoid),
        (ops.swiglu, ops.swish),
        (ops.bilinear, ops.identity),
        (ops.reglu, ops.relu),
        (ops.geglu, ops.gelu),
    ],
)
def test_gated_unit_is_linear_times_the_activation_of_linear(unit, gate) -> None:
    y, cache = unit.forward(X, W1, W2, B1, B2)
    content, content_cache = ops.linear.forward(X, W1, B1)
    before, before_cache = ops.linear.forward(X, W2, B2)
    after, after_cache = gate.forward(before)
    product, product_cache = ops.multiply.forward(content, after)
    close(y, product, 1e-15, "output")
    d_content, d_after = ops.multiply.backward(U, product_cache)
    dx_content, dw_content, db_content = ops.linear.backward(d_content, content_cache)
    dx_gate, dw_gate, db_gate = ops.linear.backward(*gate.backward(d_after, after_cache), before_cache)
    composed = (dx_content + dx_gate, dw_content, dw_gate, db_content, db_gate)
    for name, fused, expected in zip(unit.inputs, unit.backward(U, cache), composed, strict=True):
        close(fused, expected, 1e-14, name)


def test_cross_entropy_is_minus_the_log_of_softmax_and_its_gradient_p_minus_y() -> None:
    y, q = labels(5, classes=3), np.eye(3)[labels(5, classes=3)]
    loss, cache = ops.cross_entropy.forward(U, y)
    p, p_cache = ops.softmax.forward(U)
    log_p, log_cache = ops.log.forward(p)
    close(loss, -np.sum(q * log_p) / 5, 1e-14, "loss")
    (fused,) = ops.cross_entropy.backward(1.0, cache)
    close(fused, (p - q) / 5, 1e-14, "p - y")
    close(fused, ops.softmax.backward(*ops.log.backward(-q / 5, log_cache), p_cache)[0], 1e-14, "composed")


def test_labels_are_one_hot_targets_and_smoothing_mixes_in_the_uniform() -> None:
    y, q = labels(5, classes=3), np.eye(3)[labels(5, classes=3)]
    for smoothing, same in ((0.0, q), (0.1, 0.9 * q + 0.1 / 3), (1.0, np.full((5, 3), 1 / 3))):
        smooth, cache = ops.cross_entropy.forward(U, y, label_smoothing=smoothing)
        loss, loss_cache = ops.cross_entropy.forward(U, same)
        close(smooth, loss, 1e-15, "loss")
        expected = ops.cross_entropy.backward(1.0, loss_cache)[0]
        close(ops.cross_entropy.backward(1.0, cache)[0], expected, 1e-15, "gradient")


def test_binary_cross_entropy_is_cross_entropy_of_two_classes() -> None:
    s, y = U[:, 0], np.array([0, 1, 1, 0, 1])
    one, one_cache = ops.binary_cross_entropy.forward(s, y)
    two, two_cache = ops.cross_entropy.forward(np.stack([0 * s, s], axis=1), y)
    close(one, two, 1e-15, "loss")
    gradient = ops.cross_entropy.backward(1.0, two_cache)[0][:, 1]
    close(ops.binary_cross_entropy.backward(1.0, one_cache)[0], gradient, 1e-15, "gradient")


def test_layer_norm_is_arithmetic() -> None:
    scale, shift, epsilon = B1, B2, 0.1
    y, cache = ops.layer_norm.forward(U, scale, shift, epsilon=epsilon)
    mean, mean_cache = ops.mean.forward(U, axis=-1, keepdims=True)
    centred, centred_cache = ops.subtract.forward(U, mean)
    square, square_cache = ops.multiply.forward(centred, centred)
    variance, variance_cache = ops.mean.forward(square, axis=-1, keepdims=True)
    shifted, shifted_cache = ops.add.forward(variance, epsilon)
    spread, spread_cache = ops.power.forward(shifted, 0.5)
    n, n_cache = ops.divide.forward(centred, spread)
    scaled, scaled_cache = ops.multiply.forward(n, scale)
    out, out_cache = ops.add.forward(scaled, shift)
    close(y, out, 1e-14, "output")
    d_scaled, d_shift = ops.add.backward(U, out_cache)
    d_n, d_scale = ops.multiply.backward(d_scaled, scaled_cache)
    d_centred, d_spread = ops.divide.backward(d_n, n_cache)
    d_variance = ops.add.backward(ops.power.backward(d_spread, spread_cache)[0], shifted_cache)[0]
    d_square = ops.mean.backward(d_variance, variance_cache)[0]
    d_centred = d_centred + np.add(*ops.multiply.backward(d_square, square_cache))
    dx, d_mean = ops.subtract.backward(d_centred, centred_cache)
    composed = (dx + ops.mean.backward(d_mean, mean_cache)[0], d_scale, d_shift)
    for name, fused, expected in zip(ops.layer_norm.inputs, ops.layer_norm.backward(U, cache), composed, strict=True):
        close(fused, expected, 1e-13, name)


def test_linear_is_matmul_and_add_and_the_same_in_both_layouts() -> None:
    z, cache = ops.linear.forward(X, W1, B1)
    product, product_cache = ops.matmul.forward(X, W1)
    close(z, ops.add(product, B1), 0, "output")
    gradients = ops.linear.backward(U, cache)
    for one, other in zip(gradients, ops.matmul.backward(U, product_cache), strict=False):
        close(one, other, 0, "gradient")
    transposed, transposed_cache = ops.linear.forward(X, np.ascontiguousarray(W1.T), B1, layout="out_in")
    close(transposed, z, 1e-15, "out_in")
    dx, dw, db = ops.linear.backward(U, transposed_cache)
    for one, other in zip((dx, dw.T, db), gradients, strict=True):
        close(one, other, 1e-15, "gradient in out_in")


def test_tanh_is_a_stretched_sigmoid() -> None:
    x = np.linspace(-9, 9, 101)
    y, cache = ops.tanh.forward(x)
    s, s_cache = ops.sigmoid.forward(2 * x)
    close(y, 2 * s - 1, 1e-15, "output")
    close(ops.tanh.backward(x, cache)[0], 4 * ops.sigmoid.backward(x, s_cache)[0], 1e-13, "gradient")


def test_swish_falls_then_rises_and_its_slope_never_jumps() -> None:
    x = np.linspace(-10, 10, 20001)
    y, cache = ops.swish.forward(x)
    slope = ops.swish.backward(np.ones_like(x), cache)[0]
    turn = np.flatnonzero(np.diff(np.sign(slope)))
    assert len(turn) == 1, "one minimum"
    assert x[turn[0]] == pytest.approx(-1.2784645, abs=1e-3)
    assert y.min() == pytest.approx(-0.2784645, abs=1e-6)
    assert np.abs(np.diff(slope)).max() < 0.51 * 1e-3, "the second derivative is at most 1/2"


@pytest.mark.parametrize(
    ("op", "low", "high", "reached"),
    [(ops.sigmoid, 0, 1, 0.5), (ops.tanh, -1, 1, 0), (ops.softmax, 0, 1, 1 / 401), (ops.relu, 0, 20, 0)],
)
def test_ranges(op, low: float, high: float, reached: float) -> None:
    y = op(np.linspace(-20, 20, 401))
    assert y.min() >= low
    assert y.max() <= high
    assert op(np.zeros(401))[0] == pytest.approx(reached, rel=1e-14)


def test_softmax_sharpens_to_one_hot_and_flattens_to_uniform() -> None:
    x = np.array([[1.0, 3.0, 2.0], [-5.0, -6.0, -4.0]])
    one_hot = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(ops.softmax(x, temperature=1e-3), one_hot)
    np.testing.assert_allclose(ops.softmax(x, temperature=1e9), 1 / 3, rtol=1e-8)
    cold, hot = (np.max(ops.softmax(x, temperature=t), axis=-1) for t in (0.5, 2.0))
    assert np.all(cold > hot)
    np.testing.assert_allclose(ops.softmax(x, axis=0).sum(0), 1, rtol=1e-15)


MEANS = [case for case in CASES if case.hyper.get("reduction") == "mean"]
WITH_AXES = [case for case in CASES if not case.args and all(i and len(i.shape) > 1 for i in case.inputs)]


@pytest.mark.parametrize("case", MEANS, ids=str)
def test_mean_loss_is_the_weighted_mean_of_single_losses(case: Case) -> None:
    inputs = case.draw()
    weight = case.hyper.get("sample_weight")
    single = {k: v for k, v in case.hyper.items() if k != "sample_weight"} | {"reduction": "none"}
    losses, losses_cache = case.op.forward(*inputs, *case.args, **single)
    share = np.full(losses.shape, 1 / losses.size) if weight is None else weight / weight.sum()
    mean, cache = case.forward(inputs)
    close(mean, np.sum(losses * share), 1e-14, "loss")
    close(case.op.backward(1.0, cache)[0], case.op.backward(share, losses_cache)[0], 1e-14, "gradient")


def test_an_integer_weight_is_a_repeated_sample() -> None:
    s, y, w = RNG.normal(size=(4, 3)), distributions(4, 3), np.array([2, 0, 1, 3])
    for op, target in ((ops.cross_entropy, y), (ops.hinge, labels(4, classes=3)), (ops.quantile, y)):
        close(op(s, target, sample_weight=w), op(s.repeat(w, 0), target.repeat(w, 0)), 1e-15, op.name)


@pytest.mark.parametrize("case", WITH_AXES, ids=str)
def test_order_of_memory_and_strides_do_not_matter(case: Case) -> None:
    inputs = case.draw()
    out, cache = case.forward(inputs)
    u = case.upstream(out)
    spread = tuple(np.repeat(x, 2, axis=-1)[..., ::2] for x in inputs)
    for given in (tuple(map(np.asfortranarray, inputs)), spread, tuple(x[::-1].copy()[::-1] for x in inputs)):
        again, given_cache = case.forward(given)
        close(again, out, 1e-14, "output")
        for one, other in zip(case.op.backward(u, given_cache), case.op.backward(u, cache), strict=True):
            close(one, other, 1e-13, "gradient")
        strided = np.asfortranarray(u) if np.ndim(u) > 1 else u
        close(case.op.backward(strided, cache)[0], case.op.backward(u, cache)[0], 1e-13, "gradient of a Fortran dout")


EMPTY = [
    (ops.linear, ((0, 4), (4, 3), (3,)), {}),
    (ops.linear, ((0, 2, 2), (4, 3), (3,)), {"flatten": True}),
    (ops.matmul, ((0, 4), (4, 3)), {}),
    (ops.add, ((0, 3), (3,)), {}),
    (ops.sum, ((0, 3),), {"axis": 0}),
    (ops.max, ((0, 3),), {"axis": 1}),
    (ops.reshape, ((0, 4),), {"shape": (0, 2, 2)}),
    *((op, ((0, 3),), {}) for op in (ops.sigmoid, ops.relu, ops.swish, ops.gelu, ops.softmax)),
    (ops.swiglu, ((0, 4), (4, 3), (4, 3), None, (3,)), {}),
    (ops.dropout, ((0, 3),), {"rng": 0}),
    (ops.layer_norm, ((0, 3), (3,), (3,)), {}),
    (ops.hinge, ((0, 3),), {"y": np.zeros(0, int), "reduction": "none"}),
    (ops.cross_entropy, ((0, 3),), {"y": np.zeros(0, int), "reduction": "none", "sample_weight": np.zeros(0)}),
    (ops.huber, ((0, 3),), {"y": np.zeros((0, 3)), "reduction": "none"}),
]


@pytest.mark.parametrize(("op", "shapes", "hyper"), EMPTY, ids=lambda v: getattr(v, "name", None))
def test_an_empty_batch_gives_empty_outputs_and_gradients_of_zero(op, shapes, hyper) -> None:
    inputs = [None if s is None else np.ones(s) for s in shapes]
    out, cache = op.forward(*inputs, **hyper)
    gradients = op.backward(np.ones(out.shape), cache)
    assert 0 in (out.size, inputs[0].size)
    for x, g in zip(inputs, gradients, strict=False):
        assert g is None if x is None else (g.shape == x.shape and not g.any())


def test_hinge_by_hand() -> None:
    """CS231n's example: scores of three images for cat, car, frog, with the losses 2.9, 0 and 12.9."""
    scores = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
    losses, _ = ops.hinge.forward(scores, [0, 1, 2], reduction="none")
    np.testing.assert_allclose(losses, [2.9, 0, 12.9], rtol=1e-14)
    assert ops.hinge(scores, [0, 1, 2]) == pytest.approx(15.8 / 3)
    assert ops.hinge(scores, [0, 1, 2], sample_weight=weights(3)) == pytest.approx(
        np.average([2.9, 0, 12.9], weights=weights(3))
    )
