"""derive: 50 random expressions and every layer, its NumPy code against complex steps taken by this file alone."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from scipy.special import erfc

import handgrad as hg
from handgrad.explain.derive import DerivationError, ExpressionError, derive
from handgrad.explain.derive.check import prove as check
from handgrad.explain.derive.functions import CODE, HELPERS
from handgrad.explain.derive.model import lowered
from handgrad.explain.derive.rules import RULES, arithmetic
from layers.table import LAYERS
from soak import FACTOR, examples

STEP = 1e-30
LENGTHS = {"m": 5, "n": 3, "k": 4, "p": 2, "h": 6, "w": 7}


def by_real_part(a, b):
    return np.where(np.real(a) >= np.real(b), a, b)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def largest(x, axis=None, keepdims=False):
    at = np.expand_dims(np.argmax(np.real(x.reshape(-1) if axis is None else x), axis=0 if axis is None else axis), -1)
    if axis is None:
        return x.reshape(-1)[at[0]]
    out = np.take_along_axis(x, np.expand_dims(at[..., 0], axis), axis)
    return out if keepdims else np.squeeze(out, axis)


def exponentials(x, axis=-1):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def scaled(x, epsilon=1e-5):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + epsilon)


# The functions of expressions as textbooks have them, of real and of complex numbers: nothing here is the library's.
TEXTBOOK = {
    "identity": lambda x: x,
    "sigmoid": logistic,
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "relu": lambda x: by_real_part(x, 0 * x),
    "leaky_relu": lambda x, alpha=0.01: np.where(np.real(x) > 0, x, alpha * x),
    "swish": lambda x, beta=1.0: x * logistic(beta * x),
    "gelu": lambda x, approximate="none": (
        x * 0.5 * erfc(-x / np.sqrt(2))
        if approximate == "none"
        else x * logistic(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    ),
    "maximum": by_real_part,
    "sum": lambda x, axis=None, keepdims=False: x.sum(axis=axis, keepdims=keepdims),
    "mean": lambda x, axis=None, keepdims=False: x.mean(axis=axis, keepdims=keepdims),
    "max": largest,
    "softmax": lambda x, temperature=1.0, axis=-1: exponentials(x / temperature, axis),
    "normalize": scaled,
    "layer_norm": lambda x, scale, shift: scaled(x) * scale + shift,
    "glu": lambda x, v, w, b=0, c=0: (x @ v + b) * logistic(x @ w + c),
    "swiglu": lambda x, v, w, b=0, c=0: (x @ v + b) * (x @ w + c) * logistic(x @ w + c),
    "flatten": lambda x: x.reshape(len(x), -1),
    "l2": lambda w, strength=1.0: strength * (w * w).sum(),
}


def textbook(expression, arrays):
    """The last value of an expression, worked out by Python itself."""
    names = dict(TEXTBOOK) | dict(arrays)
    *first, last = [part.strip() for part in expression.split(";")]
    for statement in first:
        exec(statement, names)
    return np.asarray(eval(last.split(" = ", 1)[-1] if " = " in last else last, names))


def steps(f, arrays, name, upstream):
    """The gradient of <upstream, f> by one array, entry by entry."""
    z = {key: np.asarray(value, dtype=complex) for key, value in arrays.items()}
    gradient = np.empty(np.shape(arrays[name]))
    for at in np.ndindex(gradient.shape):
        moved = z[name].copy()
        moved[at] += 1j * STEP
        gradient[at] = np.sum(upstream * np.imag(f({**z, name: moved}))) / STEP
    return gradient


def ran(derivation, arrays, upstream):
    """(output, gradients by name) of a derivation's NumPy code."""
    namespace = {}
    exec(derivation.code, namespace)
    out, cache = namespace["forward"](*(arrays[name] for name in derivation.program.inputs))
    found = namespace["backward"](upstream, cache)
    wanted = derivation.program.wanted
    return out, dict(zip(wanted, found if len(wanted) > 1 else (found,), strict=True))


