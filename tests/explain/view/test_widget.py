"""The notebook widget: the page's module and the document, all of which a notebook saves."""

import sys

import pytest

import handgrad as hg
from explain.view.batches import neuron
from handgrad.explain.view import html
from handgrad.explain.view import widget as module


def test_its_state_is_all_that_a_page_needs():
    view = hg.view(neuron())
    widget = view.widget()
    state = widget.get_state()
    assert state["document"] == view.to_json()
    assert state["_esm"] == html.source()
    assert state["_model_module"] == "anywidget"
    assert "export" in state["_esm"]
    assert "application/vnd.jupyter.widget-view+json" in widget._repr_mimebundle_()[0]


def test_it_follows_another_document():
    widget = hg.view(neuron()).widget()
    other = hg.view(neuron(), title="another").to_json()
    seen = []
    widget.observe(lambda change: seen.append(change["new"]), "document")
    widget.document = other
    assert seen == [other]


def test_without_anywidget_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    module._kind.cache_clear()
    with pytest.raises(hg.errors.HandgradError, match=r"pip install 'handgrad\[notebook\]'"):
        hg.view(neuron()).widget()
    module._kind.cache_clear()
