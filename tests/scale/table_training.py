"""A training on a cluster, run as a script: its arguments are the address, the Parquet files, a folder, a pause.

With IN_MEMORY for files, from memory, by one worker or two. It writes the parameters and the losses to the folder, and
keeps its checkpoints there.
"""

import sys
import time
from pathlib import Path

import numpy as np

import handgrad as hg
import handgrad.scale

IN_MEMORY = "in memory"
OPTIONS = {"loss": "squared_error", "optimizer": hg.AdamW(0.003), "epochs": 4, "batch_size": 32}


def model():
    return hg.mlp([6, 24, 12, 1], "gelu", dropout=0.1)


def in_memory(fit, **options):
    """The training from memory, by that function."""
    x = np.random.default_rng(5).standard_normal((1600, 6))
    return fit(model(), (x, np.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]), **OPTIONS, **options)


def main(address, files, folder, pause):
    def rest(end):
        time.sleep(float(pause))

    options = {
        "threads": 2,
        "address": address,
        "checkpoint": Path(folder) / "checkpoints",
        "every": "7 steps",
        "callbacks": [rest],
    }
    if files == IN_MEMORY:
        result = in_memory(hg.scale.fit, workers=(1, 2), **options)
    else:
        result = hg.scale.fit(model(), (files, "y"), workers=2, buffer=200, **OPTIONS, **options)
    np.savez(Path(folder) / "result.npz", flat=result.params.flat, loss=result.history.column("loss"))


if __name__ == "__main__":
    main(*sys.argv[1:])
