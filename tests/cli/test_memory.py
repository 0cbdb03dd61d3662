"""The memory that the command takes: bounded for a table that is streamed, as reckoned for one that is held."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import handgrad.cli.data.memory as memory
from handgrad.cli.data.sources import Data, open_source
from handgrad.errors import HandgradError
from handgrad.formats import load

# in MB; what getrusage says is at least what the process had that this one was forked from
HIGHEST = """
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1e3 for line in file if line.startswith("VmHWM"))
"""
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory as Linux tells it")
PEAK = f"""{HIGHEST}
import json, sys
from handgrad.cli.app import app
from handgrad.cli.data import memory, streamed
table = sys.argv[1]
memory.available = lambda: 300_000_000
streamed.MOST_HELD = streamed.MOST_ROWS = 2000
streamed.BUFFER = 4_000_000
def run(*arguments):
    try:
        app(list(arguments), standalone_mode=False)
    except SystemExit as stop:
        assert not stop.code, stop.code
options = ("--target", "y", "--stream", "--epochs", "1", "--hidden", "8", "--batch-size", "1024", "--quiet")
run("train", table + ".parquet", *options)
run("predict", table + "-1", table + ".parquet", "--output", "p.csv")
print(json.dumps(peak()))
"""


@linux
def test_memory_does_not_grow_with_the_table(tmp_path):
    rng = np.random.default_rng(0)
    schema = pa.schema([(f"f{i}", pa.float32()) for i in range(99)] + [("y", pa.float32())])
    for name, groups in (("small", 15), ("large", 50)):
        with pq.ParquetWriter(tmp_path / f"{name}.parquet", schema, use_dictionary=False) as writer:
            for _ in range(groups):
                writer.write_table(
                    pa.table([rng.normal(size=10_000).astype(np.float32) for _ in schema], schema=schema)
                )
    size = Path(tmp_path / "large.parquet").stat().st_size / 1e6
    peaks = []
    for name in ("small", "large"):  # each in a process of its own: a heap keeps what a run before has left
        command = [sys.executable, "-c", PEAK, name]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
        peaks.append(json.loads(run.stdout.splitlines()[-1]))
    grown = peaks[1] - peaks[0]
    assert size > 190
    assert grown < 0.4 * size, f"{grown:.0f} MB more for a table of {size:.0f} MB"
    _, _, metadata = load(tmp_path / "runs/large-1/model.safetensors")
    assert metadata["preprocessing"]["target"]["name"] == "y"
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 500_001


LONG_TEXT = f"""{HIGHEST}
import sys
from handgrad.cli.data import memory, streamed, summaries
from handgrad.cli.options import Plain
from handgrad.cli.data.tasks import prepare
streamed.MOST_BYTES = summaries.MOST_LETTERS = 4_000_000
memory.available = lambda: 800_000_000  # of which DuckDB takes a quarter
task = prepare(Plain(data=sys.argv[1], target="y", stream=True))
print(peak())
print(*(len(part[1]) for part in (task.train, task.validation, task.test)))
"""


@linux
def test_long_text_is_held_no_more_than_numbers_are(tmp_path):
    """2 kB a cell, all different: few rows stay in memory, and their texts are not counted one by one."""
    rng, letters = np.random.default_rng(0), 2000
    schema = pa.schema([("x", pa.float64()), ("text", pa.string()), ("y", pa.float64())])
    peaks = []
    for groups in (18, 36):  # with fewer, blocks on their way take as much
        path = tmp_path / f"{groups}.parquet"
        with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
            for _ in range(groups):
                cells = rng.integers(97, 123, (5000, letters), np.uint8)
                texts = [row.tobytes().decode() for row in cells]
                columns = {"x": rng.normal(size=5000), "text": texts, "y": rng.normal(size=5000)}
                writer.write_table(pa.table(columns, schema=schema))
        run = subprocess.run([sys.executable, "-c", LONG_TEXT, path], capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
        taken, parts = run.stdout.splitlines()
        peaks.append(float(taken))
        assert all(1700 < int(rows) < 2300 for rows in parts.split())  # 4 MB of them
    size = 18 * 5000 * letters / 1e6  # of what the second has more
    assert peaks[1] - peaks[0] < 0.4 * size, f"{peaks} MB, for {size} MB more"


ENSEMBLE = f"""{HIGHEST}
import sys
from handgrad.cli.presets import ensemble
from handgrad.cli.options import Tabular
from handgrad.cli.data.tasks import prepare
options = Tabular(data=sys.argv[1], target="y")
ensemble.plan(options, prepare(options))
print(int(1e6 * peak()))
"""


@linux
def test_an_ensemble_takes_what_was_reckoned_before_it_is_trained(tmp_path):
    """Beside the table: its numbers in float64 and its texts as objects, and both once more."""
    rng = np.random.default_rng(0)
    reckoned, peaks = [], []
    for rows in (20_000, 140_000):
        path = tmp_path / f"{rows}.parquet"
        columns = {f"x{i}": rng.normal(size=rows).astype(np.float32) for i in range(20)}
        words = pa.array([f"word number {i}" for i in range(40)])
        columns |= {f"word{j}": words.take(pa.array(rng.integers(0, 40, rows))) for j in range(4)}
        pq.write_table(pa.table({**columns, "y": columns["x0"]}), path)
        with open_source(Data(str(path))) as source:
            facts = source.kinds, source.rows, source.bytes_of_a_row
            reckoned.append(memory.held(*facts, "float32") + memory.framed(*facts))
        run = subprocess.run([sys.executable, "-c", ENSEMBLE, path], capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
        peaks.append(int(run.stdout.splitlines()[-1]))
    assert 0.4 < (peaks[1] - peaks[0]) / (reckoned[1] - reckoned[0]) < 1.5, (peaks, reckoned)


def test_an_ensemble_that_does_not_fit(monkeypatch):
    assert memory.framed({"a": "number", "b": "boolean", "c": "other"}, 100, 50) == 100 * 8 * 4
    assert memory.framed({"at": "time"}, 100, 50) == 100 * 8 * 5
    assert memory.framed({"word": "text"}, 100, 50) == 100 * (2 * 8 + memory.OBJECT + 50)
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    memory.check_memory([600, 8, 1], 256, "float32", 2, 80_000, 5)  # 0.96 GB of inputs
    saying = (
        "2 networks at once of 600 -> 8 -> 1 need about 1.2 GB of memory to train, and 1.0 GB are available; 1.2 GB"
    )
    with pytest.raises(HandgradError, match=f"{saying} of it for 100,000 rows as inputs; --preset plain takes less"):
        memory.check_memory([600, 8, 1], 256, "float32", 2, 100_000, 5)
    with pytest.raises(HandgradError, match="give smaller --hidden, or a smaller --batch-size"):
        memory.check_memory([600, 10_000, 10_000, 1], 256, "float32", 2, 1000, 5)


IN_MEMORY = f"""{HIGHEST}
from handgrad.cli.options import Plain
from handgrad.cli.data.tasks import prepare
for name in ("small", "large"):
    prepare(Plain(data=name + ".parquet", target="y", stream=False))  # training takes no more beside it
    print(int(1e6 * peak()))
