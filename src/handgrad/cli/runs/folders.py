"""Run folders: what a training leaves behind. One with a model is complete; one without can be resumed.

runs/NAME/model.safetensors   the model, with its preprocessing in the metadata
runs/NAME/config.json         the options, versions, data and results
runs/NAME/history.jsonl       one row an epoch, from the first one on
runs/NAME/report.html         with --report: the page that `handgrad view` would show
runs/NAME/checkpoints/        of a training that was cut off, for `handgrad train --resume NAME`
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from handgrad.cli.faults import InputError, did_you_mean, listed
from handgrad.errors import HandgradError
from handgrad.formats.atomic import replacing, sync_folder

UNFINISHED = ".unfinished-"
MODEL, CONFIG, HISTORY = "model.safetensors", "config.json", "history.jsonl"
REPORT, CHECKPOINTS = "report.html", "checkpoints"
TRIES = 5  # to get the lock of a run


@dataclass
class NewRun:
    """A run being made. `folder` is a hidden one beside where the run will be; `claim` moves it there."""

    parent: Path
    stem: str  # the name, or what the numbered name begins with
    fixed: bool
    undo: ExitStack

    @cached_property
    def folder(self) -> Path:
        """Made when first asked for, which is when writing begins: a process that is killed before leaves nothing."""
        self.undo.enter_context(_parents(self.parent))
        folder, lock = _unfinished(self.parent)
        if lock is not None:
            self.undo.callback(os.close, lock)
        self.undo.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """data: of JSON's types; numbers that are not finite become null."""
        self._write(name, json.dumps(_plain(data), indent=2, allow_nan=False) + "\n")

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """One line of JSON for each row."""
        self._write(name, "".join(map(line_of, rows)))

    def claim(self, config: Mapping[str, Any]) -> Path:
        """Give the run its name before its training, and `config`; returns its folder for checkpoints.

        It stays, to be resumed, however the training ends, but for a HandgradError, in which another would end too.
        Raises InputError when another process has taken a fixed name meanwhile.
        """
        self.write_json(CONFIG, config)
        (self.folder / CHECKPOINTS).mkdir()
        self.folder = self._moved()
        self.undo.push(self._drop)
        return self.folder / CHECKPOINTS

    def _drop(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and issubclass(kind, HandgradError):
            shutil.rmtree(self.folder, ignore_errors=True)

    def commit(self, keep: bool = False) -> Path:
        """The run is complete. keep: its checkpoints too, so that it can go on."""
        if not keep:
            shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
        sync_folder(self.folder)
        return self.folder

    def _moved(self) -> Path:
        """The folder, under its name now."""
        os.chmod(self.folder, 0o755)  # mkdtemp's lets nobody else read
        sync_folder(self.folder)
        while True:
            place = self.parent / (self.stem if self.fixed else _next_name(self.parent, self.stem))
            try:
                os.rename(self.folder, place)  # fails where a run is already, at the same moment even
            except OSError:
                if not place.exists():
                    raise
                if self.fixed:
                    raise InputError(_taken(place)) from None
                continue
            sync_folder(self.parent)
            return place

    def _write(self, name: str, text: str) -> None:
        with replacing(self.folder / name) as file:
            file.write(text.encode())


@contextmanager
def new_run(parent: Path, name: str | None, stem: str) -> Iterator[NewRun]:
    """A run to `claim`, fill and `commit`. What ends it before it is claimed leaves nothing behind.

    That `parent` can be written to is tried at once, before training. What processes that were killed while they wrote
    have left there is removed.
    """
    if name is not None:
        if not re.fullmatch(r"[^\W_][\w.+-]*", name):
            raise InputError(
                f"--name must begin with a letter or digit and hold letters, digits, '.', '_', '+' and '-' alone, "
                f"got {name!r}"
            )
        if (parent / name).exists():
            raise InputError(_taken(parent / name))
    with _parents(parent):
        os.rmdir(tempfile.mkdtemp(prefix=".trial-", dir=parent))
        _sweep(parent)
    stem = re.sub(r"[^\w+-]+", "-", stem).strip("-_") or "run"
    with ExitStack() as undo:
        yield NewRun(parent, name or stem, name is not None, undo)


@contextmanager
def old_run(folder: Path) -> Iterator[NewRun]:
    """A run that goes on, as one being made. Raises InputError where another process has it."""
    with ExitStack() as undo:
        lock = _lock(folder)
        for _ in range(TRIES):  # `handgrad runs`, which looks whether it is free, has it for a moment
            if lock is None:
                time.sleep(0.02)
                lock = _lock(folder)
        if lock is not None:
            undo.callback(os.close, lock)
        elif os.name == "posix":
            raise InputError(f"the run {str(folder)!r} is being trained by another process; wait for it to end")
        for left in folder.glob(".*.tmp"):  # half a file, of a process that was killed while it wrote
            with suppress(OSError):
                left.unlink()
        run = NewRun(folder.parent, folder.name, True, undo)
        run.folder = folder
        yield run


@contextmanager
def _parents(parent: Path) -> Iterator[None]:
    """Make a folder and those above it; the ones made that are still empty at the end are removed."""
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]  # the innermost first
    try:
        parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for created in made:
            with suppress(OSError):  # another run's are in it
                created.rmdir()