def prove(expression, shapes, seed=0, positive=False):
    """derive(expression).code is right, in value and in each gradient."""
    rng = np.random.default_rng(seed)
    derivation = derive(expression, **shapes)
    sizes = {name: [LENGTHS[n] if n in LENGTHS else int(n) for n in shape.split()] for name, shape in shapes.items()}
    arrays = {name: rng.uniform(0.5, 1.5, s) if positive else rng.standard_normal(s) for name, s in sizes.items()}
    value = textbook(expression, arrays)
    assert np.all(np.isfinite(value))
    upstream = rng.standard_normal(value.shape)
    out, gradients = ran(derivation, arrays, upstream)
    np.testing.assert_allclose(out, value, rtol=1e-11, atol=1e-12)
    for name, gradient in gradients.items():
        expected = steps(lambda z: textbook(expression, z), arrays, name, upstream)
        assert np.shape(gradient) == expected.shape
        scale = max(1.0, np.max(np.abs(expected)))
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-11 * scale)
    return derivation


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
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(drawn=expressions(), seed=st.integers(0, 1000))
def test_random_expressions(drawn, seed):
    expression, shapes = drawn
    assume(any(symbol in expression for symbol in "@+*("))
    prove(expression, shapes, seed)


EXPRESSIONS = [
    ("Z = X @ W + b", {"X": "m n", "W": "n k", "b": "k"}),
    ("Z = X @ W.T + b", {"X": "m n", "W": "k n", "b": "k"}),
    ("Z = X.T @ W", {"X": "n m", "W": "n k"}),
    ("Z = X.T @ W.T", {"X": "n m", "W": "k n"}),
    ("z = x @ W + b", {"x": "n", "W": "n k", "b": "k"}),
    ("z = W @ x + b", {"x": "n", "W": "k n", "b": "k"}),
    ("z = W.T @ x", {"x": "n", "W": "n k"}),
    ("z = x @ W.T", {"x": "n", "W": "k n"}),
    ("s = x @ w", {"x": "n", "w": "n"}),
    ("Z = X @ W + b", {"X": "p m n", "W": "n k", "b": "k"}),
    ("Z = X @ W.T", {"X": "p m n", "W": "k n"}),
    ("Z = W @ X", {"X": "p m n", "W": "k m"}),
    ("Z = X @ Y", {"X": "p m n", "Y": "p n k"}),
    ("Z = X.mT @ Y", {"X": "p n m", "Y": "1 n k"}),
    ("z = X @ w", {"X": "p m n", "w": "n"}),
    ("z = x @ Y", {"x": "n", "Y": "p n k"}),
    ("z = x @ Y.mT", {"x": "n", "Y": "p k n"}),
    ("G = X.T @ X", {"X": "m n"}),
    ("f = (x + y) * z", {"x": "", "y": "", "z": ""}),
    ("Z = b + X @ W", {"X": "m n", "W": "n k", "b": "k"}),
    ("Z = X @ W + C", {"X": "m n", "W": "n 1", "C": "m k"}),
    ("Z = X @ W + Y @ V", {"X": "m n", "W": "n k", "Y": "m p", "V": "p k"}),
    ("Z = X @ W + 1", {"X": "m n", "W": "n k"}),
    ("H = relu(X @ W1 + b1); Z = H @ W2 + b2", {"X": "m n", "W1": "n h", "b1": "h", "W2": "h k", "b2": "k"}),
    ("Y = X + X * X", {"X": "m n"}),
    ("Y = x * Y1 * v", {"x": "m 1", "Y1": "m n", "v": "n"}),
    ("X - y", {"X": "m n", "y": "n"}),
    ("X / y", {"X": "m n", "y": "m 1"}),
    ("2 / X - -X", {"X": "m n"}),
    ("maximum(X, y)", {"X": "m n", "y": "n"}),
    ("sum(X, axis=(0, 2)) * v", {"X": "m n k", "v": "n"}),
    ("mean(X)", {"X": "m n k"}),
    ("max(X)", {"X": "m n"}),
    ("max(X, axis=1, keepdims=True) * X", {"X": "m n"}),
    ("softmax(X, temperature=0.5, axis=0)", {"X": "m n"}),
    ("softmax(x)", {"x": "n"}),
    ("layer_norm(X, g, b)", {"X": "m n", "g": "n", "b": "n"}),
    ("normalize(X, epsilon=0.1)", {"X": "p m n"}),
    ("glu(X, V, W)", {"X": "m n", "V": "n k", "W": "n k"}),
    ("swiglu(tanh(X), V, W, b, c)", {"X": "m n", "V": "n k", "W": "n k", "b": "k", "c": "k"}),
    ("flatten(X) @ W", {"X": "m 2 3", "W": "6 k"}),
    ("flatten(X) @ W", {"X": "m h w", "W": "h*w k"}),
    ("r = sum(X**2) + l2(W, 0.3)", {"X": "m n", "W": "n k"}),
    ("Y = X; Z = Y * Y", {"X": "m n"}),
    ("a = 1 - sigmoid(x)", {"x": ""}),
    ("Y = (A + B) + C", {"A": "m n", "B": "m n", "C": "m n"}),
    ("Y = A + B + c", {"A": "m n", "B": "m n", "c": "n"}),
]
LENGTHS["h*w"] = LENGTHS["h"] * LENGTHS["w"]


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


