"""A Graph is followed inside: the tape's values and gradients are those of its own run, whatever it is made of."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import handgrad as hg
from explain.trace.graphs import CLASSES, WIDTH, drawn, everything, gate, highway
from handgrad import ops
from handgrad.errors import DTypeError, ShapeError
from handgrad.explain.trace.tape import record

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(12, WIDTH)), RNG.integers(CLASSES, size=12)


def step_of(tape, name):
    (found,) = (step for step in tape.steps if step.name == name)
    return found


def close(actual, desired, like):
    """Equal to rounding in the dtype, beside the largest number, or 1: sums may be taken in another order."""
    digits = 1e-10 if np.asarray(like).dtype == np.float64 else 1e-4
    np.testing.assert_allclose(actual, desired, rtol=digits, atol=digits * np.abs(desired).max(initial=1.0))


@settings(max_examples=80)
@given(st.integers(0, 100_000), st.sampled_from([np.float64, np.float32]))
def test_values_and_gradients_are_those_of_the_run(seed, dtype):
    graph = drawn(seed)
    params, x = graph.init(seed, dtype), X.astype(dtype)
    target = np.random.default_rng(seed).normal(size=x.shape).astype(dtype)
    trace = hg.trace(graph, params, x, target, loss="squared_error")
    tape = trace.tape
    run = graph.run(graph.sink, params, x=x).backward(tape.dscores)
    names = {step.name for step in tape.steps}
    for node in run.nodes:
        if node.kind in ("op", "layer") and node.name in names:  # a container's node is several steps
            step = step_of(tape, node.name)
            np.testing.assert_array_equal(step.out, run[node].value)
            close(step.dout, run[node].gradient, x)
    for name, gradient in run.gradients.items():
        close(tape.gradients[name], gradient, x)
    close(tape.dx, run["x"].gradient, x)
    _, grads = hg.value_and_grad(graph, "squared_error", params, x, target)
    close(tape.gradients.flat, grads.flat, x)
    assert all(layer.name in str(trace) for layer in trace.layers)


def test_a_bit_of_everything():
    model = everything()
    params, x = model.init(0), RNG.normal(size=(12, 5))
    trace = hg.trace(model, params, x, Y, regularizer=hg.L2(0.1))
    value, grads = hg.value_and_grad(model, "cross_entropy", params, x, Y, regularizer=hg.L2(0.1))
    assert trace.loss_value == pytest.approx(float(value))
    np.testing.assert_allclose(trace.tape.gradients.flat, grads.flat, rtol=1e-10, atol=1e-14)
    assert [(layer.name, layer.kind) for layer in trace.layers] == [
        ("0", "Linear"),
        ("1.layer.h", "Linear"),
        ("1.layer.multiply1", "multiply"),
        ("1.layer.block.0", "LayerNorm"),
        ("1.layer.block.1", "Linear"),
        ("1.layer.block.2.layer", "Tanh"),
        ("1.layer.block.2", "Residual"),
        ("1.layer.nested.matmul1", "matmul"),
        ("1.layer.nested.add1", "add"),
        ("1.layer.nested.open", "Sigmoid"),
        ("1.layer.nested.gated", "multiply"),
        ("1.layer.subtract1", "subtract"),
        ("1.layer.again.matmul1", "matmul"),
        ("1.layer.again.add1", "add"),
        ("1.layer.again.open", "Sigmoid"),
        ("1.layer.again.gated", "multiply"),
        ("1.layer.multiply2", "multiply"),
        ("1.layer.square", "multiply"),
        ("1.layer.mean1", "mean"),
        ("1.layer.subtract2", "subtract"),
        ("1.layer.multiply4", "multiply"),
        ("1.layer.maximum1", "maximum"),
        ("1.layer.leaky_relu1", "LeakyReLU"),
        ("1.layer.out", "add"),
        ("1", "Residual"),
        ("2", "ReLU"),
        ("3", "Linear"),
    ]
    assert trace["1.layer.nested.gated"].inputs == ("1.layer.nested.open", "1.layer.block.2")
    assert trace["1.layer.multiply2"].inputs == ("1.layer.again.gated",) * 2
    assert trace["1.layer.h.weight"].layers == ("1.layer.h", "1.layer.block.1")
    assert trace["1.layer.s"].layers == ("1.layer.multiply1", "1.layer.square")
    assert trace["1.layer.nested.v"].layers == ("1.layer.nested.matmul1", "1.layer.again.matmul1")
    assert trace["1.layer.nested.matmul1"].parameters == ("1.layer.nested.v",)
    assert trace["1"].inputs == ("0", "1.layer.out")
    assert trace["1.layer.multiply4"].inputs == ("1.layer.block.2",)  # the constant is no step
    assert trace.title == "Sequential of 27 steps"
    whole = sum(step.gradients["1.layer.s"] for step in trace.tape.steps if "1.layer.s" in step.gradients)
    np.testing.assert_allclose(whole + 0.2 * params["1.layer.s"], trace.tape.gradients["1.layer.s"])


def test_every_step_gives_its_part_to_each_of_its_inputs():
    """What flows on to each step, added up, is the gradient by its output."""
    tape = record(everything(), everything().init(0), RNG.normal(size=(12, 5)), Y)
    arrived = {tape.last: tape.dscores}
    for step in tape.steps:
        for source, part in zip(step.inputs, step.downstream, strict=True):
            arrived[source] = arrived.get(source, 0) + part
    for number, step in enumerate(tape.steps):
        np.testing.assert_allclose(step.dout, arrived[number], rtol=1e-12, atol=1e-18)
    np.testing.assert_allclose(tape.dx, arrived[-1], rtol=1e-12, atol=1e-18)


def test_ops_are_measured_as_their_layers_are():
    g = hg.Graph()
    x = g.input("x")
    h = ops.relu(x - g.parameter("t", (WIDTH,), hg.initializers.zeros)).named("relu")
    g.output(ops.tanh(9 * h).named("tanh") + ops.leaky_relu(x, alpha=0).named("closed") + ops.sigmoid(x).named("s"))
    params = g.init(0)
    params["t"][[1, 3]] = 99
    layers = hg.Sequential([hg.ReLU(), hg.Tanh()])
    trace = hg.trace(g, params, X, X, loss="squared_error")
    assert trace["relu"].dead.tolist() == [1, 3]
    assert trace["closed"].dead.tolist() == []
    assert (
        trace["tanh"].saturation == hg.trace(layers, {}, 9 * (X - params["t"]), X, loss="squared_error")["1"].saturation
    )
    assert trace["s"].saturation == 0
    assert trace["tanh"].kind == "Tanh"
    assert trace["subtract1"].dead is trace["subtract1"].saturation is None


def test_what_is_made_of_parameters_alone_has_no_units():
    g = hg.Graph()
    x = g.input("x")
    w = ops.relu(g.parameter("w", (WIDTH, WIDTH)) - 99.0).named("w0")
    g.output((x @ w + g.parameter("b", (WIDTH,), "zeros")).named("z"))
    trace = hg.trace(g, g.init(0), X, X, loss="squared_error")
    assert trace["w0"].dead is None
    assert trace["w0"].kind == "ReLU"
    assert trace["z"].parameters == ("b",)
    assert trace["subtract1"].inputs == ()
    assert trace["subtract1"].input_shape == (WIDTH, WIDTH)
    assert "subtract1  subtract  4 x 4" in str(trace)
    trace.to_svg()


def test_parameters_and_constants_as_layers_and_outputs_read_them():
    g = hg.Graph()
    rows = hg.Linear(2, WIDTH)(g.parameter("rows", (12, 2)))
    g.output(rows + g.input("x") + hg.Tanh()(g.constant(np.ones((12, WIDTH)), "one")))
    params = g.init(0)
    trace = hg.trace(g, params, X, X, loss="squared_error")
    _, grads = hg.value_and_grad(g, "squared_error", params, X, X)
    np.testing.assert_allclose(trace.tape.gradients.flat, grads.flat, rtol=1e-12)
    assert [layer.kind for layer in trace.layers] == ["parameter", "Linear", "add", "constant", "Tanh", "add"]
    alone = hg.Graph()
    alone.input("x")
    alone.output(alone.parameter("w", (12, WIDTH)))
    params = alone.init(0)
    trace = hg.trace(alone, params, X, X, loss="squared_error")
    assert [layer.name for layer in trace.layers] == ["w"]
    np.testing.assert_allclose(
        trace.tape.gradients.flat, hg.value_and_grad(alone, "squared_error", params, X, X)[1].flat
    )
    assert not trace.tape.dx.any()
    same = hg.Graph()
    same.output(same.input("x"))
    assert hg.trace(same, {}, X, X, loss="squared_error").layers == ()


def test_labels_and_other_data():
    """What is read as data gets no gradient; a step that nothing else reads is not reached."""
    g = hg.Graph()
    x = g.input("x")
    weight = ops.sum(x * x, axis=-1).named("weight")
    scores = hg.Linear(WIDTH, 3)(x).named("scores")
    each = ops.cross_entropy(scores, np.array([0, 1, 2] * 4), sample_weight=weight, reduction="none").named("each")
    g.output(ops.reshape(each, (-1, 1)))
    params = g.init(0)
    tape = record(g, params, X, np.zeros((12, 1)), loss="squared_error")
    run = g.run(g.sink, params, x=X).backward(tape.dscores)
    assert run["weight"].gradient is None
    np.testing.assert_array_equal(tape.dx, run["x"].gradient)
    np.testing.assert_array_equal(tape.gradients["scores.weight"], run.gradients["scores.weight"])
    step = step_of(tape, "weight")
    assert not step.reached
    assert not step.dout.any()
    trace = hg.trace(g, params, X, np.zeros((12, 1)), loss="squared_error")
    assert trace["each"].inputs == ("scores", "weight")


def test_dropout_within_a_graph_drops_the_same_units():
    g = hg.Graph()
    x = g.input("x")
    g.output(hg.Dropout(0.5)(x) * 2.0 + hg.Sequential([hg.Dropout(0.5), hg.Linear(WIDTH, WIDTH)])(x))
    params = g.init(0)
    trace = hg.trace(g, params, X, X, loss="squared_error", train=True, rng=3, optimizer=hg.SGD(1e-14))
    assert trace.loss_after_step == pytest.approx(trace.loss_value)
    value, _ = hg.value_and_grad(g, "squared_error", params, X, X, train=True, rng=3)
    assert trace.loss_value == pytest.approx(float(value))


def test_names_that_are_taken():
    g = hg.Graph()
    h = g.apply(hg.Sequential([hg.Tanh()]), g.input("x"), name="h")
    loss = (ops.relu(h).named("h.0") + 1.0).named("loss")
    g.output((loss * 2.0).named("X"))
    trace = hg.trace(g, {}, X, X, loss="squared_error")
    assert [layer.name for layer in trace.layers] == ["h.0", "h.0'", "loss'", "X'"]
    assert trace["X'"].inputs == ("loss'",)
    trace.to_svg()


def test_a_graph_of_a_model_is_traced_as_the_model():
    model = hg.Sequential([hg.Linear(WIDTH, 6), hg.ReLU(), hg.Residual(hg.mlp([6, 5, 6], "tanh")), hg.GLU(6, CLASSES)])
    params = model.init(0)
    first, second = (hg.trace(m, params, X, Y) for m in (model, hg.Graph.of(model)))
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    for one, other in zip(first.layers, second.layers, strict=True):
        assert (one.values.mean, one.values.std) == (other.values.mean, other.values.std)
        assert one.gradient.norm == other.gradient.norm
        assert one.inputs == other.inputs
        assert one.parameter_gradient_norms == other.parameter_gradient_norms
        assert one.cache_bytes == other.cache_bytes
    assert np.array_equal(first.tape.gradients.flat, second.tape.gradients.flat)
    single = hg.Graph.of(hg.Linear(WIDTH, CLASSES))
    assert hg.trace(single, single.init(0), X, Y)["weight"].layers == ("linear",)


def test_a_long_chain():
    g = hg.Graph()
    h, s = g.input("x"), g.parameter("s", (WIDTH,), hg.initializers.ones)
    for _ in range(1000):
        h = ops.tanh(h * s)
    g.output(h)
    model = hg.Sequential([hg.Identity(), g])
    trace = hg.trace(model, model.init(0), X, X, loss="squared_error")
    assert len(trace.layers) == 2001
    assert len(trace["1.s"].layers) == 1000
    _, grads = hg.value_and_grad(model, "squared_error", model.init(0), X, X)
    np.testing.assert_allclose(trace.tape.gradients.flat, grads.flat, rtol=1e-12)
    assert hg.diagnose(model, model.init(0), X, X, loss="squared_error").trace.rows == 12
    found = hg.why_zero(model, model.init(0), np.where(np.arange(WIDTH) == 1, 0, X), X, "1.s", loss="squared_error")
    assert [(reason.kind, reason.layer) for reason in found.reasons][:1] == [("unused input", "X")] or found.zeros == 1


def test_errors_name_the_place():
    g = hg.Graph()
    h = (g.input("x") * np.ones(3)).named("h")
    g.output(ops.tanh(h))
    with pytest.raises(ShapeError, match=r"layer '1.h': x in shape \(12, 4\)") as error:
        hg.trace(hg.Sequential([hg.Identity(), g]), {}, X, X)
    assert "    tanh(h)\n         ^\n    with x (12, 4)" in str(error.value)

    class Broken(hg.Layer):
        def forward(self, params, x, *, train=False, rng=None):
            raise RuntimeError("broken")

    g = hg.Graph()
    g.output(ops.tanh(g.apply(Broken(), g.input("x"), name="b")))
    with pytest.raises(RuntimeError) as error:
        hg.trace(g, {}, X, X)
    assert "at node 'b'" in error.value.__notes__[0]
    inner = hg.Graph()
    inner.output(hg.Sequential([hg.Tanh(), hg.Linear(3, 3)])(inner.input("x")).named("body"))
    outer = hg.Graph()
    outer.output(outer.apply(inner, outer.input("x"), name="inner"))
    with pytest.raises(ShapeError) as error:
        hg.trace(outer, outer.init(0), X, Y)
    with pytest.raises(ShapeError) as expected:
        outer.forward(outer.init(0), X)
    assert str(error.value) == str(expected.value)
    assert error.value.layer == "inner.body.1"
    two = hg.Graph()
    two.output(two.input("x") + two.input("z"))
    with pytest.raises(ShapeError, match="has one input"):
        hg.trace(two, {}, X, X)
    with pytest.raises(DTypeError):
        hg.trace(gate(), gate().init(0, np.float32).flat, X, X)


def test_the_table_of_a_highway_network():
    graph = highway(0, 2)
    trace = hg.trace(graph, graph.init(0), RNG.normal(size=(40, 6)), RNG.integers(4, size=40))
    text = str(trace)
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["carry0"][1:3] == ["Sigmoid", "16"]
    assert lines["carry0"][-2:] == ["0%", "flat"]
    assert lines["matmul1"][1:3] == ["matmul", "16"]
    assert lines["head"][1:3] == ["Linear", "4"]
    assert lines["v1"][1:4] == ["16", "x", "16"]
    assert "Graph of 21 steps" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_parameter_that_one_op_reads_twice_and_options_by_position():
    g = hg.Graph()
    s = g.parameter("s", (WIDTH,), hg.initializers.ones)
    g.output(ops.leaky_relu(g.input("x") * (s * s).named("squared"), 0.0).named("act"))
    params = g.init(0)
    trace = hg.trace(g, params, X - 9, X, loss="squared_error")
    assert trace["act"].dead.tolist() == [0, 1, 2, 3]  # by alpha=0 it is a ReLU
    trace = hg.trace(g, params, X, 3 * X, loss="squared_error")
    assert trace["s"].gradient.norm > 0.1
    assert trace["squared"].parameters == ("s",)
    assert trace["squared"].parameter_gradient_norms == pytest.approx((trace["s"].gradient.norm,))
