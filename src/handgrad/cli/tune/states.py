"""What Ray Tune goes on from, kept whole.

It copies its files to the search's folder in place, so that a process that is killed meanwhile leaves half of one, and
at the next start it takes the newest one, whatever it holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune import Callback

from handgrad.formats.atomic import replacing

WHOLE = "whole"  # the folder of the copies
READERS: dict[str, Callable[[bytes], Any]] = {
    "tuner.pkl": cloudpickle.loads,
    "basic-variant-state-*.json": cloudpickle.loads,  # in spite of its name
    "experiment_state-*.json": json.loads,
}


class Keeper(Callback):
    """Copies each state that is whole, when it has changed, as one that is there at once or not at all."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if trials:
            self.keep(Path(trials[0].storage.experiment_fs_path))

    def keep(self, folder: Path) -> None:
        """Copy the newest states in the folder of the trials."""
        for pattern, read in READERS.items():
            newest = max(folder.glob(pattern), default=None)
            if newest is None:
                continue
            now = newest.stat()
            if self._seen.get(newest.name) == (now.st_mtime_ns, now.st_size):
                continue
            content = newest.read_bytes()
            if _whole(content, read):
                copies = folder / WHOLE
                copies.mkdir(exist_ok=True)
                with replacing(copies / newest.name) as file:
                    file.write(content)
                self._seen[newest.name] = now.st_mtime_ns, now.st_size


def mend(folder: Path) -> None:
    """Put the last whole state in the place of half a one; without one, remove it, so that an older one counts."""
    for pattern, read in READERS.items():
        for path in folder.glob(pattern):
            if not _whole(path.read_bytes(), read):
                copy = folder / WHOLE / path.name
                if copy.exists():
                    os.replace(copy, path)
                else:
                    path.unlink()


def _whole(content: bytes, read: Callable[[bytes], Any]) -> bool:
    try:
        read(content)
    except Exception:  # half a pickle raises whatever it comes upon
        return False
    return True
