"""What stands where: nothing lies over a node, nothing is cut off, at whatever size the window has."""

import pytest

import handgrad as hg
from explain.view.batches import traced
from explain.view.browser.chromium import NARROW
from explain.view.browser.documents import only

SIZES = {"100 layers": [(1400, 900), (777, 433), (390, 844)], "swiglu": [(1024, 768), (900, 1200), (1900, 500)]}
# The nodes in the area of the graph that a click at their middle would miss.
COVERED = """() => {
  const area = document.querySelector(".area").getBoundingClientRect();
  return [...document.querySelectorAll("[data-node]")].filter((node) => {
    const {left, top, width, height} = node.getBoundingClientRect(), x = left + width / 2, y = top + height / 2;
    const inside = x > area.left && x < area.right && y > area.top && y < area.bottom && y < innerHeight;
    return inside && document.elementFromPoint(x, y)?.closest("[data-node]") !== node;
  }).map((node) => node.dataset.node);
}"""
ACROSS = """() => {
  const part = document.querySelector("section.strip"), cell = part.querySelector("thead th:last-child");
  return [part.scrollWidth - part.clientWidth, cell.getBoundingClientRect().right - part.getBoundingClientRect().right];
}"""


@pytest.mark.parametrize(("kind", "size"), [(kind, size) for kind, sizes in SIZES.items() for size in sizes], ids=str)
def test_nothing_lies_over_a_node(show, kind, size):
    shown = show(kind, viewport=dict(zip(("width", "height"), size, strict=True)))
    shown.find("[data-node]").first.wait_for()
    assert shown.page.evaluate(COVERED) == []
    nodes = [node["id"] for node in only(kind)[0]["nodes"]]
    for name in (nodes[-1], nodes[len(nodes) // 2], nodes[0]):
        shown.find("button[aria-label='Show the whole graph']").click()  # what is far out of sight is not drawn
        shown.open(name)
        if kind == "100 layers" and size[0] > NARROW["width"]:
            shown.find(".svelte-flow__minimap").wait_for()
        assert name not in shown.page.evaluate(COVERED)
        about, box = shown.find(".about").bounding_box(), shown.node(name).bounding_box()
        assert about["y"] + about["height"] <= box["y"] + 1 or about["x"] + about["width"] <= box["x"] + 1


def test_on_a_phone_a_touch_opens_a_node_and_a_row(show):
    shown = show("frames", viewport=NARROW, has_touch=True, is_mobile=True)
    for node in only("frames")[0]["nodes"]:
        shown.node(node["id"]).tap()
        assert shown.find("[data-panel]").get_attribute("data-panel") == node["id"]
    shown.find('[data-row="p:2.weight"] button').tap()
    assert shown.find("[data-panel]").get_attribute("data-panel") == "2"
    shown.find('[data-walk="next"]').tap()
    assert shown.find(".stepper").get_attribute("data-step") == "0"


def test_in_a_narrow_window_the_mouse_opens_a_node(show):
    shown = show("swiglu", viewport=NARROW)
    for node in only("swiglu")[0]["nodes"]:
        shown.find("button[aria-label='Show the whole graph']").click()  # an open node is shown from near
        shown.node(node["id"]).click()
        assert shown.find("[data-panel]").get_attribute("data-panel") == node["id"]


@pytest.mark.parametrize("width", [1600, 1400, 1024, 1000, 800])
def test_the_table_shows_all_its_columns_beside_an_open_node(show, width):
    layers = [hg.Linear(6, 8), hg.ReLU(), hg.Linear(8, 8), hg.Tanh(), hg.Linear(8, 3)]
    view = hg.view(traced(layers, 6, optimizer="sgd"), title="All columns")
    shown = show(view.to_html(), viewport={"width": width, "height": 900})
    shown.open("2")
    titles = [each.split()[0] for each in shown.find("table.strip thead button").all_text_contents()]
    assert titles == ["layer", "gradient", "update", "spread", "dead", "saturated", "check"]
    assert shown.page.evaluate(ACROSS) == [0, pytest.approx(0, abs=1)]


def test_each_parameter_of_a_node_has_its_mark(show):
    shown = show("swiglu")
    lines = shown.node("0.content").locator(".line").all_text_contents()
    assert [line.split()[-1] for line in lines] == ["✓", "✓", "swaps"]


def test_layers_of_one_name_are_told_apart(show):
    shown = show("swiglu")
    labels = [" ".join(each.split()) for each in shown.find("table.strip tbody th").all_text_contents()]
    assert len(set(labels)) == len(labels)
    assert "swish 0.activation" in labels
