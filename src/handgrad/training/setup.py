"""What a training is of, in words that can be compared: a checkpoint is for the same one alone."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from handgrad.formats.packing import on_host
from handgrad.layers import Parameters
from handgrad.training.data import Rows

Setup = dict[str, Any]
Words = tuple[str, str]  # the shapes, and a digest of the values

COMPARED_ROWS = 65536  # at most, evenly spaced, so that no large table is read once more
MOST_SAID = 12  # differences that an error names
SHOWN = 60  # characters of a long text, around the first that differs


def setup_of(params: Parameters, train: Words, held: Words | None, **options: Any) -> Setup:
    """All that decides the numbers of a training. options: numbers, texts, or objects that say what they are."""
    found = {name: _plain(value) for name, value in options.items()}
    found["parameters"] = ", ".join(f"{name} {spec.shape}" for name, spec in params.specs.items())
    found["dtype"] = str(params.flat.dtype)
    for name, words in (("data", train), ("validation", held)):
        found[name], found[f"the values of {name}"] = words or (None, None)
    return found


def words_of(rows: Rows) -> Words:
    """Of data in memory."""
    m = len(rows)
    some = np.unique(np.linspace(0, m - 1, min(m, COMPARED_ROWS)).astype(np.int64))
    return _shapes(rows, len), _digest(rows.take(some))


def words_of_stream(
    first: list[Rows], rows: int | None, buffer: int | str, files: Sequence[int], content: str = ""
) -> Words:
    """Of a stream that begins so. rows: how many it was said to have. buffer: what it is shuffled through.
    files, content: their sizes in bytes, and a digest, which copies have too.
    """
    shapes = _shapes(first[0], lambda _: rows if rows is not None else "rows")
    sizes = f", {len(files)} files of {sum(files)} bytes" if files else ""
    return f"a stream of {shapes}{sizes}, buffer {buffer}", _digest(*first) + content


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
        said.append("{:.60} is {} in the checkpoint, {} now".format(name, *_around(str(first), str(second))))
    return said[:MOST_SAID] + [f"and {len(said) - MOST_SAID} more"] * (len(said) > MOST_SAID)


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


def _shapes(rows: Rows, count: Callable[[Any], object]) -> str:
    """count: gives the number of rows to say, of an array."""
    parts = [("X", rows.x), ("y", rows.y), ("sample_weight", rows.weight)]
    return ", ".join(
        f"{name} ({', '.join(map(str, (count(a), *a.shape[1:])))}{',' * (a.ndim == 1)}) {a.dtype}"
        for name, a in parts
        if a is not None
    )


def _digest(*parts: Rows) -> str:
    found = hashlib.blake2b(digest_size=16)
    for arrays in zip(*((rows.x, rows.y, rows.weight) for rows in parts), strict=True):
        for array in arrays:
            if array is not None:
                found.update(np.ascontiguousarray(on_host(array)).tobytes())
    return found.hexdigest()
