"""derive: what it says, in which forms, that nothing is shown unchecked, and what it says of mistakes."""

import dataclasses

import pytest

import handgrad as hg
from handgrad.explain.derive import DerivationError, derive
from handgrad.explain.derive.check import prove as check
from handgrad.explain.derive.functions import CODE, HELPERS
from handgrad.explain.derive.model import lowered
from handgrad.explain.derive.render.markdown import inert
from handgrad.explain.derive.rules import RULES, arithmetic

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


def test_each_use_of_a_name_gives_a_part_of_its_gradient():
    text = str(derive("G = X.T @ X", X="m n"))
    for line in (
        "dX   (m, n), from use 1 of 2",
        "dX⁽¹⁾ = X dGᵀ",
        "dX⁽²⁾ = X dG",
        "X is used 2 times",
        "dX = dX⁽¹⁾ + dX⁽²⁾",
    ):
        assert line in text
    assert "as arrays            dX = " not in text  # which neither part is
    residual = derive(hg.Residual(hg.Linear(3, 3)))
    assert r"\left(\frac{\partial L}{\partial X}\right)^{(1)}" in residual.latex
    assert "a copy adds" in residual.latex
    assert "**A copy adds.**" in residual.markdown


def test_local_gradients_are_worked_out():
    text = str(derive("A = sigmoid(Z)", Z="m n"))
    assert "= 1 / (1 + exp(-Z[i,j]))" in text
    assert "exp(-Z[i,j]) / (1 + exp(-Z[i,j]))^2\n" in text
    assert "the matrix diag(p) - p pᵀ" in str(derive("p = softmax(s)", s="n"))
    assert "∂spread_N[i,1]/∂X[i,j] = N[i,j] / 5" in str(derive(hg.LayerNorm(5)))


def test_the_mirror_rule_for_one_sample():
    text = " ".join(str(derive("z = x @ W", x="n", W="n k")).split())
    assert "kept there and transposed it gives dz Wᵀ; x and dz being rows, that is W dz" in text
    assert "it gives xᵀ dz; x and dz being rows, that is outer(x, dz)" in text
    assert "mirror rule" not in str(derive("s = x @ y", x="n", y="n"))


def test_a_mean_shares_out():
    assert "divided by their number" in str(derive("mean(X)", X="m n"))
    assert "divided by their number" not in str(derive("sum(X)", X="m n"))


def test_dropout_says_what_its_mask_is():
    assert "K is 1 / (1 - 0.25) where Dropout keeps an element of X" in " ".join(str(derive(hg.Dropout(0.25))).split())


def test_numbers_stand_first_and_powers_end():
    assert "dX = 2 dY" in str(derive("X * 2", X="n"))
    assert "dX = 0 * dY  #" in derive("X**0", X="n").code  # 0 times an infinite power would be no number
    assert "dX = 2 dY ⊙ X\n" in str(derive("X**2", X="n"))


def test_no_scalar_is_said_twice():
    assert "in elements" not in str(derive("f = (x + y) * z", x="", y="", z=""))


def test_text_is_no_wider_than_a_terminal():
    blocks = [hg.Linear(4, 4), hg.Residual(hg.Sequential([hg.LayerNorm(4), hg.mlp([4, 8, 4], "gelu")])), hg.Softmax()]
    derivation = derive(hg.Sequential(blocks), "cross_entropy", hg.L2(0.1))
    assert max(map(len, derivation.code.splitlines())) <= 120
    assert max(map(len, derivation.text.splitlines())) <= 122


def test_large_lengths_are_checked_at_small_ones():
    derivation = derive(hg.mlp([784, 256, 10]), "hinge", hg.L2(0.1))
    assert derivation.program.shape("W1") == (784, 256)
    assert set(derivation.sizes) == {"m", "784", "256"}
    assert max(derivation.sizes.values()) < 20
    assert f"{derivation.sizes['784']} in place of 784" in str(derivation)
    flat = derive("flatten(X) @ W", X="m 100000 2", W="200000 k")
    assert flat.sizes["200000"] == 2 * flat.sizes["100000"]


def test_kinks_come_from_the_ops():
    assert "at x = 0 there is no derivative; alpha is taken" in str(derive(hg.LeakyReLU(0.1)))
    assert inert(hg.ops.sigmoid.derivative) in derive(hg.Sigmoid()).markdown


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


@pytest.mark.parametrize("part", ["first", "lemmas"])
def test_a_wrong_step_on_the_way_is_never_shown(monkeypatch, part):
    name, expression = ("softmax", "softmax(X)") if part == "first" else ("normalize", "normalize(X)")
    rule = RULES[name]

    class Wrong(type(rule)):
        def gradients(self, step):
            (gradient,) = super().gradients(step)
            wrong = [(left, 2 * right) for left, right in gradient.lemmas] or [2 * form for form in gradient.first]
            return [dataclasses.replace(gradient, **{part: tuple(wrong)})]

    monkeypatch.setitem(RULES, name, Wrong())
    with pytest.raises(DerivationError, match="the line"):
        derive(expression, X="m n")


def test_code_that_computes_something_else_is_never_shown():
    program, _ = lowered(hg.Tanh(), None, None, {})
    source = derive(hg.Tanh()).code.replace("np.tanh(X)", "np.sin(X)")
    with pytest.raises(DerivationError, match="the value of Y"):
        check(program, source)


def test_every_function_has_code():
    assert HELPERS.keys() - CODE.keys() == {"gelu_gate"}
