"""Formulas with the numbers plugged in, and figures that are read by pointing and by keys."""

import re

import numpy as np
import pytest

import handgrad as hg
from explain.view.batches import traced
from explain.view.browser.documents import digits, document, only

TERM = re.compile(r"\(?(-?[\d.]+(?:e-?\d+)?)\)?")


@pytest.fixture(scope="module")
def small():
    """A trace whose sums are short enough to be written whole."""
    return traced([hg.Linear(4, 3), hg.Tanh(), hg.Linear(3, 2, layout="out_in"), hg.ReLU()], 4, rows=3, classes=2)


def computed(text):
    """(what the left side comes to, what the page says it does)."""
    left, right = text.split(" = ")
    sum_ = 0.0
    for product in left.split(" + "):
        factors = [float(TERM.fullmatch(each)[1]) for each in product.split(" · ")]
        sum_ += np.prod(factors)
    return sum_, float(right)


def read(shown, field, row, col):
    """What a heat map says of an entry, and how that comes about."""
    field.focus()
    shown.press("Control+Home", *["ArrowDown"] * row, *["ArrowRight"] * col)
    figure = field.locator("xpath=..")
    return figure.locator("output.readout").text_content(), figure.locator("output.worked").text_content()


def figure(shown, flow, name):
    return shown.find(f'[data-flow="{flow}"] [role=application][aria-label^="{name}"]')


def test_a_value_is_written_with_its_numbers(show, small):
    shown, tape = show(hg.view(small).to_html()), small.tape
    for step in (tape.steps[0], tape.steps[2]):
        shown.open(step.name)
        field = shown.find('[data-panel] [aria-label^="value of Linear"]').first
        for row, col in ((0, 0), (2, 1)):
            said, how = read(shown, field, row, col)
            left, right = computed(how)
            assert said.startswith(f"row {row}, column {col}: ")
            assert float(said.rpartition(" ")[2]) == step.out[row, col]
            assert right == pytest.approx(step.out[row, col], rel=6e-3)
            assert left == pytest.approx(right, abs=2e-2)
    shown.open("1")
    said, how = read(shown, shown.find('[data-panel] [aria-label^="value of Tanh"]').first, 1, 2)
    inner, outer = re.fullmatch(r"tanh\((\S+)\) = (\S+)", how).groups()
    assert np.tanh(float(inner)) == pytest.approx(float(outer), abs=6e-3)
    assert float(inner) == pytest.approx(tape.steps[0].out[1, 2], rel=6e-3)


@pytest.mark.parametrize(("node", "flow"), [("0", "X → 0"), ("2", "1 → 2"), ("1", "0 → 1"), ("loss", "3 → loss")])
def test_what_flows_on_is_upstream_times_local_in_numbers(show, small, node, flow):
    shown, tape = show(hg.view(small).to_html()), small.tape
    truth = {"X → 0": tape.dx, "1 → 2": tape.steps[1].dout, "0 → 1": tape.steps[0].dout, "3 → loss": tape.dscores}[flow]
    shown.open(node)
    said, how = read(shown, figure(shown, flow, "downstream gradient"), 1, 1)
    left, right = computed(how)
    assert float(said.rpartition(" ")[2]) == truth[1, 1]
    assert right == pytest.approx(truth[1, 1], rel=6e-3)
    assert left == pytest.approx(right, abs=1e-2)


@pytest.mark.parametrize("name", ["0.weight", "2.weight", "0.bias"])
def test_the_gradient_of_a_parameter_is_written_with_its_numbers(show, small, name):
    shown, truth = show(hg.view(small).to_html()), small.tape.gradients[name]
    shown.open(name[0])
    row, col = (1, 1) if truth.ndim == 2 else (0, 1)
    said, how = read(shown, figure(shown, name, "downstream gradient"), row, col)
    left, right = computed(how)
    assert float(said.rpartition(" ")[2]) == np.atleast_2d(truth)[row, col]
    assert right == pytest.approx(np.atleast_2d(truth)[row, col], rel=6e-3)
    assert left == pytest.approx(right, abs=1e-2)


def test_a_long_sum_is_cut(show):
    shown = show("digits")
    shown.open("0")
    field = shown.find('[data-panel] [aria-label^="value of Linear"]').first
    field.hover(position={"x": 40, "y": 40})
    how = field.locator("xpath=..").locator("output.worked").text_content()
    assert how.count(" · ") == 3
    assert re.search(r" \+ … \d+ more \+ ", how)


def test_a_circuits_formulas_have_the_circuits_names(show):
    shown = show("small graph")
    shown.open("f")
    words = shown.find("[data-panel] .formulas math annotation").all_text_contents()
    assert words[0] == r"f = q \odot z"
    assert words[1] == r"\frac{\partial f}{\partial q} = z,\quad \frac{\partial f}{\partial z} = q"
    assert [each.split()[0] for each in shown.find("[data-panel] .structure").all_text_contents()] == ["∂f/∂q", "∂f/∂z"]


@pytest.mark.parametrize("kind", ["neuron", "nasty", "swiglu", "regression"])
def test_every_formula_is_set(show, kind):
    """As MathML: one that KaTeX cannot read would stand there as code."""
    shown = show(kind)
    for node in only(kind)[0]["nodes"]:
        shown.find(f'[data-node="{node["id"]}"]'.replace("<", "\\<")).first.focus()
        shown.press("Enter")
        assert shown.find("[data-panel] .formulas > div:not(.numbers) code").count() == 0
        assert shown.find("[data-panel] .formulas math").count() == bool(node["formula"]) + bool(node["local"])
        shown.press("Enter")


def test_facts_of_finite_numbers_say_so(show):
    shown = show("not finite")
    shown.open("0")
    assert "finite 10 of 20 numbers; of these:" in " ".join(shown.find("[data-panel] dl").first.inner_text().split())
    assert "10 not finite, of the others:" in shown.find(".about").text_content()


def test_curves_are_read_by_keys_and_by_pointing(show):
    shown = show("report")
    shown.find("nav button", has_text="Report").click()
    rows = document("report").document["report"]["history"]
    field = shown.find('[aria-roledescription="chart"][aria-label^="loss"]')
    field.focus()
    said = lambda: field.locator("xpath=..").locator("output").text_content()  # noqa: E731
    for key, epoch in (("Home", 1), ("ArrowRight", 2), ("End", 4), ("ArrowLeft", 3)):
        shown.press(key)
        assert said() == f"epoch {epoch}: loss {rows['loss'][epoch - 1]}"
    field.evaluate("(at) => at.blur()")
    assert said() == ""
    field.hover(position={"x": 48, "y": 60})
    assert said().startswith("epoch 1: ")
    assert len(digits()[1].history.rows) == 4


def test_residuals_are_read_by_keys(show):
    shown = show("regression")
    shown.find("nav button", has_text="Report").click()
    found = document("regression").document["report"]["residuals"]
    pairs = sorted(zip(found["actual"], found["predicted"], strict=True))
    shown.find('[aria-roledescription="chart"][aria-label^="Predicted"]').focus()
    for key, at in (("Home", 0), ("ArrowRight", 1), ("End", -1)):
        shown.press(key)
        text = shown.find("output", has_text="residual").text_content()
        numbers = [float(each) for each in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", text)]
        assert numbers == pytest.approx([*pairs[at], pairs[at][1] - pairs[at][0]], rel=1e-3)
