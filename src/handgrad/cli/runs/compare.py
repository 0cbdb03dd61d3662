"""`handgrad runs`: the runs of a folder, or some of them side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from handgrad.cli.faults import InputError
from handgrad.cli.report import LOWER_IS_BETTER
from handgrad.cli.runs.chart import STYLES, Curve, chart
from handgrad.cli.runs.folders import find_folder, line_of, run_folders
from handgrad.cli.runs.listing import (
    BROKEN,
    COMPLETE,
    FOREIGN,
    INTERRUPTED,
    TRAINED,
    UNFINISHED,
    Run,
    is_number,
    read_run,
)

MOST = 4  # runs that fit side by side
LETTERS = "abcd"
STATES = (TRAINED, UNFINISHED, INTERRUPTED, COMPLETE, BROKEN, FOREIGN)
# what each --sort goes by, and whether the largest comes first
ORDERS: dict[str, tuple[Callable[[Run], Any], bool]] = {
    "when": (lambda run: run.started, True),
    "name": (lambda run: _numbered(run.name), False),
    "data": (lambda run: run.data, False),
    "rows": (lambda run: run.rows, True),
    "epochs": (lambda run: run.epochs or None, True),
    "score": (lambda run: run.score, True),
    "seconds": (lambda run: run.seconds, True),
    "state": (lambda run: STATES.index(run.state), False),
}
COLOURS = {TRAINED: "cyan", UNFINISHED: "yellow", INTERRUPTED: "yellow", BROKEN: "red", FOREIGN: "dim"}


def list_runs(parent: Path, sort: str, as_json: bool) -> None:
    """Print all that a folder holds, in the order of `sort`, a name in ORDERS; what has no value there comes last."""
    found = in_order([read_run(folder) for folder in run_folders(parent)], sort)
    console = Console(highlight=False)
    if as_json:
        _print_json([run.to_json() for run in found])
    elif not found:
        console.print(f"there are no runs in {str(parent)!r}; handgrad train makes one", markup=False)
    else:
        console.print(_table(found))
        for run in found:
            if run.problem:
                said = Text.assemble((f"{_printable(run.name)}: ", COLOURS[run.state]), _printable(run.problem))
                console.print(said, soft_wrap=True)


def in_order(found: Iterable[Run], sort: str) -> list[Run]:
    """The runs in the order of that name; equal ones by their names."""
    key, largest = ORDERS[sort]
    runs = sorted(found, key=lambda run: _numbered(run.name))
    there = [run for run in runs if key(run) is not None]
    return [*sorted(there, key=key, reverse=largest), *(run for run in runs if key(run) is None)]


def compare_runs(names: Sequence[str], parent: Path, as_json: bool) -> None:
    """Print what differs between some runs, their results and learning curves. Raises InputError for what is no run."""
    if len(names) > MOST:
        raise InputError(f"{len(names)} runs do not fit side by side; name {MOST} at most")
    runs = [read_run(find_folder(name, parent)) for name in names]
    for run in runs:
        if run.state in (BROKEN, FOREIGN):
            raise InputError(f"the run {str(run.folder)!r} can't be read: {run.problem}")
    differ, found = differences(runs), results(runs)
    column, curves = curves_of(runs)
    if as_json:
        drawn = [{"run": run.name, "points": curve} for run, curve in zip(runs, curves, strict=True)]
        about = {"runs": [run.to_json() for run in runs], "differ": differ, "results": found}
        _print_json(about | {"curve": column, "curves": drawn})
        return
    console = Console(highlight=False)
    names = [_printable(run.name) for run in runs]
    if len(runs) > 1:
        _title(console, "What differs")
        if differ:
            console.print(_side_by_side(names, {name: list(map(_shown, values)) for name, values in differ.items()}))
        else:
            console.print("  nothing: they have the same options, versions and rows")
        console.print()
    _title(console, "Results" if len(runs) > 1 else names[0])
    console.print(_side_by_side(names, {name: _marked(name, values) for name, values in found.items()}))
    lines = chart(dict(zip(LETTERS, curves, strict=False)))
    if lines:
        console.print()
        _title(console, f"{column.replace('_', ' ')} by epoch")
        for line in lines:
            console.print(line, soft_wrap=True)
        for letter, style, name in zip(LETTERS, STYLES, names, strict=False):
            console.print(Text.assemble("  ", (letter, style), f" {name}"))


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """What the configs say before training, where they do not say the same: options, versions, rows, columns."""
    said = [_flat(run.config) for run in runs]
    names = list(dict.fromkeys(name for each in said for name in each))
    return {
        name: [each.get(name) for each in said] for name in names if any(_differs(name, each, said) for each in said)
    }


def results(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """What came of each, by what it is called."""
    found: dict[str, list[Any]] = {"state": [run.state for run in runs]}
    tests = [_models(run) for run in runs]
    for metric in dict.fromkeys(metric for models in tests for values in models.values() for metric in values):
        found[metric] = [list(models.values())[-1].get(metric) if models else None for models in tests]
    found["best baseline"] = [run.baseline for run in runs]
    found["epochs"] = [f"{run.epochs} of {run.planned}" if run.planned else run.epochs for run in runs]
    found["best epoch"] = [run.config.get("best_epoch") for run in runs]
    found["seconds"] = [None if run.seconds is None else round(run.seconds, 1) for run in runs]
    found["engine"] = [run.config.get("engine") for run in runs]
    checks = [run.config.get("gradient_check") for run in runs]
    found["gradient error"] = [check.get("worst_error") if isinstance(check, dict) else None for check in checks]
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def curves_of(runs: Sequence[Run]) -> tuple[str, list[Curve]]:
    """(the column that all have, its values by epoch): the validation loss, or the loss; an ensemble's is the mean."""
    histories = [run.history for run in runs]
    column = "validation_loss" if all(any("validation_loss" in row for row in rows) for rows in histories) else "loss"
    made: list[Curve] = []
    for rows in histories:
        by_epoch: dict[int, list[float]] = {}
        for row in rows:
            if is_number(row.get(column)):
                by_epoch.setdefault(row["epoch"], []).append(float(row[column]))
        made.append([(epoch, sum(values) / len(values)) for epoch, values in sorted(by_epoch.items())])
    return column, made


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    parts = {name: config.get(name) for name in ("options", "rows", "versions")}
    flat = {name: config.get(name) for name in ("target", "task", "model")}
    for part, values in parts.items():
        if isinstance(values, dict):
            label = "{} rows" if part == "rows" else "{}"
            flat |= {label.format(name.replace("_", " ")): value for name, value in values.items()}
    if config.get("print") is not None:
        flat["print of the data"] = config["print"]
    columns = config.get("columns")
    if isinstance(columns, list):
        flat["columns"] = ", ".join(map(str, columns))
    flat.pop("name", None)
    return flat


