"""`handgrad explain`: a run and a table in; its trace and diagnosis on the terminal, their figures in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.text import Text

from handgrad.cli.data.given import Data
from handgrad.cli.data.sources import Source, is_there, open_source
from handgrad.cli.data.tables import Table, joined
from handgrad.cli.data.targets import Classes
from handgrad.cli.faults import InputError
from handgrad.cli.predict import to_predict
from handgrad.cli.report import Report
from handgrad.cli.runs.folders import find_run
from handgrad.cli.runs.networks import Networks, open_networks
from handgrad.explain.diagnose import Diagnosis, diagnose
from handgrad.formats import replacing

TEST = "test.csv"  # beside the model, where a run brought its own data


def explain(run: str, data: Data, *, rows: int, out: str | None, runs: str) -> None:
    """Run the command. Raises HandgradError or OSError, and then leaves every file as it was."""
    console, status = Console(highlight=False), Console(stderr=True)
    report = Report(console, status)
    path = find_run(run, Path(runs))
    networks = open_networks(path)
    folder = path.parent if out is None else Path(out)
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r} to write the figures to")
    data = table_to_show(data, path.parent, networks.config)
    with report.busy("reading the table"):
        x, y = encoded(labelled_rows(data, networks, rows), networks)
    with report.busy(f"following {len(x):,} rows through {networks.model!r:.40}"):
        diagnoses = [diagnosed(networks, member, x, y) for member in range(len(networks.params))]
    first, *others = diagnoses
    report.title(f"{path.parent.resolve().name}: {len(x):,} rows of {data.name}")
    if others:
        report.note(f"an ensemble of {len(diagnoses)} networks; this is the first, the figures are of it alone")
    console.print(first.trace)
    console.print()
    report.title("Diagnosis")
    console.print(first)
    for number, other in enumerate(others, 2):
        found = ", ".join(dict.fromkeys(finding.title for finding in other.findings))
        report.facts([(f"member {number}", found or "nothing found wrong")])
    console.print()
    with report.busy("drawing the figures"):
        written = _write(first, folder)
    for place in written:
        console.print(Text.assemble(("  wrote    ", "cyan"), str(place)), soft_wrap=True)
    if len(written) < len(FILES):
        report.note("figures need matplotlib: pip install 'handgrad[plot]'")


def diagnosed(networks: Networks, member: int, x: np.ndarray, y: np.ndarray) -> Diagnosis:
    """The diagnosis of one member on those rows."""
    return diagnose(
        networks.model,
        networks.params[member],
        x,
        y,
        loss=networks.loss,
        optimizer=networks.optimizer,
        history=networks.histories[member] or None,
        regularizer=networks.regularizer,
    )


def table_to_show(data: Data, folder: Path, config: dict[str, Any]) -> Data:
    """The table to look at: the one given, else the run's own test rows, else the one it was trained on."""
    if data.given is not None or data.sql is not None:
        return data
    if (folder / TEST).exists():
        return Data(str(folder / TEST))
    options = config.get("options", {})
    given, table, sql = (options.get(name) for name in ("data", "table", "sql"))
    trained = Data(given, table, sql, options.get("skip_bad_rows") is True)
    if is_there(trained):
        return trained
    gone = f"; {given!r}, which it was trained on, is not there" if given else ""
    raise InputError(f"DATA is missing: name a table with the target to follow through the network{gone}")


def labelled_rows(data: Data, networks: Networks, rows: int) -> Table:
    """Rows of a table drawn at random, always the same; those without a target are left out."""
    target = networks.target
    with open_source(to_predict(data, networks.features, target, networks.styles)) as source:
        if target.name not in source.kinds:
            raise InputError(
                f"{data.name} has no column {target.name!r}, the target, without which there is no gradient"
            )
        table = _drawn(source, target.name, rows)
    column = table.columns[target.name]
    if column.missing.all():
        raise InputError(f"target {target.name!r} is empty in all {source.rows} rows of {data.name}")
    there = np.flatnonzero(~column.missing)
    if not isinstance(target, Classes):
        if column.values.dtype.kind not in "iufb":
            raise InputError(f"target {target.name!r} of {data.name} holds {column.kind}; the run predicts numbers")
        if not np.isfinite(column.values[there].astype(float)).all():
            raise InputError(f"target {target.name!r} of {data.name} holds a number that is not finite")
    return table.take(there)


def _drawn(source: Source, target: str, rows: int) -> Table:
    """About `rows` rows with a target, from all over the source, which is read block by block; all of few."""
    rng = np.random.default_rng(0)
    kept: Table | None = None
    lots = np.empty(0)
    for block in source.blocks():
        drawn = rng.random(block.rows)
        drawn[block.columns[target].missing] = 1.0
        tables, lots = [*([kept] if kept else []), block], np.concatenate([lots, drawn])
        fewest = np.sort(np.argsort(lots, kind="stable")[:rows])
        kept, lots = joined(tables).take(fewest), lots[fewest]
    assert kept is not None  # a source has rows
    return kept


def encoded(table: Table, networks: Networks) -> tuple[np.ndarray, np.ndarray]:
    """(X, y) as the networks take them."""
    x, y = networks.encode(table), networks.target.encode(table.columns[networks.target.name])
    return x, y if isinstance(networks.target, Classes) else networks.scaled(y).astype(x.dtype)


def _trace_png(diagnosis: Diagnosis, file: IO[bytes]) -> None:
    _save(diagnosis.trace.plot(), file)


def _diagnosis_png(diagnosis: Diagnosis, file: IO[bytes]) -> None:
    _save(diagnosis.plot(), file)


def _model_svg(diagnosis: Diagnosis, file: IO[bytes]) -> None:
    file.write(diagnosis.trace.to_svg().encode())


def _trace_json(diagnosis: Diagnosis, file: IO[bytes]) -> None:
    file.write(json.dumps(diagnosis.to_dict(), indent=1, allow_nan=False).encode())


# each file and what writes it
FILES: dict[str, Callable[[Diagnosis, IO[bytes]], None]] = {
    "trace.png": _trace_png,
    "diagnosis.png": _diagnosis_png,
    "model.svg": _model_svg,
    "trace.json": _trace_json,
}


def _write(diagnosis: Diagnosis, folder: Path) -> list[Path]:
    """The files that were written: all of them, or without matplotlib those that need none."""
    drawn = find_spec("matplotlib") is not None
    if drawn:
        import matplotlib as mpl

        mpl.use("Agg")
    written = []
    for name, write in FILES.items():
        if drawn or not name.endswith(".png"):
            with replacing(folder / name) as file:
                write(diagnosis, file)
            written.append(folder / name)
    return written


def _save(figure: Any, file: IO[bytes]) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(file, dpi=130, format="png")
    plt.close(figure)
