"""A training from Parquet on a cluster, run as a script: its arguments are the address, the files, a folder, a pause.

It writes the parameters and the losses to the folder, and keeps its checkpoints there.
"""

import sys
import time
from pathlib import Path

import numpy as np

import handgrad as hg
import handgrad.scale


def main(address, files, folder, pause):
    def rest(end):
        time.sleep(float(pause))

    result = hg.scale.fit(
        hg.mlp([6, 24, 12, 1], "gelu", dropout=0.1),
        (files, "y"),
        loss="squared_error",
        optimizer=hg.AdamW(0.003),
        epochs=4,
        batch_size=32,
        workers=2,
        threads=2,
        address=address,
        buffer=200,
        checkpoint=Path(folder) / "checkpoints",
        every="7 steps",
        callbacks=[rest],
    )
    np.savez(Path(folder) / "result.npz", flat=result.params.flat, loss=result.history.column("loss"))


if __name__ == "__main__":
    main(*sys.argv[1:])
