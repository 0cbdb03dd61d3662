"""Training by one worker and by two on Ray, beside PyTorch's DistributedDataParallel there: samples a second.

    python -m benchmarks.scale

Each worker is a process with one thread and one core, which trains on batches of its own of the configuration's size,
so that two workers take twice as many samples a step. Both libraries train the same network on rows of the same shapes,
float32, Adam at 0.001, gradients summed over gloo; PyTorch's Adam is the fused one. In each round each is measured for
so many seconds, in turn, in the same processes. Parallel efficiency: the samples a second of two workers by twice
those of one. All-reduce: of Handgrad the share of a step in which its process sums gradients, the wait for the other
included; of PyTorch, which sums while it still goes back, what a step without the summing (`no_sync`) is shorter by.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import results
from handgrad.cli.bench.configurations import CONFIGURATIONS, Configuration

RIVALS = ("handgrad", "torch")
TITLES = {"handgrad": "handgrad", "torch": "PyTorch, DistributedDataParallel"}
Run = Callable[[int], None]  # does so many steps


def main() -> None:
    """Measure, print, and write the section where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", default="C,D", help="of A, B, C and D")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take medians over")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring, for each library in a round")
    parser.add_argument("--address", help="of a Ray cluster; left out: one is started here")
    parser.add_argument("--write", action="store_true", help=f"write the table to benchmarks/{results.FILE.name}")
    given = parser.parse_args()
    before = results.load()
    with results.ended():
        found = {workers: measured(workers, given) for workers in (1, 2)}
    table, body = tables(given.configs.split(","), found)
    console = Console()
    console.print(table)
    if given.write:
        facts = [("command", results.command("benchmarks.scale")), ("load average before", before)]
        results.write("Two workers on Ray", [*facts, *results.machine((*results.PACKAGES, "ray"))], body)