LOSSES = [
    hg.Hinge(),
    hg.Hinge(0.5),
    hg.CrossEntropy(),
    hg.CrossEntropy(0.1),
    hg.BinaryCrossEntropy(),
    hg.SquaredError(),
    hg.Huber(0.5),
    hg.Poisson(),
    hg.Quantile(0.3),
]


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


# what it says


def test_shapes_that_decide():
    text = str(derive("Z = X @ W", X="m n", W="n k"))
    assert text.count("one product fits") == 2
    assert text.count("✓") == 2
    assert text.count("mirror rule") == 2


@pytest.mark.parametrize("shape", ["n n", "3 3"])
def test_square_matrices_are_left_to_the_chain_rule(shape):
    text = str(derive("Z = X @ W", X=shape, W=shape))
    assert text.count("8 products fit: shapes alone do not decide, the chain rule above does") == 2
    assert "the chain rule above does: dZ Wᵀ" in text


def test_a_row_of_equal_sizes():
    text = str(derive("Z = X @ W", X="m n", W="n n"))
    assert "2 products fit: shapes alone do not decide, the chain rule above does: dZ Wᵀ" in text


def test_batch_pooling_and_patterns_are_named():
    text = str(derive("Y = (X + b) * g; s = max(Y, axis=0); t = sum(s) + sum(Y)", X="m n", b="n", g="n"))
    assert "b has no index i (1 to m)" in text
    for word in ("distributes", "swaps", "routes", "a copy adds"):
        assert word in text


def test_kinks_come_from_the_ops():
    assert "at x = 0 there is no derivative; alpha is taken" in str(derive(hg.LeakyReLU(0.1)))
    assert hg.ops.sigmoid.derivative in derive(hg.Sigmoid()).markdown


def test_notebooks_and_gradients():
    derivation = derive("Z = X @ W + b", X="m n_in", W="n_in n_out", b="n_out")
    assert derivation._repr_markdown_() == derivation.markdown
    assert derivation._repr_latex_() == derivation.latex
    assert repr(derivation) == str(derivation) == derivation.text
    assert derivation.gradients["X"] == r"\frac{\partial L}{\partial Z} W^\top"
    assert 0 <= derivation.error < 1e-12
    assert len(set(derivation.sizes.values())) == 3


def test_an_array_called_L_leaves_the_objective_another_letter():
    assert derive("L = sum(X)", X="n").gradients["X"].startswith(r"\frac{\partial J}")


def test_latex_is_drawn():
    """By matplotlib, whose mathtext knows no alignment: cell by cell, each once."""
    from matplotlib.mathtext import MathTextParser

    targets = ["linear, out_in", "swiglu", "gelu", "leaky relu", "cool softmax", "layer norm", "dropout in training"]
    derivations = [derive(LAYERS[name].layer) for name in targets] + [derive(loss) for loss in LOSSES[::2]]
    derivations.append(derive("r1 = max(X, axis=0) / sum(x_in @ Y.mT)", X="m n", x_in="k", Y="p n k"))
    rows = {row for derivation in derivations for row in derivation.latex.split("\n")}
    cells = {cell.strip() for row in rows for cell in row.removesuffix(r" \\").split("&") if "{aligned}" not in cell}
    parser = MathTextParser("path")
    for cell in sorted(cells - {"", "$$"}):
        parser.parse(f"${cell}$")


# every derivation is checked


def test_a_wrong_rule_is_never_shown(monkeypatch):
    wrong = arithmetic.Elementwise1(hg.ops.tanh, lambda x, y, o: 1 - y)
    monkeypatch.setitem(RULES, "tanh", wrong)
    with pytest.raises(DerivationError, match="numbers contradict the derivation: dX and a complex step"):
        derive("tanh(X)", X="m n")


def test_a_line_that_contradicts_the_result_is_never_shown(monkeypatch):
    class Half(arithmetic.Elementwise1):
        def elements(self, step):
            return step.operands[0].at(step.indices) / 2

    monkeypatch.setitem(RULES, "identity", Half(hg.ops.identity, lambda x, y, o: arithmetic.ONE))
    with pytest.raises(DerivationError, match=r"the line X\[i,j\] / 2"):
        derive("identity(X)", X="m n")


