"""The gradients of each sample's own loss: their norms, and their sum with none longer than a bound.

    python -m benchmarks.samples

784-256-128-10 in float32, batch 256, cross-entropy, the same weights everywhere; beside it the plain gradient of the
mean loss, which is what any training needs. All agree with a loop over samples in float64 to 1e-3 of the largest. Each
rival runs in its own process, pinned to as many cores as it has threads, in turn, round by round; a figure is the
median over rounds of the round's median call. benchmarks/requirements.txt says what to install; a rival that is not is
left out. Opacus's plain gradient is PyTorch's.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from benchmarks import results
from benchmarks.samplers import ALL, TASKS, Loop
from handgrad.cli.bench.configurations import CONFIGURATIONS
from handgrad.cli.bench.suite import OURS, Measurement, Pool, measure
from handgrad.cli.bench.table import left_out, markdown, shown
from handgrad.errors import HandgradError


def costs(measurements: list[Measurement]) -> str:
    """handgrad's times by that of its own plain gradient, the median over rounds of those in one round."""
    plain, *others = measurements
    found = []
    for other in others:
        rounds = zip(other.seconds[OURS], plain.seconds[OURS], strict=True)
        ratio = statistics.median(own / alone for own, alone in rounds)
        found.append(f"{other.configuration.name} {ratio:.2f}")
    return f"handgrad's times the plain gradient's: {', '.join(found)}"


def main() -> None:
    """Measure and print, and write where asked."""
    given = results.options(__doc__ or "", ALL, 0.4).parse_args()
    console, load = Console(highlight=False), results.load()
    wanted = [replace(CONFIGURATIONS["C"], name=name, batch=256, batches=1) for name in TASKS]
    try:
        rivals = results.settled(given, ALL)
        with results.Progress() as say, Pool(given.threads) as pool:
            measurements = [
                measure(
                    configuration,
                    rivals,
                    pool,
                    reference=Loop(configuration, given.threads).check(),
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
    notes = [*([costs(measurements)] if OURS in rivals else []), *left_out(measurements)]
    for note in notes:
        console.print(Text(f"  {note}"), soft_wrap=True)
    if given.write:
        body = [markdown(measurements, "µs a call"), "\n".join(f"- {note}" for note in notes)]
        facts = [("command", results.command("benchmarks.samples")), ("load average before", load)]
        packages = (*results.PACKAGES, "opacus")
        results.write("Gradients of each sample", [*facts, *results.machine(packages)], "\n\n".join(body))


if __name__ == "__main__":
    main()
