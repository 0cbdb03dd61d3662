"""However many epochs a stream is trained on, the training holds no more than after the first ones."""

import json
import subprocess
import sys

import pytest

EPOCHS, SETTLED = 14, 4
ROW = 5_000  # bytes of an epoch's row in the history, and of what stands beside it, are fewer
CHILD = """
import gc, json, os, sys, tracemalloc
import numpy as np, pyarrow as pa, pyarrow.dataset, pyarrow.parquet as pq
import handgrad as hg

folder, epochs = sys.argv[1], int(sys.argv[2])
x = np.random.default_rng(0).standard_normal((2_000, 10), np.float32)
y = x[:, :1] * x[:, 1:2]
table = pa.table({**{f"x{i}": x[:, i] for i in range(10)}, "y": y[:, 0]})
pq.write_table(table, f"{folder}/t.parquet", row_group_size=500)
kept = []

def blocks():
    return ((x[i : i + 500], y[i : i + 500]) for i in range(0, len(x), 500))

def leaking():
    for block in blocks():
        kept.append(block[0].copy())
        yield block

def relation():
    import duckdb
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET enable_progress_bar = false")
    connection.register("given", table)
    return connection.sql("SELECT * FROM given")

SOURCES = {
    "function": lambda: (blocks,),
    "parquet": lambda: (pa.dataset.dataset(f"{folder}/t.parquet"), "y"),
    "duckdb": lambda: (relation(), "y"),
    "leaking": lambda: (leaking,),
}

def held():
    gc.collect()
    return tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes()

tracemalloc.start()
found = {}
for name, make in SOURCES.items():
    for prefetch in (0, 2):
        seen = []
        hg.fit(
            hg.mlp([10, 4, 1]), hg.Stream(*make(), buffer=400, prefetch=prefetch), loss="squared_error", epochs=epochs,
            batch_size=100, engine="eager", threads=1, progress=False, callbacks=[lambda end: seen.append(held())],
            checkpoint=f"{folder}/{name}{prefetch}", validation=(x[:50], y[:50]),
        )
        found[f"{name} {prefetch}"] = seen
        kept.clear()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """By source and prefetch, the bytes held after each epoch: of NumPy and Python, and of Arrow."""
    folder = tmp_path_factory.mktemp("growth")
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(EPOCHS)], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("source", ["function", "parquet", "duckdb"])
def test_no_epoch_leaves_anything_behind(held, source, prefetch):
    seen = held[f"{source} {prefetch}"]
    assert len(seen) == EPOCHS
    assert seen[-1] - seen[SETTLED] < ROW * (EPOCHS - SETTLED)


def test_what_is_left_behind_would_be_seen(held):
    seen = held["leaking 0"]
    assert seen[-1] - seen[SETTLED] > 70_000 * (EPOCHS - SETTLED)
