"""Products with the Hessian and with Gauss-Newton's matrix: against differences, PyTorch, and each other."""

import numpy as np
import pytest

import handgrad as hg
from handgrad import gauss_newton_vp, hessian_vp, jacobian, ops
from handgrad.engines import value_and_grad
from handgrad.errors import DeviceError, DTypeError, HandgradError, ParameterError, ShapeError, ValueRangeError
from handgrad.layers import L2, Dropout, LayerNorm, Linear, ReGLU, ReLU, Tanh
from handgrad.layers.losses import LOSSES
from handgrad.models import Graph, Residual, Sequential
from layers.table import LAYERS

LEARNING = {name: case for name, case in LAYERS.items() if case.shapes}
H = 1e-6


def directions(params, count=2):
    rng = np.random.default_rng(8)
    return [params.like(rng.standard_normal(params.flat.shape)) for _ in range(count)]


def differences(model, loss, params, x, y, v, **keywords):
    above, below = (
        value_and_grad(model, loss, params.like(params.flat + step * v.flat), x, y, **keywords)[1].flat
        for step in (H, -H)
    )
    return (above - below) / (2 * H)


def close(given, expected, tolerance):
    assert np.max(np.abs(given - expected)) <= tolerance * np.max(np.abs(expected))


@pytest.mark.parametrize("case", LEARNING.values(), ids=LEARNING)
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "huber"])
def test_hessian_products_are_the_change_of_the_gradient(case, loss):
    params, x = case.params(), case.x()
    y = np.abs(np.random.default_rng(7).standard_normal((len(x), *case.out)))
    v, w = directions(params)
    product = hessian_vp(case.layer, loss, params, x, y, v)
    assert list(product) == list(params)
    close(product.flat, differences(case.layer, loss, params, x, y, v), 1e-8)
    # symmetric to rounding, which differences are not
    other = hessian_vp(case.layer, loss, params, x, y, w)
    size = np.abs(w.flat) @ np.abs(product.flat)
    assert abs(w.flat @ product.flat - v.flat @ other.flat) <= 1e-13 * size


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss):
    model = hg.mlp([4, 6, 3], "tanh")
    params, rng = model.init(0), np.random.default_rng(1)
    x = rng.standard_normal((7, 4))
    y = rng.integers(3, size=7) if LOSSES[loss].classifies else rng.uniform(0, 1, (7, 3))
    weight = rng.uniform(0.5, 2, 7)
    options = {"sample_weight": weight, "regularizer": L2(0.3)}
    v, _ = directions(params)
    close(
        hessian_vp(model, loss, params, x, y, v, **options).flat,
        differences(model, loss, params, x, y, v, **options),
        1e-8,
    )


def test_gauss_newton_is_jacobian_hessian_jacobian():
    model = hg.mlp([3, 5, 4], "swish")
    params, rng = model.init(0), np.random.default_rng(2)
    x, y = rng.standard_normal((6, 3)), rng.integers(4, size=6)
    v, _ = directions(params)
    scores, _ = model.forward(params, x)
    p = ops.softmax(scores)
    J = {name: jacobian(model, params, x, wrt=name).dense() for name in params}
    moved = sum(np.tensordot(J[name], v[name], v[name].ndim) for name in params)
    pulled = p * (moved - (p * moved).sum(1, keepdims=True)) / 6
    found = gauss_newton_vp(model, "cross_entropy", params, x, y, v, regularizer=L2(0.1))
    for name in params:
        expected = np.tensordot(pulled, J[name], 2) + (0.2 * v[name] if "weight" in name else 0)
        np.testing.assert_allclose(found[name], expected, rtol=1e-10, atol=1e-13)
    assert v.flat @ found.flat > 0


def test_of_a_linear_model_both_are_one():
    model = Linear(4, 3)
    params, rng = model.init(0), np.random.default_rng(3)
    x, y = rng.standard_normal((8, 4)), rng.integers(3, size=8)
    v, _ = directions(params)
    h, g = (f(model, "cross_entropy", params, x, y, v).flat for f in (hessian_vp, gauss_newton_vp))
    np.testing.assert_allclose(h, g, rtol=1e-12, atol=1e-14)


