"""The command `handgrad`: its options, and nothing heavy, so that --help is there at once."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from handgrad.cli.arguments import (
    DATA,
    MODEL,
    OUTPUT,
    TABLES,
    TRAINING,
    Debug,
    DType,
    Order,
    Preset,
    Runs,
    SkipBadRows,
    Sql,
    TableName,
    TaskName,
    option,
    preset_option,
)
from handgrad.cli.data.given import Data
from handgrad.cli.faults import Unfinished, UsageError, explained
from handgrad.cli.options import Options, options_of
from handgrad.cli.tune.app import tune

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"handgrad {version('handgrad')}")
        raise typer.Exit


@app.callback()
def handgrad(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Multilayer perceptrons with every gradient written out by hand.

    Start with [bold]handgrad train[/bold]: it trains on handwritten digits in a few seconds.
    """


@app.command()
def train(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help=f"A table: {TABLES}. Left out: scikit-learn's digits.")
    ] = None,
    target: Annotated[str | None, option(DATA, "The column to predict.", metavar="COLUMN")] = None,
    task: Annotated[TaskName, option(DATA, "What the target is; auto looks at its values.")] = TaskName.auto,
    ignore: Annotated[list[str] | None, option(DATA, "A column to leave out; repeatable.", metavar="COLUMN")] = None,
    text: Annotated[
        list[str] | None,
        option(DATA, "A column to take as text, also where it looks like numbers; repeatable.", metavar="COLUMN"),
    ] = None,
    table: TableName = None,
    sql: Sql = None,
    stream: Annotated[
        bool | None,
        option(DATA, "Read the table anew for each epoch, or hold it in memory. [dim]\\[by its size][/dim]"),
    ] = None,
    skip_bad_rows: SkipBadRows = False,
    test: Annotated[float, option(DATA, "The share of the rows to test on.")] = Options.test,
    validation: Annotated[
        float | None, preset_option("validation", DATA, "The share of the rest to choose the best epoch by.")
    ] = None,
    preset: Annotated[
        Preset, option(MODEL, "plain: one network, to your options. tabular: an ensemble, tuned for tables.")
    ] = Preset.plain,
    ensemble: Annotated[
        int | None, option(MODEL, "Networks to train. [dim]\\[tabular only][/dim]", metavar="N", min=1)
    ] = None,
    hidden: Annotated[
        str | None,
        preset_option("hidden", MODEL, "Widths of the hidden layers, or 0 for none.", metavar="N,N"),
    ] = None,
    activation: Annotated[
        str | None, preset_option("activation", MODEL, "relu, gelu, swish, tanh, swiglu, ...", metavar="NAME")
    ] = None,
    dropout: Annotated[float | None, preset_option("dropout", MODEL, "The share of units dropped in training.")] = None,
    dtype: Annotated[DType | None, preset_option("dtype", MODEL, "The precision.")] = None,
    optimizer: Annotated[
        str | None,
        preset_option("optimizer", TRAINING, "sgd, momentum, nesterov, rmsprop, adam, adamw.", metavar="NAME"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        option(TRAINING, "The schedule's highest rate; by default the optimizer's, or the preset's."),
    ] = None,
    batch_size: Annotated[int | None, preset_option("batch_size", TRAINING, "Rows a step.", min=1)] = None,
    epochs: Annotated[
        int | None, preset_option("epochs", TRAINING, "Passes over the training part, at most.", min=1)
    ] = None,
    patience: Annotated[
        int | None,
        preset_option("patience", TRAINING, "Epochs without a better validation loss before it stops.", min=1),
    ] = None,
    l2: Annotated[
        float | None, preset_option("l2", TRAINING, "The strength of the penalty on squared weights.")
    ] = None,
    label_smoothing: Annotated[
        float | None, preset_option("label_smoothing", TRAINING, "The share of each label spread over all classes.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        preset_option("checkpoint", TRAINING, "How often to keep it for --resume: 30 seconds, 500 steps, 2 epochs."),
    ] = None,
    workers: Annotated[
        int | None, preset_option("workers", TRAINING, "Processes that share each batch, on Ray.", metavar="N", min=1)
    ] = None,
    address: Annotated[
        str | None, option(TRAINING, "The Ray cluster, such as 10.0.0.1:6379; else this machine.", metavar="HOST:PORT")
    ] = None,
    seed: Annotated[int, option(TRAINING, "Decides the parts, the first values and the order.", min=0)] = Options.seed,
    name: Annotated[str | None, option(OUTPUT, "The run's name; by default numbered, as digits-1.")] = None,
    runs: Runs = "runs",
    resume: Annotated[
        str | None, option(OUTPUT, "Go on with a run that was cut off, with its own options.", metavar="RUN")
    ] = None,
    tensorboard: Annotated[
        str | None, option(OUTPUT, "Write event files for TensorBoard into DIR/NAME too.", metavar="DIR")
    ] = None,
    mlflow: Annotated[str | None, option(OUTPUT, "Log to a run of the MLflow server there too.", metavar="URI")] = None,
    report: Annotated[
        bool, option(OUTPUT, "Write report.html beside the model: curves, errors, gradients.", "--report")
    ] = False,
    quiet: Annotated[bool, option(OUTPUT, "Print the run's folder alone.", "--quiet", "-q")] = False,
    progress: Annotated[bool, option(OUTPUT, "Show a progress bar on a terminal.")] = True,
    debug: Debug = False,
) -> None:
    """Train a network on a table, test it, prove its gradients, and keep it as a run.

    [dim]handgrad train[/dim]
    [dim]handgrad train cars.csv --target price[/dim]
    [dim]handgrad train cars.csv --target price --preset tabular[/dim]
    [dim]handgrad train --resume cars-1[/dim]
    """
    with explained(debug):
        if resume is not None:
            _alone(context)
            from handgrad.cli.train import resume as resume_command

            if not resume_command(resume, runs, quiet=quiet, progress=progress, page=report):
                raise typer.Exit(1)
            return
        options = options_of(
            preset.value,
            data=data,
            target=target,
            task=task.value,
            ignore=tuple(ignore or ()),
            text=tuple(text or ()),
            table=table,
            sql=sql,
            stream=stream,
            skip_bad_rows=skip_bad_rows,
            test=test,
            validation=validation,
            ensemble=ensemble,
            hidden=None if hidden is None else _widths(hidden),
            activation=activation,
            dropout=dropout,
            dtype=None if dtype is None else dtype.value,
            optimizer=optimizer,
            learning_rate=learning_rate,
            batch_size=batch_size,
            epochs=epochs,
            patience=patience,
            l2=l2,
            label_smoothing=label_smoothing,
            checkpoint=checkpoint,
            workers=workers,
            address=address,
            seed=seed,
            name=name,
            runs=runs,
            tensorboard=tensorboard,
            mlflow=mlflow,
        )
        from handgrad.cli.settings import check_settings
        from handgrad.cli.train import train as run_command

        check_settings(options)
        if not run_command(options, quiet=quiet, progress=progress, page=report):
            raise typer.Exit(1)


app.command()(tune)


@app.command(name="runs")
def list_runs(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs to compare, up to four; left out: all are listed."),
    ] = None,
    sort: Annotated[Order, typer.Option(help="What to list them by.")] = Order.when,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    runs: Runs = "runs",
    debug: Debug = False,
) -> None:
    """List the runs, or say what differs between some of them: options, versions, results, learning curves.

    [dim]handgrad runs[/dim]
    [dim]handgrad runs digits-1 digits-2[/dim]
    """
    with explained(debug):
        from handgrad.cli.runs import compare

        if names:
            compare.compare_runs(names, Path(runs), as_json)
        else:
            compare.list_runs(Path(runs), sort.value, as_json)


