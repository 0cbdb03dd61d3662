"""derive on a page: LaTeX and Markdown of every layer and loss, read as others read them."""

import re

import pytest
from markdown_it import MarkdownIt
from matplotlib.mathtext import MathTextParser

import handgrad as hg
from explain.textbook import EXPRESSIONS, LOSSES
from handgrad.explain.derive import derive
from handgrad.explain.derive.render.markdown import inert
from layers.table import LAYERS
from mathtext import unlike

MODEL = hg.Sequential(
    [hg.Linear(3, 4), hg.Residual(hg.Sequential([hg.LayerNorm(4), hg.SwiGLU(4, 4)])), hg.Linear(4, 3)]
)


@pytest.fixture(scope="module")
def derivations():
    found = [derive(case.layer, X=["m", *case.sample]) for case in LAYERS.values()]
    found += [derive(loss) for loss in LOSSES] + [derive(MODEL, loss, hg.L2(1e-7)) for loss in LOSSES[:3]]
    found += [derive(expression, **shapes) for expression, shapes in EXPRESSIONS]
    found += [derive("Z = X_in**2 @ λ + x1_2", X_in="m n_in", λ="n_in alpha", x1_2="alpha")]
    return [*found, derive("r1 = max(X, axis=0) / sum(x_in @ Y.mT)", X="m n", x_in="k", Y="p n k")]


def test_latex_is_drawn(derivations):
    """By matplotlib, whose mathtext knows no alignment: cell by cell, of each kind one, and all in `make soak`."""
    rows = {row for derivation in derivations for row in derivation.latex.split("\n")}
    cells = {cell.strip() for row in rows for cell in row.removesuffix(r" \\").split("&")}
    cells = {cell.removeprefix(r"\hline ") for cell in cells if not cell.startswith((r"\begin", r"\end"))} - {"", "$$"}
    parser, chosen = MathTextParser("path"), unlike(cells)
    assert len(chosen) > 100
    for cell in chosen:
        parser.parse(f"${cell}$")


def test_latex_has_no_second_index_on_an_index(derivations):
    for derivation in derivations:
        assert not re.search(r"_\{[^{}]*\}[_]|_\w_|\^\{[^{}]*\}\^", derivation.latex)


def test_blocks_begin_and_end(derivations):
    for derivation in derivations:
        for block in derivation.latex.split("\n\n"):
            kind = re.match(r"\$\$\n\\begin\{(\w+)\}", block)
            assert kind
            assert block.endswith(f"\\end{{{kind[1]}}}\n$$")
            assert block.count(r"\begin") == block.count(r"\end") == 1
            assert block.count("{") == block.count("}")
            assert not block.endswith("\\\\\n")


def test_latex_lists_all_products_and_says_what_shapes_decide():
    latex = derive("Z = X @ W", X="m n", W="n n").latex
    assert latex.count(r"\text{fits}") == 4
    assert latex.count(r"differ} & ") + latex.count(r"gives") - latex.count("it gives") >= 16
    assert "2 products fit: shapes alone do not decide, the chain rule above does" in latex


def test_markdown_leaves_formulas_alone(derivations):
    """Pages such as GitHub's read Markdown before formulas: no sign in a formula may mean something to it."""
    reader = MarkdownIt("commonmark").enable("table")
    for derivation in derivations:
        tokens = [token for token in reader.parse(derivation.markdown) if token.type == "inline"]
        kinds = {child.type for token in tokens for child in token.children}
        assert kinds <= {"text", "softbreak", "code_inline", "strong_open", "strong_close"}
        for token in tokens:
            said = "".join(child.content for child in token.children if child.type == "text")
            for formula in re.findall(r"\$+([^$]+)\$+", token.content):
                assert formula in said


def test_markdown_says_what_latex_writes():
    markdown = derive("Z = X @ W", X="m n", W="n k").markdown
    assert "[i'=i]" not in markdown
    assert r"$\delta _ {i'i}$ is 1 where both indices agree" in markdown
    assert markdown.startswith("# `Z = X @ W`\n")
    assert inert(r"\{a\,b_{i}\}") == r"\lbrace{}a\thinspace{}b _ {i}\rbrace{}"
