"""`handgrad runs`: what stands in a folder of runs, whatever state it is in, and some of them side by side."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from handgrad.cli.app import app
from handgrad.cli.runs.chart import chart
from handgrad.cli.runs.compare import ORDERS, in_order
from handgrad.cli.runs.folders import old_run
from handgrad.cli.runs.listing import Run, read_run

QUICK = ("--epochs", "3", "--hidden", "8", "--quiet")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of two runs: flowers-1 of one kind of network, flowers-2 of another and another seed."""
    folder = tmp_path_factory.mktemp("trained")
    table = folder / "flowers.csv"
    lines = [f"{i % 7},{(i * 5) % 11},{['ash', 'bay', 'elm'][i % 7 // 3]}" for i in range(120)]
    table.write_text("\n".join(["length,width,kind", *lines]) + "\n")
    for options in ((), ("--seed", "1", "--activation", "tanh")):
        command = ["train", str(table), "--target", "kind", "--runs", str(folder / "runs"), *QUICK, *options]
        assert CliRunner().invoke(app, command).exit_code == 0
    return folder / "runs"


@pytest.fixture
def two(trained, tmp_path):
    """The same, for a test to change."""
    return shutil.copytree(trained, tmp_path / "runs")


def listed(handgrad, *options):
    ran = handgrad("runs", "--json", *options)
    assert ran.code == 0
    return json.loads(ran.out)


def test_they_are_listed(handgrad, two):
    ran = handgrad("runs")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["run", "data", "model", "test"]
    config = json.loads((two / "flowers-2/config.json").read_text())
    tested = list(config["test"].values())
    for said in (
        "flowers-2",
        config["started"][:16].replace("T", " "),
        "flowers.csv",
        "120 rows, classes",
        "-8-3 tanh",
        "3 epochs",
        f"accuracy {100 * tested[-1]['accuracy']:.1f} %",
        f"baseline {100 * tested[-2]['accuracy']:.1f} %",
    ):
        assert said in ran.out


def test_as_json(handgrad, two):
    runs = {run["name"]: run for run in listed(handgrad)}
    assert set(runs) == {"flowers-1", "flowers-2"}
    config = json.loads((two / "flowers-1/config.json").read_text())
    run = runs["flowers-1"]
    assert run["state"] == "complete"
    assert run["score"] == config["test"]["this MLP"]["accuracy"]
    assert run["seconds"] == config["seconds"]
    assert (run["epochs"], run["planned"], run["rows"], run["task"]) == (3, 3, 120, "classification")
    assert run["data"] == "flowers.csv"


def test_an_empty_folder_and_none(handgrad, tmp_path):
    said = "there are no runs in 'runs'; handgrad train makes one\n"
    assert handgrad("runs").out == said
    (tmp_path / "runs").mkdir()
    assert handgrad("runs").out == said
    assert listed(handgrad) == []


def run_of(**about):
    return Run(Path("runs") / about.pop("name", "a-1"), about.pop("state", "complete"), **about)


def test_orders():
    runs = [
        run_of(name="a-10", started="2026-01-02", data="x", rows=5, epochs=2, score=0.5, seconds=1.0),
        run_of(name="a-2", started="2026-01-03", data="w", rows=50, epochs=3, score=0.25, seconds=9.0),
        run_of(name="b", state="unfinished", started="2026-01-01", epochs=1),
        run_of(name="a-3", state="broken"),
    ]
    expected = {
        "when": ["a-2", "a-10", "b", "a-3"],
        "name": ["a-2", "a-3", "a-10", "b"],
        "data": ["a-2", "a-10", "a-3", "b"],
        "rows": ["a-2", "a-10", "a-3", "b"],
        "epochs": ["a-2", "a-10", "b", "a-3"],
        "score": ["a-10", "a-2", "a-3", "b"],
        "seconds": ["a-2", "a-10", "a-3", "b"],
        "state": ["b", "a-2", "a-10", "a-3"],
    }
    assert {name: [run.name for run in in_order(runs, name)] for name in ORDERS} == expected


def test_the_order_is_an_option(handgrad, two):
    assert [run["name"] for run in listed(handgrad, "--sort", "name")] == ["flowers-1", "flowers-2"]
    assert handgrad("runs", "--sort", "luck").code == 2