@app.command()
def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run: its name, its folder or its model file.")],
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help=f"A table: {TABLES}.")] = None,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="The CSV file to write; by default it is printed.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Add a column for each class with its probability.")
    ] = False,
    table: TableName = None,
    sql: Sql = None,
    skip_bad_rows: SkipBadRows = False,
    runs: Runs = "runs",
    debug: Debug = False,
) -> None:
    """Predict the rows of a table with a run, as CSV.

    Columns that the model does not know are left alone. Values that a text column did not have in training count as
    "other", and are reported.
    """
    with explained(debug):
        from handgrad.cli.predict import predict as run_command

        if data is None and sql is None:
            raise UsageError("DATA is missing: name the table to predict, or give --sql")
        run_command(run, Data(data, table, sql, skip_bad_rows), output=output, probabilities=probabilities, runs=runs)


@app.command()
def explain(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run: its name, its folder or its model file.")],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]", help=f"A table with the target: {TABLES}. Left out: the one it was tested on."
        ),
    ] = None,
    table: TableName = None,
    sql: Sql = None,
    rows: Annotated[int, typer.Option(metavar="N", help="Rows to follow through, drawn at random.", min=1)] = 512,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The folder for the figures; by default the run's own.")
    ] = None,
    runs: Runs = "runs",
    debug: Debug = False,
) -> None:
    """Follow rows through a run's network and back, and say what is wrong with it, if anything.

    Prints the layers, their values and gradients, and the diagnosis; writes trace.png, diagnosis.png, model.svg and
    trace.json.
    """
    with explained(debug):
        from handgrad.cli.explain import explain as run_command

        run_command(run, Data(data, table, sql), rows=rows, out=out, runs=runs)