def test_the_whole_hessian_of_a_quadratic():
    model = Linear(3, 1, bias=False)
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((9, 3)), rng.standard_normal((9, 1))
    columns = [hessian_vp(model, "squared_error", model.init(0), x, y, e).flat for e in np.eye(3)]
    np.testing.assert_allclose(np.stack(columns), 2 * x.T @ x / 9, rtol=1e-13)


@pytest.mark.parametrize("layer", [ReLU(), hg.LeakyReLU(0.3), ReGLU(3, 3)], ids=repr)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_kink_takes_the_slope_that_the_op_takes_there(layer, sign):
    # the first sample is 0 throughout: with biases of 0 every unit stands on its kink
    model = Sequential([Linear(3, 3), layer, Linear(3, 2)])
    params, rng = model.init(0), np.random.default_rng(5)
    x, y = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    x[0] = 0
    v, _ = directions(params)
    v.flat[...] *= sign
    found = hessian_vp(model, "squared_error", params, x, y, v)
    # the op's slope at 0 is that of its left side: a bias a hair below 0 has it without a kink
    below = params.like(params.flat.copy())
    if isinstance(layer, ReGLU):
        below["1.gate.bias"][...] = -1e-13
    else:
        below["0.bias"][...] = -1e-13
    np.testing.assert_allclose(
        found.flat, hessian_vp(model, "squared_error", below, x, y, v).flat, rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_kink_deep_within_is_still_a_kink(seed):
    # the second layer's units stand on their kinks with values that moved on the way there
    model = Sequential([Linear(3, 4), Tanh(), Linear(4, 4), ReLU(), Linear(4, 2)])
    params, rng = model.init(0), np.random.default_rng(seed)
    x, y = np.zeros((2, 3)), rng.standard_normal((2, 2))
    v = params.like(rng.standard_normal(params.flat.shape))
    found = hessian_vp(model, "squared_error", params, x, y, v)
    below = params.like(params.flat.copy())
    below["2.bias"][...] = -1e-13
    np.testing.assert_allclose(found.flat, hessian_vp(model, "squared_error", below, x, y, v).flat, rtol=1e-9)


def test_piecewise_linear_losses_have_no_curvature_of_their_own():
    model = Linear(3, 2)
    params, x = model.init(0), np.random.default_rng(6).standard_normal((4, 3))
    v, _ = directions(params)
    assert not gauss_newton_vp(model, "hinge", params, x, [0, 1, 1, 0], v).flat.any()
    assert not hessian_vp(model, "hinge", params, x, [0, 1, 1, 0], v).flat.any()


def test_a_graph_with_forks_and_parameters_of_its_own():
    g = Graph()
    x = g.input("x")
    h = ops.tanh(x @ g.parameter("w", (3, 4)))
    g.output(Linear(4, 2)(h * h + ops.maximum(h, 0.1) * np.full(4, 0.5)))
    params, rng = g.init(0), np.random.default_rng(7)
    x, y = rng.standard_normal((5, 3)), rng.integers(2, size=5)
    v, _ = directions(params)
    close(hessian_vp(g, "cross_entropy", params, x, y, v).flat, differences(g, "cross_entropy", params, x, y, v), 1e-8)
    model = Sequential([LayerNorm(3), g])
    params = model.init(0)
    v, _ = directions(params)
    close(
        hessian_vp(model, "cross_entropy", params, x, y, v).flat,
        differences(model, "cross_entropy", params, x, y, v),
        1e-8,
    )
    gn = gauss_newton_vp(model, "cross_entropy", params, x, y, v)
    assert v.flat @ gn.flat > 0


def test_dropout_stands_still():
    model = Sequential([Linear(3, 3), Dropout(0.5), Residual(Tanh())])
    without = Sequential([Linear(3, 3), Residual(Tanh())])
    params, x = model.init(0), np.random.default_rng(8).standard_normal((4, 3))
    v, _ = directions(params)
    found = hessian_vp(model, "squared_error", params, x, x, v)
    np.testing.assert_array_equal(found.flat, hessian_vp(without, "squared_error", params, x, x, v).flat)


def test_float32_parameters_and_a_plain_vector():
    model = hg.mlp([3, 4, 2], "tanh")
    params, x = model.init(0, np.float32), np.random.default_rng(9).standard_normal((5, 3)).astype(np.float32)
    v = np.random.default_rng(10).standard_normal(params.flat.size)
    y = [0, 1, 1, 0, 1]
    for function in (hessian_vp, gauss_newton_vp):
        found = function(model, "cross_entropy", params, x, y, v)
        assert found.flat.dtype == np.float32
        exact = function(model, "cross_entropy", params.like(params.flat.astype(float)), x.astype(float), y, v)
        np.testing.assert_allclose(found.flat, exact.flat, rtol=1e-6, atol=1e-7)
    as_dict = hessian_vp(model, "cross_entropy", dict(params), x, y, dict(params.like(v)))
    np.testing.assert_array_equal(as_dict.flat, hessian_vp(model, "cross_entropy", params, x, y, v).flat)


def test_nothing_given_is_written_to():
    model = hg.mlp([3, 4, 2], "relu")
    params, x = model.init(0), np.random.default_rng(9).standard_normal((5, 3))
    v, _ = directions(params)
    for array in (params.flat, x, v.flat):
        array.setflags(write=False)
    for function in (hessian_vp, gauss_newton_vp):
        first = function(model, "cross_entropy", params, x, [0, 1, 1, 0, 1], v, regularizer=L2(0.1))
        second = function(model, "cross_entropy", params, x, [0, 1, 1, 0, 1], v, regularizer=L2(0.1))
        np.testing.assert_array_equal(first.flat, second.flat)


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "swish", "sigmoid"])
def test_torch_agrees(activation):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = hg.mlp([4, 8, 8, 3], activation)
    params, rng = model.init(0), np.random.default_rng(11)
    x, y = rng.standard_normal((16, 4)), rng.integers(3, size=16)
    v, _ = directions(params)
    act = {"swish": torch.nn.functional.silu}.get(activation) or getattr(torch.nn.functional, activation)

    def loss(w0, b0, w2, b2, w4, b4):
        h = act(act(torch.tensor(x) @ w0 + b0) @ w2 + b2)
        return torch.nn.functional.cross_entropy(h @ w4 + b4, torch.tensor(y))

    tensors = tuple(torch.tensor(params[name]) for name in params)
    along = tuple(torch.tensor(v[name]) for name in params)
    _, expected = torch.autograd.functional.hvp(loss, tensors, along)
    found = hessian_vp(model, "cross_entropy", params, x, y, v)
    for name, each in zip(params, expected, strict=True):
        np.testing.assert_allclose(found[name], each.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("function", [hessian_vp, gauss_newton_vp])
def test_where_the_huber_loss_changes_it_is_still_a_matrix(function, sign):
    """At |r| = delta, on either side, r^2 / 2 holds, whichever way the direction goes."""
    model, x = Linear(2, 2, bias=False), np.array([[0.5, 0.25]])
    params = model.init(0)
    params.flat[...] = [1, 0, 0, 1]  # the scores are x
    for y in ([[0.0, 0.5]], [[1.0, 0.5]]):
        found = function(model, hg.Huber(0.5), params, x, np.array(y), sign * np.ones(4)).flat
        np.testing.assert_allclose(sign * found, 0.75 * np.array([0.5, 0.5, 0.25, 0.25]) / 2, rtol=1e-15)


TORCH_LOSSES = {
    "cross_entropy": (
        hg.CrossEntropy(0.2),
        lambda F, s, y: F.cross_entropy(s, y, reduction="none", label_smoothing=0.2),
    ),
    "binary": (
        hg.BinaryCrossEntropy(),
        lambda F, s, y: F.binary_cross_entropy_with_logits(s, y, reduction="none").mean(1),
    ),
    "squared_error": (hg.SquaredError(), lambda F, s, y: ((s - y) ** 2).mean(1)),
    "huber": (hg.Huber(0.5), lambda F, s, y: F.huber_loss(s, y, delta=0.5, reduction="none").mean(1)),
    "poisson": (hg.Poisson(), lambda F, s, y: F.poisson_nll_loss(s, y, reduction="none").mean(1)),
    "hinge": (hg.Hinge(), lambda F, s, y: (s - s.gather(1, y[:, None]) + 1).clamp(min=0).sum(1) - 1),
}


@pytest.mark.parametrize("layer", ["swish", "layer_norm"])
@pytest.mark.parametrize("name", TORCH_LOSSES)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch.func itself
def test_whole_matrices_of_torch(name, layer):
    """With weights of samples, smoothed labels and L2: H, and J^T H J from torch's own J and H of the loss."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    loss, theirs = TORCH_LOSSES[name]
    model = Sequential([Linear(3, 4), hg.Swish() if layer == "swish" else LayerNorm(4), Linear(4, 3)])
    params, rng = model.init(0), np.random.default_rng(9)
    params.flat[...] = rng.standard_normal(params.flat.size)
    x, weight = rng.standard_normal((5, 3)), rng.uniform(0.5, 2, 5)
    y = rng.integers(3, size=5) if loss.classifies else rng.uniform(0, 1, (5, 3))
    X, Y, W = (torch.from_numpy(each) for each in (x, y, weight))

    def views(flat):
        return dict(zip(params, flat.split([part.size for part in params.values()]), strict=True))

    def scores(flat):
        of = {key: part.reshape(params[key].shape) for key, part in views(flat).items()}
        h = X @ of["0.weight"] + of["0.bias"]
        if layer == "swish":
            h = torch.nn.functional.silu(h)
        else:  # spelled out: torch.func's Hessian of layer_norm itself is off in 2.13
            h = h - h.mean(1, keepdim=True)
            h = h / ((h**2).mean(1, keepdim=True) + 1e-5).sqrt() * of["1.weight"] + of["1.bias"]
        return h @ of["2.weight"] + of["2.bias"]

    def mean(s):
        return (W * theirs(torch.nn.functional, s, Y)).sum() / W.sum()

    def penalty(flat):
        return 0.1 * sum((part**2).sum() for key, part in views(flat).items() if key in ("0.weight", "2.weight"))

    flat = torch.from_numpy(params.flat)
    curved = torch.func.hessian(penalty)(flat)
    hessian = torch.func.hessian(lambda flat: mean(scores(flat)))(flat) + curved
    J = torch.func.jacrev(scores)(flat).reshape(15, -1)
    inner = torch.func.hessian(lambda s: mean(s.reshape(5, 3)))(scores(flat).reshape(-1))
    for function, expected in ((hessian_vp, hessian), (gauss_newton_vp, J.T @ inner @ J + curved)):
        options = {"sample_weight": weight, "regularizer": L2(0.1)}
        columns = [function(model, loss, params, x, y, e, **options).flat for e in np.eye(params.flat.size)]
        close(np.stack(columns, axis=1), expected.numpy(), 1e-12)


MODEL = Linear(3, 2)
PARAMS, X = MODEL.init(0), np.ones((2, 3))


@pytest.mark.parametrize("function", [hessian_vp, gauss_newton_vp])
@pytest.mark.parametrize(
    ("args", "kind", "message"),
    [
        (("cross_entropy", PARAMS, X, [0, 1], np.ones(5)), ShapeError, r"v must have .*\(8,\), got \(5,\)"),
        (("cross_entropy", PARAMS, X, [0, 1], {"weight": np.ones((3, 2))}), ParameterError, "missing"),
        (("cross_entropy", {"weight": np.ones((3, 2))}, X, [0, 1], np.ones(8)), ParameterError, "no 'bias'"),
        (("cross_entropy", PARAMS, [[1.0, 2, 3]], [0], np.ones(8)), DeviceError, "x must be a NumPy array, got list"),
        (
            ("cross_entropy", {n: np.ones(p.shape, int) for n, p in PARAMS.items()}, X, [0, 1], np.ones(8)),
            DTypeError,
            "weight must hold floating-point numbers, got dtype int64",
        ),
        (("cross_entropy", PARAMS, np.ones((2, 3), int), [0, 1], np.ones(8)), DTypeError, "x must hold floating-point"),
        (("cross_entrop", PARAMS, X, [0, 1], np.ones(8)), ValueRangeError, "did you mean"),
        (("cross_entropy", PARAMS, X, [0, 5], np.ones(8)), ValueRangeError, "labels from 0 to 1"),
    ],
)
def test_a_mistake_is_named(function, args, kind, message):
    with pytest.raises(kind, match=message) as caught:
        function(MODEL, *args)
    assert isinstance(caught.value, HandgradError)
