"""Reads files that somebody has damaged or made to harm, in processes that may die of it.

python -m formats.hostile MODULE COUNT SEED FOLDER SECONDS. MODULE has TARGETS, a list of Target; each gets its share of
COUNT files. This process loads the library once and forks readers, with bounds on memory and on time: of one that dies
it says which file it was at, and another goes on with the next. It prints one line of JSON: by target how many files
were read and refused, the slowest in seconds of the processor, and whatever was not as it must be, with the file kept
in FOLDER.
"""

from __future__ import annotations

import codecs
import importlib
import json
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

SECONDS = 5.0  # of the processor, for one file
ASLEEP = 120  # seconds on the clock, in which one that waits for something would be found
ROOM = 2**30  # bytes of addresses that a reader may take beyond what it has begun with
SYSTEM = ("/proc/", "/sys/", "/memory.")  # where the system says how much memory there is
ENCODINGS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
LONGEST = 1000  # characters of a clear error
FORBIDDEN = ("open", "import", "exec", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "shutil.", "tempfile.")
HARMLESS = ("ctypes.cdata", "ctypes.get_errno", "ctypes.set_errno")


@dataclass(frozen=True)
class Target:
    """What is attacked. seeds: files that are right. mutate: a new file from them. read: reads one, or raises one of
    `errors`; meanwhile no code is run and no other file opened. check: takes what was read, and the file; it raises
    AssertionError where that is not what stands there, and may raise `errors` too. suffix: of the file's name."""

    name: str
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[Random, list[bytes]], bytes]
    read: Callable[[Path], Any]
    check: Callable[[Any, bytes, Path], None]
    errors: tuple[type[Exception], ...]
    suffix: str = ""
    share: float = 1.0

    def place(self, folder: Path) -> Path:
        """Where the file is put to be read."""
        return folder / f"file{self.suffix}"


def attack(file: str, count: int, folder: Path, seed: int | None = None, seconds: float = SECONDS) -> dict[str, Any]:
    """What a process of its own has found with the TARGETS of the tests in that file. Raises where that fails.

    seed: by default drawn, and told on stdout.
    """
    root, seed = Path(__file__).parents[1], Random().randrange(10**6) if seed is None else seed
    print(f"seed {seed}")
    ran = subprocess.run(
        [sys.executable, "-m", __name__, f"formats.{Path(file).stem}", *map(str, (count, seed, folder, seconds))],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1", "HANDGRAD_SOAK": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def file_of(target: Target, seeds: list[bytes], seed: int, number: int) -> bytes:
    """The file of that number; the first ones are the seeds as they are."""
    if number < len(seeds):
        return seeds[number]
    return target.mutate(Random(f"{seed} {target.name} {number}"), seeds)


def run(target: Target, count: int, seed: int, folder: Path, seconds: float) -> dict[str, Any]:
    """Attack one target."""
    seeds = target.seeds()
    path, tempfile.tempdir = target.place(folder), str(folder)
    for data in seeds:
        path.write_bytes(data)
        target.check(target.read(path), data, path)  # which imports all that reading takes
    tally, faults = mmap.mmap(-1, 32), folder / f"{target.name}.faults"
    faults.touch()
    at = 0
    while at < count:
        struct.pack_into("q", tally, 0, at - 1)
        child = os.fork()
        if child == 0:
            try:
                _reader(target, seeds, range(at, count), seed, folder, tally, faults, seconds)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        at = max(at, struct.unpack_from("q", tally)[0]) + 1
        if os.WIFSIGNALED(status):
            how = {signal.SIGPROF: f"took more than {seconds:g} s", signal.SIGALRM: "hangs"}
            number = os.WTERMSIG(status)
            _fault(faults, at - 1, how.get(number, f"died of {signal.Signals(number).name}"))
        elif os.WEXITSTATUS(status):
            _fault(faults, at - 1, f"ended the process with {os.WEXITSTATUS(status)}")
    for line in faults.read_text().splitlines()[:50]:
        number = json.loads(line)["number"]
        (folder / f"{target.name}.{number}").write_bytes(file_of(target, seeds, seed, number))
    _, read, refused, slowest = struct.unpack("qqqd", tally)
    found = [json.loads(line) for line in faults.read_text().splitlines()]
    return {"read": read, "refused": refused, "slowest": round(slowest, 3), "faults": found}


def _reader(
    target: Target,
    seeds: list[bytes],
    numbers: range,
    seed: int,
    folder: Path,
    tally: mmap.mmap,
    faults: Path,
    seconds: float,
) -> None:
    """In a child: read these files. It never returns."""
    watch = _Watch(str(folder))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    path = target.place(folder)
    _, read, refused, slowest = struct.unpack("qqqd", tally)
    for number in numbers:
        data = file_of(target, seeds, seed, number)
        path.write_bytes(data)
        struct.pack_into("qqqd", tally, 0, number, read, refused, slowest)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.alarm(ASLEEP)
        began = time.process_time()
        try:
            with watch:
                found = target.read(path)
            target.check(found, data, path)
            read += 1
        except target.errors as error:
            refused += 1
            if len(str(error)) > LONGEST or "memory" in str(error).lower():
                _fault(faults, number, f"said {len(str(error))} characters: {str(error)[:300]!r}")
            elif not str(error).strip():
                _fault(faults, number, f"{type(error).__name__} without a word")
        except BaseException:
            _fault(faults, number, traceback.format_exc(limit=-4))
        signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - began)
        if watch.seen:
            _fault(faults, number, f"did what no reading does: {watch.seen[:3]}")
            watch.seen.clear()
    signal.alarm(0)
    struct.pack_into("qqqd", tally, 0, numbers[-1], read, refused, slowest)
    os._exit(0)


class _Watch:
    """Within it, sees code run, processes started, connections made, modules loaded, files opened outside a folder."""

    def __init__(self, folder: str) -> None:
        self.folder, self.on, self.seen = folder, False, list[str]()
        sys.addaudithook(self._hook)

    def __enter__(self) -> None:
        self.on = True

    def __exit__(self, *rest: object) -> None:
        self.on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event.startswith(FORBIDDEN) and event not in HARMLESS:
            self.on = False  # or what is done here would be seen too
            at = arguments[0] if arguments else None
            if not (isinstance(at, int) or str(at).startswith((self.folder, *SYSTEM))):  # open already, or its own
                self.seen.append(f"{event} {arguments!r:.200}")
            self.on = True


def _fault(faults: Path, number: int, what: str) -> None:
    with faults.open("a") as file:
        file.write(json.dumps({"number": number, "what": what}) + "\n")


def main(module: str, count: str, seed: str, folder: str, seconds: str) -> None:
    for name in ENCODINGS:  # modules of Python's that reading JSON may load
        codecs.lookup(name)
    targets: list[Target] = importlib.import_module(module).TARGETS
    shares = sum(target.share for target in targets)
    found = {}
    for target in targets:
        place = Path(folder) / target.name.replace(" ", "-")
        place.mkdir()
        found[target.name] = run(target, round(int(count) * target.share / shares), int(seed), place, float(seconds))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