"""


@linux
def test_in_memory_it_takes_what_was_reckoned(tmp_path):
    rng = np.random.default_rng(0)
    reckoned = {}
    for name, rows in (("small", 100_000), ("large", 700_000)):
        columns = {f"x{i}": rng.normal(size=rows).astype(np.float32) for i in range(39)}
        word = pa.array(["a", "b", "c"]).take(pa.array(rng.integers(0, 3, rows)))
        pq.write_table(pa.table({**columns, "word": word, "y": columns["x0"]}), tmp_path / f"{name}.parquet")
        with open_source(Data(str(tmp_path / f"{name}.parquet"))) as source:
            assert source.bytes_of_a_row == pytest.approx(40 * 4 + 9 + 41, abs=1)
            reckoned[name] = memory.held(source.kinds, source.rows, source.bytes_of_a_row, "float32")
    run = subprocess.run([sys.executable, "-c", IN_MEMORY], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    small, large = (int(line) for line in run.stdout.splitlines() if line.isdigit())
    assert 0.4 < (large - small) / (reckoned["large"] - reckoned["small"]) < 1.5


@pytest.mark.parametrize(("there", "stream"), [(None, False), (10**9, False), (400 * 10**6, True), (150 * 10**6, True)])
def test_what_memory_there_is_decides(monkeypatch, there, stream):
    monkeypatch.setattr(memory, "available", lambda: there)
    wanted = memory.held({"a": "number", "b": "text", "c": "other"}, 10**6, 100, "float32")
    assert wanted == 1.25 * 10**6 * (100 + 21 * 4)
    assert memory.streams(wanted) is stream
    if there is None or there > wanted:
        memory.check_table(wanted, 10**6, "t.csv")
    else:
        saying = "t.csv has 1,000,000 rows, to train on which takes about 0.2 GB of memory, and 0.1 GB are available"
        with pytest.raises(HandgradError, match=saying):
            memory.check_table(wanted, 10**6, "t.csv")
