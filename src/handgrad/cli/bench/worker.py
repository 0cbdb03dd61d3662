"""A worker: the process that one rival runs in. It reads commands as lines of JSON and answers each with one.

    python -m handgrad.cli.bench.worker THREADS

    {"do": "start", "target": "module:name", "configuration": {...}}    makes name(configuration, threads)
    {"do": METHOD, ARGUMENT: ...}                                       calls a method of it: check, round, memory

The answer is what the method returns, or {"error": "..."}. It ends where its input ends.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from importlib import import_module
from typing import Any

METHODS = ("check", "round", "memory")


def pin(threads: int) -> None:
    """Keep this process on as many cores as it has threads, the last ones, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


class Worker:
    """Answers commands."""

    def __init__(self, threads: int):
        self.threads = threads
        self.rival: Any = None

    def answer(self, command: dict[str, Any]) -> Any:
        """The answer to one command; faults are raised."""
        from handgrad.checks import by_name
        from handgrad.cli.bench.configurations import Configuration

        verb = command.pop("do", None)
        if verb == "start":
            module, _, name = command["target"].partition(":")
            self.rival = None  # the one before may go before the next takes memory
            self.rival = getattr(import_module(module), name)(Configuration(**command["configuration"]), self.threads)
            return {}
        method = by_name("do", verb, {name: name for name in ("start", *METHODS)})
        return getattr(self.rival, method)(**command)


def main() -> None:
    """Serve standard input until it ends."""
    threads = int(sys.argv[1])
    pin(threads)
    warnings.simplefilter("ignore")  # of rivals: they would go unread
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    worker = Worker(threads)
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # whatever a rival raises, the driver is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
