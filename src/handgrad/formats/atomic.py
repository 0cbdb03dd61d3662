"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file to write to, which takes the place of `path` at the end, and leaves nothing behind on a failure.

    It is written beside `path`, flushed to the disk, then renamed, so that a reader finds the old file or the new one.
    """
    path = Path(path)
    check_place(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
    except OSError as error:  # its own words name the temporary file, which the caller knows nothing of
        raise type(error)(error.errno, error.strerror, str(path)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _permissions(path))
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:  # of a write: where the disk is full, say which file
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise IsADirectoryError or FileNotFoundError, naming `path`, where no file of that name can be written."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; expected the name of a file", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {str(path.parent)!r} to write to", str(path))


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of files to the disk, where the system can: a rename is not safe before."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _permissions(path: Path) -> int:
    """Those of the file replaced, or those of any new file: mkstemp's own let nobody else read."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
