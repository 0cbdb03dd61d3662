"""From an ONNX file to a model."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from handgrad.errors import HandgradError
from handgrad.formats.errors import FormatError
from handgrad.formats.onnx.call import Call, Value
from handgrad.formats.onnx.document import Document, Node, opened, short
from handgrad.formats.onnx.flow import SPARE, TIMES, Flow, Store
from handgrad.formats.onnx.operators import OPERATORS
from handgrad.formats.packing import filled
from handgrad.layers.parameters import Parameters
from handgrad.models import Sequential


def from_onnx(
    source: str | os.PathLike[str] | bytes | Any, *, output: str | None = None
) -> tuple[Sequential, Parameters]:
    """(model, params) of an MLP in an ONNX file, given by its path, its bytes or as an onnx.ModelProto.

    output: the name of the value that the model shall give, where the graph has several outputs; only what that one
    needs is read. Layers are found by what nodes do: Gemm, MatMul and Add are Linear, in the layout of the file's
    weight; a value times its own sigmoid is Swish, two linear maps of one value multiplied are a gated unit, a value
    added to what comes of it is a Residual. Scales and shifts, as of a scaler or a batch normalization, go into the
    linear layer next to them. Nodes that share their tensors are one layer. Casts between floating-point types go.
    The model is a flat Sequential; params have the dtype of the file's.
    Raises FormatError, which names the node, for an operator or a use of one that no layer has, for external data,
    and for what is no ONNX file; sizes are checked before anything is allocated, and no code is run. OSError for a
    file that can't be read, ImportError without onnx.
    """
    with opened(source) as document:
        name = _wanted(document, output)
        store = Store(TIMES * document.size + SPARE)
        value = _values(document, name, store).get(name)
        if not isinstance(value, Flow):
            raise FormatError(f"the output {short(name)} does not depend on an input")
        if len(store.types) > 1:
            found = " and ".join(f"{dtype} in {label}" for dtype, label in store.types.items())
            raise FormatError(f"parameters must be all of one type, got {found}")
        try:
            model = Sequential(store.path(None, value))
        except FormatError:
            raise
        except HandgradError as error:
            raise FormatError(f"its layers do not fit: {error}") from None
        store.spend(8 * sum(math.prod(spec.shape) for spec in model.parameters().values()))
        return model, filled(model, store.values, next(iter(store.types), np.float32))


def _wanted(document: Document, output: str | None) -> str:
    if output is not None:
        known = {*document.inputs, *(name for node in document.nodes for name in node.outputs)}
        if output not in known:
            raise FormatError(f"the graph has no value {short(output)}; its outputs are {_listed(document.outputs)}")
        return output
    if len(document.outputs) != 1:
        raise FormatError(f"the graph has the outputs {_listed(document.outputs)}; choose one by output=")
    return document.outputs[0]


def _listed(names: Any) -> str:
    return ", ".join(short(name) for name in list(names)[:8]) or "none"


def _values(document: Document, output: str, store: Store) -> dict[str, Value]:
    """What is known of each value that the output needs."""
    maker = {name: node for node in document.nodes for name in node.outputs if name}
    needed: set[Node] = set()
    inputs: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name in document.inputs:
            inputs.add(name)
        elif name in maker and maker[name] not in needed:
            needed.add(maker[name])
            waiting.extend(filter(None, maker[name].inputs))
    if len(inputs) > 1:
        raise FormatError(f"the output comes of the inputs {_listed(sorted(inputs))}; a Sequential has one")
    values: dict[str, Value] = dict(document.constants)
    shape = None
    for name in inputs:
        shape = document.inputs[name]
        values[name] = Flow(rank=None if shape is None else len(shape))
    for node in document.nodes:
        if node not in needed:
            continue
        given: list[Value | None] = []
        for name in node.inputs:
            if name and name not in values:
                raise FormatError(f"{node.label}: it reads {short(name)}, which nothing before it makes")
            given.append(values[name] if name else None)
        values |= _made(Call(node, given, document, store, shape))
    return values


def _made(call: Call) -> dict[str, Value]:
    handler = OPERATORS.get(call.node.op)
    if handler is None:
        raise FormatError(f"{call.label}: no layer does this; from_onnx knows {', '.join(OPERATORS)}")
    if not call.node.outputs:
        raise FormatError(f"{call.label}: it has no output")
    try:
        with np.errstate(all="ignore"):
            return {call.node.outputs[0]: handler(call)}
    except (HandgradError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"{call.label}: {error!s:.300}") from None
