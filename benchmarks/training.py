"""One training step of handgrad beside JAX, PyTorch, scikit-learn and NumPy, and beside the limit of the machine.

    python -m benchmarks.training
    python -m benchmarks.training --configs A,B --rivals handgrad,jax,torch --rounds 3

benchmarks/requirements.txt says what to install; a rival that is not is left out. All train the same networks with Adam
in float32 from the same first weights, which is checked: after a few steps their losses agree to 1e-3. A step gathers
its shuffled batch from the whole data set, goes forward and backward, updates, and adds its loss to the epoch's. Each
rival runs in its own process, pinned to as many cores as it has threads, in turn, round by round; a figure is the
median over rounds of the round's median epoch, by its steps.

The limit is what the step's matrix products take at the rate of multiply-adds between registers, and 28 bytes a
parameter, one pass of Adam, at the rate of a streaming pass over as many; both are measured in each round too. The
share of the limit is the median over rounds of the limit by handgrad's time in the same round. On a processor with AMX
it may be above 100 %: a matrix unit is no multiply-add (docs/matrix_unit.md), and HANDGRAD_VECTORS=avx512 does without.
With --threads 2, handgrad by one thread runs beside the others.

Memory is by how much an epoch of E raises the peak of the process's memory, data and first weights being there before.
"""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.text import Text

from benchmarks import results
from benchmarks.trainers import ALL
from handgrad.cli.bench.command import configurations
from handgrad.cli.bench.configurations import CONFIGURATIONS, Configuration
from handgrad.cli.bench.process import Process
from handgrad.cli.bench.rivals.plain import Numpy
from handgrad.cli.bench.suite import Measurement, Pool, measure
from handgrad.cli.bench.table import left_out, markdown, shown

COMPARED = ("handgrad", "eager", "torch")  # in memory


def memory(configuration: Configuration, threads: int) -> dict[str, float]:
    """By rival, the MiB that training adds to the peak of its process."""
    found = {}
    for name in COMPARED:
        if ALL[name].missing(configuration) is None:
            with Process(threads) as process:
                process.start(ALL[name].target, configuration)
                found[ALL[name].title] = process.ask("memory")["bytes"] / 2**20
    return found


def rates(measurements: list[Measurement]) -> str:
    """The rates that the limits are of."""
    rows = [row for measurement in measurements for row in measurement.limits]
    streams = [
        f"{max(row['bandwidth'] for row in m.limits) / 1e9:.0f} in {m.configuration.name}"
        for m in measurements
        if m.limits
    ]
    peak = max(row["peak"] for row in rows) / 1e9
    return f"at best {peak:.0f} GFLOP/s of multiply-adds; streaming, GB/s: {', '.join(streams)}"


def beside_one_thread(measurements: list[Measurement]) -> list[str]:
    """How many times as fast as one thread several are: the medians over rounds."""
    found = []
    for m in measurements:
        pairs = zip(m.seconds.get("one", ()), m.seconds.get("handgrad", ()), strict=False)
        if times := [one / several for one, several in pairs]:
            found.append(f"{statistics.median(times):.2f} in {m.configuration.name}")
    return [f"times as fast as handgrad by one thread: {', '.join(found)}"] if found else []


def main() -> None:
    """Measure and print, and write where asked."""
    parser = results.options(__doc__ or "", ALL, 0.4)
    parser.add_argument("--configs", default=",".join(CONFIGURATIONS), help=f"of {', '.join(CONFIGURATIONS)}")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory of training at E out")
    given = parser.parse_args()
    console, load = Console(highlight=False), results.load()
    with results.ended():
        rivals, wanted = results.settled(given, ALL), configurations(given.configs)
        if given.threads == 1:  # it is handgrad itself
            rivals.pop("one", None)
        measurements = []
        with results.Progress() as say, Pool(given.threads) as pool:
            for configuration in wanted:
                reference = Numpy(configuration, given.threads).check()
                measurements.append(
                    measure(
                        configuration,
                        rivals,
                        pool,
                        reference=reference,
                        rounds=given.rounds,
                        seconds=given.seconds,
                        say=say,
                    )
                )
            taken = {}
            if not given.no_memory:
                say("memory of training at E")
                taken = memory(CONFIGURATIONS["E"], given.threads)
    console.print(shown(measurements, "microseconds a step"))
    notes = [f"limit: {rates(measurements)}", *beside_one_thread(measurements), *left_out(measurements)]
    if taken:
        figures = ", ".join(f"{title} {value:.1f} MiB" for title, value in taken.items())
        notes.append(f"memory that training adds at E: {figures}")
    for note in notes:
        console.print(Text(f"  {note}"), soft_wrap=True)
    if given.write:
        networks = "\n".join(f"- {configuration.name}: {configuration.text}" for configuration in wanted)
        body = [markdown(measurements, "µs a step"), networks, "\n".join(f"- {note}" for note in notes)]
        facts = [("command", results.command("benchmarks.training")), ("load average before", load)]
        results.write(f"Training, {results.threads(given.threads)}", [*facts, *results.machine()], "\n\n".join(body))


if __name__ == "__main__":
    main()
