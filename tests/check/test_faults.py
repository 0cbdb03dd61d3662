"""What is wrong is caught: each fault is planted, and the report must name the array, the place and the fault."""

import numpy as np
import pytest

import handgrad.layers as L
from handgrad import ops
from handgrad.check import GradientError, check_gradients
from handgrad.errors import ShapeError
from handgrad.models import Sequential, mlp

RNG = np.random.default_rng(3)
M, N = 6, 5
X, W, B = RNG.normal(size=(M, N)), RNG.normal(size=(N, N)), RNG.normal(size=N)


def forward(x, w, b):
    h = np.tanh(x @ w + b)
    return h, (x, w, h)


def backward(dout, cache):
    x, w, h = cache
    dz = dout * (1 - h * h)
    return {"x": dz @ w.T, "w": x.T @ dz, "b": dz.sum(0), "dz": dz}


def planted(**faults):
    """The right backward, with some gradients replaced by what `faults` make of all of them."""

    def wrong(dout, cache):
        right = backward(dout, cache)
        made = {**right, **{name: fault(right) for name, fault in faults.items()}}
        return tuple(made[name] for name in ("x", "w", "b"))

    return wrong


FAULTS = {
    "sign": ("w", lambda g: -g["w"], "the sign is wrong"),
    "transpose": ("w", lambda g: g["w"].T, "transposed"),
    "mean for sum": ("w", lambda g: g["w"] / M, "1 / 6, the batch size"),
    "sum for mean": ("b", lambda g: g["b"] * M, "6, the batch size"),
    "twice": ("x", lambda g: 2 * g["x"], "factor 2"),
    "minus half": ("x", lambda g: -g["x"] / 2, "factor 0.5; the sign is wrong too"),
    "no sum": ("b", lambda g: g["dz"], "the sum over axis 0, the batch, is missing"),
    "first sample alone": ("b", lambda g: g["dz"][0], "first sample"),
    "last sample alone": ("b", lambda g: g["dz"][-1], "last sample"),
    "wrong axis": ("b", lambda g: g["dz"].sum(1), "wrong axis"),
    "kept axis": ("b", lambda g: g["b"][None], "need the shape (5,)"),
    "zero": ("w", lambda g: 0 * g["w"], "0 everywhere"),
    "nan": ("w", lambda g: g["w"] * np.nan, "not finite"),
    "dtype": ("w", lambda g: g["w"].astype(np.float32), "dtype float32"),
    "none": ("w", lambda g: None, "no gradient"),
    "penalty": ("w", lambda g: g["w"] + 0.02 * W, "0.02 times the array itself"),
}


@pytest.mark.parametrize(("name", "fault", "words"), FAULTS.values(), ids=FAULTS)
def test_planted_in_a_pair(name, fault, words):
    report = check_gradients((forward, planted(**{name: fault})), X, W, B)
    assert [row.name for row in report.rows if not row.ok] == [name]
    assert report.worst.name == name
    assert words in report[name].hint
    with pytest.raises(GradientError, match="WRONG"):
        report.raise_if_failed()


def test_a_non_square_weight_transposed():
    w = RNG.normal(size=(N, 3))
    report = check_gradients((forward, planted(w=lambda g: g["w"].T)), X, w, B[:3])
    assert "shape (3, 5), its input (5, 3); transposed" in report["w"].hint


def test_a_weight_for_a_weightless_sum():
    def spread(x, y):
        return x * y, (x, y)

    report = check_gradients((spread, lambda d, c: (d * c[1], d * c[0])), X, RNG.normal(size=(M, 1)))
    assert "broadcast axes (1,)" in report["y"].hint or "sum over" in report["y"].hint


@pytest.mark.parametrize("seed", range(5))
def test_one_wrong_entry_in_60000_is_found(seed):
    x, w = RNG.normal(size=(16, 300)), RNG.normal(size=(300, 200))
    at = tuple(int(i) for i in np.random.default_rng(seed).integers(0, (300, 200)))

    def linear_backward(dout, cache):
        dw = cache[0].T @ dout
        dw[at] += 0.1
        return dout @ cache[1].T, dw

    report = check_gradients((lambda x, w: (x @ w, (x, w)), linear_backward), x, w, seed=seed)
    assert report["x"].ok
    assert report["w"].index == at
    assert report["w"].analytic - report["w"].numeric == pytest.approx(0.1, rel=1e-4)


class Wrong(L.Linear):
    """A layer of the user's with one wrong entry, or whatever `change` makes of the gradients."""

    def __init__(self, *args, change):
        super().__init__(*args)
        object.__setattr__(self, "change", change)

    def backward(self, dout, cache):
        return self.change(*super().backward(dout, cache))


def one_entry(dx, grads):
    grads["weight"] = grads["weight"].copy()
    grads["weight"][17, 5] *= -1
    return dx, grads


def test_one_wrong_entry_in_a_layer_within_a_model():
    model = Sequential([L.Linear(20, 40), L.ReLU(), Wrong(40, 30, change=one_entry), L.Tanh()])
    report = check_gradients(model, model.init(0), RNG.normal(size=(8, 20)))
    assert [row.name for row in report.rows if not row.ok] == ["2.weight"]
    assert report["2.weight"].index == (17, 5)


