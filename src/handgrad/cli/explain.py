"""`handgrad explain`: a run and a table in; its trace and diagnosis on the terminal, their figures in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.text import Text

from handgrad.cli.columns import Category, Features
from handgrad.cli.faults import InputError
from handgrad.cli.plain import PEAK_RATES
from handgrad.cli.presets import preprocessing
from handgrad.cli.report import Report
from handgrad.cli.runs import CONFIG, HISTORY, open_run
from handgrad.cli.tables import read_table
from handgrad.cli.targets import Classes, Target
from handgrad.explain.diagnose import Diagnosis, diagnose
from handgrad.formats import FormatError, replacing
from handgrad.layers import L2, CrossEntropy, Loss, SquaredError
from handgrad.optim import Optimizer
from handgrad.optim.names import NAMED, by_name

TEST = "test.csv"  # beside the model, where a run brought its own data


def explain(run: str, data: str | None, *, rows: int, out: str | None, runs: str) -> None:
    """Run the command. Raises HandgradError or OSError, and then leaves every file as it was."""
    console, status = Console(highlight=False), Console(stderr=True)
    report = Report(console, status)
    model, params, metadata, path = open_run(run, Path(runs))
    features, target = preprocessing(metadata, path)
    config, history = _read(path.parent)
    folder = path.parent if out is None else Path(out)
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r} to write the figures to")
    table_path = _table(data, path.parent, config)
    with report.busy("reading the table"):
        x, y = _batch(table_path, features, target, rows, params.flat.dtype)
    options = config.get("options", {})
    loss: Loss = SquaredError()
    if isinstance(target, Classes):
        loss = CrossEntropy(float(options.get("label_smoothing", 0.0)))
    with report.busy(f"following {len(x):,} rows through {model!r:.40}"):
        diagnosis = diagnose(
            model,
            params,
            x,
            y,
            loss=loss,
            optimizer=_optimizer(options),
            history=history or None,
            regularizer=L2(float(options["l2"])) if options.get("l2") else None,
        )
    report.title(f"{path.parent.name}: {len(x):,} rows of {table_path.name}")
    console.print(diagnosis.trace)
    console.print()
    report.title("Diagnosis")
    console.print(diagnosis)
    console.print()
    with report.busy("drawing the figures"):
        written = _write(diagnosis, folder)
    for place in written:
        console.print(Text.assemble(("  wrote    ", "cyan"), str(place)), soft_wrap=True)
    if len(written) < len(FILES):
        report.note("figures need matplotlib: pip install 'handgrad[plot]'")


def _read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(config, history) of a run; empty ones where the model file stands alone."""
    config, history = folder / CONFIG, folder / HISTORY
    try:
        options = json.loads(config.read_text("utf-8")) if config.exists() else {}
        lines = history.read_text("utf-8").splitlines() if history.exists() else []
        rows = [{name: float("nan") if v is None else v for name, v in json.loads(line).items()} for line in lines]
    except (ValueError, AttributeError) as error:
        raise FormatError(f"the run {str(folder)!r} can't be read: {error}") from None
    if not isinstance(options, dict) or not isinstance(options.get("options", {}), dict):
        raise FormatError(f"{str(config)!r} can't be read: it holds no options")
    return options, rows


def _table(data: str | None, folder: Path, config: dict[str, Any]) -> Path:
    """The table to look at: the one given, else the run's own test rows, else the one it was trained on."""
    if data is not None:
        return Path(data)
    if (folder / TEST).exists():
        return folder / TEST
    trained = config.get("options", {}).get("data")
    if isinstance(trained, str) and Path(trained).is_file():
        return Path(trained)
    gone = f"; {trained!r}, which it was trained on, is not there" if trained else ""
    raise InputError(f"DATA is missing: name a table with the target to follow through the network{gone}")


def _batch(path: Path, features: Features, target: Target, rows: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows drawn at random, always the same, encoded; those without a target are left out."""
    text = {column.name for column in features.columns if isinstance(column, Category)}
    table = read_table(path, text | {target.name} if isinstance(target, Classes) else text)
    if target.name not in table.columns:
        raise InputError(f"{path.name} has no column {target.name!r}, the target, without which there is no gradient")
    there = np.flatnonzero(~table.columns[target.name].missing)
    if not there.size:
        raise InputError(f"target {target.name!r} is empty in all {table.rows} rows of {path.name}")
    chosen = np.sort(np.random.default_rng(0).permutation(there)[:rows])
    table = table.take(chosen)
    y = target.encode(table.columns[target.name])
    return features.encode(table, dtype), y if isinstance(target, Classes) else y.astype(dtype)


def _optimizer(options: dict[str, Any]) -> Optimizer:
    """The run's, at the highest rate of its schedule; fit's own for a run that does not say."""
    name = options.get("optimizer")
    if name not in NAMED:
        return by_name("adam")
    rate = options.get("learning_rate")
    optimizer = by_name(name)
    return replace(optimizer, learning_rate=PEAK_RATES[type(optimizer)] if rate is None else float(rate))


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
