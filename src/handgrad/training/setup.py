"""What a training is of, in words that can be compared: a checkpoint is for the same one alone."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from handgrad.formats.packing import on_host
from handgrad.layers import Parameters
from handgrad.training.data import Rows

Setup = dict[str, Any]

COMPARED_ROWS = 65536  # at most, evenly spaced, so that no large table is read once more
SHOWN = 60  # characters of a long text, around the first that differs


def setup_of(params: Parameters, train: Rows, held: Rows | None, **options: Any) -> Setup:
    """All that decides the numbers of a training. options: numbers, texts, or objects that say what they are."""
    found = {name: _plain(value) for name, value in options.items()}
    found["parameters"] = ", ".join(f"{name} {spec.shape}" for name, spec in params.specs.items())
    found["dtype"] = str(params.flat.dtype)
    for name, rows in (("data", train), ("validation", held)):
        found[name] = None if rows is None else _shapes(rows)
        found[f"the values of {name}"] = None if rows is None else _digest(rows)
    return found


def surroundings(threads: int | None) -> Setup:
    """What the last bits of the numbers depend on besides."""
    return {
        "handgrad": version("handgrad"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": threads,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, each as "batch_size is 16 in the checkpoint, 32 now"."""
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    said = []
    for name in names:
        first, second = before.get(name), now.get(name)
        if name.startswith("the values of "):
            if not names or name.removeprefix("the values of ") not in names:
                said.append(f"{name} are others")
            continue
        said.append("{} is {} in the checkpoint, {} now".format(name, *_around(str(first), str(second))))
    return said


def _around(first: str, second: str) -> tuple[str, str]:
    """Both texts, cut to where they begin to differ."""
    shorter = min(len(first), len(second))
    same = next((i for i in range(shorter) if first[i] != second[i]), shorter)
    start = same - SHOWN // 2 if same > SHOWN // 2 and max(len(first), len(second)) > SHOWN else 0
    return tuple(  # type: ignore[return-value]
        "..." * bool(start) + text[start : start + SHOWN] + "..." * (len(text) > start + SHOWN)
        for text in (first, second)
    )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # objects with no words of their own show where they lie


def _shapes(rows: Rows) -> str:
    parts = [("X", rows.x), ("y", rows.y), ("sample_weight", rows.weight)]
    return ", ".join(f"{name} {tuple(a.shape)} {a.dtype}" for name, a in parts if a is not None)


def _digest(rows: Rows) -> str:
    found = hashlib.blake2b(digest_size=16)
    m = len(rows)
    some = np.unique(np.linspace(0, m - 1, min(m, COMPARED_ROWS)).astype(np.int64))
    part = rows.take(some)
    for array in (part.x, part.y, part.weight):
        if array is not None:
            found.update(np.ascontiguousarray(on_host(array)).tobytes())
    return found.hexdigest()
