"""One Ray cluster for all tests that need it, whichever of pytest's processes they run in."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from scale.hosts import BIN, environment

CPUS = 4  # in Ray's eyes: three workers and one to read


@contextmanager
def _locked(folder: Path):
    """One process at a time; gives the notes that all of them share."""
    with (folder / "ray.lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        notes = json.loads(file.read() or "{}")
        yield notes
        file.truncate(0)
        file.write(json.dumps(notes))


def _start(folder: Path) -> dict[str, object]:
    short = tempfile.mkdtemp(prefix="hg", dir="/tmp")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(BIN / "ray"), "start", "--head", f"--port={port}", f"--num-cpus={CPUS}", f"--temp-dir={short}"]
    command += ["--include-dashboard=false", "--include-log-monitor=false", "--object-store-memory=100000000"]
    command += ["--node-ip-address=127.0.0.1", "--disable-usage-stats"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"address": f"127.0.0.1:{port}", "folder": short}


def _stop(folder: str) -> None:
    """End the processes of the cluster in that folder; its workers end with them."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if folder.encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _read_environment() -> None:
    """Have Ray, which may be loaded already, look again at how it is to prove who it is."""
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The address of the cluster, for as long as the tests last."""
    pytest.importorskip("ray", reason="workers need Ray")
    pytest.importorskip("torch", reason="workers are joined by torch.distributed")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        with _locked(shared) as notes:
            for name, value in environment(shared).items():
                patch.setenv(name, value)
            _read_environment()
            if not notes:
                notes |= _start(shared)
            notes["users"] = notes.get("users", 0) + 1
            address, folder = notes["address"], notes["folder"]
        yield address
        with _locked(shared) as notes:
            notes["users"] -= 1
            if not notes["users"]:
                _stop(folder)
                notes.clear()
    _read_environment()
