"""What `benchmarks.inference` and `benchmarks.samples` share: calls of one network measured, shown and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.text import Text

from benchmarks import results
from handgrad.cli.bench.configurations import CONFIGURATIONS
from handgrad.cli.bench.rivals import Entry
from handgrad.cli.bench.suite import Measurement, Pool, measure
from handgrad.cli.bench.table import left_out, markdown, shown

Notes = Callable[[list[Measurement]], list[str]]


def compare(
    module: str,
    doc: str,
    section: str,
    rivals: dict[str, Entry],
    batches: Mapping[str, int],
    reference: type[Any],
    *,
    notes: Notes = left_out,
    packages: Sequence[str] = results.PACKAGES,
) -> None:
    """Run the command: measure and print, and write where asked.

    module, doc: its name and what it measures. section: of the page; {threads} stands for how many. batches: the rows
    of a call, by the name of what is called. reference: the rival that the others must agree with. packages: whose
    versions matter.
    """
    given = results.options(doc, rivals, 0.4).parse_args()
    console, load = Console(highlight=False), results.load()
    wanted = [replace(CONFIGURATIONS["C"], name=name, batch=rows, batches=1) for name, rows in batches.items()]
    with results.ended():
        chosen = results.settled(given, rivals)
        with results.Progress() as say, Pool(given.threads) as pool:
            measurements = [
                measure(
                    configuration,
                    chosen,
                    pool,
                    reference=reference(configuration, given.threads).check(),
                    rounds=given.rounds,
                    seconds=given.seconds,
                    limit=False,
                    say=say,
                )
                for configuration in wanted
            ]
    console.print(shown(measurements, "microseconds a call"))
    said = notes(measurements)
    for note in said:
        console.print(Text(f"  {note}"), soft_wrap=True)
    if given.write:
        body = [markdown(measurements, "µs a call"), "\n".join(f"- {note}" for note in said)]
        facts = [("command", results.command(module)), ("load average before", load), *results.machine(packages)]
        results.write(section.format(threads=results.threads(given.threads)), facts, "\n\n".join(body))