def measured(workers: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    """What the first of so many workers has measured: a row for each round, configuration and library."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from handgrad.scale.cluster import cluster
    from handgrad.scale.network import Gloo

    plan = {"configs": given.configs.split(","), "rounds": given.rounds, "seconds": given.seconds}
    with cluster(given.address, 2), tempfile.TemporaryDirectory() as storage:
        trainer = TorchTrainer(
            worker,
            train_loop_config=plan,
            torch_config=Gloo(),
            scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(storage_path=storage),
        )
        return trainer.fit().return_value


def worker(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """In each worker: every library in turn, in every round."""
    import torch

    from handgrad.engines.group import ALONE
    from handgrad.scale.processes import Processes

    torch.set_num_threads(1)
    group: Any = timed() if Processes().size > 1 else ALONE
    rows = []
    for name in plan["configs"]:
        runs = handgrad_steps(CONFIGURATIONS[name], group) | torch_steps(CONFIGURATIONS[name], group)
        counts = {what: calibrated(run, plan["seconds"], group) for what, run in runs.items()}
        for number in range(plan["rounds"]):
            for what in list(runs)[:: 1 if number % 2 else -1]:
                group.gather(None)  # all begin together
                summed, began = getattr(group, "spent", 0.0), time.perf_counter()
                runs[what](counts[what])
                seconds = time.perf_counter() - began
                share = (getattr(group, "spent", 0.0) - summed) / seconds
                rows.append({"config": name, "what": what, "seconds": seconds / counts[what], "share": share})
    return rows


def calibrated(run: Run, seconds: float, group: Any) -> int:
    """How many steps take so long, the same number for all workers."""
    run(4)
    began = time.perf_counter()
    run(8)
    each = (time.perf_counter() - began) / 8
    return group.first(lambda: max(8, int(seconds / each)))


def timed() -> Any:
    """The group of all workers, which notes how long this one sums."""
    from handgrad.scale.processes import Processes

    class Timed(Processes):
        spent = 0.0

        def sum(self, vector: np.ndarray) -> None:
            began = time.perf_counter()
            super().sum(vector)
            self.spent += time.perf_counter() - began

    return Timed(apart=True)


def handgrad_steps(configuration: Configuration, group: Any) -> dict[str, Run]:
    """Handgrad's compiled engine, on this worker's rows."""
    import handgrad as hg
    from handgrad.engines.choice import engine_of
    from handgrad.engines.group import joined
    from handgrad.layers import loss
    from handgrad.training.data import DROPOUT, Rows, stream

    data, batch = Rows(*configuration.data()), configuration.batch
    model = hg.mlp([configuration.blocks[0].n_in, *(block.n_out for block in configuration.blocks)])
    params = model.init(0, np.float32)
    with joined(group):
        made = engine_of(
            "compiled", model, loss(configuration.loss), hg.Adam(0.001), None, None, params, data, batch, 1
        )
    engine, rng = made[0], np.random.default_rng(group.rank)

    def run(steps: int) -> None:
        for first in range(0, steps, configuration.batches):
            order = rng.permutation(len(data))[: (steps - first) * batch]
            engine.epoch([(data, order)], batch, lambda: stream(0, DROPOUT, 0), lambda step: None)

    return {"handgrad": run}


def torch_steps(configuration: Configuration, group: Any) -> dict[str, Run]:
    """PyTorch's DistributedDataParallel, on this worker's rows, and what it does without the summing."""
    import torch
    from torch import nn

    x, y = (torch.from_numpy(array) for array in configuration.data())
    layers: list[nn.Module] = []
    for place, block in enumerate(configuration.blocks):
        layers += [*([nn.ReLU()] if place else []), nn.Linear(block.n_in, block.n_out)]
    network: Any = nn.Sequential(*layers)
    if group.size > 1:
        network = nn.parallel.DistributedDataParallel(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001, fused=True)
    loss = nn.CrossEntropyLoss() if configuration.classifies else nn.MSELoss()
    generator = torch.Generator().manual_seed(group.rank)

    def run(steps: int) -> None:
        for first in range(0, steps, configuration.batches):
            order = torch.randperm(len(x), generator=generator)
            for rows in order.split(configuration.batch)[: steps - first]:
                optimizer.zero_grad()
                loss(network(x[rows]), y[rows]).backward()
                optimizer.step()

    def apart(steps: int) -> None:
        with network.no_sync():
            run(steps)

    return {"torch": run} | ({"torch apart": apart} if group.size > 1 else {})


def tables(configs: list[str], found: dict[int, list[dict[str, Any]]]) -> tuple[Table, str]:
    """The medians, for the terminal and for the page."""

    def median(workers: int, config: str, what: str, column: str = "seconds") -> float:
        rows = [row for row in found[workers] if (row["config"], row["what"]) == (config, what)]
        return statistics.median(row[column] for row in rows)

    heads = ("", "library", "samples/s, 1 worker", "2 workers", "efficiency", "all-reduce")
    lines = []
    for config in configs:
        batch = CONFIGURATIONS[config].batch
        for rival in RIVALS:
            one, two = batch / median(1, config, rival), 2 * batch / median(2, config, rival)
            if rival == "handgrad":
                share = median(2, config, rival, "share")
            else:
                share = 1 - median(2, config, "torch apart") / median(2, config, rival)
            numbers = (f"{one:,.0f}", f"{two:,.0f}", f"{two / (2 * one):.0%}", f"{max(0.0, share):.0%}")
            lines.append((config if rival == RIVALS[0] else "", TITLES[rival], *numbers))
    table = Table(*heads)
    for line in lines:
        table.add_row(*line)
    page = [heads, ("---",) * len(heads), *lines]
    body = "\n".join(f"| {' | '.join(line)} |" for line in page)
    texts = "; ".join(f"{name}: {CONFIGURATIONS[name].text} a worker" for name in configs)
    return table, f"{texts}.\n\n{body}"


if __name__ == "__main__":
    main()
