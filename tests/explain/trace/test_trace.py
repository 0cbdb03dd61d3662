"""A trace's numbers are those of the layers' own forward and backward; containers are followed; nothing is changed."""

import io
import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import handgrad as hg
from explain.diagnose.networks import draw
from handgrad.errors import DTypeError, ParameterError, ShapeError, ValueRangeError
from handgrad.explain.trace import QUANTILES, Spread
from handgrad.explain.trace.tape import record
from handgrad.layers.activations import ACTIVATIONS
from handgrad.layers.gated import GATED

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(40, 6)), RNG.integers(3, size=40)


def nested():
    shared = hg.Linear(8, 8)
    block = hg.Residual(hg.Sequential([hg.LayerNorm(8), shared, hg.Tanh()]))
    return hg.Sequential(
        [hg.Linear(6, 8, layout="out_in"), hg.ReLU(), block, hg.Residual(shared), hg.SwiGLU(8, 5), hg.Linear(5, 3)]
    )


@pytest.mark.parametrize("seed", range(12))
def test_gradients_are_those_of_value_and_grad(seed):
    network = draw(seed)
    tape = record(network.model, network.params, network.X, network.y, loss=network.loss, regularizer=hg.L2(0.01))
    value, grads = hg.value_and_grad(
        network.model, network.loss, network.params, network.X, network.y, regularizer=hg.L2(0.01)
    )
    assert tape.value == pytest.approx(float(value), rel=1e-6)
    tolerance = 1e-10 if network.X.dtype == np.float64 else 1e-4
    np.testing.assert_allclose(tape.gradients.flat, grads.flat, rtol=tolerance, atol=tolerance)


def test_every_gradient_is_that_of_a_moved_output():
    """The upstream gradient at each step is the change of the loss with that step's output, by a complex step."""
    model = nested()
    params = model.init(0)
    tape = record(model, params, X, Y)
    assert [step.name for step in tape.steps] == [
        "0", "1", "2.layer.0", "2.layer.1", "2.layer.2", "2", "3.layer", "3", "4", "5",
    ]  # fmt: skip
    direction = RNG.normal(size=(40, 8))

    class Push(hg.Layer):
        def forward(self, params, x, *, train=False, rng=None):
            return x + 1e-30j * direction, None

    pushed = hg.Sequential([*model.layers[:3], Push(), *model.layers[3:]])
    names = dict(zip(pushed.parameters(), params.values(), strict=True))
    scores, _ = pushed.forward({n: v + 0j for n, v in names.items()}, X + 0j)
    moved, _ = hg.CrossEntropy().forward(scores, Y)
    assert moved.imag / 1e-30 == pytest.approx(float(np.sum(direction * tape.steps[5].dout)), rel=1e-10)


def test_shared_parameters():
    trace = hg.trace(nested(), nested().init(0), X, Y)
    shared = trace["2.layer.1.weight"]
    assert shared.layers == ("2.layer.1", "3.layer")
    own = [dict(zip(layer.parameters, layer.parameter_gradient_norms, strict=True)) for layer in trace.layers]
    parts = [norms["2.layer.1.weight"] for norms in own if "2.layer.1.weight" in norms]
    assert len(parts) == 2
    assert shared.gradient.norm <= sum(parts)
    assert shared.gradient.norm != pytest.approx(parts[0])


def test_shapes_values_and_edges():
    model = nested()
    params = model.init(0)
    trace = hg.trace(model, params, X, Y)
    seen = {}
    model.visit(lambda name, layer, out: seen.update({name: out}), params, X)
    for layer in trace.layers:
        assert layer.output_shape == seen[layer.name].shape
        assert layer.values.mean == pytest.approx(seen[layer.name].mean())
        assert layer.values.quantiles == pytest.approx(np.quantile(seen[layer.name], QUANTILES))
    assert trace["0"].inputs == ("X",)
    assert trace["2"].inputs == ("1", "2.layer.2")
    assert trace["2"].kind == "Residual"
    assert trace["3"].inputs == ("2", "3.layer")
    assert trace.parameter_count == params.flat.size
    assert trace.rows == 40
    with pytest.raises(KeyError, match="neither a layer nor a parameter"):
        trace["9"]