@app.command()
def view(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run: its name, its folder or its model file.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]", help=f"A table with the target: {TABLES}. Left out: the one it was tested on."
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="The worked examples, in place of a run.")] = False,
    table: TableName = None,
    sql: Sql = None,
    rows: Annotated[int, typer.Option(metavar="N", help="Rows whose values are shown.", min=1)] = 64,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="The page to write; by default view.html in the run's folder.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    runs: Runs = "runs",
    debug: Debug = False,
) -> None:
    """Open a page on which every value and gradient of a run's network is to be seen, and how its training went.

    The page is one file that needs no network: it can be sent to others as it is.

    [dim]handgrad view digits-1[/dim]
    [dim]handgrad view --demo[/dim]
    """
    with explained(debug):
        from handgrad.cli.view import view as run_command

        run_command(run, Data(data, table, sql), rows=rows, demo=demo, html=html, browser=browser, runs=runs)


@app.command()
def bench(
    configs: Annotated[
        str, typer.Option(metavar="A,B", help="Which networks to train: A to D are small to middling, E is large.")
    ] = "A,B,C,D",
    threads: Annotated[int, typer.Option(help="Threads, and cores, for each.")] = 1,
    rounds: Annotated[int, typer.Option(help="Rounds to take the median of.", min=1)] = 3,
    debug: Debug = False,
) -> None:
    """Time a training step beside scikit-learn's, and PyTorch's where it is installed, on this machine.

    Below them stands the limit: what the processor's multiply-adds and memory allow at most, measured alike.
    """
    with explained(debug):
        from handgrad.cli.bench.command import bench as run_command

        run_command(configs=configs, threads=threads, rounds=rounds)


def _alone(context: typer.Context) -> None:
    """Raise UsageError for options beside --resume that its run has already."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    wrong = [name for name in given if name not in ("resume", "runs", "report", "quiet", "progress", "debug")]
    if wrong:
        flags = " and ".join("DATA" if name == "data" else f"--{name.replace('_', '-')}" for name in sorted(wrong))
        raise UsageError(f"--resume goes on with the options that the run has; leave out {flags}")


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = (-1,)
    if widths == (0,):
        return ()
    if min(widths) < 1:
        raise UsageError(f"--hidden must be widths of at least 1, such as 128,64, or 0 for none, got {text!r}")
    return widths


def _stop(number: int, frame: object) -> None:
    raise Unfinished("stopped by SIGTERM", 128 + number)  # unlike the signal's own way, this cleans up


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _stop)
    for stream in (sys.stdout, sys.stderr):  # a terminal that can't show a letter is no reason to fail
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
