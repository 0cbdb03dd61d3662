"""Prediction with a trained network: one row, and 10,000 rows in a call.

    python -m benchmarks.inference

784-256-128-10 in float32, the same weights everywhere, which is checked: scores agree to 1e-3 of the largest, and all
labels. Rows go in as a NumPy array and scores come out as one (scikit-learn: labels). Each rival runs in its own
process, pinned to as many cores as it has threads, in turn, round by round; a figure is the median over rounds of the
round's median call. benchmarks/requirements.txt says what to install; a rival that is not is left out.
"""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console
from rich.text import Text

from benchmarks import results
from benchmarks.predictors import ALL, Numpy
from handgrad.cli.bench.configurations import CONFIGURATIONS
from handgrad.cli.bench.suite import Pool, measure
from handgrad.cli.bench.table import left_out, markdown, shown
from handgrad.errors import HandgradError

SIZES = {"1 row": 1, "10,000 rows": 10_000}


def main() -> None:
    """Measure and print, and write where asked."""
    given = results.options(__doc__ or "", ALL, 0.4).parse_args()
    console, load = Console(highlight=False), results.load()
    wanted = [replace(CONFIGURATIONS["C"], name=name, batch=rows, batches=1) for name, rows in SIZES.items()]
    try:
        rivals = results.settled(given, ALL)
        with results.Progress() as say, Pool(given.threads) as pool:
            measurements = [
                measure(
                    configuration,
                    rivals,
                    pool,
                    reference=Numpy(configuration, given.threads).check(),
                    rounds=given.rounds,
                    seconds=given.seconds,
                    limit=False,
                    say=say,
                )
                for configuration in wanted
            ]
    except HandgradError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    console.print(shown(measurements, "microseconds a call"))
    notes = left_out(measurements)
    for note in notes:
        console.print(Text(f"  {note}"), soft_wrap=True)
    if given.write:
        body = [markdown(measurements, "µs a call"), "\n".join(f"- {note}" for note in notes)]
        facts = [("command", results.command("benchmarks.inference")), ("load average before", load)]
        threads = f"{given.threads} thread{'s' * (given.threads > 1)}"
        results.write(f"Inference, {threads}", [*facts, *results.machine()], "\n\n".join(body))


if __name__ == "__main__":
    main()
