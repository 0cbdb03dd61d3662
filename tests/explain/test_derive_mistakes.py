"""derive: mistakes in an expression, each shown with its place marked; what is too long, too deep or of no value."""

import pytest

import handgrad as hg
from explain.textbook import prove
from handgrad.explain.derive import ExpressionError, derive

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
    ("Y = X + dX", {"X": "m n", "dX": "m n"}, "dX would be the gradient of X", "        ^^"),
    ("Y = X * len", {"X": "n", "len": "n"}, "'len' cannot be the name of an array", "        ^^^"),
    ("Y = X * 9**9**9", {"X": "n"}, "this number cannot be worked out", "        ^^^^^^^"),
    ("Y = X + 1e308 * 10", {"X": "n"}, "not finite and real: inf", "        ^^^^^^^^^^"),
    ("Y = (-1)**0.5 * X", {"X": "n"}, "not finite and real", "    ^^^^^^^^^"),
    ("Y = X * 1e400", {"X": "n"}, "not finite and real: inf", "        ^^^^^"),
    ("Y = 1 / 0 * X", {"X": "n"}, "division by zero", "    ^^^^^"),
    ("Y = tanh(X) / 0", {"X": "n"}, "no numbers were found at which this is finite", "    ^^^^^^^^^^^"),
    ("Y = X + log(-X**2)", {"X": "n"}, "no numbers were found at which this is finite", "        ^^^^^^^^^^"),
    ("Y = sqrt(-1 - X**2)", {"X": "n"}, "no numbers were found at which this is finite", "    ^^^^^^^^^^^^^^^"),
    ("A = X @ W; Z = X * 3", {"X": "m n", "W": "n k"}, "the last statement does not depend on A", "    ^^^^^"),
    ("L = hinge(S, y) + sum(y)", {"S": "m n", "y": "m"}, "y holds labels", "                  ^^^^^^"),
    (
        "Y = softmax(X, temperature='a')",
        {"X": "n"},
        "temperature must be a number, got 'a'",
        "                           ^^^",
    ),
    ("Y = leaky_relu(X, alpha=None)", {"X": "n"}, "alpha must be a number, got None", "                        ^^^^"),
    ("Y = sum(X, keepdims=3)", {"X": "n"}, "keepdims must be True or False, got 3", "                    ^"),
    ("Y = sum(X, **X)", {"X": "n"}, "an option is written name=value", "             ^"),
    ("Y = X @ W", {"X": "", "W": ""}, "a single number takes part in no matrix product; write *", "    ^^^^^"),
    ("Y = é @ X", {"é": "m n", "X": "m n"}, "inner sizes", "    ^^^^^"),
    ("# nothing", {}, "the expression is empty", "^"),
    ("import os", {}, "a statement must be name = expression", "^^^^^^^^^"),
]


@pytest.mark.parametrize(("expression", "shapes", "message", "marks"), BAD, ids=[case[0] for case in BAD])
def test_mistakes_are_marked(expression, shapes, message, marks):
    with pytest.raises((ExpressionError, hg.errors.ShapeError)) as caught:
        derive(expression, **shapes)
    lines = str(caught.value).splitlines()
    assert not lines[0].endswith("()")
    assert message in lines[0]
    assert lines[1] == f"    {expression}"
    if marks:
        assert lines[2].startswith(f"    {marks}")


def test_the_line_of_a_mistake_is_shown():
    with pytest.raises(ExpressionError, match=r"V is unknown.*\n    Z = H @ V\n            \^$"):
        derive("H = relu(X)\nZ = H @ V", X="m n")


@pytest.mark.parametrize("shape", ["m 0", "m 00", "m -1", "m n!", 3, "m 1.5", "m ²", "a b c d e f g h i"])
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

    with pytest.raises(hg.errors.UnsupportedError, match="Own, at the top, is no layer of the library"):
        derive(Own())
    with pytest.raises(hg.errors.ShapeError, match="got W"):
        derive(hg.Linear(2, 3), W="2 3")


