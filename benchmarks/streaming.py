"""Training from a Parquet table larger than the memory allowed, beside the same training from memory.

    python -m benchmarks.streaming            # 2 million rows
    python -m benchmarks.streaming --full     # 20 million rows of 50 numbers, 4 GB

A table of random numbers in float32 is written in row groups of 250,000 rows, and removed at the end. Three processes
take turns, round by round, each pinned to as many cores as it has threads, and one for the thread that reads:

- from Parquet: one epoch of 50-128-128-1 in batches of 1024, with Adam, through a shuffle buffer of 256 MB, in a
  process that may have 1.5 GB of memory: by a control group where this system lets one be made, else its peak alone
  says that it kept to that;
- `handgrad train --stream`: the same, by the command, which reads through DuckDB, scales the columns and holds 200,000
  rows out; the figure is of its epoch, without the pass before in which it learns the columns; dropout is left out, and
  it decides on the number of threads itself;
- from memory: as many rows as fit, read before the clock starts, so many epochs of them that the steps are as many.

All warm up first. A figure is the median over rounds of rows by seconds, from the call of `fit` to its end; the ratios
are medians over rounds of those of one round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import results

COLUMNS, GROUP, BATCH = 50, 250_000, 1024
LIMIT = 1.5e9
IN_MEMORY = 1_000_000  # rows, of 204 MB
NAMES = [f"x{i}" for i in range(COLUMNS)]


def make(path: Path, rows: int) -> None:
    """Write the table, a row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    schema = pa.schema([(name, pa.float32()) for name in (*NAMES, "y")])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, rows, GROUP):
            count = min(GROUP, rows - start)
            x = rng.standard_normal((COLUMNS, count), np.float32)
            y = np.tanh(x[0] * x[1]) + x[2]
            writer.write_batch(pa.record_batch([*map(pa.array, x), pa.array(y)], schema=schema), row_group_size=GROUP)


def command(path: str) -> dict[str, float]:
    """As `train`, by the command."""
    from handgrad.cli.app import app

    with tempfile.TemporaryDirectory() as runs:
        options = ["--target", "y", "--stream", "--epochs", "1", "--hidden", "128,128", "--batch-size", str(BATCH)]
        options += ["--dropout", "0", "--optimizer", "adam"]
        app(["train", path, *options, "--runs", runs, "--name", "run", "--quiet"], standalone_mode=False)
        config = json.loads((Path(runs) / "run/config.json").read_text())
    return {"rate": config["rows"]["train"] / config["seconds"], "peak": peak()}


def train(kind: str, path: str, rows: int, threads: int) -> dict[str, float]:
    """In a process of its own: rows a second, and the peak of its memory in bytes."""
    import pyarrow.dataset
    import pyarrow.parquet

    import handgrad as hg

    def fit(data: Any, epochs: int) -> None:
        hg.fit(
            hg.mlp([COLUMNS, 128, 128, 1]),
            data,
            loss="squared_error",
            epochs=epochs,
            batch_size=BATCH,
            engine="compiled",
            threads=threads,
            progress=False,
        )

    data: Any = hg.Stream(pyarrow.dataset.dataset(path), "y")
    epochs = 1
    if kind == "memory":
        x, y = np.empty((min(rows, IN_MEMORY), COLUMNS), np.float32), np.empty(min(rows, IN_MEMORY), np.float32)
        file, start = pyarrow.parquet.ParquetFile(path), 0
        for batch in file.iter_batches(BATCH * 16):
            count = min(batch.num_rows, len(x) - start)
            for i in range(COLUMNS):
                x[start : start + count, i] = batch.column(i).to_numpy()[:count]
            y[start : start + count] = batch.column(COLUMNS).to_numpy()[:count]
            start += count
            if start == len(x):
                break
        data, epochs = (x, y), max(1, round(rows / len(x)))
    rng = np.random.default_rng(0)
    fit((rng.standard_normal((20 * BATCH, COLUMNS), np.float32), rng.standard_normal(20 * BATCH, np.float32)), 1)
    if kind == "command":
        return command(path)
    began = time.perf_counter()
    fit(data, epochs)
    seconds = time.perf_counter() - began
    return {"rate": (len(data[0]) * epochs if kind == "memory" else rows) / seconds, "peak": peak()}


