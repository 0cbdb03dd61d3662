"""A streamed training of the command that SIGKILL ends goes on to the same bits, with the same data alone."""

import json
import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import warm

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

TRAIN = """
import os, signal
from handgrad.cli.data import streamed
from handgrad.cli.app import main
from handgrad.training.checkpoints import Folder

streamed.BUFFER = 20_000  # bytes, a tenth of the table: rows are in the buffer and on their way when it ends
left = {kill}

def step(self, *args):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    before(self, *args)

before, Folder.step = Folder.step, step
main()
"""
ROWS, EPOCHS = 6000, 4
OPTIONS = (
    *("--target", "y", "--stream", "--epochs", EPOCHS, "--hidden", "8", "--batch-size", 64),
    *("--checkpoint", "7 steps", "--quiet"),
)


def write(path, change=None):
    """A table of numbers with gaps and text, in row groups of another size than blocks and batches."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 6)).astype(np.float32)
    columns = {f"x{i}": pa.array(column, mask=rng.random(ROWS) < 0.02) for i, column in enumerate(x.T)}
    y = x[:, 0] * x[:, 1] + x[:, 2]
    if change is not None:
        y[change] += 0.5
    table = pa.table({**columns, "word": [f"w{i % 7}" for i in range(ROWS)], "y": y})
    pq.write_table(table, path, row_group_size=1100, compression="none", use_dictionary=False, write_statistics=False)


def run(folder, *arguments, kill=0):
    return warm.run(*arguments, code=TRAIN.format(kill=kill), cwd=folder, timeout=120)


def result(folder):
    """The model's bytes, and the history without what a clock gives."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return (folder / "model.safetensors").read_bytes(), [{**row, "seconds": 0} for row in history]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the run leaves that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    write(folder / "t.parquet")
    ran = run(folder, "train", "t.parquet", *OPTIONS)
    assert ran.returncode == 0, ran.stderr
    return result(folder / "runs/t-1")


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_steps_it_goes_on_to_the_same_bits(tmp_path, whole, seed):
    write(tmp_path / "t.parquet")
    first, *others = np.random.default_rng(seed).integers(1, 120, 3).tolist()
    assert run(tmp_path, "train", "t.parquet", *OPTIONS, kill=first).returncode == -signal.SIGKILL
    for kill in others:
        ran = run(tmp_path, "train", "--resume", "t-1", "--quiet", kill=kill)
        assert ran.returncode in (-signal.SIGKILL, 0), ran.stderr
        if not ran.returncode:
            break
    else:
        ran = run(tmp_path, "train", "--resume", "t-1", "--quiet")
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "runs/t-1\n", "")
    assert result(tmp_path / "runs/t-1") == whole
    assert not (tmp_path / "runs/t-1/checkpoints").exists()


def cut_off(folder, *options):
    write(folder / "t.parquet")
    assert run(folder, "train", "t.parquet", *OPTIONS, *options, kill=3).returncode == -signal.SIGKILL


@pytest.mark.parametrize("options", [(), ("--no-stream",)])
def test_a_table_of_the_same_size_that_is_another_is_refused(tmp_path, options):
    cut_off(tmp_path, *options)
    size = (tmp_path / "t.parquet").stat().st_size
    write(tmp_path / "t.parquet", change=slice(ROWS - 9, ROWS))
    assert (tmp_path / "t.parquet").stat().st_size == size
    ran = run(tmp_path, "train", "--resume", "t-1", "--quiet")
    assert ran.returncode == 1
    assert "t.parquet is not the table any more that 'runs/t-1' was trained on" in ran.stderr
    assert list((tmp_path / "runs/t-1/checkpoints").glob("step-*"))


def test_a_table_that_is_written_anew_as_it_was_is_said_and_taken(tmp_path, whole):
    cut_off(tmp_path)
    os.utime(tmp_path / "t.parquet", ns=(1, 1))
    ran = run(tmp_path, "train", "--resume", "t-1")
    assert ran.returncode == 0, ran.stderr
    said = " ".join(ran.stdout.split())
    assert "t.parquet has been written to since the run began; what is compared of it is what it was" in said
    assert result(tmp_path / "runs/t-1") == whole
