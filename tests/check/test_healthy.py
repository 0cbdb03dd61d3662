"""What is right passes: every op, loss, layer and hyperparameter, random networks, float32, kinks, torch."""

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import handgrad.layers as L
from handgrad import ops
from handgrad.check import check_gradients
from handgrad.layers.activations import ACTIVATIONS
from handgrad.layers.gated import GATED
from handgrad.models import Residual, Sequential, mlp
from soak import examples
from table import ROWS

RNG = np.random.default_rng(7)


def normal(*shape):
    return RNG.normal(size=shape)


def positive(*shape):
    return RNG.uniform(0.5, 2, shape)


LABELS = np.array([0, 2, 1, 1, 2])
# the table of all ops, every seventh row of each, and what it has not
OPS = [
    *((row.op, (*row.draw(), *row.args), row.hyper) for rows in ROWS.values() for row in rows[::7]),
    (ops.dropout, (normal(5, 4),), {"rate": 0.4, "rng": np.random.default_rng(3)}),
    (ops.binary_cross_entropy, (np.zeros((5, 3)), RNG.random((5, 3))), {}),
]


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize(("op", "inputs", "hyper"), OPS, ids=[f"{i}-{case[0].name}" for i, case in enumerate(OPS)])
def test_ops(op, inputs, hyper, method):
    report = check_gradients(op, *inputs, method=method, **hyper).raise_if_failed()
    names = [name for name, x in zip(op.inputs, inputs, strict=False) if x is not None]
    assert [row.name for row in report.rows] == names


@pytest.mark.parametrize(("op", "inputs", "hyper"), OPS, ids=[f"{i}-{case[0].name}" for i, case in enumerate(OPS)])
def test_ops_one_input_at_a_time(op, inputs, hyper):
    """The others stand still, and join a complex step all the same, as ops take inputs of one dtype."""
    for name in [name for name, x in zip(op.inputs, inputs, strict=False) if x is not None]:
        report = check_gradients(op, *inputs, wrt=name, method="complex", **hyper).raise_if_failed()
        assert [row.name for row in report.rows] == [name]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_some_parameters_of_a_loss(dtype):
    model = mlp([4, 6, 3], activation="tanh")
    params, x = model.init(0, dtype), normal(5, 4).astype(dtype)
    for wrt in ("x", "0.weight", ["0.bias", "2.weight"]):
        report = check_gradients(model, params, x, LABELS, loss="hinge", regularizer=L.L2(0.1), wrt=wrt)
        assert [row.name for row in report.raise_if_failed().rows] == ([wrt] if isinstance(wrt, str) else wrt)


LAYERS = [
    *(activation() for activation in ACTIVATIONS.values()),
    *(gated(4, 3) for gated in GATED.values()),
    L.Linear(4, 3),
    L.Linear(4, 3, layout="out_in", bias=False),
    L.LayerNorm(4),
    L.Flatten(),
    L.Dropout(0.5),
    Residual(L.Linear(4, 4)),
    Sequential([Sequential([L.Linear(4, 4), L.Tanh()]), Residual(L.SwiGLU(4, 4))]),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_layers(layer):
    params = layer.init(0)
    for train in (False, True):
        report = check_gradients(layer, params, normal(5, 4), train=train, rng=3).raise_if_failed()
        assert [row.name for row in report.rows] == ["x", *params]


def test_a_layer_placed_twice():
    shared = L.Linear(4, 4)
    model = Sequential([shared, L.Tanh(), shared])
    assert [row.name for row in check_gradients(model, model.init(0), normal(3, 4)).raise_if_failed().rows] == [
        "x",
        "0.weight",
        "0.bias",
    ]


@pytest.mark.parametrize("name", L.losses.LOSSES)
def test_whole_losses(name):
    model = mlp([4, 6, 3], "tanh")
    y = LABELS if L.loss(name).classifies else RNG.random((5, 3))
    report = check_gradients(
        model, model.init(0), normal(5, 4), y, loss=name, regularizer=L.L2(0.1), sample_weight=positive(5)
    ).raise_if_failed()
    assert len(report.rows) == 5


def test_loss_objects():
    check_gradients(L.CrossEntropy(0.1), normal(5, 3), LABELS).raise_if_failed()
    check_gradients(L.Huber(0.3), normal(5, 3), normal(5, 3), reduction="none").raise_if_failed()


def random_network(seed):
    rng = np.random.default_rng(seed)
    widths = [int(n) for n in rng.integers(1, 9, rng.integers(2, 6))]
    model = mlp(
        widths,
        str(rng.choice([*ACTIVATIONS, *GATED])),
        dropout=float(rng.choice([0, 0.4])),
        layer_norm=bool(rng.random() < 0.3),
        bias=bool(rng.random() < 0.8),
    )
    dtype = rng.choice([np.float32, np.float64])
    x = rng.normal(size=(int(rng.integers(1, 9)), widths[0])) * rng.choice([0.01, 1, 10])
    x = np.round(x) if rng.random() < 0.3 else x
    params = model.init(seed, dtype=dtype)
    if rng.random() < 0.1:
        params.flat[:] = 0
    return model, params, x.astype(dtype), rng


@pytest.mark.parametrize("block", range(examples(10)))
def test_random_networks_raise_no_false_alarm(block):
    for seed in range(20 * block, 20 * block + 20):
        model, params, x, rng = random_network(seed)
        names = ["hinge", "cross_entropy", "binary_cross_entropy", "squared_error", "huber", "quantile"]
        shape = (len(x), model.output_shape()[-1])
        loss = L.loss("hinge" if shape[1] == 1 else str(rng.choice(names)))  # one score has no cross-entropy
        y = rng.integers(0, shape[1], shape[0]) if loss.classifies else rng.random(shape).astype(x.dtype)
        whole = {"loss": loss, "regularizer": L.L2(0.01)} if rng.random() < 0.5 else {}
        method = "central" if seed % 4 == 0 else "auto"
        report = check_gradients(
            model,
            params,
            x,
            *([y] if whole else []),
            train=seed % 2 == 0,
            samples=12,
            method=method,
            seed=seed,
            **whole,
        )
        assert report.ok, f"seed {seed}\n{report}"


@settings(max_examples=examples(40))
@given(m=st.integers(1, 6), n_in=st.integers(1, 6), n_out=st.integers(1, 6), seed=st.integers(0, 1000))
def test_pairs_of_any_shape(m, n_in, n_out, seed):
    rng = np.random.default_rng(seed)

    def forward(x, w, b):
        h = np.tanh(x @ w + b)
        return h, (x, w, h)

    def backward(dout, cache):
        x, w, h = cache
        dz = dout * (1 - h * h)
        return dz @ w.T, x.T @ dz, dz.sum(0)

    check_gradients(
        (forward, backward), rng.normal(size=(m, n_in)), rng.normal(size=(n_in, n_out)), rng.normal(size=n_out)
    ).raise_if_failed()


def test_one_relu_at_zero_is_reported_and_accepted():
    report = check_gradients(ops.relu, np.array([[0.0, 1.0, -1.0], [2.0, 0.0, 0.0]])).raise_if_failed()
    row = report["x"]
    assert [kink.index for kink in row.kinks] == [(0, 0), (1, 1), (1, 2)]
    for kink in row.kinks:
        assert kink.gradient == 0
        assert min(abs(kink.left), abs(kink.right)) < 1e-9 < max(abs(kink.left), abs(kink.right))
    assert "3 entries stand on a kink" in str(report)


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        (ops.leaky_relu, (np.zeros((2, 3)),)),
        (ops.maximum, (np.ones((2, 3)), np.ones(3))),
        (ops.max, (np.ones((2, 3)),)),
        (ops.hinge, (np.array([[1.0, 0.0, 2.0], [3.0, 3.0, 3.0]]), np.array([0, 1]))),
        (ops.quantile, (np.zeros((2, 3)), np.zeros((2, 3)))),
        (ops.reglu, (np.zeros((3, 2)), np.ones((2, 2)), np.ones((2, 2)), np.zeros(2), np.zeros(2))),
    ],
)
def test_ties_and_zeros_are_no_false_alarm(op, inputs, method):
    check_gradients(op, *inputs, method=method).raise_if_failed()


