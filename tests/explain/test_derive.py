"""derive: 50 random expressions, every layer and loss; its NumPy code against complex steps of these tests alone."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import handgrad as hg
from explain.textbook import EXPRESSIONS, LOSSES, prove, ran, steps
from handgrad.explain.derive import derive
from layers.table import LAYERS
from soak import FACTOR, examples

# random expressions

ELEMENTWISE = ["sigmoid({})", "tanh({})", "relu({})", "leaky_relu({}, 0.2)", "swish({})", "swish({}, beta=2.0)"]
ELEMENTWISE += ["gelu({})", 'gelu({}, approximate="tanh")', "exp(0.3 * {})", "log(1 + {}**2)", "sqrt(2 + {}**2)", "-{}"]
ELEMENTWISE += ["softmax({})", "normalize({})", "{}**2", "{} / 3", "{}.T.T"]


@st.composite
def expressions(draw):
    """An expression of matmul, add, multiply, activations and sums, and the shapes of its arrays."""
    shapes = {}

    def array(*dims):
        name = f"{'X' if len(dims) > 1 else 'v' if dims else 's'}{len(shapes)}"
        shapes[name] = " ".join(dims)
        return name

    def matrix(rows, columns, depth):
        """A term of that shape."""
        kind = draw(
            st.sampled_from(["array", "matmul", "matmul", "sum", "add", "multiply", "act", "again", "broadcast"])
        )
        if depth == 0 or kind == "array":
            return array(rows, columns)
        if kind == "again":
            fitting = [name for name, shape in shapes.items() if shape == f"{rows} {columns}"]
            return draw(st.sampled_from(fitting)) if fitting else array(rows, columns)
        if kind == "matmul":
            inner = draw(st.sampled_from(["m", "n", "k", "p"]))
            left, right = matrix(rows, inner, depth - 1), matrix(inner, columns, depth - 1)
            if draw(st.booleans()):
                return f"({left} @ {array(columns, inner)}.T)"
            return f"({left} @ {right})"
        if kind == "act":
            return "(" + draw(st.sampled_from(ELEMENTWISE)).format(matrix(rows, columns, depth - 1)) + ")"
        if kind == "sum":
            function = draw(st.sampled_from(["sum", "mean", "max"]))
            whole, part = matrix(rows, columns, depth - 1), matrix(rows, columns, depth - 1)
            return f"({whole} - {function}({part}, axis={draw(st.sampled_from([0, 1]))}, keepdims=True))"
        if kind == "broadcast":
            other = draw(st.sampled_from([(columns,), (rows, "1"), ("1", columns), ()]))
            operator = draw(st.sampled_from(["+", "*", "-"]))
            return f"({matrix(rows, columns, depth - 1)} {operator} {array(*other)})"
        operator = {"add": "+", "multiply": "*"}[kind]
        return f"({matrix(rows, columns, depth - 1)} {operator} {matrix(rows, columns, depth - 1)})"

    rows, columns = draw(st.permutations(["m", "n", "k", "p"]))[:2]
    body = matrix(rows, columns, draw(st.integers(1, 3)))
    end = draw(st.sampled_from(["{}", "{}", "sum({})", "mean({}, axis=0)", "max({}, axis=1)", "H = {}; tanh(H) @ H.T"]))
    whole = end.format(body)
    return whole, {name: shape for name, shape in shapes.items() if re.search(rf"\b{name}\b", whole)}


@settings(
    max_examples=examples(50),
    derandomize=FACTOR == 1,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(drawn=expressions(), seed=st.integers(0, 1000))
def test_random_expressions(drawn, seed):
    expression, shapes = drawn
    assume(any(symbol in expression for symbol in "@+*("))
    prove(expression, shapes, seed)


@pytest.mark.parametrize(("expression", "shapes"), EXPRESSIONS, ids=lambda part: part if isinstance(part, str) else "")
def test_expressions(expression, shapes):
    prove(expression, shapes)


@pytest.mark.parametrize("expression", ["log(X)", "X**Y", "Y**0.5", "sqrt(X) * Y", "X**3 / Y", "2**X"])
def test_of_positive_numbers(expression):
    shapes = {"X": "m n", "Y": "n"}
    prove(expression, {name: shape for name, shape in shapes.items() if name in expression}, positive=True)


# layers, losses, models


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    """The code against complex steps through the layer itself, with dropout's masks taken from the layer."""
    case = LAYERS[name]
    derivation = derive(case.layer, X=["m", *case.sample])
    params, x, upstream = case.params(), case.x(), case.upstream()
    program = derivation.program
    given = [n for n in program.inputs if n != "X" and n not in program.data]
    names = dict(zip(given, params, strict=True))
    arrays = {"X": x, **{mine: params[own] for mine, own in names.items()}}
    if masks := sorted(program.data):
        rate = {"dropout in training": 0.4, "dropout at rest": 0.4, "mlp": 0.3}[name]
        (mask,) = masks
        shape = x.shape if name != "mlp" else (len(x), 4)
        keep = np.random.default_rng(4).random(shape, dtype=np.float32) >= rate
        arrays[mask] = keep / (1 - rate) if case.train else np.ones(shape)
    out, gradients = ran(derivation, arrays, upstream)
    np.testing.assert_allclose(out, case.forward(params, x)[0], rtol=1e-10, atol=1e-11)

    def output(z):
        return case.forward({own: z[mine] for mine, own in names.items()}, z["X"])[0]

    for mine, gradient in gradients.items():
        z = {key: value for key, value in arrays.items() if key not in masks}
        np.testing.assert_allclose(gradient, steps(output, z, mine, upstream), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("regularizer", [None, hg.L2(0.2)], ids=["", "L2"])
def test_losses_after_a_model(loss, regularizer):
    rng = np.random.default_rng(0)
    model = hg.Sequential([hg.Linear(3, 4), hg.Tanh(), hg.Linear(4, 3, layout="out_in")])
    derivation = derive(model, loss, regularizer)
    params = model.init(1)
    x = rng.standard_normal((5, 3))
    y = rng.integers(3, size=5) if loss.classifies else rng.random((5, 3))
    arrays = dict(zip(["X", "W1", "b1", "W2", "b2"], [x, *params.values()], strict=True))
    out, gradients = ran(derivation, {**arrays, "y": y}, 1.0)

    def value(z):
        named = dict(zip(params, [z[name] for name in ("W1", "b1", "W2", "b2")], strict=True))
        scores, _ = model.forward(named, z["X"])
        total = loss.forward(scores, y)[0]
        if regularizer:
            total = total + 0.2 * ((z["W1"] ** 2).sum() + (z["W2"] ** 2).sum())
        return total

    np.testing.assert_allclose(out, value(arrays), rtol=1e-12)
    assert gradients.keys() == arrays.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, steps(value, arrays, name, 1.0), rtol=1e-9, atol=1e-12)


def test_cross_entropy_collapses():
    derivation = derive("L = cross_entropy(S, y)", S="m n", y="m")
    assert "dS = dL (P - Q) / m" in str(derivation)
    prove_distribution = derive("L = cross_entropy(S, Q1)", S="m n", Q1="m n")
    rng = np.random.default_rng(0)
    s, q = rng.standard_normal((4, 3)), rng.random((4, 3))
    _, gradients = ran(prove_distribution, {"S": s, "Q1": q}, 1.0)
    expected = steps(lambda z: hg.CrossEntropy().forward(z["S"], q)[0], {"S": s}, "S", 1.0)
    np.testing.assert_allclose(gradients["S"], expected, rtol=1e-10)
