"""`handgrad view` and `handgrad train --report`: pages of runs and of the worked examples."""

import json
import re
import webbrowser

import numpy as np
import pytest

import handgrad as hg
from handgrad.cli import demo

QUICK = ("--epochs", 3, "--hidden", "8", "--quiet")


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """The addresses that a browser was asked for; none is started."""
    seen = []
    monkeypatch.setattr(webbrowser, "open", lambda address: seen.append(address) or True)
    return seen


@pytest.fixture
def run(handgrad, flowers):
    assert handgrad("train", "flowers.csv", "--target", "kind", "--name", "first", *QUICK).code == 0
    return "first"


def document_in(page):
    """The view that a page holds, read strictly."""
    element = r'<script type="application/json" id="handgrad-document">(.*?)</script>'
    (text,) = re.findall(element, page.read_text("utf-8"))
    return hg.View.from_json(text).document


def test_a_run(handgrad, run, tmp_path, opened):
    ran = handgrad("view", run)
    assert ran.code == 0
    page = tmp_path / "runs" / "first" / "view.html"
    assert opened == [page.as_uri()]
    assert "wrote    runs/first/view.html" in ran.out
    document = document_in(page)
    report = document["report"]
    assert document["title"] == report["title"] == "first"
    assert len(report["history"]["loss"]) == 3
    assert report["confusion"]["labels"] == ["ash", "bay", "elm"]
    assert np.sum(report["confusion"]["counts"]) == 120
    assert [each["name"] for each in report["baselines"]] == ["constant guess", "logistic regression"]
    config = json.loads((page.parent / "config.json").read_text())
    assert report["metrics"] == config["test"]["this MLP"]
    assert report["best_epoch"] == config["best_epoch"]
    nodes = document["variants"][0]["graph"]["nodes"]
    assert nodes[0]["shape"][0] == 64
    assert nodes[-1]["label"] == "CrossEntropy"


def test_other_places_and_no_browser(handgrad, run, tmp_path, opened):
    ran = handgrad("view", run, "flowers.csv", "--rows", 10, "--html", "page.html", "--no-browser")
    assert ran.code == 0
    assert opened == []
    assert document_in(tmp_path / "page.html")["variants"][0]["graph"]["nodes"][0]["shape"][0] == 10
    assert not (tmp_path / "runs" / "first" / "view.html").exists()


def test_a_regression_reports_residuals(handgrad, flowers, tmp_path):
    handgrad("train", "flowers.csv", "--target", "width", "--report", "--l2", 0.001, *QUICK)
    report = document_in(tmp_path / "runs" / "flowers-1" / "report.html")["report"]
    assert report["task"] == "regression"
    residuals = report["residuals"]
    error = np.subtract(residuals["predicted"], residuals["actual"])
    assert len(error) == 24
    assert np.sqrt(np.mean(error**2)) == pytest.approx(report["metrics"]["RMSE"], rel=1e-5)


@pytest.mark.parametrize("more", [(), ("--preset", "tabular", "--ensemble", 2)], ids=["plain", "tabular"])
def test_a_report_beside_the_model(handgrad, flowers, tmp_path, more):
    options = ("--epochs", 3, "--quiet", *more)
    assert handgrad("train", "flowers.csv", "--target", "kind", "--report", *options).code == 0
    folder = tmp_path / "runs" / "flowers-1"
    document = document_in(folder / "report.html")
    report, config = document["report"], json.loads((folder / "config.json").read_text())
    counts = np.array(report["confusion"]["counts"])
    assert counts.sum() == config["rows"]["test"]
    own = list(config["test"].values())[-1]
    assert np.trace(counts) / counts.sum() == pytest.approx(own["accuracy"])
    assert report["metrics"] == own
    assert document["title"] == "kind of flowers.csv"
    labels = [frame["label"] for frame in document["variants"][0]["frames"]]
    if not more:
        best = config["best_epoch"]
        assert labels == [*(f"epoch {epoch}" for epoch in range(1, best)), f"epoch {best}, kept"]
    again = handgrad("view", "flowers-1", "--no-browser")
    assert again.code == 0
    if more:
        assert "an ensemble of 2 networks" in again.out
    handgrad("train", "flowers.csv", "--target", "kind", *options)
    assert not (tmp_path / "runs" / "flowers-2" / "report.html").exists()


def test_the_worked_examples(handgrad, tmp_path, opened):
    ran = handgrad("view", "--demo", "--html", "demo.html", "--no-browser")
    assert ran.code == 0
    assert (tmp_path / "demo.html").stat().st_size < 5_000_000
    document = document_in(tmp_path / "demo.html")
    titles = [each["title"] for each in document["documents"]]
    assert len(titles) == len(set(titles)) == 6
    frames = next(each for each in document["documents"] if "digits" in each["title"])["variants"][0]["frames"]
    assert [frame["label"] for frame in frames] == [f"epoch {i}" for i in range(1, demo.EPOCHS + 1)]
    starts = next(each for each in document["documents"] if "Initializations" in each["title"])["variants"]
    assert [variant["label"] for variant in starts] == ["zeros", "normal, std 0.01", "He"]
    for each in document["documents"]:
        for variant in each["variants"]:
            frame = variant["frames"][-1]
            for part in (*frame["parameters"].values(), *frame["nodes"].values()):
                assert part["check"] is None or part["check"]["passed"]
    assert opened == []


def test_examples_open_from_a_file_of_their_own(handgrad, tmp_path, opened, monkeypatch):
    monkeypatch.setattr(demo, "examples", demo.small_graph)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert handgrad("view", "--demo").code == 0
    (page,) = tmp_path.glob("handgrad-*/demo.html")
    assert opened == [page.as_uri()]


def test_without_a_browser_it_says_so(handgrad, run, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    ran = handgrad("view", run)
    assert ran.code == 0
    assert "no browser was found" in ran.out


@pytest.mark.parametrize(
    ("arguments", "saying", "code"),
    [
        ((), "name a RUN to view, or give --demo", 2),
        (("first", "--demo"), "name a RUN to view, or give --demo", 2),
        (("frist",), "did you mean 'first'", 1),
        (("first", "--html", "nowhere/page.html"), "there is no folder 'nowhere'", 1),
        (("first", "--html", "."), "is a folder", 1),
        (("first", "other.csv"), "has no column 'kind'", 1),
    ],
)
def test_what_is_refused(run, refused, tmp_path, arguments, saying, code):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    refused("view", *arguments, saying=saying, code=code)
