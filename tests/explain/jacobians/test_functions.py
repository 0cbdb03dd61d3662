"""`jacobian`, `vjp` and `jvp` of ops, losses, layers and models."""

from dataclasses import dataclass

import numpy as np
import pytest

import handgrad as hg
from handgrad import jacobian, jvp, ops, vjp
from handgrad.errors import DTypeError, HandgradError, ParameterError, ShapeError, UnsupportedError, ValueRangeError
from handgrad.layers import Dropout, Layer, Linear, Parameter, ReLU, Tanh
from handgrad.models import Graph, Residual, Sequential
from layers.table import LAYERS
from table import CASES

every_layer = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
RNG = np.random.default_rng(0)


def of_layer(function, case, *args, **keywords):
    rng = np.random.default_rng(4)
    return function(case.layer, case.params(), case.x(), *args, train=case.train, rng=rng, **keywords)


@every_layer
def test_products_are_those_of_backward(case):
    u, v = case.upstream(), np.random.default_rng(5).standard_normal(case.x().shape)
    dx, grads = case.layer.backward(u, case.forward(case.params(), case.x())[1])
    J = of_layer(jacobian, case)
    assert (J.out_shape, J.in_shape) == (u.shape, v.shape)
    np.testing.assert_allclose(u @ J, dx, rtol=1e-11, atol=1e-13)
    assert np.sum(u * (J @ v)) == pytest.approx(np.sum(dx * v), rel=1e-11, abs=1e-12)
    for name, gradient in grads.items():
        by_name = of_layer(jacobian, case, wrt=name)
        np.testing.assert_allclose(u @ by_name, gradient, rtol=1e-11, atol=1e-13)
        t = np.random.default_rng(6).standard_normal(gradient.shape)
        assert np.sum(u * (by_name @ t)) == pytest.approx(np.sum(gradient * t), rel=1e-11, abs=1e-12)


@every_layer
def test_dense_is_the_complex_step_of_every_output(case):
    x, params = case.x(), case.params()
    dense = of_layer(jacobian, case).dense()
    expected = np.empty_like(dense)
    z, lifted = x.astype(complex), params.like(params.flat + 0j)
    for at in np.ndindex(x.shape):
        z[at] += 1e-30j
        expected[(..., *at)] = case.forward(lifted, z)[0].imag / 1e-30
        z[at] = x[at]
    np.testing.assert_allclose(dense, expected, rtol=1e-10, atol=1e-12)


@every_layer
def test_the_jacobian_of_a_layer_is_block_diagonal_over_the_batch(case):
    J = of_layer(jacobian, case)
    blocks, dense = J.blocks(), J.dense()
    for i in range(len(case.x())):
        for j in range(len(case.x())):
            block = dense[(i, *[slice(None)] * len(case.out), j)]
            np.testing.assert_array_equal(block, blocks[i] if i == j else np.zeros_like(block))


