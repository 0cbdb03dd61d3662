"""Commands in processes of their own that begin with the library loaded: forks of one process that has loaded it.

A new interpreter takes seconds of the processor until the command's first line. `start` and `run` stand for
subprocess.Popen and subprocess.run of one, with what the tests use of these: such a process has signals, pipes, an
environment, a folder and an exit code of its own. That a real one starts, other tests show.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import Any

COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from handgrad.cli.app import main
main()
"""


@cache
def _server() -> str:
    """The address of the process that is forked, started once."""
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    address = str(Path(folder.name) / "socket")
    process = subprocess.Popen([sys.executable, "-P", __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"

    def end() -> None:
        process.communicate()
        folder.cleanup()

    atexit.register(end)
    return address


class Process:
    """A command that runs."""

    def __init__(self, code: str, arguments: list[str], cwd: Path, environment: dict[str, str]):
        self.args, self.returncode = arguments, None
        pipes = [os.pipe() for _ in range(2)]
        self._from = socket.socket(socket.AF_UNIX)
        self._from.connect(_server())
        asked = {"code": code, "arguments": arguments, "cwd": str(cwd), "environment": environment}
        data = json.dumps(asked).encode()
        socket.send_fds(self._from, [len(data).to_bytes(8, "little")], [write for _, write in pipes])
        self._from.sendall(data)
        for _, write in pipes:
            os.close(write)
        self.stdout, self.stderr = (os.fdopen(read, encoding="utf-8") for read, _ in pipes)
        self.pid = int.from_bytes(self._from.recv(8), "little")

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._from], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._from], [], [], timeout)[0]:
                raise TimeoutExpired(self.args, timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(int.from_bytes(self._from.recv(8), "little"))
            self._from.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        with ThreadPoolExecutor(2) as pool:
            reads = [pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except TimeoutExpired:
                self.kill()
                raise
            return reads[0].result(), reads[1].result()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """Kill it, where it still runs, and close its pipes."""
        self.kill()
        self.wait()
        self.stdout.close()
        self.stderr.close()


def start(*arguments: Any, cwd: Path, code: str = COMMAND, environment: dict[str, str] | None = None) -> Process:
    """Begin `handgrad` with those arguments, or the code in its place; warnings are errors."""
    return Process(code, [str(each) for each in arguments], cwd, {**os.environ, **(environment or {})})


def run(*arguments: Any, cwd: Path, timeout: float = 60, **how: Any) -> CompletedProcess[str]:
    """Run it to its end."""
    process = start(*arguments, cwd=cwd, **how)
    try:
        out, err = process.communicate(timeout)
    finally:
        process.end()
    return CompletedProcess(process.args, process.returncode, out, err)


# In the process that is forked


def _load() -> None:
    """What most commands load."""
    import numpy as np

    import handgrad as hg
    from handgrad.cli import app, predict, train  # noqa: F401 - and all that they import
    from handgrad.cli.presets import ensemble, plain  # noqa: F401

    x = np.zeros((64, 3), np.float32)
    hg.fit(hg.mlp([3, 4, 2]), (x, np.arange(64) % 2), epochs=1, progress=False, threads=1, engine="compiled")


def _serve(address: str) -> None:
    _load()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # attendants leave nothing behind
        while True:
            if sys.stdin in select.select([listener, sys.stdin], [], [])[0]:  # the tests have ended
                break
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _attend(client)
            client.close()


def _attend(client: socket.socket) -> None:
    """In a fork: have the command done by another one, and tell how it ended. It never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, pipes, _, _ = socket.recv_fds(client, 8, 2)
    data = b""
    while len(data) < int.from_bytes(size, "little"):
        data += client.recv(65536)
    child = os.fork()
    if child == 0:
        _become(json.loads(data), *pipes)
    for pipe in pipes:
        os.close(pipe)
    try:
        client.sendall(child.to_bytes(8, "little"))
        _, status = os.waitpid(child, 0)
        client.sendall(status.to_bytes(8, "little"))
    finally:
        os._exit(0)


def _become(asked: dict[str, Any], out: int, err: int) -> None:
    """In a fork: the command. It never returns."""
    import warnings

    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = ["handgrad", *asked["arguments"]]
        warnings.resetwarnings()
        warnings.simplefilter("error")
        exec(compile(asked["code"], "<code>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 1
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
