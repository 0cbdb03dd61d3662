"""A checkpoint: arrays and JSON in one safetensors file (container.py), with a digest of both.

    {"version": 1, "kind": "checkpoint", "digest": "...", "content": {the caller's}, "metadata": {}}

safetensors has no checksum of its own: a bit that flips on the disk would be trained on from then on. The digest is
BLAKE2b over the content as JSON with sorted keys, then each array's name, dtype, shape and bytes, by name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from handgrad.formats.container import CHECKPOINT, reading, write
from handgrad.formats.errors import FormatError


def write_checkpoint(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], content: Mapping[str, Any]
) -> None:
    """Write the file, which appears whole or not at all. content: of JSON's types.

    Raises FormatError for what JSON can't hold, OSError where the file cannot be written.
    """
    try:
        content = json.loads(json.dumps(content, allow_nan=False))  # as a reader will have it
    except (TypeError, ValueError) as error:
        raise FormatError(f"a checkpoint must hold what JSON can, finite numbers, text and lists: {error}") from None
    write(path, arrays, CHECKPOINT, digest=_digest(arrays, content), content=content, metadata={})


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, content) as they were written, to the bit.

    Raises FormatError for a file that is damaged or no checkpoint, OSError for one that is not there or not readable.
    """
    with reading(path, CHECKPOINT) as (file, header):
        content = header.get("content")
        if not isinstance(content, dict):
            raise FormatError("its content is not a mapping")
        try:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except (TypeError, ValueError, KeyError, AttributeError) as error:  # a dtype that NumPy has not
            raise FormatError(f"its arrays cannot be read: {error}") from None
        if _digest(arrays, content) != header.get("digest"):
            raise FormatError("the file is damaged: its digest is not that of what it holds")
        return arrays, content


def _digest(arrays: Mapping[str, np.ndarray], content: Mapping[str, Any]) -> str:
    found = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"\n{name!r} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()
