"""`handgrad bench`: a training step of handgrad beside that of others, on this machine, in less than a minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rich.console import Console
from rich.status import Status
from rich.text import Text

import handgrad.checks as checks
from handgrad.cli.bench.configurations import CONFIGURATIONS, Configuration
from handgrad.cli.bench.rivals import RIVALS, chosen
from handgrad.cli.bench.rivals.plain import Numpy
from handgrad.cli.bench.suite import Measurement, Pool, measure
from handgrad.cli.bench.table import left_out, shown
from handgrad.cli.faults import UsageError
from handgrad.cli.report import Report
from handgrad.engines.choice import cores
from handgrad.errors import ValueRangeError

BATCHES = 16  # of an epoch, where the suite in benchmarks/ takes more
SECONDS = 0.25
USUAL = ("A", "B", "C", "D")
SHOWN_RIVALS = ("handgrad", "eager", "torch", "sklearn")


def check_threads(threads: int) -> int:
    """Raise ValueRangeError where there are fewer cores than threads."""
    if not 1 <= threads <= cores():
        raise ValueRangeError(f"threads must be from 1 to {cores()}, the cores there are here, got {threads}")
    return threads


def configurations(names: str) -> list[Configuration]:
    """Those named, separated by commas. Raises ValueRangeError for a name that is not there."""
    return [checks.by_name("configuration", name.strip(), CONFIGURATIONS) for name in names.split(",")]


def bench(*, configs: str, threads: int, rounds: int, console: Console | None = None) -> None:
    """Run the command."""
    try:
        wanted = [replace(c, batches=min(c.batches, BATCHES)) for c in configurations(configs)]
        check_threads(threads)
    except ValueRangeError as error:
        raise UsageError(f"--{error}" if str(error).startswith("threads") else f"--configs: {error}") from None
    console = console or Console(highlight=False)
    report = Report(console, Console(stderr=True))
    report.title(f"A training step, {'one thread' if threads == 1 else f'{threads} threads'}")
    report.facts((c.name, c.text) for c in wanted)
    console.print()
    measurements: list[Measurement] = []
    with report.busy("starting") as status, Pool(threads, keep=True) as pool:
        for configuration in wanted:
            measurements.append(
                measure(
                    configuration,
                    chosen(SHOWN_RIVALS, RIVALS),
                    pool,
                    reference=Numpy(configuration, 1).check(),
                    rounds=rounds,
                    seconds=SECONDS,
                    say=_saying(status),
                )
            )
    console.print(shown(measurements, "microseconds"))
    notes = f"each in its own process, in turn; medians of {rounds} rounds; limit: what the cores can do at most"
    console.print(Text(f"\n  {notes}", style="dim"), soft_wrap=True)
    for text in left_out(measurements):
        report.note(text)


def _saying(status: object) -> Callable[[str], object]:
    return (lambda text: status.update(f"{text} ...")) if isinstance(status, Status) else (lambda text: None)