def test_options_out_of_range_are_marked():
    with pytest.raises(hg.errors.ValueRangeError, match=r"temperature.*above 0, got 0\n    Y = softmax.*\n        \^"):
        derive("Y = softmax(X, temperature=0)", X="n")


@pytest.mark.parametrize(
    "expression",
    ["(" * 1000 + "X" + ")" * 1000, "-" * 5000 + "X", "+".join(["X"] * 3000), "X" + ".T" * 3000, "X" + " * X" * 400],
    ids=["parentheses", "signs", "terms", "transposes", "factors"],
)
def test_what_is_too_deep_is_said_shortly(expression):
    with pytest.raises(ExpressionError, match=r"nested|levels") as caught:
        derive(expression, X="m n")
    assert max(map(len, str(caught.value).splitlines())) < 120


def test_what_is_called_from_too_deep_is_said():
    def below(levels):
        return derive("tanh(" * 150 + "X" + ")" * 150, X="n") if levels == 0 else below(levels - 1)

    with pytest.raises(ExpressionError, match="too many levels"):
        below(500)


def test_a_name_used_a_thousand_times():
    expression = "; ".join(["A0 = X", *(f"A{i} = A{i - 1} * X" for i in range(1, 300))])
    derivation = derive(expression, X="")
    for form in (derivation.text, derivation.markdown, derivation.latex):
        assert "is used 300 times" in form


@pytest.mark.parametrize(
    ("expression", "shapes"),
    [
        ("L = hinge(S, y) + sum(Q * M) + sum(active)", {"S": "m n", "y": "m", "Q": "m n", "M": "m n", "active": "n"}),
        ("loss = cross_entropy(S, y); L = loss + sum(P * Q)", {"S": "m n", "y": "m", "P": "m n", "Q": "n"}),
        ("normalize(X) * mean_N + spread_N", {"X": "m n", "mean_N": "m n", "spread_N": "n"}),
        ("huber(S, y) + sum(D) * sum(C)", {"S": "m n", "y": "m n", "D": "m", "C": "n"}),
    ],
    ids=["hinge", "cross entropy", "normalize", "huber"],
)
def test_names_of_the_steps_own_arrays_are_left_to_the_caller(expression, shapes):
    assert set(shapes) - {"y"} == derive(expression, **shapes).gradients.keys()


@pytest.mark.parametrize(
    ("expression", "shapes"),
    [
        ("λ * X + é", {"λ": "", "X": "m n", "é": "n"}),
        ("relu(a*b*c*d*e*f*g*h*i*j*k*l) @ W", {**dict.fromkeys("abcdefghijkl", "m n"), "W": "n k"}),
        ("X + Y", {"X": "1 n", "Y": "m 1"}),
        ("X @ W", {"X": "1 1", "W": "1 1"}),
        ("X**0 * X + X**1", {"X": "m n"}),
        ("sum(normalize(X))", {"X": "p k"}),
        ("sum(softmax(X), axis=1) - 1", {"X": "m n"}),
        ("softmax(X)", {"X": "m 1"}),
        ("normalize(X)", {"X": "m 1"}),
        ("X.mT @ Y", {"X": "2 2 2 2 2 2 3 2", "Y": "3 p"}),
    ],
)
def test_unusual_names_and_lengths(expression, shapes):
    prove(expression, shapes)


def test_a_list_of_axes():
    assert derive("sum(X, axis=[0, 1])", X="m n k").code == derive("sum(X, axis=(0, 1))", X="m n k").code.replace(
        "(0, 1)): X", "[0, 1]): X"
    )


def test_a_log_of_negative_numbers():
    assert "dX" in str(derive("log(-X)", X="n"))


@pytest.mark.parametrize("shape", ["a b c d e f g h", "12 12 12 12 12 12 12 12", "100000 99999 30 20 20"])
def test_arrays_of_many_axes_are_checked_at_few_elements(shape):
    derivation = derive("tanh(X) * 2", X=shape)
    assert set(derivation.sizes) == set(shape.split())
    assert max(derivation.sizes.values()) < 20
