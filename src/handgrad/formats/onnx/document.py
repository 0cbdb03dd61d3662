"""An ONNX file as plain data: nodes, constants, inputs. Nothing in it is trusted, run or looked up elsewhere."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.formats.errors import FormatError
from handgrad.formats.extras import extra

LARGEST = 2**31 - 1  # bytes, which protobuf reads at most
PIECE = 2**20  # bytes
MOST_NODES = 5_000
MOST_AXES = 8
OLDEST = 7  # operator set from which Gemm and arithmetic broadcast as they do now
FIELDS = {  # of a tensor's numbers, where they are not raw bytes
    np.float16: "int32_data",
    np.float32: "float_data",
    np.float64: "double_data",
    np.int32: "int32_data",
    np.int64: "int64_data",
    np.bool_: "int32_data",
}


@dataclass(frozen=True, eq=False)
class Node:
    """A call of an operator: names of values in, "" where one is left out, and out."""

    op: str
    label: str  # for errors
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Constant:
    """An array that the file holds. flipped: the array is the transpose of that tensor."""

    array: np.ndarray
    tensor: str
    flipped: bool = False


@dataclass(frozen=True)
class Document:
    """A graph. inputs: the shape of each, None where it is not said, and in it None for an axis of any length."""

    nodes: list[Node]
    constants: dict[str, Constant]
    inputs: dict[str, tuple[int | None, ...] | None]
    outputs: list[str]
    opset: int
    size: int  # bytes of the file


@contextmanager
def opened(source: Any) -> Iterator[Document]:
    """The document in a path, bytes or a ModelProto. FormatErrors raised within name the file.

    Raises FormatError for what is not an ONNX model, or refers to data elsewhere; OSError for a file that can't be
    read.
    """
    onnx = extra("onnx", "from_onnx")
    where = f"{os.fspath(source)!r}: " if isinstance(source, str | os.PathLike) else ""
    try:
        if isinstance(source, onnx.ModelProto):
            yield _document(onnx, source, source.ByteSize())
            return
        data = _read(Path(source)) if where else source
        if not isinstance(data, bytes | bytearray | memoryview):
            raise FormatError(f"from_onnx takes a path, bytes or a ModelProto, got {type(source).__name__}")
        try:
            model = onnx.ModelProto.FromString(bytes(data))
        except Exception as error:  # protobuf's own, whichever of its implementations is at work
            raise FormatError(f"not a readable ONNX file: {error!s:.200}") from None
        yield _document(onnx, model, len(data))
    except FormatError as error:
        raise FormatError(f"{where}{error}") from None


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise FormatError("expected an ONNX file, got a folder")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise FormatError(f"an ONNX file has at most {LARGEST} bytes, got {size}")
        if size:
            return file.read(size)  # not LARGEST, for which Python takes room at once
        parts = iter(partial(file.read, PIECE), b"")  # of a pipe
        return b"".join(islice(parts, LARGEST // PIECE))


def _document(onnx: Any, model: Any, size: int) -> Document:
    graph = model.graph
    if len(graph.node) > MOST_NODES:
        raise FormatError(f"from_onnx reads graphs of at most {MOST_NODES} nodes, got {len(graph.node)}")
    if graph.sparse_initializer:
        raise FormatError("sparse initializers are not read")
    opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise FormatError(f"the operator set must be {OLDEST} to {newest}, got {opset}")
    constants: dict[str, Constant] = {}
    for tensor in graph.initializer:
        name = _text(tensor.name)
        if name in constants:
            raise FormatError(f"the initializer {short(name)} is there twice")
        constants[name] = Constant(array_of(onnx, tensor, f"initializer {short(name)}"), name)
    inputs = {_text(each.name): _shape(onnx, each) for each in graph.input if each.name not in constants}
    nodes, made = [], {*constants, *inputs}
    for place, proto in enumerate(graph.node):
        domain, kind = _text(proto.domain), _text(proto.op_type)
        op = kind if domain in ("", "ai.onnx") else f"{domain}.{kind}"
        label = f"node {short(_text(proto.name) or place)} ({op:.60})"
        for name in filter(None, map(_text, proto.output)):
            if name in made:
                raise FormatError(f"{label}: the value {short(name)} is made twice")
            made.add(name)
        attributes = {_text(each.name): _attribute(onnx, each, label) for each in proto.attribute}
        nodes.append(Node(op, label, tuple(map(_text, proto.input)), tuple(proto.output), attributes))
    return Document(nodes, constants, inputs, [_text(each.name) for each in graph.output], opset, size)


def array_of(onnx: Any, tensor: Any, where: str) -> np.ndarray:
    """A tensor as an array, once its type and sizes are found to be those of the numbers that are there."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise FormatError(f"{where} keeps its data in another file, which is never opened; save it in one file")
    kinds = {onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)): kind for kind in FIELDS}
    if tensor.data_type not in kinds or tensor.HasField("segment"):
        raise FormatError(f"{where} must hold whole tensors of {', '.join(k.__name__ for k in FIELDS)}")
    kind = kinds[tensor.data_type]
    shape = tuple(tensor.dims)
    if len(shape) > MOST_AXES or any(n < 0 for n in shape):
        raise FormatError(f"{where} has the shape {shape[:MOST_AXES]}, of {len(shape)} axes")
    count, raw = math.prod(shape), tensor.HasField("raw_data")
    held = len(tensor.raw_data) / np.dtype(kind).itemsize if raw else len(getattr(tensor, FIELDS[kind]))
    if held != count:
        raise FormatError(f"{where} has shape {shape}, which is {count} numbers, and holds {held:g}")
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"{where}: {error!s:.200}") from None


def short(value: Any) -> str:
    """A name for an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _text(name: str | bytes) -> str:
    """A name, which protobuf gives as bytes where it is not UTF-8."""
    if isinstance(name, bytes):
        raise FormatError(f"the name {short(name)} is not text")
    return name


def _attribute(onnx: Any, proto: Any, label: str) -> Any:
    kinds = onnx.AttributeProto
    match proto.type:
        case kinds.FLOAT:
            return proto.f
        case kinds.INT:
            return proto.i
        case kinds.STRING:
            return proto.s.decode(errors="replace")
        case kinds.FLOATS:
            return list(proto.floats)
        case kinds.INTS:
            return list(proto.ints)
        case kinds.TENSOR:
            try:
                return array_of(onnx, proto.t, f"{label}: {short(proto.name)}")
            except FormatError as error:
                if "another file" in str(error):
                    raise
                return error  # to be raised where the attribute is read
    return FormatError(f"{label}: the attribute {short(proto.name)} is of a kind that is not read")


def _shape(onnx: Any, value: Any) -> tuple[int | None, ...] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim)
