"""The Jacobian of a layer by its input or by one of its parameters: its op's, where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handgrad.errors import ParameterError
from handgrad.layers.base import Layer
from handgrad.layers.regularization import Dropout
from handgrad.ops.arrays import Array, namespace_of
from handgrad.ops.base import Cache, Op
from handgrad.ops.jacobians import Call, Implicit, Jacobian, Reshaped, local_jacobian


def layer_jacobian(
    layer: Layer,
    params: Mapping[str, Array],
    x: Array,
    out: Array,
    cache: Cache,
    wrt: str | None = None,
    tag: str = "",
) -> Jacobian:
    """The derivative of the output of one forward call by x, or by the parameter named `wrt`.

    A layer of your own is known by its backward, and by its jvp where it has one. tag: see Call.
    """
    names = list(layer.parameters())
    if wrt is not None and wrt not in names:
        raise ParameterError(f"{layer!r} has no parameter {wrt!r}; it has {names}")
    place = 0 if wrt is None else 1 + names.index(wrt)
    if isinstance(layer, Dropout) and cache is None:  # at rest
        return Reshaped(out.shape, x.shape, out)
    if isinstance(getattr(layer, "op", None), Op) and type(layer).backward in (Layer.backward, Dropout.backward):
        inputs = (x, *(params[name] for name in names))
        left_out = (None,) * (len(layer.op.inputs) - len(inputs))
        return local_jacobian(layer.op, Call((*inputs, *left_out), out, cache, tag), place)
    own = {name: params[name] for name in names}

    def pull(u: Array) -> Any:
        dx, grads = layer.backward(u, cache)
        return dx if wrt is None else grads[wrt]

    def push(v: Array) -> Array:
        zeros = {name: namespace_of(array=array).zeros_like(array) for name, array in own.items()}
        if wrt is None:
            return layer.jvp(v, zeros, cache)
        return layer.jvp(namespace_of(x=x).zeros_like(x), {**zeros, wrt: v}, cache)

    by = own[wrt] if wrt is not None else x
    text = f"J({type(layer).__name__}{tag}{'' if wrt is None else ', ' + wrt})"
    return Implicit(push if has_jvp(layer) else None, pull, out.shape, by.shape, out, text)


def has_jvp(layer: Layer) -> bool:
    """Whether the layer can take a tangent forward; one of your own can where it has an op or a jvp."""
    within: list[Layer] = list(layer.children().values()) if hasattr(layer, "children") else []
    own = type(layer).jvp is not Layer.jvp or isinstance(getattr(layer, "op", None), Op)
    return own and all(has_jvp(child) for child in within)
