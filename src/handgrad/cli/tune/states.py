"""What Ray Tune goes on from, kept whole.

It copies its files to the search's folder in place, so that a process that is killed meanwhile leaves half of one, and
at the next start it takes the newest ones, whatever they hold. Two files make one state, that of the trials and that of
what is still to be tried: a session has both, by the same name, and goes on from both or from neither.
"""

from __future__ import annotations

import json
import pickletools
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune import Callback

from handgrad.cli.faults import InputError
from handgrad.formats.atomic import replacing

COPIES = "whole"  # the folder of the copies, a file for each session
TRIALS = "experiment_state-{}.json"
TO_TRY = "basic-variant-state-{}.json"  # a pickle, in spite of its name


class Keeper(Callback):
    """Copies the newest state whenever it has changed and is whole, as a file that is there at once or not at all."""

    def __init__(self) -> None:
        self._seen: Any = None

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if trials:
            with suppress(OSError):  # a full disk, a file that was there a moment ago: the next step tries again
                self.keep(Path(trials[0].storage.experiment_fs_path))

    def keep(self, folder: Path) -> None:
        """Copy the newest state in the folder of the trials."""
        for session in _sessions(folder)[:1]:
            files = _files(folder, session)
            now = [(session, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.exists()]
            if now == self._seen:
                continue
            held = _whole(files)
            if held is not None:
                copies = folder / COPIES
                copies.mkdir(exist_ok=True)
                with replacing(copies / f"{session}.json") as copy:
                    copy.write(json.dumps([b64encode(content).decode() for content in held]).encode())
                self._seen = now


def mend(folder: Path) -> None:
    """Put the last whole state in the place of a newest one that is not; without one, set it aside for the one before.

    Raises InputError where none is left and trials have been run: they are worth more than a start from nothing.
    """
    sessions = _sessions(folder)
    for session in sessions:
        files = _files(folder, session)
        if _whole(files) is not None:
            return
        copy = folder / COPIES / f"{session}.json"
        if copy.exists():
            for file, content in zip(files, json.loads(copy.read_bytes()), strict=True):
                with replacing(file) as mended:
                    mended.write(b64decode(content))
            return
        for file in files:
            if file.exists():
                file.rename(file.with_name(file.name + ".broken"))
    if sessions and any(folder.glob("*/result.json")):
        raise InputError(
            f"what the search goes on from, {str(folder)!r}, was cut off while it was written; the trials are kept "
            "there; begin another search with --name"
        )


def _sessions(folder: Path) -> list[str]:
    """By the names of their files, which hold the time, the newest first."""
    found = set()
    for pattern in (TRIALS, TO_TRY):
        before, after = pattern.split("{}")
        found |= {path.name[len(before) : -len(after)] for path in folder.glob(pattern.format("*"))}
    return sorted(found, reverse=True)


def _files(folder: Path, session: str) -> list[Path]:
    return [folder / pattern.format(session) for pattern in (TRIALS, TO_TRY)]


def _whole(files: list[Path]) -> list[bytes] | None:
    """What the two files of a session hold, where both are there and neither is cut off."""
    try:
        trials, to_try = (file.read_bytes() for file in files)
        json.loads(trials)
        for _ in pickletools.genops(to_try):  # reads it to its end, and runs nothing of it
            pass
    except (FileNotFoundError, ValueError):
        return None
    return [trials, to_try]
