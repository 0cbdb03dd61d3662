"""Large networks: the page answers, and draws no more than is in sight."""

from explain.view.browser.documents import DEEP, html, only
from explain.view.browser.test_steps import NEXT

FEW = 40  # nodes in the sight of a person who reads their labels


def test_a_network_for_mnist_answers(show):
    assert len(html("mnist").encode()) < 5_000_000
    shown = show("mnist")
    shown.node("0").click()
    shown.find('[data-panel="0"]').wait_for()


def test_a_hundred_layers_are_all_there_at_first(show):
    shown, (graph, _) = show("100 layers"), only("100 layers")
    shown.find("[data-node]").first.wait_for()
    assert len(graph["nodes"]) > DEEP
    assert shown.find("[data-node]").count() == len(graph["nodes"])


def test_only_what_is_in_sight_is_drawn(show):
    shown, (graph, _) = show("100 layers"), only("100 layers")
    name = graph["nodes"][DEEP // 2]["id"]
    shown.open(name)
    shown.find(f'[data-node="{graph["nodes"][0]["id"]}"]').wait_for(state="detached")
    assert 1 <= shown.find("[data-node]").count() <= FEW
    assert shown.node(name).is_visible()
    shown.find(".svelte-flow__minimap").wait_for()
    shown.find("button[aria-label='Show the whole graph']").click()
    shown.find(".svelte-flow__minimap").wait_for(state="detached")  # of no use where all is in sight
    shown.find(f'[data-node="{graph["nodes"][0]["id"]}"]').wait_for()
    assert shown.find("[data-node]").count() == len(graph["nodes"])


def test_every_one_of_a_hundred_layers_opens(show):
    shown, (graph, _) = show("100 layers"), only("100 layers")
    shown.find(NEXT).click()
    for node in reversed(graph["nodes"]):
        assert shown.find("[data-panel]").get_attribute("data-panel") == node["id"]
        shown.press("n")
    assert shown.find("[data-node]").count() <= FEW


def test_arrow_keys_go_through_layers_out_of_sight(show):
    shown, (graph, _) = show("100 layers"), only("100 layers")
    middle = [node["id"] for node in graph["nodes"]][10:40]
    shown.node(middle[0]).focus()
    for name in middle[1:]:
        shown.press("ArrowRight")
        shown.find("[data-node]:focus").wait_for()
        assert shown.focus["node"] == name
