"""One model, one file: safetensors, with the architecture and whatever the caller adds in its metadata (container.py):

    {"version": 1, "architecture": [see architecture.py], "metadata": {the caller's}}

The tensors have the parameters' names and shapes, which are PyTorch's where the layout is: any safetensors reader opens
them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from handgrad.formats.architecture import build, describe
from handgrad.formats.atomic import check_place
from handgrad.formats.container import MODEL, reading, write
from handgrad.formats.errors import FormatError
from handgrad.formats.packing import DTYPES, empty, packed
from handgrad.layers.base import Layer
from handgrad.layers.parameters import Parameters
from handgrad.ops.arrays import Array


def save(model: Layer, params: Mapping[str, Array], path: str | os.PathLike[str], **metadata: Any) -> None:
    """Write the model, its parameters and `metadata`, of JSON's types, to one file.

    It is written beside `path`, flushed to the disk and renamed: no reader sees half of it, and on a failure the file
    that was there stays. Layers are saved with all their hyperparameters, shared ones once; an initializer that is a
    function of your own is not (see architecture.Lost).
    Parameters that are NaN or infinite are kept as they are.
    Raises FormatError for a layer that is not the library's own, ParameterError or ShapeError for parameters of another
    model, FileNotFoundError or IsADirectoryError for a `path` where no file can be.
    """
    check_place(path)
    architecture = describe(model)
    write(path, packed(model, params), MODEL, architecture=architecture, metadata=metadata)


def load(path: str | os.PathLike[str]) -> tuple[Layer, Parameters, dict[str, Any]]:
    """(model, params, metadata) from a file that `save` wrote; params are NumPy arrays of the dtype they were saved in.

    Raises FormatError when the file is not such a file, or when its parameters are not those of its architecture;
    FileNotFoundError when there is none. Shapes are checked before anything is allocated, and no code is run.
    """
    with reading(path, MODEL) as (file, content):
        model = build(content.get("architecture"))
        return model, _read(model, file), content["metadata"]


def _read(model: Layer, file: Any) -> Parameters:
    specs = model.parameters()
    names = set(file.keys())
    if names != specs.keys():
        missing, unknown = sorted(specs.keys() - names), sorted(names - specs.keys())
        raise FormatError(f"its parameters are not those of its architecture: missing {missing}, unknown {unknown}")
    dtypes = set()
    for name, spec in specs.items():
        part = file.get_slice(name)
        if tuple(part.get_shape()) != spec.shape:
            raise FormatError(f"{name!r} must have shape {spec.shape}, got {tuple(part.get_shape())}")
        dtypes.add(part.get_dtype())
    if len(dtypes) > 1 or not dtypes <= DTYPES.keys():
        raise FormatError(f"its parameters must be all of one type of {', '.join(DTYPES)}, got {sorted(dtypes)}")
    dtype = DTYPES[dtypes.pop()] if dtypes else np.float64
    params = empty(specs, dtype)
    for name, view in params.items():
        view[...] = file.get_tensor(name)
    return params