def test_a_run_that_was_cut_off_and_one_that_is_trained(handgrad, two):
    (two / "flowers-1/model.safetensors").unlink()
    (two / "flowers-1/checkpoints").mkdir()
    half = (two / "flowers-1/history.jsonl").read_text()[:-20]
    (two / "flowers-1/history.jsonl").write_text(half)
    run = read_run(two / "flowers-1")
    assert (run.state, run.epochs, run.planned, run.score) == ("unfinished", 2, 3, None)
    assert "2 of 3 epochs" in handgrad("runs").out
    with old_run(two / "flowers-1"):
        if os.name == "posix":
            assert read_run(two / "flowers-1").state == "being trained"
            assert "being trained" in handgrad("runs").out
        with pytest.raises(Exception, match="is being trained by another process"), old_run(two / "flowers-1"):
            pass
    (two / "flowers-2/checkpoints").mkdir()
    assert read_run(two / "flowers-2").state == "interrupted"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"options": {', r"config.json: Expecting"),
        ("[]", "config.json: it holds a list, not an object"),
        ("[" * 100_000, "config.json: "),
        ("{}", "it has neither model.safetensors nor checkpoints"),
        ("\x00\x1b[2J", "config.json: "),
    ],
)
def test_broken_runs_are_shown_as_such(handgrad, two, text, said):
    (two / "torn").mkdir()
    (two / "torn/config.json").write_text(text)
    (two / "\x1b[2Jforeign").mkdir()
    (two / "foreign.txt").write_text("")
    ran = handgrad("runs")
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert re.search(r"^torn +broken", ran.out, re.MULTILINE)
    assert re.search(rf"^torn: .*{said}", ran.out, re.MULTILINE)
    assert re.search(r"^\?\[2Jforeign +not a run", ran.out, re.MULTILINE)
    assert "foreign.txt" not in ran.out


def test_a_config_that_is_too_large_or_a_folder(two):
    path = two / "flowers-1/config.json"
    path.write_bytes(b" " * (2**24 + 1))
    assert "bytes, more than any config" in read_run(two / "flowers-1").problem
    path.unlink()
    path.mkdir()
    assert read_run(two / "flowers-1").state == "broken"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = ("options", "started", "task", "rows", "model", "test", "seconds", "recipe", "columns", "versions", "print")


@example({"task": float("nan"), "rows": [float("nan")]}, True, [])
@given(config=st.dictionaries(st.sampled_from(names), values), model=st.booleans(), rows=st.lists(values, max_size=3))
def test_any_config_is_read(tmp_path_factory, config, model, rows):
    from handgrad.cli.runs.compare import _table, curves_of, differences, results

    folder = tmp_path_factory.mktemp("run")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if model:
        (folder / "model.safetensors").write_text("")
    run = read_run(folder)
    assert run.state == ("complete" if model else "broken")
    json.dumps(run.to_json())
    assert differences([run, run]) == {}
    assert results([run])["state"] == [run.state]
    assert curves_of([run, run])[1][0] == curves_of([run])[1][0]
    assert _table([run]).row_count == 1


def test_two_runs_side_by_side(handgrad, two):
    ran = handgrad("runs", "flowers-1", "flowers-2")
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= 80
    differ, rest = ran.out.split("Results")
    shown = [line.split() for line in differ.splitlines()[2:] if line.startswith("  ") and line[2] != " "]
    assert ["activation", "relu", "tanh"] in shown
    assert ["seed", "0", "1"] in shown
    assert {line[0] for line in shown} == {"activation", "seed", "model"}
    for said in ("accuracy", "cross-entropy", "best baseline", "3 of 3", "validation loss by epoch", "a flowers-1"):
        assert said in rest


def test_side_by_side_as_json(handgrad, two):
    found = json.loads(handgrad("runs", "flowers-1", "flowers-2", "--json").out)
    assert found["differ"]["seed"] == [0, 1]
    assert found["results"]["epochs"] == ["3 of 3", "3 of 3"]
    rows = [json.loads(line) for line in (two / "flowers-2/history.jsonl").read_text().splitlines()]
    assert found["curve"] == "validation_loss"
    drawn = found["curves"][1]
    assert drawn == {"run": "flowers-2", "points": [[row["epoch"], row["validation_loss"]] for row in rows]}


def test_one_run_and_the_same_twice(handgrad, two):
    alone = handgrad("runs", "flowers-1").out
    assert "What differs" not in alone
    assert "3 of 3" in alone
    assert "they have the same options" in handgrad("runs", "flowers-1", two / "flowers-1").out


def test_what_can_not_be_compared(two, refused):
    refused("runs", "flowers-1", "flowers-3", saying="no run 'flowers-3'; did you mean 'flowers-[12]'.; the runs in")
    refused("runs", *["flowers-1"] * 5, saying="5 runs do not fit side by side; name 4 at most")
    (two / "empty").mkdir()
    refused("runs", "empty", saying="'runs/empty' can't be read: it has no config.json and no model.safetensors")


def test_the_chart():
    lines = [line.plain for line in chart({"a": [(1, 4.0), (5, 0.0)], "b": [(1, 2.0), (5, 2.0)]}, width=5, height=5)]
    assert lines == [
        "  4 ┤a    ",
        "    │ a   ",
        "  2 ┤bbbbb",
        "    │   a ",
        "  0 ┤    a",
        "    └─────",
        "     1   5",
    ]


def test_the_chart_of_little():
    assert chart({"a": []}) == []
    assert chart({"a": [(1, float("nan"))]}) == []
    assert chart({"a": [(1, 2.0)]}, width=3, height=3)[0].plain.endswith("┤aaa")
    logarithmic = chart({"a": [(1, 100.0), (3, 1.0)]}, width=3, height=3)
    assert [line.plain for line in logarithmic][:3] == ["  100 ┤a  ", "   10 ┤ a ", "    1 ┤  a"]