@pytest.mark.parametrize("optimizer", [hg.SGD(0.1), hg.Adam(0.01), hg.AdamW(0.01, weight_decay=0.1), "rmsprop"])
def test_updates_are_the_optimizers(optimizer):
    model = hg.mlp([6, 8, 3])
    params = model.init(0)
    trace = hg.trace(model, params, X, Y, optimizer=optimizer, regularizer=hg.L2(0.1))
    _, grads = hg.value_and_grad(model, "cross_entropy", params, X, Y, regularizer=hg.L2(0.1))
    rule = hg.optim.by_name(optimizer)
    _, update = rule.update(rule.init(params.flat), grads.flat, params.flat, decayed=params.decays)
    moved = params.like(update)
    for p in trace.parameters:
        assert p.update_norm == pytest.approx(np.linalg.norm(moved[p.name]))
        norm = np.linalg.norm(params[p.name])
        assert (
            p.update_ratio == pytest.approx(np.linalg.norm(moved[p.name]) / norm)
            if norm
            else math.isnan(p.update_ratio)
        )


@pytest.mark.parametrize("optimizer", [hg.SGD(0.1), hg.Adam(0.01)])
def test_the_loss_after_the_step(optimizer):
    model = hg.mlp([6, 8, 3], dropout=0.3)
    params, weight = model.init(0), RNG.random(40)
    options = {"sample_weight": weight, "regularizer": hg.L2(0.1)}
    trace = hg.trace(model, params, X, Y, optimizer=optimizer, **options)
    _, grads = hg.value_and_grad(model, "cross_entropy", params, X, Y, **options)
    _, update = optimizer.update(optimizer.init(params.flat), grads.flat, params.flat, decayed=params.decays)
    after, _ = hg.value_and_grad(model, "cross_entropy", params.like(params.flat + update), X, Y, **options)
    assert trace.loss_after_step == pytest.approx(after)
    assert trace.loss_predicted == pytest.approx(trace.loss_value + grads.flat @ update)
    still = hg.trace(model, params, X, Y, optimizer=hg.SGD(1e-12), train=True, rng=3)
    assert still.loss_after_step == pytest.approx(still.loss_value)  # the same units are dropped
    generator = np.random.default_rng(3)
    assert hg.trace(model, params, X, Y, train=True, rng=generator).loss_value == still.loss_value
    assert generator.random() != np.random.default_rng(3).random()


def test_an_optimizers_state_is_heard():
    model = hg.mlp([6, 8, 3])
    params = model.init(0)
    rule = hg.SGD(0.1, momentum=0.9)
    state = {"step": 3, "velocity": np.full_like(params.flat, 100.0)}
    first, later = (hg.trace(model, params, X, Y, optimizer=rule, state=s) for s in (None, state))
    assert later["0.weight"].update_norm > 10 * first["0.weight"].update_norm
    with pytest.raises(ValueRangeError, match="does not know its number of steps"):
        hg.trace(model, params, X, Y, optimizer=hg.Adam(hg.OneCycle(0.1)))


def test_saturation_and_dead_units():
    model = hg.Sequential(
        [hg.Linear(6, 4), hg.ReLU(), hg.Linear(4, 5), hg.Tanh(), hg.Linear(5, 2), hg.Sigmoid(), hg.GLU(2, 3)]
    )
    params = model.init(0)
    params["0.bias"][[1, 3]] = -99
    params["2.bias"][[0, 1]] = 9
    params["4.bias"][0] = 50
    params["6.gate.bias"][:] = -50
    trace = hg.trace(model, params, X, Y)
    assert trace["1"].dead.tolist() == [1, 3]
    assert trace["1"].units == 4
    assert trace["3"].saturation >= 0.4
    assert 0.5 <= trace["5"].saturation < 1
    assert trace["6"].saturation == 1
    assert trace["0"].dead is None
    assert trace["0"].saturation is None


def test_caches():
    model = hg.Sequential([hg.Linear(6, 4), hg.ReLU(), hg.Linear(4, 3)])
    trace = hg.trace(model, model.init(0), X, Y)
    x, h = X.nbytes, 40 * 4 * 8
    assert [layer.cache_bytes for layer in trace.layers] == [x, h, h]
    assert trace.cache_bytes == x + h  # ReLU's output is the next layer's input: one array


@pytest.mark.parametrize(
    "layer", [*(a() for a in ACTIVATIONS.values()), *(g(6, 4) for g in GATED.values()), hg.LayerNorm(6)]
)
def test_one_layer_alone(layer):
    trace = hg.trace(layer, layer.init(0), X, _targets(layer), loss="squared_error")
    assert len(trace.layers) == 1
    assert trace.layers[0].name == ""
    str(trace)


