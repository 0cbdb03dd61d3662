"""Groups of processes of torch.distributed on this machine. Run as a script, it is one process that has all loaded and
forks those of the groups: each started anew would take seconds of the processor before it does anything."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 200.0  # seconds that processes wait for each other
LATE = 3.0  # and where one is to be late
LARGE = 4_000_000  # numbers of 8 bytes, many more than the system takes in before the other process asks for them
SUMS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}  # what the second of a group meets while they sum


def run(folder, *groups):
    """Run groups, "HOW SIZE" each, to their ends; by group, what each of its processes made or met, None for one that
    was ended."""
    places = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", "scale.gloo", str(folder), *groups]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        assert process.wait(3 * PATIENCE) == 0
    finally:
        with suppress(ProcessLookupError):  # none is left of them
            os.killpg(process.pid, signal.SIGKILL)
    return {group: [_outcome(folder / group / str(rank)) for rank in range(int(group[-1]))] for group in groups}


def train(how="together", rank=0):
    """The training that all processes do, with one that ends in the middle where `how` says so."""
    import numpy as np

    import handgrad as hg

    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((203, 5)), rng.integers(0, 3, 203)

    def leave(end):
        if rank == 1 and end.row["epoch"] == 3 and how == "dies":
            os._exit(9)
        if rank == 1 and end.row["epoch"] == 3 and how == "fails":
            raise ZeroDivisionError

    model = hg.mlp([5, 16, 3], dropout=0.2)
    options = {"epochs": 8, "batch_size": 30, "optimizer": hg.SGD(0.1, momentum=0.9), "validation": 0.1}
    return hg.fit(model, (X, y), engine="compiled", threads=1, callbacks=[leave], progress=False, **options)


def _outcome(file):
    return pickle.loads(file.read_bytes()) if file.exists() else None


# In the script


def _sum_for_ever(group, mark):
    """Large vectors, one after the other; the file says that it has begun."""
    import numpy as np

    vector = np.ones(LARGE)
    for _ in range(3):
        group.sum(vector)
    mark.touch()
    while True:
        group.sum(vector)


def _become(folder, size, how, rank):
    """In a fork: a process of the group."""
    import torch
    import torch.distributed as dist

    from handgrad.engines.group import joined
    from handgrad.scale.processes import Processes

    times = {"rank": rank, "world_size": size, "timeout": timedelta(seconds=PATIENCE)}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", **times)
    dist.barrier()
    if how == "stopped":
        dist.group.WORLD._get_backend(torch.device("cpu"))._set_default_timeout(timedelta(seconds=LATE))
    group = Processes()
    try:
        with joined(group):
            made = _sum_for_ever(group, folder / f"{rank} sums") if how in SUMS else train(how, rank)
    except Exception as error:
        made = error
        group.leave()
    part = folder / f"{rank}.part"
    part.write_bytes(pickle.dumps(made))
    part.rename(folder / str(rank))
    while how == "fails" and rank == 1 and not all((folder / str(other)).exists() for other in range(size)):
        time.sleep(0.05)  # it is still there when the others miss it


def _fork(*arguments):
    child = os.fork()
    if child == 0:
        try:
            _become(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def _group(folder, size, how):
    """All processes of a group, to their ends."""
    folder.mkdir()
    processes = [_fork(folder, size, how, rank) for rank in range(size)]
    if how in SUMS:
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while not (folder / "1 sums").exists() and os.waitid(os.P_PID, processes[1], ended) is None:
            time.sleep(0.01)
        os.kill(processes[1], SUMS[how])
    for process in processes[:1] + processes[2:]:
        os.waitpid(process, 0)
    if how in SUMS:
        with suppress(ProcessLookupError):
            os.kill(processes[1], signal.SIGKILL)
    os.waitpid(processes[1], 0)


def main(folder, *groups):
    import torch.distributed  # noqa: F401 - for all of them

    train()  # its kernels are loaded for all of them
    for group in groups:
        how, size = group.split()
        _group(Path(folder) / group, int(size), how)


if __name__ == "__main__":
    main(*sys.argv[1:])
