"""Formulas under the names that stand around them."""

import re

import pytest

import handgrad as hg
from explain.view.batches import only, traced
from handgrad import ops
from handgrad.explain.view.names import formulas, of_node, renamed, worded, written


def graph():
    g = hg.Graph()
    return g, *(g.input(name) for name in ("x", "y", "z", "w0"))


def test_named_nodes_stand_by_their_names():
    _, x, y, z, _ = graph()
    q = (x + y).named("q")
    f = (q * z).named("f")
    assert of_node(q) == ("q = x + y", r"\frac{\partial q}{\partial x} = 1,\quad \frac{\partial q}{\partial y} = 1")
    assert of_node(f) == (
        r"f = q \odot z",
        r"\frac{\partial f}{\partial q} = z,\quad \frac{\partial f}{\partial z} = q",
    )


def test_what_has_no_name_gets_a_letter_that_is_free_and_the_formula_says_what_it_is():
    g, x, _, _, w0 = graph()
    s = (x * w0).named("s")
    found, local = of_node(1.0 / (1.0 + ops.exp(-s)))
    assert found == r"u = \frac{1}{v},\quad v = 1+\operatorname{exp}(-s)"
    assert local == r"\frac{\partial u}{\partial v} = -\frac{u}{v}"  # by the number 1 nothing is derived
    assert of_node(s)[0] == r"s = x \odot {w_{0}}"
    assert g["z"].name == "z"  # hence u


def test_numbers_and_arguments_that_are_read_twice():
    _, x, y, _, _ = graph()
    assert of_node(x**2.0) == ("u = x^2", r"\frac{\partial u}{\partial x} = 2\,x^{2-1}")
    assert of_node(y * -3.0)[0] == r"u = y \odot {\left(-3\right)}"
    inner = x + y
    assert of_node(inner * inner)[0] == r"u = v \odot v,\quad v = x+y"


def test_losses_and_words_stay():
    _, x, *_ = graph()
    loss = ops.cross_entropy(x, [0, 1])
    assert of_node(loss) == (ops.cross_entropy.formula, ops.cross_entropy.derivative)
    assert renamed(r"\max(0, x) + \operatorname{relu}(x) + e^{-x}", {"x": "s"}) == (
        r"\max(0, s) + \operatorname{relu}(s) + e^{-s}"
    )
    assert renamed("x_i", {"x": "w_{0}"}) == "{w_{0}}_i"
    assert formulas(ops.matmul, ("A", "B"), "C")[0] == "C = A B"


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a b", "50%", "{x}", r"\href{u}{v}", "a_b^c~$&#"])
def test_a_name_that_is_no_word_is_text(name):
    found = worded(name)
    assert found.startswith(r"\text{")
    inside = found[len(r"\text{") : -1]
    assert not re.search(r"(?<!\\)[{}$&#%_^~]", inside)
    assert set(re.findall(r"\\([a-z]+)", inside)) <= {"textbackslash", "textasciicircum", "textasciitilde"}


def test_expressions():
    assert written("w0 * x + sigmoid(-b)") == r"w_{0} \cdot x+\operatorname{sigmoid}(-b)"
    assert written("x ** 2") == r"\text{x ** 2}"


def test_parts_of_a_gated_layer_and_of_a_residual_have_their_own_letters():
    nodes, _, _ = only(traced([hg.SwiGLU(4, 4), hg.Residual(hg.Linear(4, 4)), hg.Linear(4, 3)], 4).view(checks=False))
    told = {name: nodes[name]["formula"] for name in nodes}
    assert told["0.content"] == "C = X V + b"
    assert told["0.gate"] == "G = X W + c"
    assert told["0.activation"] == r"\operatorname{swish}(G) = G\,\sigma(\beta G)"
    assert told["0.product"] == r"Y = C \odot F"
    assert told["1"] == "Y = X + F"
    assert nodes["1"]["local"] == r"\frac{\partial Y}{\partial X} = 1,\quad \frac{\partial Y}{\partial F} = 1"