def _targets(layer):
    return np.zeros((40, layer.output_shape((6,))[-1]))


def test_to_dict_is_json():
    model = nested()
    params = model.init(0)
    params["0.bias"][0] = np.inf
    data = json.loads(json.dumps(hg.trace(model, params, X, Y).to_dict(), allow_nan=False))
    assert data["layers"][0]["values"]["bad"] == 40
    assert data["layers"][0]["output_shape"] == [40, 8]
    assert data["loss_value"] is None
    assert [p["name"] for p in data["parameters"]] == list(params)


@settings(max_examples=40)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 3))
def test_spread(values, bad):
    spread = Spread.of(np.array([*values, *[np.nan] * bad]))
    assert spread.bad == bad
    assert spread.min == min(values)
    assert spread.max == max(values)
    assert spread.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert spread.norm == pytest.approx(np.linalg.norm(values), abs=1e-9)
    assert spread.zeros == np.mean(np.array(values) == 0)


def test_inputs_are_left_alone():
    model = nested()
    params, x = model.init(0), X.copy()
    flat = params.flat.copy()
    params.flat.flags.writeable = x.flags.writeable = False
    first, second = (hg.trace(model, params, x, Y) for _ in range(2))
    assert str(first) == str(second)
    assert np.array_equal(params.flat, flat)
    assert np.array_equal(x, X)


def test_n_dimensional_inputs_and_lists():
    x = RNG.normal(size=(10, 2, 3))
    model = hg.Sequential([hg.Linear(3, 4), hg.ReLU(), hg.Flatten(), hg.Linear(8, 3)])
    trace = hg.trace(model, dict(model.init(0)), x.tolist(), Y[:10].tolist())
    assert trace["1"].output_shape == (10, 2, 4)
    assert trace["1"].units == 4


def test_dropout_is_off_unless_asked_for():
    model = hg.mlp([6, 8, 3], dropout=0.5)
    params = model.init(0)
    assert hg.trace(model, params, X, Y)["2"].values.zeros == hg.trace(model, params, X, Y)["1"].values.zeros
    assert hg.trace(model, params, X, Y, train=True, rng=0)["2"].values.zeros > 0.6


def test_bad_input():
    model = hg.mlp([6, 8, 3])
    params = model.init(0)
    with pytest.raises(DTypeError, match="model must be a Layer"):
        hg.trace("mlp", params, X, Y)
    with pytest.raises(DTypeError, match="params must be a mapping"):
        hg.trace(model, params.flat, X, Y)
    with pytest.raises(ParameterError, match="missing"):
        hg.trace(model, {"0.weight": params["0.weight"]}, X, Y)
    with pytest.raises(ShapeError, match="layer '0'"):
        hg.trace(model, params, X[:, :4], Y)
    with pytest.raises(ShapeError, match="samples as rows"):
        hg.trace(model, params, X[:0], Y[:0])
    with pytest.raises(ValueRangeError, match="finite"):
        hg.trace(model, params, np.where(X > 2, np.nan, X), Y)
    with pytest.raises(ValueRangeError, match="within what float32 holds"):
        hg.trace(model, model.init(0, np.float32), X * 1e50, Y)
    with pytest.raises(ValueRangeError, match="did you mean 'cross_entropy'"):
        hg.trace(model, params, X, Y, loss="crossentropy")
    with pytest.raises(ShapeError, match="y must have one label"):
        hg.trace(model, params, X, Y[:5])
    with pytest.raises(DTypeError, match="X must hold numbers"):
        hg.trace(model, params, np.full((4, 6), "a"), Y[:4])


def test_text_and_rich():
    from rich.console import Console

    trace = hg.trace(nested(), nested().init(0), X, Y)
    plain = str(trace)
    for word in ("2.layer.1", "LayerNorm", "update/norm", "KiB", "dead"):
        assert word in plain
    assert max(map(len, plain.splitlines())) <= 80
    for width in (100, 80):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(trace)
        shown = console.export_text()
        assert "LayerNorm" in shown
        assert "\x1b" not in shown
        assert len(shown.splitlines()) == len(plain.splitlines()) - 2  # no line is folded; the rules are left out
