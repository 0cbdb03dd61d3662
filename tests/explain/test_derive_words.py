"""derive: what it says, in which forms, that nothing is shown unchecked, and what it says of mistakes."""

import pytest

import handgrad as hg
from explain.textbook import LOSSES
from handgrad.explain.derive import DerivationError, ExpressionError, derive
from handgrad.explain.derive.check import prove as check
from handgrad.explain.derive.functions import CODE, HELPERS
from handgrad.explain.derive.model import lowered
from handgrad.explain.derive.rules import RULES, arithmetic
from layers.table import LAYERS

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

    with pytest.raises(hg.errors.UnsupportedError, match="Own, at the top, is no layer of the library"):
        derive(Own())
    with pytest.raises(hg.errors.ShapeError, match="got W"):
        derive(hg.Linear(2, 3), W="2 3")
