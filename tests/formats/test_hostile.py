"""The process that reads hostile files sees each kind of fault, or the tests with it would pass for nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from formats.hostile import Target, attack
from handgrad.formats import FormatError


def endless() -> None:
    while True:
        pass


def refuse(words: str) -> None:
    raise FormatError(words)


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "crash": (os.abort, "died of SIGABRT"),
    "exit": (lambda: os._exit(3), "ended the process with 3"),
    "hang": (endless, "took more than 0.5 s"),
    "memory": (lambda: bytearray(2**31), "MemoryError"),
    "code": (lambda: exec("1 + 1"), "did what no reading does: ['exec"),
    "import": (lambda: __import__("this_is_nowhere"), "ModuleNotFoundError"),
    "another file": (lambda: Path(__file__).read_text(), 'does: ["open'),
    "another error": (lambda: {}["x"], "KeyError: 'x'"),
    "no words": (lambda: refuse(""), "FormatError without a word"),
    "too many words": (lambda: refuse("a" * 2000), "said 2000 characters"),
    "wrong": (lambda: b"wrong", "AssertionError"),
}


def target(name: str) -> Target:
    """Of right files, and others at which that happens."""

    def read(path: Path) -> Any:
        return FAULTS[name][0]() if path.read_bytes() == b"hostile" else b"right"

    def check(found: Any, data: bytes, path: Path) -> None:
        assert found != b"wrong"

    return Target(name, lambda: [b"right"], lambda draw, seeds: b"hostile", read, check, (FormatError,))


TARGETS = [target(name) for name in FAULTS]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Of three files each, the first of them right."""
    return attack(__file__, 3 * len(FAULTS), tmp_path_factory.mktemp("hostile"), seconds=0.5)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_seen_and_the_next_file_is_read(found, name):
    faults = found[name]["faults"]
    assert sorted({fault["number"] for fault in faults}) == [1, 2]
    assert any(FAULTS[name][1] in fault["what"] for fault in faults), faults
