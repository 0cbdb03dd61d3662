"""The machine, the versions, and the pages of benchmarks/RESULTS.md that the benchmarks write."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.status import Status

from handgrad.cli.bench.command import check_threads
from handgrad.cli.bench.rivals import Entry, chosen
from handgrad.engines.compiled.kernels.vectors import vectors
from handgrad.errors import HandgradError

FILE = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("handgrad", "numpy", "numba", "llvmlite", "scikit-learn", "torch", "jax", "jaxlib", "optax", "onnxruntime")
PLACES = {"--cache", "--folder"}  # options that say where something is on a machine, which is nothing to publish
HEAD = "# Results\n\nWritten by the commands below with `--write`. What they measure, they say themselves (`--help`).\n"


def options(doc: str, rivals: dict[str, Entry], seconds: float) -> argparse.ArgumentParser:
    """The options that the benchmarks share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads, and cores, of each rival")
    parser.add_argument("--rounds", type=int, default=7, help="rounds to take medians over")
    parser.add_argument("--seconds", type=float, default=seconds, help="of measuring, for each rival in a round")
    parser.add_argument("--rivals", default=",".join(rivals), help=f"of {', '.join(rivals)}")
    parser.add_argument("--write", action="store_true", help=f"write the tables to benchmarks/{FILE.name}")
    return parser


def settled(given: argparse.Namespace, rivals: dict[str, Entry]) -> dict[str, Entry]:
    """The rivals asked for. Raises ValueRangeError for options that can't be."""
    check_threads(given.threads)
    return chosen((name.strip() for name in given.rivals.split(",")), rivals)


@contextmanager
def ended() -> Iterator[None]:
    """What a user can mend, and Ctrl-C, end the process in a word instead of a traceback."""
    try:
        yield
    except HandgradError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


class Progress:
    """What is being measured: a line that changes on a terminal, a line for each configuration where there is none."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.status: Status | None = None
        self.last = ""

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.status = self.console.status("starting ...")
            self.status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.status is not None:
            self.status.stop()

    def __call__(self, text: str) -> None:
        """Say it."""
        if self.status is not None:
            self.status.update(f"{text} ...")
            return
        stage = text.rpartition(",")[0] or text
        if stage != self.last:
            self.console.print(stage, soft_wrap=True)
            self.last = stage


def machine(names: Sequence[str] = PACKAGES) -> list[tuple[str, str]]:
    """The processor, its caches, what kernels it runs, the system, the versions and the date."""
    packages = []
    for name in names:
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"{name} not installed")
    return [
        ("processor", f"{_processor()}, {os.cpu_count()} cores to this system"),
        ("caches", _caches()),
        ("handgrad's kernels in float32", vectors(np.float32).name),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("software", ", ".join([f"Python {platform.python_version()}", *packages])),
        ("date", f"{date.today():%d %B %Y}"),
    ]


def threads(count: int) -> str:
    """So many threads, in words."""
    return f"{count} thread{'s' * (count > 1)}"


def load() -> str:
    """The load average of the last minute, where the system says."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)):
        return found[1]
    return platform.processor() or platform.machine()


def _caches() -> str:
    found = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found.append(f"L{level} {size.replace('K', ' KiB')}")
    return ", ".join(found) or "unknown"


def write(section: str, facts: Sequence[tuple[str, str]], body: str) -> None:
    """Put a section into the file, in the place of the one of that name if there is one."""
    text = FILE.read_text() if FILE.exists() else HEAD
    lines = "\n".join(f"- {name}: {value}" for name, value in facts)
    page = f"## {section}\n\n{body.strip()}\n\n{lines}\n"
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    kept = [part.strip() + "\n" for part in parts if not part.startswith(f"## {section}\n")]
    sections = sorted([*kept[1:], page], key=lambda part: (not part.startswith("## Training"), part))
    FILE.write_text("\n".join([kept[0], *sections]))


def command(module: str) -> str:
    """How this process was called: each option once, as it counts, which is the last time; without PLACES."""
    options, values = dict[str, list[str]](), list[str]()
    for argument in sys.argv[1:]:
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            values = options[name] = [value] if equals else []
        else:
            values.append(argument)  # no benchmark takes a word that is no option's
    words = [word for name, given in options.items() if name not in PLACES for word in (name, *given)]
    return f"`{shlex.join(['python', '-m', module, *words])}`"
