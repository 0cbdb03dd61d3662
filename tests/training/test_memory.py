"""Out of memory at a batch: the error says which batch size would fit, and that one does."""

import os
import re
import subprocess
import sys

import pytest

from handgrad.errors import HandgradError, OutOfMemoryError
from handgrad.training import memory

posix = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="limits and figures of Linux")

LIMITED = """
import resource, sys, numpy as np, handgrad as hg

engine, room, hidden, batch = sys.argv[1], *map(int, sys.argv[2:]), 200_000
X = np.arange(batch * 4, dtype=np.float32).reshape(batch, 4) % 7
data, model = (X, np.arange(batch) % 2), hg.mlp([4, hidden, hidden, 2], dropout=0.1)


def train(batch_size):
    return hg.fit(model, data, engine=engine, batch_size=batch_size, epochs=1, progress=False, threads=1)


few = X[:64], data[1][:64]
hg.fit(hg.mlp([4, 8, 8, 2], dropout=0.1), few, engine=engine, epochs=1, progress=False)  # what is loaded once is there
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + room, taken + room))
try:
    train(batch)
except hg.errors.OutOfMemoryError as error:
    print(error)
    fits = error.fits
    if fits:
        print(len(train(fits).history), "epoch")
"""


def limited(engine, room, hidden=64):
    code = [sys.executable, "-W", "error", "-c", LIMITED, engine, str(room), str(hidden)]
    run = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


@posix
@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_the_batch_size_that_it_names_fits(engine):
    said, trained = limited(engine, 100_000_000).splitlines()
    found = re.fullmatch(
        r"out of memory: a step of batch_size=200000 needs about \d+ MB, \d+ MB are there; batch_size=(\d+) would fit",
        said,
    )
    assert found
    assert 8192 <= int(found[1]) <= 131_072
    assert trained == "1 epoch"


@posix
def test_where_no_batch_fits():
    """There is room for the parameters, 36 MB, and their transposed copy, and not for the gradient and the moments."""
    assert limited("compiled", 130_000_000, 3000).endswith("no batch size would fit: it takes a smaller model\n")


class Stub:
    """An engine of another library's arrays."""

    name = "eager"

    class params:
        flat = object()


def test_without_figures_it_says_what_it_can():
    error = memory.out_of_memory(MemoryError(), Stub(), None, None, 64)
    assert isinstance(error, OutOfMemoryError)
    assert isinstance(error, HandgradError)
    assert isinstance(error, MemoryError)
    assert str(error) == "out of memory: a step of batch_size=64 does not fit; a smaller one may"
    assert (error.batch_size, error.fits) == (64, 0)
    assert memory.out_of_memory(error, Stub(), None, None, 64) is error


AVAILABLE = """
import resource
from handgrad.training.memory import available
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 50_000_000, taken + 50_000_000))
print(available())
"""


@posix
def test_what_is_available_heeds_the_limit_of_the_process():
    run = subprocess.run([sys.executable, "-c", AVAILABLE], capture_output=True, text=True, timeout=60)
    assert 30_000_000 < int(run.stdout) <= 50_000_000


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/a/b", "", ("memory.max", "memory.current", "inactive_file", "active_file")),
        (
            "4:cpu,memory:/a/b",
            "cpu,memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"),
        ),
    ],
)
def test_what_control_groups_leave(tmp_path, line, folder, names):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"9:name=systemd:/\n{line}\n8:pids:/x\n")
    top = tmp_path / "sys/fs/cgroup" / folder
    for group, limit in ((top / "a/b", 1500), (top / "a", 2000), (top, "max")):
        group.mkdir(parents=True, exist_ok=True)
        for name, value in zip(names[:2], (limit, 900), strict=True):
            (group / name).write_text(f"{value}\n")
        (group / "memory.stat").write_text(f"anon 600\n{names[2]} 200\n{names[3]} 100\n")
    assert list(memory._of_group(tmp_path)) == [900, 1400]  # what is held of files can be had
    (top / "a/b/memory.stat").unlink()  # where it cannot be read, what is held of files counts as taken
    assert list(memory._of_group(tmp_path)) == [600, 1400]
    (top / "a/b" / names[0]).unlink()  # as for one that is gone, or of a container that sees another name
    assert list(memory._of_group(tmp_path)) == [1400]


def test_bytes_in_words():
    assert memory.shown(1.25e9) == "1.2 GB"
    assert memory.shown(3e6) == "3 MB"
