"""The page: one file that asks for nothing, in which all that is data is text."""

import base64
import hashlib
import html as escapes
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import handgrad as hg
from explain.view.batches import neuron, traced
from handgrad.explain.view import html

NASTY = "<script>alert(1)</script>"
QUOTED = "\"double\" 'single' &amp; </script> \u2028"


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the text of each script and title."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.title, self.within = [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, data):
        if self.within == "script":
            self.scripts[-1] += data
        elif self.within == "title":
            self.title = self.title or data  # the pictures have one of their own

    @property
    def policy(self):
        return next(a["content"] for tag, a in self.elements if a.get("http-equiv") == "Content-Security-Policy")


@pytest.fixture(scope="module")
def nasty():
    g = hg.Graph()
    a, b = g.input(NASTY), g.input(QUOTED)
    run = g.run((a * b).named(f"{NASTY} product"), **{NASTY: 2.0, QUOTED: 3.0}).backward()
    return hg.view(run, title=f"{NASTY} {QUOTED}")


def test_the_document_comes_back_out_of_the_page(nasty):
    page = Page(nasty.to_html())
    data, module = page.scripts
    assert json.loads(data) == nasty.document
    assert hg.View.from_json(data).title == nasty.title
    assert "<" not in data
    assert [a for tag, a in page.elements if tag == "script"] == [
        {"type": "application/json", "id": "handgrad-document"},
        {"type": "module"},
    ]
    assert 'document.getElementById("handgrad-view")' in module


def test_names_are_text(nasty):
    text = nasty.to_html()
    page = Page(text)
    assert page.title.startswith(NASTY)
    assert "alert(1)" not in re.sub(r"<title>.*?</title>", "", "".join(page.scripts[1:]))
    assert text.count("<script") == 2
    assert text.count("</script") == 2
    for escaped in (escapes.escape(NASTY), r"\u003cscript>alert(1)\u003c/script>"):
        assert escaped in text
    assert NASTY not in text
    assert NASTY not in nasty.to_svg()
    assert "\u2028" not in page.scripts[0]


def test_every_request_is_forbidden():
    page = Page(hg.view(neuron()).to_html())
    rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules.keys() <= {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base")
        assert not {"src", "href"} & attributes.keys()


def test_it_says_what_it_is_without_scripts():
    view = hg.view(neuron(), title="A neuron")
    text = view.to_html()
    page = Page(text)
    assert ("html", {"lang": "en"}) in page.elements
    assert any(a.get("name") == "viewport" for _, a in page.elements)
    assert page.title == "A neuron"
    inner = text[text.index("<noscript>") : text.index("</noscript>")]
    assert view.to_svg() in inner
    assert "gradient 0.393" in inner  # by x0 in the worked example
    assert "gradient -0.197" in inner  # by w0
    assert "sigmoid(1) = 0.731059" in inner


def test_a_bundle_cannot_end_its_element(monkeypatch):
    bundle = "const a='</script><SCRIPT>';function f(e,t){}export{f as mount,a as default};\n"
    monkeypatch.setattr(html, "source", lambda: bundle)
    html._inline.cache_clear()
    try:
        module = Page(hg.view(neuron()).to_html()).scripts[1]
    finally:
        html._inline.cache_clear()
    assert module.startswith(r"const a='\x3c/script>\x3cSCRIPT>';function f(e,t){}f(document")


def test_a_bundle_without_mount_is_refused(monkeypatch):
    monkeypatch.setattr(html, "source", lambda: "export{a as default}")
    html._inline.cache_clear()
    with pytest.raises(hg.errors.HandgradError, match=r"page.js must end with an export of mount"):
        hg.view(neuron()).to_html()
    html._inline.cache_clear()


def test_files(tmp_path):
    view = hg.view(neuron())
    assert view.to_html(tmp_path / "page.html") == (tmp_path / "page.html").read_text("utf-8")
    assert view.to_json(tmp_path / "page.json") == (tmp_path / "page.json").read_text("utf-8")
    assert view.to_svg(tmp_path / "page.svg") == (tmp_path / "page.svg").read_text("utf-8")
    with pytest.raises(FileNotFoundError):
        view.to_html(tmp_path / "nowhere" / "page.html")
    assert len(list(tmp_path.iterdir())) == 3


def test_the_same_view_writes_the_same_bytes():
    assert hg.view(neuron()).to_html() == hg.view(neuron()).to_html()


def test_a_network_for_mnist_makes_a_page_below_5_megabytes():
    rng = np.random.default_rng(0)
    model = hg.mlp([784, 256, 128, 10])
    batch = rng.standard_normal((64, 784)), rng.integers(10, size=64)
    trace = hg.trace(model, model.init(0), *batch)
    assert len(hg.view(trace, checks=False).to_html().encode()) < 5_000_000
    frames = [(f"epoch {i}", trace) for i in range(30)]
    assert len(hg.view(trace, frames=frames, checks=False).to_html().encode()) < 5_000_000


def test_a_deep_network_makes_a_page_below_5_megabytes():
    layers = [layer for _ in range(50) for layer in (hg.Linear(16, 16, init="glorot_normal"), hg.Tanh())]
    trace = traced(layers, 16, rows=32)
    view = hg.view(trace, frames=[("before", trace)] * 5, checks=False)
    assert len(view.to_html().encode()) < 5_000_000
    assert view.to_svg().count("<rect") > 100


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(nasty):
    shown = nasty._repr_mimebundle_()
    assert shown["text/plain"].startswith("View(")
    ((tag, attributes),) = Page(shown["text/html"]).elements
    assert tag == "iframe"
    assert attributes["sandbox"] == "allow-scripts"  # nothing of the notebook is within its reach
    assert attributes["srcdoc"] == nasty.to_html()
