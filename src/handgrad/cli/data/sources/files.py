"""Which files DATA names: one, those of a folder, those of a pattern; what each is by its name; whether they change."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handgrad.cli.faults import InputError, did_you_mean, listed
from handgrad.training.streams.files import digest_of

READERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
    ".duckdb": "duckdb",
    ".ddb": "duckdb",
}
DATABASES = ("sqlite", "duckdb")
TABLES = [suffix for suffix, reader in READERS.items() if reader not in DATABASES]
MAGIC = {b"SQLite format 3\0": "sqlite", b"DUCK": "duckdb"}  # at the beginning, and from the ninth byte


@dataclass(frozen=True)
class Files:
    """Files that are read together, all of one kind. stamps: size in bytes and time of the last change, in ns."""

    name: str
    reader: str
    paths: tuple[Path, ...]
    stamps: tuple[tuple[int, int], ...]

    def check_unchanged(self) -> None:
        """Raise InputError where a file is gone, or not what it was when it was first read."""
        for path, stamp in zip(self.paths, self.stamps, strict=True):
            if not path.exists():
                raise InputError(f"{str(path)!r} is gone: it was there when the reading began")
            if _stamp(path) != stamp:
                raise InputError(f"{str(path)!r} has changed since the reading began; begin again")

    def facts(self) -> dict[str, Any]:
        """What tells them from others, for a run's config: how many there are, when they were last written to, in ns,
        and a digest of their sizes, beginnings and ends."""
        return {
            "count": len(self.paths),
            "written": max((written for _, written in self.stamps), default=0),
            # a write to any table of a database changes its beginning: of those the rows alone are compared
            "digest": digest_of(() if self.reader in DATABASES else self.paths),
        }


NOWHERE = Files("", "", (), ())


def files_of(given: str) -> Files:
    """The files of DATA. Raises InputError where there is none, or where they are of several kinds."""
    path = Path(given)
    if path.is_dir():
        paths = _within(path)
    elif path.exists() or not glob.has_magic(given):
        paths = [path]
    else:
        paths = sorted(Path(found) for found in glob.glob(given, recursive=True) if Path(found).is_file())
        if not paths:
            raise InputError(f"no file is called as the pattern {given!r} says")
    readers = {each: _reader(each) for each in paths}
    if len(set(readers.values())) > 1:
        one = {reader: each.name for each, reader in reversed(readers.items())}
        shown = ", ".join(f"{name} is {reader}" for reader, name in sorted(one.items()))
        raise InputError(f"{given!r} holds files of several kinds: {shown}; name those of one kind, as 'data/*.csv'")
    reader = readers[paths[0]]
    if reader in DATABASES and len(paths) > 1:
        raise InputError(f"{given!r} holds {len(paths)} {reader} files; name one of them")
    return Files(given, reader, tuple(paths), tuple(_stamp(each) for each in paths))


def suffix_of(path: Path) -> str:
    """What the name says that the file is."""
    return (Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix).lower()


def _within(folder: Path) -> list[Path]:
    """The tables in a folder and those below it; hidden files, and what is no table by its name, are passed over."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [path for path in found if not any(p.startswith((".", "_")) for p in path.relative_to(folder).parts)]
    tables = [path for path in found if suffix_of(path) in TABLES]
    if not tables:
        names = [path.name for path in found]
        there = f"it holds {listed(names, 6)}" if names else "it holds no files"
        raise InputError(f"the folder {str(folder)!r} has no table in it, {', '.join(TABLES)}; {there}")
    return tables


def _reader(path: Path) -> str:
    if not path.exists():
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(f"there is no file {str(path)!r}{did_you_mean(path.name, near)}")
    if path.stat().st_size == 0:
        raise InputError(f"{str(path)!r} is empty; expected a table with a header")
    reader = READERS.get(suffix_of(path))
    if path.suffix.lower() != ".gz" and reader in (None, *DATABASES):
        with path.open("rb") as file:
            start = file.read(16)
        reader = MAGIC.get(start, MAGIC.get(start[8:12], reader))
    if reader is None or (path.suffix.lower() == ".gz" and reader not in ("csv", "json")):
        raise InputError(f"can't tell what {str(path)!r} is by its name; known are {', '.join(READERS)}, or .csv.gz")
    return reader


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