@every_layer
def test_vjp_and_jvp(case):
    u, params = case.upstream(), case.params()
    out, cache = case.forward(params, case.x())
    dx, grads = case.layer.backward(u, cache)
    found, down = of_layer(vjp, case, upstream=u)
    np.testing.assert_array_equal(found, out)
    assert list(down) == ["x", *params]
    for name, gradient in {"x": dx, **grads}.items():
        np.testing.assert_array_equal(down[name], gradient)
    tangents = {"x": case.x() - 0.5, **{name: array + 1 for name, array in params.items()}}
    _, moved = of_layer(jvp, case, tangents=tangents)
    inner = sum(np.sum(down[name] * tangents[name]) for name in tangents)
    assert np.sum(u * moved) == pytest.approx(inner, rel=1e-11, abs=1e-11)
    _, by_x = of_layer(jvp, case, tangents=case.x())
    np.testing.assert_allclose(by_x, of_layer(jacobian, case) @ case.x(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("case", CASES[::7], ids=str)
def test_ops(case):
    inputs, tangents = case.draw(), case.draw(1)
    out, cache = case.forward(inputs)
    u = np.asarray(case.upstream(out))
    names = [name for name, x in zip(case.op.inputs, inputs, strict=True) if x is not None]
    moved = {name: t for name, t in zip(case.op.inputs, tangents, strict=True) if t is not None}
    _, down = vjp(case.op, *inputs, *case.args, upstream=u, hyper=case.hyper)
    _, tangent = jvp(case.op, *inputs, *case.args, tangents=moved, hyper=case.hyper)
    assert list(down) == names
    np.testing.assert_array_equal(tangent, case.op.jvp(tangents, cache))
    for name in names:
        np.testing.assert_array_equal(down[name], case.op.backward(u, cache)[case.op.inputs.index(name)])
        J = jacobian(case.op, *inputs, *case.args, wrt=name, hyper=case.hyper)
        np.testing.assert_allclose(u @ J, down[name], rtol=1e-11, atol=1e-12)


def test_the_chain_rule_can_be_read():
    model = hg.mlp([3, 4, 2], "tanh")
    params = model.init(0)
    x = RNG.standard_normal((5, 3))
    assert jacobian(model, params, x).text == "(I5 ⊗ W[2]ᵀ) diag(tanh[1]') (I5 ⊗ W[0]ᵀ)"
    assert jacobian(model, params, x[0]).text == "W[2]ᵀ diag(tanh[1]') W[0]ᵀ"
    assert jacobian(model, params, x, wrt="0.weight").text == "(I5 ⊗ W[2]ᵀ) diag(tanh[1]') (X[0] ⊗ I4)"
    assert jacobian(Residual(Tanh()), {}, x).text == "I + diag(tanh[layer]')"
    gated = hg.GLU(3, 2)
    ways = "diag(f(g)) (I5 ⊗ W[content]ᵀ) + diag(c f'(g)) (I5 ⊗ W[gate]ᵀ)"
    assert jacobian(gated, gated.init(0), x).text == ways
    np.testing.assert_allclose(
        jacobian(model, params, x).blocks()[2], jacobian(model, params, x[2]).dense(), rtol=1e-12
    )


def test_softmax_and_cross_entropy_collapse():
    scores = np.array([1.0, 2.0, 0.5])
    p, y = ops.softmax(scores), np.array([0.0, 1.0, 0.0])
    by_p = -y / p  # of L = -sum y log p
    np.testing.assert_allclose(by_p @ jacobian(ops.softmax, scores), p - y, rtol=1e-14)
    np.testing.assert_allclose(jacobian(ops.cross_entropy, scores[None], [1]).dense()[0], p - y, rtol=1e-14)
    np.testing.assert_allclose(jacobian(hg.CrossEntropy(), scores[None], [1]).dense()[0], p - y, rtol=1e-14)


def test_a_loss_brings_its_hyperparameters():
    scores = RNG.standard_normal((4, 3))
    given = jacobian(hg.CrossEntropy(label_smoothing=0.3), scores, [0, 1, 2, 0])
    expected = jacobian(ops.cross_entropy, scores, [0, 1, 2, 0], label_smoothing=0.3)
    np.testing.assert_array_equal(given.dense(), expected.dense())
    each = jacobian(hg.Hinge(), scores, [0, 1, 2, 0], reduction="none")
    assert each.blocks().shape == (4, 3)


def test_several_at_once_and_by_number():
    x, w, b = RNG.standard_normal((4, 3)), RNG.standard_normal((3, 2)), np.zeros(2)
    by_x, by_b = jacobian(ops.linear, x, w, b, wrt=[0, "b"])
    assert (by_x.in_shape, by_b.in_shape) == ((4, 3), (2,))
    assert jacobian(ops.linear, x, w, b=b, wrt=2).in_shape == (2,)
    layer = Linear(3, 2)
    assert jacobian(layer, layer.init(0), x, wrt=1).in_shape == (3, 2)  # 0 is x
    assert jacobian(layer, layer.init(0), x, wrt=np.int64(1)).in_shape == (3, 2)


def test_lists_and_numbers_serve():
    np.testing.assert_array_equal(jacobian(ops.multiply, 3.0, [1.0, 2.0], wrt=1).dense(), [[3, 0], [0, 3]])
    np.testing.assert_array_equal(vjp(ops.power, 3.0, 2.0)[1]["x"], 6)


def test_dropout_drops_the_same_each_time():
    model = Sequential([Linear(3, 50), Dropout(0.5)])
    params, x = model.init(0), RNG.standard_normal((2, 3))
    rng = np.random.default_rng(3)
    out, _ = vjp(model, params, x, upstream=np.ones((2, 50)), train=True, rng=rng)
    J = jacobian(model, params, x, train=True, rng=rng)
    zero = out == 0
    assert 10 < zero.sum() < 90
    np.testing.assert_array_equal((J @ (x + 5))[zero], 0)
    assert np.all((J @ (x + 5))[~zero] != 0)
    seeded = jacobian(model, params, x, train=True, rng=3)
    np.testing.assert_array_equal(seeded @ x, jacobian(model, params, x, train=True, rng=3) @ x)


def test_kinks_are_as_the_ops_take_them():
    np.testing.assert_array_equal(jacobian(ops.relu, np.array([-1.0, 0.0, 2.0])).d, [0, 0, 1])
    np.testing.assert_array_equal(jacobian(ops.leaky_relu, np.array([0.0]), alpha=0.2).d, [0.2])
    np.testing.assert_array_equal(jacobian(ops.max, np.array([2.0, 2.0])).dense(), [0.5, 0.5])


@dataclass(frozen=True)
class Scale(Layer):
    """y = a x, with forward and backward alone."""

    def parameters(self):
        return {"a": Parameter((3,), lambda rng, shape: np.ones(shape))}

    def forward(self, params, x, *, train=False, rng=None):
        return params["a"] * x, (params["a"], x)

    def backward(self, dout, cache):
        a, x = cache
        return a * dout, {"a": (x * dout).sum(axis=0)}


def test_a_layer_of_ones_own():
    model = Sequential([Linear(3, 3), Scale(), ReLU()])
    params, x = model.init(0), RNG.standard_normal((4, 3))
    params["1.a"][...] = [1.0, 2.0, 3.0]
    twin = Sequential([Linear(3, 3), Linear(3, 3, bias=False), ReLU()])
    same = {"0.weight": params["0.weight"], "0.bias": params["0.bias"], "1.weight": np.diag(params["1.a"])}
    np.testing.assert_allclose(jacobian(model, params, x).dense(), jacobian(twin, same, x).dense(), rtol=1e-13)
    v = RNG.standard_normal((4, 3))
    np.testing.assert_allclose(jacobian(model, params, x) @ v, jacobian(twin, same, x) @ v, rtol=1e-12, atol=1e-14)
    assert jacobian(model, params, x, wrt="1.a").dense().shape == (4, 3, 3)
    with pytest.raises(UnsupportedError, match="Scale has no op, so that it must have a jvp"):
        jvp(model, params, x, tangents=v)


def test_a_graph():
    g = Graph()
    x = g.input("x")
    g.output(ops.tanh(x @ g.parameter("w", (3, 2))) * 2.0)
    params, x = g.init(0), RNG.standard_normal((4, 3))
    J = jacobian(g, params, x)
    u, v = RNG.standard_normal((4, 2)), RNG.standard_normal((4, 3))
    np.testing.assert_allclose(u @ J, g.backward(u, g.forward(params, x)[1])[0], rtol=1e-13)
    assert np.sum(u * (J @ v)) == pytest.approx(np.sum((u @ J) * v), rel=1e-12)
    assert J.dense().shape == (4, 2, 4, 3)
    out, moved = jvp(g, params, x, tangents={"w": params["w"]})
    step = g.forward({"w": params["w"] * (1 + 1e-30j)}, x + 0j)[0].imag / 1e-30
    np.testing.assert_allclose(moved, step, rtol=1e-12)
    assert out.shape == (4, 2)


def test_a_deep_residual_network_costs_what_its_layers_do():
    block = Sequential([Linear(4, 4), Tanh()])
    model = Sequential([Residual(block)] * 60)  # 2^60 ways through it
    params, x = model.init(0), RNG.standard_normal((2, 4))
    J = jacobian(model, params, x)
    u = RNG.standard_normal((2, 4))
    np.testing.assert_allclose(u @ J, model.backward(u, model.forward(params, x)[1])[0], rtol=1e-10)
    by_weight = jacobian(model, params, x, wrt="0.layer.0.weight")
    _, grads = model.backward(u, model.forward(params, x)[1])
    np.testing.assert_allclose(u @ by_weight, grads["0.layer.0.weight"], rtol=1e-10)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch.func itself
def test_torch_func_agrees():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = hg.mlp([3, 5, 2], "gelu")
    params, x, v = model.init(0), RNG.standard_normal((4, 3)), RNG.standard_normal((4, 3))

    def forward(w0, b0, w2, b2, x):
        return torch.nn.functional.gelu(x @ w0 + b0) @ w2 + b2

    tensors = [torch.tensor(params[name]) for name in params]
    wrt = tuple(range(5))
    theirs = torch.func.jacrev(forward, argnums=wrt)(*tensors, torch.tensor(x))
    for name, expected in zip([*params, "x"], theirs, strict=True):
        np.testing.assert_allclose(jacobian(model, params, x, wrt=name).dense(), expected, rtol=1e-10, atol=1e-12)
    zeros = [torch.zeros_like(t) for t in tensors]
    _, expected = torch.func.jvp(forward, (*tensors, torch.tensor(x)), (*zeros, torch.tensor(v)))
    np.testing.assert_allclose(jvp(model, params, x, tangents=v)[1], expected, rtol=1e-11, atol=1e-13)
    on_torch = jacobian(model, dict(zip(params, tensors, strict=True)), torch.tensor(x))
    np.testing.assert_allclose(on_torch.dense().numpy(), theirs[-1], rtol=1e-10, atol=1e-12)


LAYER = Linear(3, 2)
PARAMS = LAYER.init(0)


@pytest.mark.parametrize(
    ("mistake", "kind", "message"),
    [
        (lambda: jacobian(len, 1.0), DTypeError, "target must be an op, a loss, a layer or a model, got builtin"),
        (lambda: jacobian(Linear, 1.0), DTypeError, r"got type; write Linear\(\.\.\.\)|got .*; write Linear"),
        (lambda: jacobian(ops.linear), ValueRangeError, "needs its inputs"),
        (lambda: jacobian(ops.relu, np.ones(2), wrt="y"), ValueRangeError, r"wrt must be one of \['x'\].*got 'y'"),
        (lambda: jacobian(ops.relu, np.ones(2), wrt=None), ValueRangeError, "or its number, got None"),
        (lambda: jacobian(ops.relu, np.ones(2), wrt=1), ValueRangeError, "or its number, got 1"),
        (lambda: jacobian(ops.linear, np.ones(2), np.ones((2, 3)), wrt="b"), ValueRangeError, r"\['x', 'w'\]"),
        (lambda: jacobian(LAYER, np.ones((2, 3))), ValueRangeError, "takes params and x, got 1"),
        (lambda: jacobian(LAYER, [1], np.ones((2, 3))), DTypeError, "params must map names to arrays"),
        (lambda: jacobian(LAYER, {"bias": np.ones(2)}, np.ones((2, 3))), ParameterError, "no 'weight'"),
        (lambda: jacobian(LAYER, PARAMS, np.ones((2, 3)), axis=1), ValueRangeError, "axis is no option"),
        (lambda: jacobian(LAYER, PARAMS, np.ones((2, 4))), ShapeError, "4 features"),
        (lambda: vjp(LAYER, PARAMS, np.ones((2, 3))), ShapeError, r"upstream must be given.*\(2, 2\)"),
        (lambda: vjp(LAYER, PARAMS, np.ones((2, 3)), upstream=np.ones(2)), ShapeError, r"got \(2,\)"),
        (lambda: jvp(LAYER, PARAMS, np.ones((2, 3)), tangents=np.ones(3)), ShapeError, r"'x'.*\(2, 3\), got \(3,\)"),
        (lambda: jvp(LAYER, PARAMS, np.ones((2, 3)), tangents={"w": 1}), ValueRangeError, "got 'w'"),
    ],
)
def test_a_mistake_is_named(mistake, kind, message):
    with pytest.raises(kind, match=message) as caught:
        mistake()
    assert isinstance(caught.value, HandgradError)
