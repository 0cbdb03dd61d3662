"""Every kind of document loads without a word or a request, every node opens, and the numbers are the library's."""

import numpy as np
import pytest

import handgrad as hg
from explain.view.batches import neuron
from explain.view.browser.documents import MAKERS, digits, document, mnist, only, small_graph, swiglu
from explain.view.browser.readings import CORNERS, READ, SIZE, block, check, tensor_of

OPENED = sorted(MAKERS.keys() - {"100 layers", "nasty"})  # those two are walked in files of their own


def loaded(show, kind):
    """Its page, with a node for each of the document's."""
    shown = show(kind)
    shown.find(".frame").wait_for()
    assert shown.page.title() == document(kind).title
    graph, _ = only(kind)
    shown.find("[data-node]").first.wait_for()
    assert shown.find("[data-node]").count() == len(graph["nodes"])
    return shown


@pytest.mark.parametrize("kind", sorted(MAKERS.keys() - set(OPENED)))
def test_it_loads(show, kind):
    loaded(show, kind)


@pytest.mark.parametrize("kind", OPENED)
def test_every_node_opens_and_its_numbers_are_the_documents(show, kind):
    shown = loaded(show, kind)
    graph, frame = only(kind)
    if kind == "variants":
        shown.find("label", has_text="zeros").click()
    shown.find("[data-node]").first.wait_for()
    read = 0
    for node in graph["nodes"]:
        shown.open(node["id"])
        heading = shown.find("[data-panel] h2")
        assert heading.text_content() == node["label"]
        for reading in shown.page.evaluate(READ, CORNERS):
            tensor = tensor_of(reading, node["id"], graph, frame)
            if tensor is not None:
                read += check(reading, tensor)
        _check_badges(shown, node, frame)
    assert read >= 2 * len(graph["nodes"])


def _check_badges(shown, node, frame):
    for parameter in node["parameters"]:
        found = frame["parameters"][parameter["name"]]["check"]
        badge = shown.find(f'[data-flow="{parameter["name"]}"] [data-check]')
        assert badge.count() == (found is not None)
        if found:
            assert float(badge.get_attribute("data-check")) == found["error"]
            assert ("✓" in badge.text_content()) == found["passed"]
            assert f"{found['entries']} entr" in badge.get_attribute("title")


def test_a_click_opens_a_node_and_another_closes_it(show):
    shown = show("swiglu")
    for node in only("swiglu")[0]["nodes"]:
        shown.node(node["id"]).click()
        assert shown.find("[data-panel]").get_attribute("data-panel") == node["id"]
        assert shown.node(node["id"]).get_attribute("aria-pressed") == "true"
    shown.node(node["id"]).click()
    assert shown.find("[data-panel]").count() == 0


@pytest.mark.parametrize(("kind", "run"), [("neuron", neuron), ("small graph", small_graph)])
def test_a_circuits_numbers_are_those_of_its_run(show, kind, run):
    shown, run = show(kind), run()
    for node in run.nodes:
        shown.open(node.name)
        for name in ("value", "gradient"):
            said = shown.find(f'[data-exact][aria-label^="{name} of "]').first.text_content()
            assert float(said) == float(getattr(run[node], name))
    for edge in document(kind).documents[0]["variants"][0]["graph"]["edges"]:
        shown.open(edge["target"])
        upstream, local, downstream = shown.find(f'[data-flow="{edge["id"]}"] [data-exact]').all_text_contents()
        theirs = run.edge(edge["source"], edge["target"])
        assert (float(upstream), float(local), float(downstream)) == tuple(
            float(np.squeeze(part)) for part in (theirs.upstream, theirs.local, theirs.downstream)
        )


@pytest.mark.parametrize(("kind", "trace"), [("swiglu", swiglu), ("digits", lambda: digits()[2].last)])
def test_parameters_and_the_loss_are_those_of_value_and_grad(show, kind, trace):
    tape, shown = trace().tape, show(kind)
    loss, gradients = hg.value_and_grad(tape.model, tape.loss, tape.params, tape.x, tape.y)
    assert float(shown.find('[data-figure="loss"]').get_attribute("title")) == pytest.approx(loss, rel=1e-12)
    norm = np.linalg.norm(gradients.flat)
    assert float(shown.find('[data-figure="gradient_norm"]').get_attribute("title")) == pytest.approx(norm, rel=1e-6)
    seen = set()
    for node in only(kind)[0]["nodes"]:
        for name in [each["name"] for each in node["parameters"]]:
            shown.open(node["id"])
            for reading in shown.page.evaluate(READ, CORNERS):
                if reading["flow"] != name and reading["parameter"] != name:
                    continue
                kinds = {"value": tape.params[name], "downstream": gradients[name]}
                truth = next((array for word, array in kinds.items() if reading["name"].startswith(f"{word} ")), None)
                if truth is not None and SIZE.search(reading["name"]):
                    for said in reading["said"]:
                        at = [int(word.strip(",:")) for word in said.split() if word.strip(",:").isdigit()][
                            : truth.ndim
                        ]
                        assert float(said.rpartition(" ")[2]) == pytest.approx(truth[tuple(at)], rel=1e-6, abs=1e-12)
                    seen.add((name, reading["name"].split()[0]))
    assert len(seen) == 2 * len(gradients)


def test_blocks_are_means_of_the_librarys_numbers(show):
    shown = show("mnist")
    shown.open("0")
    truth = np.asarray(mnist().tape.params["0.weight"], np.float64)
    (reading,) = [each for each in shown.page.evaluate(READ, CORNERS) if each["name"].startswith("value of 0.weight")]
    for said in reading["said"]:
        top, bottom, left, right, mean = block(said)
        assert float(mean) == pytest.approx(truth[top : bottom + 1, left : right + 1].mean(), rel=1e-5)
    assert "200,704 values; blocks of" in shown.find('[data-parameter="0.weight"]').text_content()
