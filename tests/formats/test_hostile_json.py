"""JSON of another making: a run's config, its history and its preprocessing, and the document of a view."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from typer.testing import CliRunner

import handgrad as hg
from explain.view.test_reading import full
from formats.hostile import Target, attack
from formats.mutators import json_texts
from formats.test_hostile_safetensors import OTHERS, equal
from handgrad.cli.app import app
from handgrad.cli.data.given import Data
from handgrad.cli.data.sources import read_table
from handgrad.cli.explain import diagnosed, encoded, labelled_rows
from handgrad.cli.options import options_in
from handgrad.cli.predict import load_run
from handgrad.cli.presets.base import Loaded
from handgrad.cli.runs.folders import CHECKPOINTS, CONFIG, HISTORY, MODEL, find_unfinished
from handgrad.cli.runs.networks import Networks, open_networks
from handgrad.cli.settings import check_settings
from handgrad.errors import HandgradError
from handgrad.explain.view.schema import ADDED
from soak import examples

PRESETS = {"plain": (), "tabular": ("--preset", "tabular", "--ensemble", "1")}
TABLE = "t.csv"


@cache
def runs() -> list[dict[str, bytes]]:
    """The files of a run of each preset, with the table it was trained on."""
    colours = ["red", "blue", "green", ""]
    lines = [f"{i % 7},{colours[i % 4]},2024-01-{i % 28 + 1:02d},{'ab'[i % 7 > 3]}\n" for i in range(90)]
    with TemporaryDirectory() as root:
        table = Path(root) / TABLE
        table.write_text("size,colour,day,y\n" + "".join(lines))
        for name, preset in PRESETS.items():
            arguments = ("--target", "y", "--name", name, "--runs", root, "--epochs", "1", "--hidden", "4", "--quiet")
            ran = CliRunner().invoke(app, ["train", str(table), *arguments, *preset])
            assert ran.exit_code == 0, ran.stderr
        found = []
        for name in PRESETS:
            kept = {part: (Path(root) / name / part).read_bytes() for part in (MODEL, CONFIG, HISTORY)}
            found.append({**kept, TABLE: table.read_bytes()})
        return found


def laid(path: Path, name: str) -> Path:
    """The folder of a run, which has that file in the place of its own; which run, the length of the file says."""
    data = path.read_bytes()
    folder = path.with_name(f"run{len(data) % len(PRESETS)}")
    folder.mkdir(exist_ok=True)
    for part, content in {**runs()[len(data) % len(PRESETS)], name: data}.items():
        (folder / part).write_bytes(content)
    return folder


def parts(name: str) -> list[bytes]:
    return [run[name] for run in runs()]


def read_config(path: Path) -> Networks:
    return open_networks(laid(path, CONFIG) / MODEL)


def check_config(found: Networks, data: bytes, path: Path) -> None:
    """The run can be explained, or gone on with."""
    assert equal(found.config, json.loads(data))
    folder = laid(path, CONFIG)
    (folder / CHECKPOINTS).mkdir(exist_ok=True)
    _, config = find_unfinished(str(folder), folder.parent)
    check_settings(options_in(config, CONFIG))


def read_history(path: Path) -> tuple[Networks, Path]:
    folder = laid(path, HISTORY)
    return open_networks(folder / MODEL), folder


def check_history(found: tuple[Networks, Path], data: bytes, path: Path) -> None:
    networks, folder = found
    table = labelled_rows(Data(str(folder / TABLE)), networks, 20)
    with np.errstate(all="ignore"):
        diagnosed(networks, 0, *encoded(table, networks))


def check_run(found: Loaded, data: bytes, path: Path) -> None:
    """It predicts, and what it predicts are its labels."""
    folder = laid(path, MODEL)
    table = read_table(folder / TABLE)
    with np.errstate(all="ignore"):
        decoded = found.target.decode(found.scores(table))
    found.notes(found.unlike(table))
    assert len(decoded) == table.rows


def views() -> list[bytes]:
    """Of a network with all there is, and of a graph."""
    g = hg.Graph()
    x, y = g.input("x"), g.input("y")
    graph = hg.view(g.run(x * y + x, x=-2.0, y=5.0).backward())
    return [view.to_json().encode() for view in (full(), graph, hg.View.together([graph, graph], "Two"))]


def read_view(path: Path) -> hg.View:
    return hg.View.from_json(path.read_bytes())


def without(names: Collection[str], value: Any) -> Any:
    """JSON without the fields of those names, which need not be there."""
    if isinstance(value, dict):
        return {name: without(names, each) for name, each in value.items() if name not in names}
    return [without(names, each) for each in value] if isinstance(value, list) else value


def check_view(found: hg.View, data: bytes, path: Path) -> None:
    """It is written as it was read, and shown."""
    assert equal(without(ADDED, json.loads(found.to_json())), without(ADDED, json.loads(data)))
    assert "</html>" in found.to_html()
    found.to_svg()


REFUSALS = (HandgradError,)
TARGETS = [
    Target("configs", partial(parts, CONFIG), json_texts, read_config, check_config, REFUSALS),
    Target("histories", partial(parts, HISTORY), json_texts, read_history, check_history, REFUSALS),
    Target("preprocessing", partial(parts, MODEL), OTHERS, load_run, check_run, REFUSALS),
    Target("views", views, json_texts, read_view, check_view, REFUSALS),
]


def test_hostile_json_is_refused_or_read_as_it_is(tmp_path):
    """280 texts, and 5,600 in `make soak`, beside those of the other hostile tests."""
    for name, found in attack(__file__, examples(280), tmp_path).items():
        assert found["faults"] == [], name
        assert found["read"] >= 2, name  # the right ones, at least
        assert found["refused"] > 5, name