def test_a_network_of_zeros_with_every_unit_on_its_kink():
    model = mlp([4, 5, 5, 3], "leaky_relu")
    params = model.init(0)
    params.flat[:] = 0
    check_gradients(model, params, normal(6, 4)).raise_if_failed()
    check_gradients(model, model.init(1), np.zeros((6, 4))).raise_if_failed()


def test_float32_is_run_as_given_and_proved_in_float64():
    model = mlp([4, 6, 3])
    report = check_gradients(model, model.init(0, dtype=np.float32), normal(5, 4).astype(np.float32)).raise_if_failed()
    for row in report.rows:
        assert row.dtype == "float32"
        assert row.error < 1e-12
        assert row.rounding < 1e-5
    assert "float32" in str(report)


def test_a_float32_gradient_that_overflows_fails():
    # exp(90) is finite in float64 alone
    report = check_gradients(ops.exp, np.array([1.0, 90.0], dtype=np.float32))
    assert not report.ok


def test_scalars_and_lists():
    check_gradients(ops.multiply, 2.0, -3.0).raise_if_failed()
    check_gradients(ops.softmax, [1.0, 2.0, 3.0]).raise_if_failed()

    def forward(x, y):
        return x * y, (x, y)

    report = check_gradients((forward, lambda dout, c: (dout * c[1], dout * c[0])), 2.0, 5.0).raise_if_failed()
    assert [row.shape for row in report.rows] == [(), ()]


def test_steep_and_flat_functions():
    check_gradients(ops.log, np.array([1e-6, 1e-3, 1.0, 1e6]), method="central").raise_if_failed()
    check_gradients(ops.sigmoid, np.array([-700.0, -40.0, 0.0, 40.0, 700.0])).raise_if_failed()


def test_a_users_layer_is_measured_by_central_differences():
    class Square(L.Layer):
        def forward(self, params, x, *, train=False, rng=None):
            return x * abs(x), x

        def backward(self, dout, cache):
            return 2 * dout * abs(cache), {}

    model = Sequential([L.Linear(3, 3), Square()])
    report = check_gradients(model, model.init(0), normal(4, 3)).raise_if_failed()
    assert report.method == "central"


def test_same_seed_same_report():
    model, params, x, _ = random_network(1)
    first, second = (dataclasses.replace(check_gradients(model, params, x, seed=5), seconds=0) for _ in range(2))
    assert str(first) == str(second)


def test_inputs_are_left_alone():
    model = mlp([4, 6, 3])
    params, x = model.init(0), normal(5, 4)
    flat, before = params.flat.copy(), x.copy()
    params.flat.flags.writeable = x.flags.writeable = False
    check_gradients(model, params, x).raise_if_failed()
    assert np.array_equal(params.flat, flat)
    assert np.array_equal(x, before)


def test_torch_arrays():
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
    model = mlp([4, 6, 3])
    params = {name: torch.tensor(value, dtype=torch.float32) for name, value in model.init(0).items()}
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
    report = check_gradients(model, params, x, y, loss="cross_entropy", regularizer=L.L2(0.1)).raise_if_failed()
    assert all(row.rounding < 1e-4 for row in report.rows)
    assert "torch.float32" in str(report)
