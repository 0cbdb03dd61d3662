"""What Ray's tests need besides themselves, a cluster, kept for as long as some process of the tests uses it, however
that ends: run as a script, it starts one, writes its notes down, and at the end kills whatever was started under it.

The users of a folder's cluster hold a shared lock, which the system takes from a process that is gone; the keeper waits
for it alone. Ray's processes leave their parents, but not the keeper: Linux hands it all orphans below it.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from scale.hosts import BIN, Hosts, environment, free_port, head_options

CPUS = 2  # in Ray's eyes
PATIENCE = 400.0  # seconds for a cluster to start, on a machine that is busy
ADOPT = 36  # PR_SET_CHILD_SUBREAPER, of Linux


@contextmanager
def locked(file: Path, how: int = fcntl.LOCK_EX):
    """Meanwhile, the lock on a file, once nobody else holds it."""
    with file.open("a") as held:
        fcntl.flock(held, how)
        yield held


@contextmanager
def kept(folder: Path, kind: str):
    """The notes on a cluster of that kind in that folder, which the first to come starts and the last to go ends."""
    notes, process = folder / "notes.json", None
    try:
        with (folder / "users.lock").open("a") as users:
            with locked(folder / "begin.lock"):
                fcntl.flock(users, fcntl.LOCK_SH)  # it waits for one that is ending
                if not notes.exists():
                    process = _begun(folder, kind)
            yield json.loads(notes.read_text())
    finally:
        if process is not None:
            with locked(folder / "users.lock"):  # however long others still use it
                pass
            process.wait(PATIENCE)


def _begun(folder: Path, kind: str) -> subprocess.Popen[bytes]:
    with (folder / "keeper.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "scale.keeper", kind, str(folder)],
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests
        )
    until = time.monotonic() + PATIENCE
    while not (folder / "notes.json").exists():
        if process.poll() is not None or time.monotonic() > until:
            process.terminate()
            process.wait(PATIENCE)
            raise RuntimeError(f"no cluster could be started:\n{(folder / 'keeper.log').read_text('utf-8', 'replace')}")
        time.sleep(0.1)
    return process


# In the keeper


@contextmanager
def one_host(folder: Path):
    """A Ray node on this machine."""
    short = tempfile.mkdtemp(prefix="hg", dir="/tmp")  # a socket's path has 107 bytes at most
    port = free_port()
    command = [str(BIN / "ray"), "start", *head_options(port, short), "--node-ip-address=127.0.0.1"]
    try:
        subprocess.run([*command, f"--num-cpus={CPUS}"], check=True, timeout=PATIENCE)
        yield {"address": f"127.0.0.1:{port}"}
    finally:
        end_children()
        shutil.rmtree(short, ignore_errors=True)


@contextmanager
def two_hosts(folder: Path):
    """Two Ray nodes in network namespaces."""
    hosts = Hosts.named(folder, CPUS + 1)  # two threads of a worker, and one to read
    try:
        hosts.connect()
        hosts.start(0)
        hosts.start(1)
        yield hosts.notes()
    finally:
        hosts.end()
        end_children()


def end_children() -> None:
    """Kill all processes below this one."""
    while True:
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if parent == str(os.getpid()):
                    os.kill(int(entry.name), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)  # those below one that ends are this process's own from then on
        except ChildProcessError:
            return


def main(kind: str, folder: str) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(ADOPT, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    notes = Path(folder) / "notes.json"
    with {"one": one_host, "two": two_hosts}[kind](Path(folder)) as found:
        part = notes.with_suffix(".part")
        part.write_text(json.dumps(found))
        part.rename(notes)
        with locked(Path(folder) / "users.lock"):
            notes.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])