def test_layers_with_missing_and_unknown_names():
    x = RNG.normal(size=(4, 3))
    layer = Wrong(3, 2, change=lambda dx, grads: (dx, {"weight": grads["weight"]}))
    report = check_gradients(layer, layer.init(0), x)
    assert "no gradient" in report["bias"].hint
    layer = Wrong(3, 2, change=lambda dx, grads: (dx, {**grads, "wieght": dx}))
    assert "wieght" in check_gradients(layer, layer.init(0), x).problems[0]


class TwiceReLU(ops.Elementwise):
    """A subgradient at 0 that lies outside of the slopes: 2."""

    name = "twice_relu"

    def value(self, x):
        return np.maximum(x, 0), x

    def local(self, x):
        return np.where(x > 0, 1.0, np.where(x == 0, 2.0, 0.0))


@pytest.mark.parametrize("method", ["complex", "central"])
def test_a_subgradient_outside_the_slopes(method):
    x = np.array([1.0, 0.0, -2.0])
    report = check_gradients(TwiceReLU(), x, method=method)
    assert not report.ok
    assert report["x"].index == (1,)
    assert len(report["x"].kinks) == 1
    assert check_gradients(TwiceReLU(), x + 0.5, method=method).ok


def test_an_op_of_ones_own():
    class Cube(ops.Elementwise):
        name = "cube"

        def value(self, x):
            return x**3, x

        def local(self, x):
            return 3 * x

    report = check_gradients(Cube(), RNG.normal(size=(3, 4)))
    assert report.method == "central"
    assert not report["x"].ok


def problems(forward, backward, *inputs):
    return " ".join(check_gradients((forward, backward), *inputs).problems)


def test_dout_changed_in_place():
    def in_place(dout, cache):
        x, w, h = cache
        dout *= 1 - h * h
        return dout @ w.T, x.T @ dout, dout.sum(0)

    assert "changes dout" in problems(forward, in_place, X, W, B)


def test_cache_changed():
    def used_up(dout, cache):
        x, w, h = cache
        grads = planted()(dout, (x, w, h.copy()))
        h *= 0
        return grads

    assert "changes the cache" in problems(forward, used_up, X, W, B)


def test_inputs_changed():
    def careless(x, w, b):
        x -= 1
        return forward(x, w, b)

    assert "forward changes its inputs" in problems(careless, planted(), X, W, B)


def test_stale_cache():
    latest = {}

    def remembering(x, w, b):
        out, latest["cache"] = forward(x, w, b)
        return out, None

    assert "stale cache" in problems(remembering, lambda dout, _: planted()(dout, latest["cache"]), X, W, B)


def test_cache_of_the_first_call():
    first = {}

    def remembering(x, w, b):
        out, cache = forward(x, w, b)
        return out, first.setdefault("cache", cache)

    assert not check_gradients((remembering, planted()), X, W, B).ok


def test_gradients_that_add_up():
    total = np.zeros(N)

    def adding(dout, cache):
        dx, dw, db = planted()(dout, cache)
        total[...] += db
        return dx, dw, total.copy()

    assert "other gradients when called again" in problems(forward, adding, X, W, B)


def test_gradients_in_one_buffer():
    buffer = np.zeros(N)

    def reusing(dout, cache):
        dx, dw, db = planted()(dout, cache)
        buffer[...] = 0
        buffer[...] = db
        return dx, dw, buffer

    assert check_gradients((forward, reusing), X, W, B).ok or "overwrites" in problems(forward, reusing, X, W, B)


def test_random_forward():
    rng = np.random.default_rng(0)

    def noisy(x, w, b):
        return forward(x + rng.normal(size=x.shape), w, b)

    assert "another output" in problems(noisy, planted(), X, W, B)


def test_float32_inside_forward():
    def narrow(x, w, b):
        out, cache = forward(x, w, b)
        return out.astype(np.float32), cache

    assert "float32" in problems(narrow, planted(), X, W, B)


def test_an_output_that_is_not_finite():
    report = check_gradients(ops.log, np.array([1.0, 0.0]))
    assert "the output is not finite" in report.problems[0]


def test_complex_steps_through_code_that_drops_the_imaginary_part():
    def modulus(x):
        return np.abs(x) ** 2, x

    pair = (modulus, lambda dout, x: (2 * dout * x,))
    assert check_gradients(pair, X).ok
    assert 'use method="central"' in check_gradients(pair, X, method="complex")["x"].hint


def test_a_regularizer_counted_twice():
    class Twice(L.L2):
        def value_and_grad(self, params):
            value, grads = super().value_and_grad(params)
            return value, {name: 2 * g for name, g in grads.items()}

    model = mlp([4, 5, 3])
    y = np.array([0, 1, 2, 0])
    report = check_gradients(
        model, model.init(0), RNG.normal(size=(4, 4)), y, loss="cross_entropy", regularizer=Twice(0.5)
    )
    assert [row.name for row in report.rows if not row.ok] == ["0.weight", "2.weight"]
    assert "an L2 penalty counted wrong" in report["0.weight"].hint


def test_a_loss_that_forgets_the_weights():
    class Forgetful(L.SquaredError):
        def backward(self, dout, cache):
            return 2 * super().backward(dout, cache)

    model = mlp([4, 5, 3])
    x, y = RNG.normal(size=(4, 4)), RNG.normal(size=(4, 3))
    report = check_gradients(model, model.init(0), x, y, loss=Forgetful())
    assert not any(row.ok for row in report.rows)
    assert all("factor 2" in row.hint for row in report.rows)


def test_an_empty_batch_proves_nothing():
    with pytest.raises(ShapeError, match="no entry at all"):
        check_gradients(ops.sigmoid, np.zeros((0, 3)))
