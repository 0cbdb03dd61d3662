"""A folder that the user may not write to: said by its name, before any work is done, and nothing is lost.

root may write anywhere. So what is tried runs in processes that may not, whoever runs the tests: root without its right
to pass over permissions, and anyone else as they are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import warm

pytestmark = pytest.mark.skipif(
    os.name != "posix" or (os.geteuid() == 0 and sys.platform != "linux"),
    reason="permissions are of POSIX, and root can give up its right to pass over them in Linux alone",
)

ORDINARY = """
import ctypes, os
if os.geteuid() == 0:  # give up all capabilities, CAP_DAC_OVERRIDE among them: see capset(2)
    version, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(version, none) == 0
"""
BEGIN = """
import sys, warnings
import numpy as np
import handgrad as hg

X = np.random.default_rng(0).standard_normal((60, 3))
model = hg.mlp([3, 4, 1])

def train(engine="eager", **how):
    given = {"loss": "squared_error", "epochs": 3, "progress": False, "threads": 1}
    return hg.fit(model, (X, X[:, 0]), engine=engine, **given | how)
"""
COMPILING = "compiling kernels (first run only)\n"


def said(code, folder, **environment):
    """What that code has printed, about the folder."""
    ran = warm.run(folder, cwd=folder.parent, code=ORDINARY + BEGIN + code, environment=environment, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def command(*arguments, cwd):
    """(code, stdout, stderr) of the command."""
    ran = warm.run(*arguments, cwd=cwd, code=ORDINARY + warm.COMMAND, timeout=300)
    return ran.returncode, ran.stdout, ran.stderr.removeprefix(COMPILING)


@pytest.fixture
def folder(tmp_path):
    """One with a file in it that nobody may write to."""
    made = tmp_path / "mine"
    made.mkdir()
    (made / "old").write_bytes(b"old")
    made.chmod(0o555)
    yield made
    made.chmod(0o755)
    assert [path.name for path in made.iterdir()] == ["old"]  # not half a file of another name
    assert (made / "old").read_bytes() == b"old"


def test_it_is_read_only_to_the_processes_here(folder):
    assert said("open(sys.argv[1] + '/old').read()\ntry: open(sys.argv[1] + '/x', 'w')\n" + REFUSED, folder) == (
        f"PermissionError Permission denied {str(folder / 'x')!r}\n"
    )


REFUSED = "except OSError as error: print(type(error).__name__, error.strerror, repr(error.filename))"


@pytest.mark.parametrize("below", [".", "new", "new/deep"])
def test_checkpoints(folder, below):
    """Of the folder itself, or of one to be made in it: before the first epoch."""
    code = f"""
epochs = []
try: train(checkpoint=sys.argv[1] + "/{below}", callbacks=epochs.append)
{REFUSED}
print(len(epochs))
"""
    place = str(Path(f"{folder}/{below}"))
    text = "cannot serve as a folder of checkpoints: permission denied; give a folder that can be written to"
    assert said(code, folder) == f"PermissionError {text} {place!r}\n0\n"


def test_a_folder_of_checkpoints_that_becomes_read_only(tmp_path):
    """The training goes on and says so; what was kept before is there to go on from."""
    place = tmp_path / "kept"
    code = """
import os
def close(end):
    if end.row["epoch"] == 1:
        os.chmod(sys.argv[1], 0o555)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = train(checkpoint=sys.argv[1], callbacks=close)
os.chmod(sys.argv[1], 0o755)
whole = train()
print(result.stopped, len(result.history), bool((result.params.flat == whole.params.flat).all()))
print(*[str(each.message).split(": ", 1)[1] for each in caught], sep="\\n")
again = train(checkpoint=sys.argv[1], resume=True)
print(bool((again.params.flat == whole.params.flat).all()))
"""
    said_of_it = said(code, place).splitlines()
    assert said_of_it == [
        "epochs 3 True",
        "the checkpoint cannot be written: permission denied; give a folder that can be written to; training goes on, "
        "the last checkpoint is step-0000000000.safetensors",
        "True",
    ]
    assert not list(place.glob("*.tmp"))


@pytest.mark.parametrize("name", ["new", "old"])
def test_a_model_file(folder, name):
    code = f"""
try: hg.save(model, model.init(0), sys.argv[1] + "/{name}")
{REFUSED}
"""
    assert said(code, folder) == f"PermissionError Permission denied {str(folder / name)!r}\n"


def test_kernels_are_compiled_where_none_can_be_kept(folder):
    """The compiled engine serves, and says nothing of a cache."""
    code = """
from handgrad.engines.compiled.kernels import cache
from numba import types
signature = types.int64(types.int64)
print(cache.compiled("plus", lambda: lambda x: x + 1, signature)(2), cache.is_cached("plus", signature))
"""
    assert said(code, folder, HANDGRAD_CACHE_DIR=str(folder)) == "3 False\n"
    assert said(code, folder, HANDGRAD_CACHE_DIR=str(folder / "below")) == "3 False\n"


ROWS = "x,y\n" + "".join(f"{i % 9},{'ab'[i % 9 > 4]}\n" for i in range(90))


@pytest.fixture
def table(tmp_path):
    (tmp_path / "t.csv").write_text(ROWS)
    return ("t.csv", "--target", "y", "--epochs", "2", "--quiet")


@pytest.mark.parametrize("below", ["", "runs"])
def test_the_command_trains_nowhere_else(tmp_path, folder, table, below):
    code, out, err = command("train", *table, "--runs", folder / below, cwd=tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {folder}/"), err
    assert err.endswith(": permission denied\n")


def test_predictions(tmp_path, folder, table):
    assert command("train", *table, cwd=tmp_path) == (0, "runs/t-1\n", "")
    for name in ("new.csv", "old"):
        given = ("predict", "t-1", "t.csv", "--output", folder / name)
        assert command(*given, cwd=tmp_path) == (1, "", f"error: {folder / name}: permission denied\n")


def test_a_run_that_may_only_be_read_predicts(tmp_path, table):
    assert command("train", *table, cwd=tmp_path)[0] == 0
    place = tmp_path / "runs" / "t-1"
    place.chmod(0o555)
    try:
        code, out, _ = command("predict", "t-1", "t.csv", cwd=tmp_path)
    finally:
        place.chmod(0o755)
    assert (code, len(out.splitlines())) == (0, 91)
