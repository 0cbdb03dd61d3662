"""`handgrad view`: the page of a trained run, or of the worked examples, as one HTML file that a browser opens."""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from handgrad.cli.data.given import Data
from handgrad.cli.data.tables import Table
from handgrad.cli.data.targets import Classes
from handgrad.cli.explain import diagnosed, encoded, labelled_rows, table_to_show
from handgrad.cli.faults import InputError, UsageError
from handgrad.cli.predict import load_run
from handgrad.cli.report import Report
from handgrad.cli.runs.folders import find_run
from handgrad.cli.runs.networks import Networks, open_networks
from handgrad.explain.trace import Trace, trace
from handgrad.explain.view import View
from handgrad.explain.view import view as made
from handgrad.explain.view.report import report as training_report
from handgrad.formats.atomic import check_place
from handgrad.layers import Parameters

PAGE = "view.html"  # in the run's folder, where no other place is asked for
SHOWN = 64  # rows of the batch whose values are on the page
TESTED = 20_000  # rows at most that are predicted, for the confusion matrix or the residuals
DIAGNOSED = 512


def view(run: str | None, data: Data, *, rows: int, demo: bool, html: str | None, browser: bool, runs: str) -> None:
    """Run the command. Raises HandgradError or OSError, and then leaves every file as it was."""
    if demo == (run is not None):
        raise UsageError("name a RUN to view, or give --demo for the worked examples, and not both")
    if html is not None:
        check_place(html)
    console = Console(highlight=False)
    report = Report(console, Console(stderr=True))
    if run is None:
        from handgrad.cli.demo import examples

        with report.busy("running the examples"):
            page = examples()
        place = Path(html) if html is not None else Path(tempfile.mkdtemp(prefix="handgrad-")) / "demo.html"
    else:
        path = find_run(run, Path(runs))
        place = path.parent / PAGE if html is None else Path(html)
        page = _of_run(report, path, data, rows)
    with report.busy("writing the page"):
        text = page.to_html(place)
    console.print(Text.assemble(("  wrote    ", "cyan"), f"{place}, {len(text.encode()) / 1e6:.1f} MB"), soft_wrap=True)
    if browser and not webbrowser.open(place.resolve().as_uri()):
        report.note("no browser was found to open it")


def _of_run(report: Report, path: Path, data: Data, rows: int) -> View:
    networks = open_networks(path)
    data = table_to_show(data, path.parent, networks.config)
    with report.busy("reading the table"):
        table = labelled_rows(data, networks, TESTED)
    if len(networks.params) > 1:
        report.note(f"an ensemble of {len(networks.params)} networks; the graph is the first's, the report is of all")
    with report.busy("following the gradients"):
        scores = load_run(path).scores(table)
        return page_of(networks, table, scores, path.parent.resolve().name, data.name, rows)


def page_of(
    networks: Networks,
    table: Table,
    scores: np.ndarray,
    title: str,
    source: str,
    rows: int = SHOWN,
    moments: Mapping[int, np.ndarray] | None = None,
) -> View:
    """The page of a run. table: rows with their target, which `scores` were predicted for, as a Loaded gives them.

    moments: by epochs, the parameters then, for the slider; it ends in the network that is kept.
    """
    target, config = networks.target, networks.config
    few = table.take(np.arange(min(DIAGNOSED, table.rows)))
    x, y = encoded(few, networks)
    params = networks.params[0]
    batch = _trace(networks, params, x[:rows], y[:rows])
    best = _whole(config.get("best_epoch"))
    frames = [
        (f"epoch {epoch}", _trace(networks, params.like(flat.astype(params.flat.dtype)), x[:rows], y[:rows]))
        for epoch, flat in (moments or {}).items()
        if (best is None or epoch < best) and flat.shape == params.flat.shape
    ]
    column = table.columns[target.name]
    measured = {name: values for name, values in config.get("test", {}).items() if isinstance(values, dict)}
    own = list(measured)[-1:]
    facts = {
        "shown": f"{batch.rows:,} of {table.rows:,} rows of {source}",
        "task": f"{target.task} of {target.name}",
        "metrics": "on the test part, which training never saw" if measured else "none are kept beside the model",
    }
    if isinstance(target, Classes):
        predicted, actual = scores.argmax(axis=1), target.encode(column)
    else:
        predicted, actual = target.decode(scores), column.values.astype(float)
    made_report = training_report(
        title,
        networks.histories[0],
        predicted,
        actual,
        labels=target.labels if isinstance(target, Classes) else None,
        best_epoch=best,
        metrics=measured[own[0]] if own else None,
        baselines={name: values for name, values in measured.items() if name not in own},
        findings=diagnosed(networks, 0, x, y).findings,
        facts=facts,
    )
    kept = "the one kept" if best is None else f"epoch {best}, kept"
    return made(batch, frames=frames, report=made_report, title=title, now=kept)


def _trace(networks: Networks, params: Parameters, x: np.ndarray, y: np.ndarray) -> Trace:
    if not len(x):
        raise InputError("there are no rows to follow through the network")
    return trace(
        networks.model,
        params,
        x,
        y,
        loss=networks.loss,
        optimizer=networks.optimizer,
        regularizer=networks.regularizer,
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None