def _differs(name: str, each: Mapping[str, Any], said: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run has another value than the first; one that an older run does not have is one that is not given."""
    values = [of.get(name) for of in (each, said[0])]
    first, second = (None if value is False or value == [] else value for value in values)
    return first != second and repr(first) != repr(second)  # NaN is another than itself, and is written alike


def _models(run: Run) -> dict[str, dict[str, Any]]:
    """What was tested, with its numbers."""
    test = run.config.get("test")
    models = test.items() if isinstance(test, dict) and run.state in (COMPLETE, INTERRUPTED) else ()
    return {str(name): values for name, values in models if isinstance(values, dict)}


def _table(runs: Sequence[Run]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for name, width in (("run", 18), ("data", 20), ("model", 20), ("test", 16)):
        table.add_column(name, max_width=width, no_wrap=True, overflow="ellipsis")
    for run in runs:
        when = (run.started or "")[:16].replace("T", " ")
        rows = f"{run.rows:,} rows" if run.rows else ""
        done = f"{run.epochs} of {run.planned}" if run.planned and run.state != COMPLETE else f"{run.epochs}"
        spent = "" if run.seconds is None else f", {_seconds(run.seconds)}"
        trained = f"{done} epochs{spent}" if run.epochs else ""
        colour = COLOURS.get(run.state, "")
        if run.state in (BROKEN, FOREIGN):
            table.add_row(Text(_printable(run.name), style="bold"), "", "", Text(run.state, style=colour))
            continue
        if run.score is None:
            test = _cell(run.state, colour, "" if run.state == TRAINED else "resumable")
        else:
            baseline = "" if run.baseline is None else f"baseline {_score(run.metric, run.baseline)}"
            first = f"{run.metric} {_score(run.metric, run.score)}"
            test = _cell(first, "bold", run.state if run.state == INTERRUPTED else baseline)
        about = {"classification": "classes", "regression": "numbers"}.get(run.task or "", "")
        where = ", ".join(part for part in (rows, about) if part)
        table.add_row(
            _cell(run.name, "bold", when),
            _cell(run.data or "", "", where),
            _cell(_short(run.model or ""), "", trained),
            test,
        )
    return table


def _cell(first: str, style: str, second: str = "") -> Text:
    return Text.assemble((_printable(first), style), "\n", (_printable(second), "dim"))


def _short(model: str) -> str:
    """ "64 -> 32 -> 10, relu, 2,410 parameters, float32" as "64-32-10 relu"."""
    widths, _, rest = model.removesuffix(" ->").partition(", ")
    return f"{widths.replace(' -> ', '-')} {rest.partition(', ')[0]}".strip()


def _side_by_side(names: Sequence[str], rows: Mapping[str, Sequence[str | Text]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", style="cyan", max_width=20)
    width = (80 - 22 - 2 * len(names)) // len(names)
    for name in names:
        table.add_column(name, max_width=width, overflow="fold")
    for name, values in rows.items():
        table.add_row(f"  {_printable(name)}", *values)
    return table


def _marked(name: str, values: Sequence[Any]) -> list[Text]:
    """The values, the best in bold where it is clear which is."""
    numbers = [value for value in values if is_number(value)]
    compared = name in ("accuracy", "R2") or name in LOWER_IS_BETTER
    best = (min if name in LOWER_IS_BETTER else max)(numbers) if compared and len(numbers) > 1 else None
    return [Text(_shown(value), style="bold green" if value is not None and value == best else "") for value in values]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return _printable(", ".join(map(str, value))) or "none"
    return _printable(str(value))


def _score(metric: str | None, value: float) -> str:
    return f"{100 * value:.1f} %" if metric == "accuracy" else f"{value:.3f}"


def _seconds(value: float) -> str:
    minutes, hours = value / 60, value / 3600
    return f"{value:.1f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"


def _numbered(name: str) -> list[tuple[int, str]]:
    """What sorts names so that digits-2 comes before digits-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


def _printable(text: str) -> str:
    """The text without what would steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _title(console: Console, text: str) -> None:
    console.print(Rule(Text(text, style="bold"), align="left", style="dim"))


def _print_json(data: Any) -> None:
    print(json.dumps(json.loads(line_of({"data": data}))["data"], indent=2))
