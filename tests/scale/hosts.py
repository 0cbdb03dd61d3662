"""Two hosts on one machine: network namespaces joined by a cable, a Ray node in each, of one cluster."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
PORT = 6379
TESTS = Path(__file__).resolve().parents[1]
NODE = ["--object-store-memory=100000000", "--disable-usage-stats", "--include-log-monitor=false"]
# Ray's processes start in a tenth of the time without a grammar that jsonschema would load, if it is there
QUICK = 'raise ImportError("left out: it takes seconds to load, and Ray has no use for it")\n'


def possible() -> str:
    """Why there can be no network namespaces here; "" where they can be made."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("ip"):
        return "network namespaces need Linux, root and iproute2"
    name = f"hg{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


def environment(folder: Path) -> dict[str, str]:
    """For Ray's processes: nothing is sent anywhere, a token of their own, a quick start, and patience."""
    quick = folder / "quick"
    if not quick.exists():
        quick.mkdir()
        (quick / "rfc3987_syntax.py").write_text(QUICK)
    token = folder / "token"
    if not token.exists():
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
    places = [str(quick), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(places),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # 15 by default: on a busy machine next to nothing
        "RAY_memory_monitor_refresh_ms": "0",  # it would kill workers where other programs have taken the memory
        "RAY_worker_register_timeout_seconds": "300",
        "RAY_health_check_failure_threshold": "20",  # a node that is slow is not taken for dead
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process less for each training
        "RAY_TRAIN_METRICS_ENABLED": "0",
    }


def head_options(port: int, folder: str) -> list[str]:
    """Of `ray start`, for a small cluster's first node."""
    options = ["--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false", "--no-monitor"]
    return [*options, f"--ray-client-server-port={free_port()}", *NODE]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@dataclass(frozen=True)
class Hosts:
    """Two of them, with `cpus` processors each in Ray's eyes.

    folder: of the tests. short: Ray's own. names: of the namespaces. addresses: 10.x.y.1 and .2.
    """

    folder: str
    short: str
    cpus: int
    names: list[str]
    addresses: list[str]

    @classmethod
    def named(cls, folder: Path, cpus: int) -> Hosts:
        """Names and addresses that no others have, of hosts that are not there yet."""
        tag = secrets.token_hex(2)
        short = tempfile.mkdtemp(prefix="hg", dir="/tmp")  # a socket's path has 107 bytes at most
        net = f"10.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}"
        return cls(str(folder), short, cpus, [f"hg{tag}{side}" for side in "ab"], [f"{net}.{i}" for i in (1, 2)])

    def notes(self) -> dict[str, Any]:
        """All of that, as plain data."""
        return asdict(self)

    @property
    def address(self) -> str:
        """The cluster's."""
        return f"{self.addresses[0]}:{PORT}"

    @property
    def environment(self) -> dict[str, str]:
        """Of what runs there."""
        return environment(Path(self.folder))

    def connect(self) -> None:
        """The namespaces, and the cable between them."""
        for name in self.names:
            _ip("netns", "add", name)
        first, second = self.names
        _ip("link", "add", f"{first}0", "netns", first, "type", "veth", "peer", "name", f"{second}0", "netns", second)
        for name, address in zip(self.names, self.addresses, strict=True):
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", f"{name}0")
            _ip("-n", name, "link", "set", f"{name}0", "up")

    def start(self, host: int, **more: str) -> None:
        """A Ray node on that host, the first being the head. more: of its environment."""
        which = head_options(PORT, self.short) if host == 0 else [f"--address={self.address}", *NODE]
        options = [f"--node-ip-address={self.addresses[host]}", f"--num-cpus={self.cpus}"]
        done = self.run(host, [str(BIN / "ray"), "start", *which, *options], **more)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, host: int, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        """A command there, to its end."""
        whole = ["ip", "netns", "exec", self.names[host], *command]
        return subprocess.run(whole, env=self.environment | more, capture_output=True, text=True, timeout=300)

    def begin(self, host: int, command: list[str], **more: str) -> subprocess.Popen[str]:
        """A command there, begun."""
        whole = ["ip", "netns", "exec", self.names[host], *command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(whole, env=self.environment | more, text=True, **pipes)

    def workers(self, host: int) -> list[int]:
        """The processes of Ray Train's workers there."""
        return [pid for pid in self._processes(host) if b"RayTrainWorker" in _command(pid)]

    def _processes(self, host: int) -> list[int]:
        done = subprocess.run(["ip", "netns", "pids", self.names[host]], capture_output=True, text=True)
        return [int(pid) for pid in done.stdout.split()]

    def lose(self, host: int) -> None:
        """End all processes there, as where a machine loses its power."""
        while pids := self._processes(host):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def end(self) -> None:
        """All processes there, and the namespaces."""
        for host, name in enumerate(self.names):
            self.lose(host)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        shutil.rmtree(self.short, ignore_errors=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _command(pid: int) -> bytes:
    with suppress(ProcessLookupError, FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
