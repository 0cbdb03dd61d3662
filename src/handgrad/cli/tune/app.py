"""The options of `handgrad tune`, and nothing heavy."""

from __future__ import annotations

from typing import Annotated

import typer

from handgrad.cli.arguments import DATA, OUTPUT, TABLES, TRAINING, Debug, Runs, TaskName, option
from handgrad.cli.faults import explained
from handgrad.cli.options import Plain, options_of


def tune(
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help=f"A table: {TABLES}. Left out: scikit-learn's digits.")
    ] = None,
    target: Annotated[str | None, option(DATA, "The column to predict.", metavar="COLUMN")] = None,
    task: Annotated[TaskName, option(DATA, "What the target is; auto looks at its values.")] = TaskName.auto,
    ignore: Annotated[list[str] | None, option(DATA, "A column to leave out; repeatable.", metavar="COLUMN")] = None,
    trials: Annotated[int, option(TRAINING, "How many options to try.", metavar="N", min=1)] = 20,
    epochs: Annotated[int, option(TRAINING, "Passes of each trial, at most.", min=1)] = Plain.epochs,
    at_once: Annotated[
        int | None, option(TRAINING, "Trials at the same time; by default one for each processor.", min=1)
    ] = None,
    address: Annotated[
        str | None, option(TRAINING, "The Ray cluster, such as 10.0.0.1:6379; else this machine.", metavar="HOST:PORT")
    ] = None,
    seed: Annotated[int, option(TRAINING, "Decides the parts and what is tried.", min=0)] = Plain.seed,
    name: Annotated[str | None, option(OUTPUT, "The search's name; by default tune-digits and so on.")] = None,
    runs: Runs = "runs",
    resume: Annotated[
        bool, option(OUTPUT, "Go on with a search that was cut off, to the trials it was begun with.")
    ] = False,
    quiet: Annotated[bool, option(OUTPUT, "Print the best options alone.", "--quiet", "-q")] = False,
    debug: Debug = False,
) -> None:
    """Try options of `handgrad train` on a table, the worse ones stopped early, and keep the best.

    Widths, depth, activation, dropout, the learning rate, the batch size and the penalty are drawn at random; a trial
    goes on as long as it is among the better ones by its validation loss (ASHA). best.json in the search's folder has
    the best options, and the command that trains with them is printed.

    [dim]handgrad tune cars.csv --target price --trials 50[/dim]
    """
    with explained(debug):
        from handgrad.cli.tune.search import search

        options = options_of(
            "plain",
            data=data,
            target=target,
            task=task.value,
            ignore=tuple(ignore or ()),
            epochs=epochs,
            seed=seed,
            name=name,
            runs=runs,
        )
        assert isinstance(options, Plain)
        search(options, trials, at_once, address, resume=resume, quiet=quiet)
