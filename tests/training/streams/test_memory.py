"""The memory of a training on a stream is bounded by its buffer, however large the table is."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

COLUMNS, FEW, ROWS, GROUP = 50, 20_000, 400_000, 10_000  # 80 MB of float32
BUFFER = 4e6

CHILD = """
import re, sys
import numpy as np, pyarrow as pa, pyarrow.dataset
import handgrad as hg

kind, path, rows, buffer = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024

def blocks(count):
    rng = np.random.default_rng(0)
    for _ in range(count // 10_000):
        x = rng.standard_normal((10_000, 50), np.float32)
        yield x, x[:, :1] * x[:, 1:2]

def stream(count):
    if kind == "function":
        return hg.Stream(lambda: blocks(count), rows=count, buffer=buffer)
    return hg.Stream(pyarrow.dataset.dataset(f"{path}/{count}.parquet"), "x0", buffer=buffer)

def train(count):
    width = 50 if kind == "function" else 49
    return hg.fit(
        hg.mlp([width, 4, 1]), stream(count), loss="squared_error", epochs=2, batch_size=1024, engine="eager",
        progress=False, threads=1,
    )

train(20_000)  # whatever is loaded by the first training
before = peak()
result = train(rows)
print(peak() - before, result.history.rows[-1]["loss"])
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    schema = pa.schema([(f"x{i}", pa.float32()) for i in range(COLUMNS)])
    rng = np.random.default_rng(0)
    for count in (FEW, ROWS):
        file = folder / f"{count}.parquet"
        with pq.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer:
            for _ in range(count // GROUP):
                columns = rng.standard_normal((COLUMNS, GROUP), np.float32)
                writer.write_batch(pa.record_batch([pa.array(column) for column in columns], schema=schema))
    yield folder
    file.unlink()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
@pytest.mark.parametrize(("kind", "besides"), [("function", 4e6), ("Parquet", 12e6)])
def test_a_table_20_times_the_buffer(path, kind, besides):
    """besides: what the source takes by itself, which does not grow with the table either."""
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, kind, path, str(ROWS), str(int(BUFFER / COLUMNS / 4))],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    grown, loss = map(float, ran.stdout.split())
    print(kind, grown / 1e6)
    assert grown < 2 * BUFFER + besides
    assert 0 < loss < 10
