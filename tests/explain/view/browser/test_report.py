"""The report of a training: its numbers are the document's."""

import pytest

from explain.view.browser.documents import document


def test_scores_stand_beside_those_of_the_baselines(show):
    shown, report = show("report"), document("report").document["report"]
    shown.find("nav button", has_text="Report").click()
    rows = [{"name": "this model", "metrics": report["metrics"]}, *report["baselines"]]
    for row, expected in zip(shown.find(".scores tbody tr").all(), rows, strict=True):
        assert row.locator("th").text_content() == expected["name"]
        cells = [cell.get_attribute("title") for cell in row.locator("td").all()]
        assert [float(cell) for cell in cells] == list(map(float, expected["metrics"].values()))
    best = sorted(float(cell) for cell in shown.find(".scores td.best").all_text_contents())
    of = {name: [float(row["metrics"][name]) for row in rows] for name in ("accuracy", "loss")}
    assert best == pytest.approx(sorted([max(of["accuracy"]), min(of["loss"])]), rel=1e-3)


def test_the_confusion_matrix_has_every_count(show):
    shown, report = show("report"), document("report").document["report"]
    shown.find("nav button", has_text="Report").click()
    table = shown.find('[aria-label="Confusion matrix"] table')
    assert table.locator("thead th").all_text_contents() == ["predicted", *report["confusion"]["labels"]]
    for row, counts in zip(table.locator("tbody tr").all(), report["confusion"]["counts"], strict=True):
        assert [int(cell.replace("·", "0")) for cell in row.locator("td").all_text_contents()] == counts


def test_findings_and_facts_are_there(show):
    shown, report = show("report"), document("report").document["report"]
    shown.find("nav button", has_text="Report").click()
    words = shown.find("main").inner_text()
    assert report["findings"]
    for finding in report["findings"]:
        assert all(part in words for part in finding.values())
    for name, fact in report["facts"].items():
        assert f"{name}: {fact}" in words


@pytest.mark.parametrize("width", [1400, 1024])
def test_columns_leave_no_large_gaps(show, width):
    """What stands in a column follows on what is above it: the page is little longer than its parts need."""
    shown = show("report", viewport={"width": width, "height": 900})
    shown.find("nav button", has_text="Report").click()
    heights = shown.find(".columns section").evaluate_all("(all) => all.map((at) => at.offsetHeight)")
    columns = len({*shown.find(".columns section").evaluate_all("(all) => all.map((at) => at.offsetLeft)")})
    whole = shown.find(".columns").bounding_box()["height"]
    assert columns == (3 if width == 1400 else 2)
    assert whole <= sum(heights) / columns + max(heights)
