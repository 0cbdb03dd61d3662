"""What the commands of `handgrad` take alike: the options that several have, and the words that choose."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from handgrad.cli.options import Plain, Tabular

TABLES = "a file, folder or pattern of CSV, TSV, Parquet or JSON lines; a SQLite or DuckDB file; a SELECT"
DATA, MODEL, TRAINING, OUTPUT = "Data", "Model", "Training", "Output"


class TaskName(StrEnum):
    """What the target is."""

    auto = "auto"
    classification = "classification"
    regression = "regression"


class Preset(StrEnum):
    """What is trained."""

    plain = "plain"
    tabular = "tabular"


class DType(StrEnum):
    """The precision of the parameters."""

    float32 = "float32"
    float64 = "float64"


class Order(StrEnum):
    """What the runs are listed by."""

    when = "when"
    name = "name"
    data = "data"
    rows = "rows"
    epochs = "epochs"
    score = "score"
    seconds = "seconds"
    state = "state"


Runs = Annotated[str, typer.Option(metavar="DIR", help="The folder of the runs.", rich_help_panel=OUTPUT)]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=OUTPUT)]
TableName = Annotated[
    str | None,
    typer.Option("--table", metavar="NAME", help="The table of a SQLite or DuckDB file.", rich_help_panel=DATA),
]
Sql = Annotated[
    str | None,
    typer.Option("--sql", metavar="SELECT", help="A SELECT over files, or over DATA's tables.", rich_help_panel=DATA),
]
SkipBadRows = Annotated[
    bool,
    typer.Option("--skip-bad-rows", help="Leave out and count the rows that can't be read.", rich_help_panel=DATA),
]


def option(panel: str, help_text: str, *names: str, **settings: Any) -> Any:
    """One shown in a panel of the help."""
    return typer.Option(*names, help=help_text, rich_help_panel=panel, **settings)


def preset_option(name: str, panel: str, help_text: str, **settings: Any) -> Any:
    """One that is left to the preset where it is not given; the help shows what the plain one takes."""
    default = getattr(Plain(), name)
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    only = "" if hasattr(Tabular(), name) else " only"
    return option(panel, f"{help_text} [dim]\\[plain{only}: {shown}][/dim]", **settings)