def peak() -> float:
    """The most memory that this process has had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1]) * 1024
    return float("nan")


def _own_groups() -> Iterator[tuple[Path, str]]:
    """(the control group that this process is in, the file of its limit on memory), of version 1 and of 2."""
    file = Path("/proc/self/cgroup")
    for line in file.read_text().splitlines() if file.exists() else ():
        _, controllers, name = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield Path("/sys/fs/cgroup/memory") / name.lstrip("/"), "memory.limit_in_bytes"
        elif not controllers:
            yield Path("/sys/fs/cgroup") / name.lstrip("/"), "memory.max"


class Limited:
    """A group within it, with a limit on memory; `path` is None where none can be made."""

    def __init__(self, limit: float):
        self.path: Path | None = None
        for parent, file in _own_groups():
            path = parent / f"handgrad-benchmark-{os.getpid()}"
            try:
                path.mkdir()
                (path / file).write_text(str(int(limit)))
            except OSError:
                if path.exists():
                    path.rmdir()
                continue
            self.path = path
            return

    def enter(self) -> None:
        """Put this process into it."""
        if self.path is not None:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        """Where no process is in it any more."""
        if self.path is not None:
            self.path.rmdir()


def measured(kind: str, path: Path, rows: int, threads: int, group: Limited | None) -> dict[str, float]:
    """What a process of its own says."""
    cores = sorted(os.sched_getaffinity(0))[: threads + 1]

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        if group is not None:
            group.enter()

    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.streaming", "--child", kind, str(path), str(rows), str(threads)],
        capture_output=True,
        text=True,
        preexec_fn=prepare,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    if ran.returncode:
        raise SystemExit(f"training from {kind} ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def table(found: dict[str, list[dict[str, float]]], rows: int) -> str:
    """In Markdown."""
    lines = ["| training from | rows a second | peak of memory |", "| --- | ---: | ---: |"]
    titles = {
        "memory": f"memory, {min(rows, IN_MEMORY):,} rows",
        "stream": f"Parquet, {rows:,} rows",
        "command": f"Parquet by handgrad train, {rows:,} rows",
    }
    for kind, title in titles.items():
        rate = statistics.median(row["rate"] for row in found[kind])
        lines.append(f"| {title} | {rate:,.0f} | {max(row['peak'] for row in found[kind]) / 1e6:,.0f} MB |")
    for kind, title in (("stream", "from Parquet"), ("command", "by handgrad train")):
        ratio = statistics.median(a["rate"] / b["rate"] for a, b in zip(found[kind], found["memory"], strict=True))
        lines.append(f"| {title} / from memory | {ratio:.0%} | |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print, and write where asked."""
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(train(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="20 million rows")
    parser.add_argument("--rows", type=int, default=2_000_000, help="of the table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take medians over")
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the table is written")
    parser.add_argument("--write", action="store_true", help=f"write the table to benchmarks/{results.FILE.name}")
    given = parser.parse_args()
    rows, load = 20_000_000 if given.full else given.rows, results.load()
    needed = rows * (COLUMNS + 1) * 4
    if shutil.disk_usage(given.folder).free < 1.2 * needed:
        raise SystemExit(f"error: the table takes {needed / 1e9:.1f} GB, and {given.folder} has less")
    found: dict[str, list[dict[str, float]]] = {"memory": [], "stream": [], "command": []}
    with results.ended(), results.Progress() as say, tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path, group = Path(folder) / "table.parquet", Limited(LIMIT)
        try:
            say(f"writing {needed / 1e9:.1f} GB")
            make(path, rows)
            for round_ in range(given.rounds):
                for kind, rates in found.items():
                    say(f"training from {kind}, round {round_ + 1} of {given.rounds}")
                    rates.append(measured(kind, path, rows, given.threads, None if kind == "memory" else group))
        finally:
            group.remove()
    by = "the limit is a control group's" if group.path is not None else "no control group could be made to limit it"
    body = "\n\n".join([table(found, rows), f"- from Parquet at most {LIMIT / 1e9} GB are allowed: {by}"])
    Console(highlight=False).print(body, markup=False)
    if given.write:
        facts = [("command", results.command("benchmarks.streaming")), ("load average before", load)]
        section = f"Streaming, {results.threads(given.threads)}"
        results.write(section, [*facts, *results.machine((*results.PACKAGES[:4], "pyarrow"))], body)


if __name__ == "__main__":
    main()