def test_code_that_computes_something_else_is_never_shown():
    program, _ = lowered(hg.Tanh(), None, None, {})
    source = derive(hg.Tanh()).code.replace("np.tanh(X)", "np.sin(X)")
    with pytest.raises(DerivationError, match="the value of Y"):
        check(program, source)


def test_every_function_has_code():
    assert HELPERS.keys() - CODE.keys() == {"gelu_gate"}


# bad input

BAD = [
    ("Z = X @ W + c", {"X": "m n", "W": "n k"}, 'c is unknown: give its shape, as c="m n"', "            ^"),
    ("Z = X @ V", {"X": "m n", "W": "n k"}, "V is unknown", "        ^"),
    ("Z = X @ W", {"X": "m n", "W": "k n"}, "the inner sizes n and k differ", "    ^^^^^"),
    ("Y = tanh(X + b) * 2", {"X": "m n", "b": "m"}, "do not broadcast together: n and m differ", "         ^^^^^"),
    ("Z = X @ ", {"X": "m n"}, "not Python", "        ^"),
    ("Z = tahn(X)", {"X": "m n"}, "did you mean tanh?", "    ^^^^"),
    ("Z = X if X else X", {"X": "m n"}, "none of names", "    ^^^^^^^^^^^^^"),
    ("Y = sum(X, axis=2)", {"X": "m n"}, "axis=2 is no axis", "    ^^^^^^^^^^^^^^"),
    ("Y = sum(X, dim=1)", {"X": "m n"}, "no option dim", "               ^"),
    ("X = X + 1", {"X": "m n"}, "X is given twice", "^"),
    ("Y = hinge(S, S)", {"S": "m n"}, "labels must have the shape (m,)", "    ^^^^^^^^^^^"),
    ("Y = hinge(X, sum(X))", {"X": "m n"}, "the targets of hinge must be an input", "             ^^^^^^"),
    ("Y = hinge(S, y)", {"S": "m n", "y": "n"}, "labels must have the shape (m,)", "    ^^^^^^^^^^^"),
    ("relu = X + 1", {"X": "m n"}, "relu is taken", "^^^^"),
    ("Y = 2 * 3", {}, "this is a number", "    ^^^^^"),
    ("Y = X.T + 1", {"X": "m n k"}, ".T turns all axes around", "    ^^^"),
    ("Y = X + dX", {"X": "m n", "dX": "m n"}, "dX would be the gradient of X", ""),
    ("Y = é @ X", {"é": "m n", "X": "m n"}, "inner sizes", "    ^^^^^"),
    ("", {}, "the expression is empty", "^"),
    ("import os", {}, "a statement must be name = expression", "^^^^^^^^^"),
]


@pytest.mark.parametrize(("expression", "shapes", "message", "marks"), BAD, ids=[case[0] for case in BAD])
def test_mistakes_are_marked(expression, shapes, message, marks):
    with pytest.raises((ExpressionError, hg.errors.ShapeError)) as caught:
        derive(expression, **shapes)
    lines = str(caught.value).splitlines()
    assert message in lines[0]
    assert lines[1] == f"    {expression}"
    if marks:
        assert lines[2].startswith(f"    {marks}")


def test_the_line_of_a_mistake_is_shown():
    with pytest.raises(ExpressionError, match=r"V is unknown.*\n    Z = H @ V\n            \^$"):
        derive("H = relu(X)\nZ = H @ V", X="m n")


@pytest.mark.parametrize("shape", ["m 0", "m -1", "m n!", 3, "m 1.5"])
def test_shapes_that_are_none(shape):
    with pytest.raises(hg.errors.ShapeError, match="X"):
        derive("Y = tanh(X)", X=shape)


def test_a_shape_for_nothing():
    with pytest.raises(ExpressionError, match="W is given the shape"):
        derive("Y = tanh(X)", X="m n", W="n k")


def test_other_targets():
    with pytest.raises(hg.errors.DTypeError, match="derive takes an expression"):
        derive(3)
    with pytest.raises(hg.errors.DTypeError, match="go with a model"):
        derive("Y = tanh(X)", "hinge", X="m n")
    with pytest.raises(hg.errors.DTypeError, match="give the loss too"):
        derive(hg.Linear(2, 3), None, hg.L2(0.1))

    class Own(hg.Layer):
        pass

    with pytest.raises(hg.errors.UnsupportedError, match="derive knows no Own"):
        derive(Own())
    with pytest.raises(hg.errors.ShapeError, match="got W"):
        derive(hg.Linear(2, 3), W="2 3")
