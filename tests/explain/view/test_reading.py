"""Documents that are wrong are refused, and the field that is wrong is named."""

import copy
import json
from itertools import pairwise

import numpy as np
import pytest

import handgrad as hg
from explain.view.batches import neuron, traced
from handgrad.explain.view.report import report
from handgrad.explain.view.schema import ADDED

FREE = ("equations", "nodes", "edges", "parameters", "parts", "history", "metrics", "facts")  # names are data there


def full():
    """A document with everything in it that can be."""
    trace = traced([hg.SwiGLU(3, 3), hg.Linear(3, 2)], 3, classes=2, regularizer=hg.L2(0.1))
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": float("nan")}]
    told = report("run", rows, [0, 1], [0, 0], labels=["a", "b"], metrics={"accuracy": 0.5}, baselines={"guess": {}})
    return hg.view(trace, report=told)


DOCUMENT = full().document


def places(value, way=()):
    """(way, key) of every field of every object within."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield way, key
            yield from places(each, (*way, key))
    elif isinstance(value, list):
        for i, each in enumerate(value[:2]):
            yield from places(each, (*way, i))


def at(document, way):
    for step in way:
        document = document[step]
    return document


def test_every_missing_field_is_named():
    """Each field in turn is taken out; those whose names are data are missed by the graph, or need not be there."""
    seen = set()
    for way, key in places(DOCUMENT):
        kind = (*(step for step in way if isinstance(step, str) and step not in at_names(way)), key)
        if kind in seen:
            continue
        seen.add(kind)
        broken = copy.deepcopy(DOCUMENT)
        del at(broken, way)[key]
        if key in ADDED or (way and way[-1] in ("history", "metrics", "facts", "parts", "baselines")):
            hg.View.from_json(json.dumps(broken))
            continue
        with pytest.raises(hg.FormatError) as caught:
            hg.View.from_json(json.dumps(broken))
        assert key in str(caught.value) or key in ("data", "documents"), (way, key, str(caught.value))
    assert len(seen) > 100


def at_names(way):
    """The steps of a way that are names of data, such as a node's id."""
    return {step for before, step in pairwise(way) if before in FREE}


@pytest.mark.parametrize(
    ("way", "value", "saying"),
    [
        (("version",), 3, "of version 3 of its format, and this library reads version 1"),
        (("format",), "other", "it is no view of handgrad: expected format 'handgrad.view', got 'other'"),
        (("title",), 7, "title must be a text, got 7"),
        (("variants",), [], "variants must be a list of 1 or more"),
        (("variants", 0, "frames"), [], r"variants\[0\].frames must be a list of 1 or more"),
        (("variants", 0, "graph", "nodes", 0, "kind"), "box", r"graph.nodes\[0\].kind must be one of input, parameter"),
        (("variants", 0, "graph", "nodes", 0, "shape"), [-1], r"nodes\[0\].shape\[0\] must be a whole number"),
        (("variants", 0, "graph", "edges", 0, "source"), "nowhere", r"edges\[0\].source must be the id of a node"),
        (("variants", 0, "graph", "edges", 0, "source"), "loss", r"edges\[0\] leads back, from 'loss'"),
        (("variants", 0, "graph", "edges", 1, "id"), "X → 0.content", "edges has the id 'X → 0.content' twice"),
        (("variants", 0, "graph", "nodes", 1, "derivation"), "none", "derivation must be a key of equations"),
        (("variants", 0, "frames", 0, "loss"), True, "loss must be a number"),
        (("variants", 0, "frames", 0, "nodes", "extra"), {}, r"frames\[0\].nodes\['extra'\].value is missing"),
        (
            ("variants", 0, "frames", 0, "nodes", "X", "value", "data"),
            "AAAA",
            r"\['X'\].value.data must hold 144 bytes",
        ),
        (("variants", 0, "frames", 0, "nodes", "X", "value", "data"), "?", r"value.data must be base64, got '\?'"),
        (("variants", 0, "frames", 0, "nodes", "X", "value", "dtype"), "int8", "dtype must be one of float32"),
        (("variants", 0, "frames", 0, "edges", "X → 0.gate", "downstream"), "up", "downstream must be an object"),
        (("report", "task"), "ranking", "report.task must be one of classification, regression"),
        (("report", "confusion", "counts", 0, 0), 0.5, r"counts\[0\]\[0\] must be a whole number of at least 0"),
    ],
)
def test_what_is_wrong_is_named(way, value, saying):
    broken = copy.deepcopy(DOCUMENT)
    at(broken, way[:-1])[way[-1]] = value
    with pytest.raises(hg.FormatError, match=saying):
        hg.View.from_json(json.dumps(broken))


def test_a_frame_of_another_graph():
    broken = copy.deepcopy(DOCUMENT)
    nodes = broken["variants"][0]["frames"][0]["nodes"]
    nodes["ghost"] = nodes["X"]
    with pytest.raises(hg.FormatError, match=r"frames\[0\].nodes has 'ghost', which the graph has not"):
        hg.View.from_json(json.dumps(broken))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_file_cut_short(share):
    text = json.dumps(DOCUMENT)
    with pytest.raises(hg.FormatError, match=r"cut short|no JSON"):
        hg.View.from_json(text[: int(share * len(text))])


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_bare_words_that_are_no_json(token):
    text = json.dumps(DOCUMENT)
    with pytest.raises(hg.FormatError, match=f"the bare word {token}"):
        hg.View.from_json(text.replace('"loss": ', f'"loss": {token}, "was": ', 1))


@pytest.mark.parametrize("text", [b"\xff\xfe", "[]", "3", '"view"', "null", "{}", "[" * 100_000])
def test_what_is_no_view_at_all(text):
    with pytest.raises(hg.FormatError):
        hg.View.from_json(text)


def test_several_on_one_page():
    views = [hg.view(neuron(), title="one"), full()]
    together = hg.View.together(views, "examples")
    assert hg.View.from_json(together.to_json()).document == together.document
    assert [document["title"] for document in together.documents] == ["one", full().title]
    broken = copy.deepcopy(together.document)
    del broken["documents"][1]["variants"][0]["graph"]["edges"]
    with pytest.raises(hg.FormatError, match=r"documents\[1\].variants\[0\].graph.edges is missing"):
        hg.View.from_json(json.dumps(broken))
    with pytest.raises(hg.errors.ValueRangeError, match="one view at least"):
        hg.View.together([], "none")


def test_reports():
    rows = [{"epoch": 1, "loss": 0.5, "validation_loss": np.float32(0.25)}]
    told = report("cars", rows, np.arange(5000.0)[:, None], np.zeros(5000), baselines={"guess": {"R2": float("nan")}})
    assert told["task"] == "regression"
    assert told["history"] == {"epoch": [1], "loss": [0.5], "validation_loss": [0.25]}
    assert len(told["residuals"]["predicted"]) == 2000
    assert told["baselines"] == [{"name": "guess", "metrics": {"R2": "nan"}}]
    assert told["confusion"] is None
    assert DOCUMENT["report"]["confusion"] == {"labels": ["a", "b"], "counts": [[1, 1], [0, 0]]}
    assert DOCUMENT["report"]["history"]["loss"] == [0.5, "nan"]
    with pytest.raises(hg.errors.ShapeError, match="of one length, got 2 and 3"):
        report("cars", [], [1, 2], [1, 2, 3])
