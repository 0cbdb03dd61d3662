"""Files that Ray Data is to read: found, and their schemas compared before anything is sent anywhere."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from handgrad.errors import ShapeError, ValueRangeError

READERS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}
AT_ONCE = 16  # files whose schemas are read at the same time, which is waiting mostly


def dataset_of(ray: Any, source: Any) -> Any:
    """The Ray dataset of Parquet or CSV files: a path, a pattern, a folder, or a list of paths.

    Raises ValueRangeError where there are none, ShapeError, which names the file, where their schemas differ.
    """
    files = files_of(source)
    kind = READERS[Path(files[0]).suffix.lower()]
    check_schemas(schemas(files, kind))
    read = ray.data.read_parquet if kind == "parquet" else ray.data.read_csv
    return read(files)


def files_of(source: Any) -> list[str]:
    """The files, in the order of their names; addresses such as s3://... are taken as they are."""
    given = [source] if isinstance(source, str | os.PathLike) else list(source)
    found: list[str] = []
    for each in (os.fspath(path) for path in given):
        if "://" in each:
            found.append(each)
        elif os.path.isdir(each):
            found += sorted(str(path) for path in Path(each).rglob("*") if path.suffix.lower() in READERS)
        else:
            matches = sorted(glob.glob(each))
            if not matches:
                raise ValueRangeError(f"there is no file {each!r}")
            found += map(os.path.abspath, matches)
    kinds = {READERS.get(Path(each).suffix.lower()) for each in found}
    if len(kinds) != 1 or None in kinds:
        names = ", ".join(map(repr, found[:3])) or "none"
        raise ValueRangeError(f"files must be all Parquet or all CSV, got {names} from {str(source)!r}")
    return [each if "://" in each else os.path.abspath(each) for each in found]


def schemas(files: Sequence[str], kind: str) -> dict[str, dict[str, str]]:
    """Of each file, what its columns are: by name, "number", "text" or the Arrow type of anything else."""
    import pyarrow.dataset as ds

    def of(file: str) -> dict[str, str]:
        from pyarrow import fs

        system, path = (None, file) if "://" not in file else fs.FileSystem.from_uri(file)
        schema = ds.dataset(path, format=kind, filesystem=system).schema
        return {field.name: _kind(field.type) for field in schema}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(files, pool.map(of, files), strict=True))


def check_schemas(found: Mapping[str, Mapping[str, str]]) -> None:
    """Raise ShapeError for the first file whose columns are not those of the first."""
    files = list(found)
    first = found[files[0]]
    for file in files[1:]:
        said = [f"it lacks {name!r}" for name in first if name not in found[file]]
        said += [f"it has {name!r} besides" for name in found[file] if name not in first]
        said += [
            f"{name!r} holds {found[file][name]} there, and {kind} in the first"
            for name, kind in first.items()
            if found[file].get(name, kind) != kind
        ]
        if said:
            raise ShapeError(f"{file!r} does not have the columns of {files[0]!r}: {'; '.join(said[:5])}")


def _kind(arrow: Any) -> str:
    import pyarrow as pa

    types = pa.types
    if any(is_kind(arrow) for is_kind in (types.is_integer, types.is_floating, types.is_decimal, types.is_null)):
        return "number"
    if types.is_string(arrow) or types.is_large_string(arrow) or types.is_dictionary(arrow):
        return "text"
    return str(arrow)
