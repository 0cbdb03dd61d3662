"""The driver's side of a worker: it starts the process, asks, and ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

from handgrad.cli.bench.configurations import Configuration
from handgrad.errors import HandgradError

POOLS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "NUMBA", "BLIS")
LAST_WORDS = 300  # characters of what a worker that died wrote to stderr


class BenchError(HandgradError):
    """A rival can't run, or does not do the work that the others do."""


def environment(threads: int) -> dict[str, str]:
    """This process's environment with every library's pool of threads set to one size; read before it is imported."""
    eigen = "false" if threads == 1 else "true"
    return {
        **os.environ,
        **{f"{pool}_NUM_THREADS": str(threads) for pool in POOLS},
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={threads}",
        "JAX_PLATFORMS": "cpu",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # else torch.compile starts processes of its own
        "PYTHONWARNINGS": "ignore",
    }


class Process:
    """A worker process; a context manager that ends it."""

    def __init__(self, threads: int):
        self._faults = tempfile.TemporaryFile()  # noqa: SIM115, closed by close
        self._process = subprocess.Popen(
            [sys.executable, "-m", "handgrad.cli.bench.worker", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._faults,
            env=environment(threads),
            text=True,
        )

    def start(self, target: str, configuration: Configuration) -> None:
        """Make the rival at `target`, "module:name", for a configuration."""
        self.ask("start", target=target, configuration=configuration.as_json())

    def ask(self, verb: str, **arguments: Any) -> Any:
        """The worker's answer. Raises BenchError where it fails or dies."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": verb, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchError(f"the worker died with exit code {self._process.wait()}: {self._last_words()}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise BenchError(answer["error"])
        return answer

    def _last_words(self) -> str:
        self._faults.seek(0)
        text = self._faults.read().decode(errors="replace").strip()
        return text[-LAST_WORDS:] or "it said nothing"

    def close(self) -> None:
        """End the worker: at the end of its input, or killed where it does not listen."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=5)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._faults.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._process.kill()  # it may be in the midst of a long round
        self.close()
