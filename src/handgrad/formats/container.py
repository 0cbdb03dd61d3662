"""A safetensors file as Handgrad writes it: tensors, and what they are of in its metadata.

The metadata has one key, "handgrad", whose value is JSON:

    {"version": 1, "kind": "tabular", ..., "metadata": {the caller's}}

One key, as safetensors writes several in a random order, and the same model shall give the same bytes. A file without
"kind" holds a model. What else stands in it is for the reader of its kind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from handgrad.formats.atomic import replacing
from handgrad.formats.errors import FormatError

KEY = "handgrad"
MOST_SAID = 600  # characters of what is wrong with a file, which may hold names of any length
MODEL, TABULAR, CHECKPOINT = "model", "tabular", "checkpoint"
VERSIONS = {MODEL: 1, TABULAR: 1, CHECKPOINT: 1}
READERS = {
    MODEL: "a model, which handgrad.load reads",
    TABULAR: "an estimator for tables, which handgrad.estimators.tabular.files.load reads",
    CHECKPOINT: "a checkpoint of a training, which handgrad.fit(..., checkpoint=FOLDER, resume=True) goes on from",
}


def write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], kind: str, **content: Any) -> None:
    """Write arrays and `content`, of JSON's types, to a file that appears whole or not at all.

    Raises FormatError for what JSON can't hold, and OSError.
    """
    named = {} if kind == MODEL else {"kind": kind}
    try:
        header = json.dumps({"version": VERSIONS[kind], **named, **content}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FormatError(f"metadata must hold what JSON can, finite numbers, text, lists and dicts: {error}") from None
    data = safetensors.numpy.save(dict(arrays), {KEY: header})
    with replacing(path) as file:
        file.write(data)


@contextmanager
def reading(path: str | os.PathLike[str], kind: str | None = None) -> Iterator[tuple[Any, dict[str, Any]]]:
    """(the tensors, the content) of a file of that kind, or of any. FormatErrors raised within name the file.

    Raises FormatError for anything else, OSError for a file that is not there or can't be read.
    """
    path = Path(path)
    if path.is_dir():
        raise FormatError(f"path must be a model file, got the folder {str(path)!r}")
    path.open("rb").close()  # the system's own words for a file that is not there or not readable
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file, _content(file.metadata() or {}, kind)
    except FormatError as error:
        raise FormatError(f"{str(path)!r}: {error!s:.{MOST_SAID}}") from None
    except safetensors.SafetensorError as error:
        raise FormatError(f"{str(path)!r} is not a readable safetensors file: {error!s:.{MOST_SAID}}") from None


def kind_of(path: str | os.PathLike[str]) -> str:
    """What a file holds: a key of READERS. Raises as `reading` does."""
    with reading(path) as (_, content):
        return str(content.get("kind", MODEL))


def _content(header: Mapping[str, str], wanted: str | None) -> dict[str, Any]:
    if KEY not in header:
        raise FormatError(f"a safetensors file without an architecture: its metadata has no {KEY!r}")
    try:
        content = json.loads(header[KEY])
    except (ValueError, RecursionError) as error:
        raise FormatError(f"its metadata is not JSON: {error}") from None
    given = content if isinstance(content, dict) else {}
    kind, version = given.get("kind", MODEL), given.get("version")
    if not isinstance(kind, str) or kind not in READERS:
        raise FormatError(f"the file holds {kind!r:.60}, which this Handgrad does not know; a newer one may read it")
    if version != VERSIONS[kind]:
        raise FormatError(
            f"the file has format version {version!r:.60}, and this Handgrad reads {VERSIONS[kind]}; "
            "a newer one may read it"
        )
    if wanted not in (None, kind):
        raise FormatError(f"it holds {READERS[kind]}; expected {READERS[wanted].split(',')[0]}")
    if not isinstance(given.get("metadata"), dict):
        raise FormatError("its metadata is not a mapping")
    return given
