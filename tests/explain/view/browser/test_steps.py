"""The steps of the backward pass: every node after all that it feeds, with the cache that is used there."""

import pytest

from explain.view.browser.documents import only

STEPPED = ["neuron", "small graph", "swiglu", "mnist", "frames", "not finite"]
NEXT = '[data-walk="next"]'


def said(shown):
    """What the stepper says, without the buttons' own words."""
    return shown.find(".stepper p").text_content()


@pytest.mark.parametrize("kind", STEPPED)
def test_steps_go_in_reverse_topological_order_and_name_each_cache(show, kind):
    shown, (graph, frame) = show(kind), only(kind)
    nodes = {node["id"]: node for node in graph["nodes"]}
    shown.find(NEXT).click()
    visited = []
    for step in range(len(nodes)):
        assert shown.find(".stepper").get_attribute("data-step") == str(step)
        name = shown.find("[data-panel]").get_attribute("data-panel")
        visited.append(name)
        _says_what_happens(shown, nodes[name], graph, frame)
        shown.press("n")
    assert shown.find(".stepper").get_attribute("data-step") == str(len(nodes) - 1)  # after the last there is no more
    assert sorted(visited) == sorted(nodes)
    for edge in graph["edges"]:
        assert visited.index(edge["target"]) < visited.index(edge["source"])


def _says_what_happens(shown, node, graph, frame):
    words = said(shown)
    assert node["label"] in words
    assert shown.find("[role=status]").text_content().endswith(words.split(node["label"], 1)[1].strip())
    assert shown.node(node["id"]).get_attribute("aria-pressed") == "true"
    kinds = [
        item["what"] if item["what"].endswith(f" {item['name']}") else f"{item['what']} {item['name']}"
        for item in node["cache"]
    ]
    assert (f"Uses the cache: {'; '.join(kinds)}." in words) == bool(kinds)
    assert shown.find("[data-panel] h3", has_text="used at this step").count() == bool(kinds)
    rows = shown.find("[data-panel] table.active tbody tr").all()
    assert [row.locator("code").text_content() for row in rows] == [item["name"] for item in node["cache"]]
    marked = {item["alias"] for item in node["cache"]} & {each["id"] for each in graph["nodes"]} - {node["id"]}
    found = shown.page.evaluate("[...document.querySelectorAll('[data-node].used')].map((at) => at.dataset.node)")
    assert set(found) == marked
    for edge in graph["edges"]:
        if edge["target"] == node["id"] and frame["edges"][edge["id"]]["downstream"] is not None:
            label = next(each["label"] for each in graph["nodes"] if each["id"] == edge["source"])
            assert label in words.split("flows on to")[1]
    for parameter in node["parameters"]:
        assert parameter["name"] in words.split("It gives the gradient of")[1]


def test_steps_go_back_and_end(show):
    shown, (graph, _) = show("small graph"), only("small graph")
    order = [node["id"] for node in graph["nodes"]][::-1]
    shown.find(NEXT).click()
    where = lambda: shown.find("[data-panel]").get_attribute("data-panel")  # noqa: E731
    shown.press("End")
    assert where() == order[-1]
    for expected in order[-2::-1]:
        shown.press("p")
        assert where() == expected
    shown.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert where() == order[1]
    shown.press("Home")
    assert where() == order[0]
    shown.press("Escape")
    assert shown.find(".stepper").get_attribute("data-step") == "-1"
    assert shown.find("[data-node].visited").count() == 0


def test_a_gradient_is_hidden_until_its_step(show):
    shown = show("small graph")
    gradient = lambda name: shown.node(name).locator(".number b").nth(1).text_content()  # noqa: E731
    assert gradient("x") == "-4"
    shown.find(NEXT).click()
    assert gradient("f") == "1"
    assert gradient("x") == "…"
    shown.press("End")
    assert gradient("x") == "-4"
