"""The layer that an op counts as where it is measured: ops.relu is a ReLU, x @ v with a parameter v a Linear."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.errors import HandgradError
from handgrad.explain.trace.steps import Source
from handgrad.layers import Layer, LayerNorm, Linear
from handgrad.layers.activations import ACTIVATIONS
from handgrad.layers.gated import GATED
from handgrad.ops import Op

KINDS: tuple[type[Layer], ...] = (*ACTIVATIONS.values(), *GATED.values(), LayerNorm, Linear)
BOUND: dict[Op, type[Layer]] = {kind.op: kind for kind in KINDS}


def counted_as(
    op: Op, sources: Sequence[Source], operands: Sequence[Any], hyper: dict[str, Any]
) -> tuple[Layer | None, dict[str, str]]:
    """(the layer, or None; its own name of each parameter, or the op's name of the argument -> the model's name).

    That is where the op takes one value, and parameters for all else that the layer has parameters for.
    """
    own = {arg: source for arg, source in zip(op.inputs, sources, strict=True) if isinstance(source, str)}
    single = len(op.inputs) == 1
    given = sum(value is not None for value in operands[1:])
    if not single and (not isinstance(sources[0], int) or given != len(own)):
        return None, own
    try:
        layer = _layer(op, operands, hyper)
    except (HandgradError, TypeError):  # options that the op takes and the layer does not
        layer = None
    if layer is None or single:
        return layer, own
    named = layer.parameters()
    return (layer, dict(zip(named, own.values(), strict=True))) if len(named) == len(own) else (None, own)


def _layer(op: Op, operands: Sequence[Any], hyper: dict[str, Any]) -> Layer | None:
    if op is ops.matmul:
        x, w = map(np.asarray, operands)
        return Linear(w.shape[0], w.shape[1], bias=False) if w.ndim == 2 and x.ndim > 1 else None
    kind = BOUND.get(op)
    if kind is None:
        return None
    if kind is Linear:
        n_in, n_out = operands[1].shape[:: -1 if hyper.get("layout") == "out_in" else 1]
        return Linear(n_in, n_out, bias=operands[2] is not None, **hyper)
    if kind is LayerNorm:
        return LayerNorm(np.shape(operands[0])[-1], **hyper)
    if len(op.inputs) > 1:
        return kind(*operands[1].shape, bias=operands[3] is not None, **hyper)  # type: ignore[call-arg]
    return kind(**hyper)


def options(op: Op, extra: Sequence[Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """An op's options by name: those after its inputs, given by position, and those by keyword."""
    names = list(inspect.signature(op.forward).parameters)[len(op.inputs) :]
    return {**dict(zip(names, extra, strict=False)), **keywords}
