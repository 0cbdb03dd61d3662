"""Processes of torch.distributed on this machine, each training in the group of all. Run as a script, one of them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
SECONDS = 100.0  # that processes wait for each other


def start(folder, size, *how):
    """The processes, started; each writes its outcome to a file of its rank."""
    places = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", "scale.gloo", str(folder), str(size), *how]
    return [subprocess.Popen([*command, str(rank)], env=environment) for rank in range(size)]


def outcome(folder, rank):
    """What that process made, or the exception that it met."""
    return pickle.loads((folder / f"{rank}.pickle").read_bytes())


def train(how, rank):
    """The training that all processes do, with a process that ends in the middle where `how` says so."""
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


def main(folder, size, how, rank):
    import torch.distributed as dist

    from handgrad.engines.group import joined
    from handgrad.scale.processes import Processes

    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=int(rank),
        world_size=int(size),
        timeout=timedelta(seconds=SECONDS),
    )
    group = Processes()
    try:
        with joined(group):
            made = train(how, int(rank))
    except Exception as error:
        made = error
        group.leave()
        while how == "fails" and rank == "1" and not (Path(folder) / "2.pickle").exists():
            time.sleep(0.05)  # it is still there when the others miss it
    (Path(folder) / f"{rank}.pickle").write_bytes(pickle.dumps(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