def _unfinished(parent: Path) -> tuple[Path, int | None]:
    """A new hidden folder, and the descriptor that holds its lock for as long as this process lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
        lock = _lock(folder)
        if folder.is_dir():  # else another process has swept it before it was locked
            return folder, lock
        if lock is not None:
            os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove what processes that no longer live have left unfinished: nobody holds its lock."""
    for folder in parent.glob(f"{UNFINISHED}*"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path, shared: bool = False) -> int | None:
    """A descriptor that holds the folder's lock, or None: another process has it, or the system has no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def is_trained(folder: Path) -> bool:
    """Whether a process has the run at this moment, where the system has locks that tell."""
    lock = _lock(folder, shared=True)
    if lock is not None:
        os.close(lock)
    return lock is None and os.name == "posix" and os.access(folder, os.R_OK)


def find_unfinished(run: str, parent: Path) -> tuple[Path, Any]:
    """(folder, config) of a run that can go on, given by its folder or its name under `parent`.

    Raises InputError where there is none, or where it is complete.
    """
    folder = _find(run, parent, CHECKPOINTS)
    if not (folder / CHECKPOINTS).is_dir():
        done = (folder / MODEL).exists()
        raise InputError(f"{str(folder)!r} is " + ("complete: nothing is left to do" if done else "no run to resume"))
    path = folder / CONFIG
    try:
        return folder, json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} can't be read: {error}") from None


def started_of(folder: Path) -> str | None:
    """When a run was begun, as its config has it; None where it does not say."""
    try:
        started = json.loads((folder / CONFIG).read_text("utf-8")).get("started")
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return started if isinstance(started, str) else None


def _find(run: str, parent: Path, part: str) -> Path:
    """The file or folder of a run, by its path or its name. part: what each of those to choose from has."""
    found = next((path for path in (Path(run), parent / run) if path.exists()), None)
    if found is None:
        names = run_names(parent, part)
        what = "unfinished runs" if part == CHECKPOINTS else "runs"
        there = (
            f"the {what} in {str(parent)!r} are {listed(names)}" if names else f"there are no {what} in {str(parent)!r}"
        )
        raise InputError(f"there is no run {run!r}{did_you_mean(run, names)}; {there}")
    return found


def find_run(run: str, parent: Path) -> Path:
    """The model file of a run given by its folder, its model file, or its name under `parent`."""
    found = _find(run, parent, MODEL)
    path = found / MODEL if found.is_dir() else found
    if not path.exists():
        if (found / CHECKPOINTS).is_dir():
            raise InputError(f"the run {str(found)!r} is not complete; handgrad train --resume {run} goes on with it")
        raise InputError(f"the folder {str(found)!r} is no run: it has no {MODEL}")
    return path


def find_folder(run: str, parent: Path) -> Path:
    """The folder of a run in any state, given by that or by its name under `parent`."""
    found = _find(run, parent, "")
    return found.parent if found.is_file() else found


def run_names(parent: Path, part: str = MODEL) -> list[str]:
    """The names of the runs in a folder that have that file or folder: a model, where they are complete."""
    if not parent.is_dir():
        return []
    return sorted(path.name for path in parent.iterdir() if _is_visible(path) and (path / part).exists())


def run_folders(parent: Path) -> list[Path]:
    """The folders that `parent` holds, runs or not."""
    return sorted(path for path in parent.iterdir() if _is_visible(path)) if parent.is_dir() else []


def _is_visible(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _taken(place: Path) -> str:
    return f"there is a run {str(place)!r} already; give another --name, or remove that folder"


def _next_name(parent: Path, stem: str) -> str:
    taken = (re.fullmatch(rf"{re.escape(stem)}-(\d+)", path.name) for path in parent.iterdir())
    return f"{stem}-{1 + max((int(match[1]) for match in taken if match), default=0)}"


def line_of(row: Mapping[str, Any]) -> str:
    """A row as a line of JSON."""
    return json.dumps(_plain(row), allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
