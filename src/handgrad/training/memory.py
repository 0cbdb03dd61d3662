"""Memory: how much this process can still take, and which batch size a step of training has room for."""

from __future__ import annotations

import gc
import os
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.errors import OutOfMemoryError
from handgrad.training.data import Rows

SPARE = 0.9  # of what there is: the rest goes to what a step has beside its arrays
PART = 4  # of the rows: the steps by which the eager engine's need is measured have this many times fewer
# of a control group: its limit, what it takes, and how its statistics call the pages of files, by its controllers
GROUP_FILES = {
    "": ("memory.max", "memory.current", "inactive_file", "active_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"),
}
OF_A_STEP = ("_gradient", "_zeros", "_first", "_second", "_sums", "_work", "_room", "_sync")  # of the compiled engine


def out_of_memory(error: MemoryError, runner: Any, model: Any, rows: Rows, batch_size: int) -> MemoryError:
    """The OutOfMemoryError that says which batch size would fit in place of `error`, which a training has met.

    rows: some, of the shape that is trained on. What the step that failed still holds is let go of. `error` itself
    where another batch size is of no use: where there was memory for a step.
    """
    if isinstance(error, OutOfMemoryError):
        return error
    needs: Callable[[int], float] | None
    try:
        traceback.clear_frames(error.__traceback__)
        if runner.name == "compiled":
            if runner._told:
                return error
            for name in OF_A_STEP:
                runner.__dict__.pop(name, None)
            needs = _compiled(runner, model, rows)
        else:
            needs = _eager(runner, rows, batch_size)
        gc.collect()
        there = available()
    except MemoryError:
        needs = there = None
    fits = 0
    if needs is None or there is None:
        text = f"a step of batch_size={batch_size} does not fit; a smaller one may"
    else:
        text = f"a step of batch_size={batch_size} needs about {shown(needs(batch_size))}, {shown(there)} are there"
        sizes = (2**power for power in range((batch_size - 1).bit_length() - 1, -1, -1))
        fits = next((size for size in sizes if needs(size) <= SPARE * there), 0)
        text += f"; batch_size={fits} would fit" if fits else "; no batch size would fit: it takes a smaller model"
    found = OutOfMemoryError(f"out of memory: {text}")
    found.batch_size, found.fits = batch_size, fits
    return found


def _compiled(runner: Any, model: Any, rows: Rows) -> Callable[[int], float]:
    """Exactly what the compiled engine allocates before its first step, by the batch size."""
    from handgrad.engines.compiled.codes import loss_code
    from handgrad.engines.compiled.graph import graph_of
    from handgrad.engines.compiled.lower import lower

    code, specs, real = loss_code(runner.loss, runner._labels), model.parameters(), np.dtype(runner.layout.real)
    slots = 1 + len(runner.optimizer.slots)  # the gradient, and the moments

    def needs(batch: int) -> float:
        threads = min(runner.threads, batch)
        program = lower(graph_of(model, tuple(rows.x.shape[1:]), True), specs, runner.layout, batch, code, threads)
        numbers = slots * runner.packing.length + program.widest + threads * program.sums
        return program.workspace + threads * program.room + numbers * real.itemsize

    return needs


def _eager(runner: Any, rows: Rows, batch_size: int) -> Callable[[int], float] | None:
    """About what a step of the eager engine holds at its peak, from two that are smaller; None where NumPy does not
    hold it. It grows as the rows do once there are many, so the larger one has as many as there is memory for.
    """
    if not isinstance(runner.params.flat, np.ndarray):
        return None
    more = max(2, batch_size // PART)
    while True:
        few = max(1, more // PART)
        try:
            high, low = _peak(runner, rows, more), _peak(runner, rows, few)
        except MemoryError:
            if more <= PART:
                raise
            more //= PART
            continue
        each = max(0.0, (high - low) / (more - few))
        return lambda batch: high + each * (batch - more)


def _peak(runner: Any, rows: Rows, count: int) -> int:
    """The bytes that the gradient of so many rows takes at once."""
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        batch = rows.take(np.arange(count) % len(rows))
        x = batch.x.astype(runner.params.flat.dtype, copy=False)
        runner._value_and_grad(batch, x, np.random.default_rng(0))
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not traced:
            tracemalloc.stop()


def available() -> int | None:
    """The bytes that this process can still take; None where the system does not say."""
    found = [*_of_system(), *_of_group(), *_of_process()]
    if not found:
        try:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, OSError, ValueError):
            return None
    return max(0, min(found))


def _of_system() -> Iterator[int]:
    with suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        yield from (1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


def _of_group(root: Path = Path("/")) -> Iterator[int]:
    """What the control groups leave (Linux, of version 1 and 2): what they hold of files, they give back when asked."""
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            names = GROUP_FILES.get("memory" if "memory" in controllers.split(",") else controllers)
            if names is None:
                continue
            top = root / "sys/fs/cgroup" / controllers
            for folder in (top / name.lstrip("/"), *(top / name.lstrip("/")).parents):
                with suppress(OSError, ValueError):  # "max" where there is no limit
                    limit, taken = (int((folder / file).read_text()) for file in names[:2])
                    facts: dict[str, str] = {}
                    with suppress(OSError, ValueError):
                        facts = dict(fact.split() for fact in (folder / "memory.stat").read_text().splitlines())
                    yield limit - taken + sum(int(facts.get(pages, 0)) for pages in names[2:])


def _of_process() -> Iterator[int]:
    """What `ulimit` leaves."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError, KeyError):
        taken = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        for limit, size in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            if (most := resource.getrlimit(limit)[0]) != resource.RLIM_INFINITY:
                yield most - 1024 * int(taken[size].split()[0])


def shown(size: float) -> str:
    """Bytes in words."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
