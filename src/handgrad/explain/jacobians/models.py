"""The Jacobian of a model: the chain rule over its layers' own, each applied once in a product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from handgrad.errors import ParameterError
from handgrad.layers import Layer
from handgrad.layers.jacobians import layer_jacobian
from handgrad.models import Residual, Sequential
from handgrad.models.container import within
from handgrad.ops.arrays import Array
from handgrad.ops.jacobians import Jacobian, Reshaped, product, total


def model_jacobian(
    model: Layer,
    params: Mapping[str, Array],
    x: Array,
    wrt: str | None = None,
    *,
    train: bool = False,
    rng: np.random.Generator | None = None,
) -> Jacobian:
    """The derivative of the model's output by x, or by the parameter named `wrt`."""
    if wrt is not None and wrt not in params:
        raise ParameterError(f"the model has no parameter {wrt!r}; it has {sorted(params)}")
    _, by_x, by_param = _through(model, params, x, wrt, "", {"train": train, "rng": rng})
    if wrt is None:
        return by_x
    assert by_param is not None  # every parameter of a model stands somewhere in it
    return by_param


def _through(
    model: Layer, params: Mapping[str, Array], x: Array, wrt: str | None, place: str, keywords: dict[str, Any]
) -> tuple[Array, Jacobian, Jacobian | None]:
    """(output, its derivative by x, by the parameter `wrt` where that is in this part of the model)."""
    if type(model) is Sequential:
        by_x: Jacobian = Reshaped(x.shape, x.shape, x)
        by_param: Jacobian | None = None
        for name in model.children():
            x, local, own = _child(model, name, params, x, wrt, place, keywords)
            by_x = product(local, by_x) if name != "0" else local
            before = None if by_param is None else product(local, by_param)
            # the sum is nested as Horner's rule has it, so that each layer is applied once
            by_param = total(before, own) if before is not None and own is not None else before or own
        return x, by_x, by_param
    if type(model) is Residual:
        out, local, own = _child(model, "layer", params, x, wrt, place, keywords)
        return x + out, total(Reshaped(x.shape, x.shape, x), local), own
    out, cache = model.forward(params, x, **keywords)
    tag = f"[{place}]" if place else ""
    by_param = layer_jacobian(model, params, x, out, cache, wrt, tag) if wrt is not None else None
    return out, layer_jacobian(model, params, x, out, cache, None, tag), by_param


def _child(
    model: Sequential | Residual,
    name: str,
    params: Mapping[str, Array],
    x: Array,
    wrt: str | None,
    place: str,
    keywords: dict[str, Any],
) -> tuple[Array, Jacobian, Jacobian | None]:
    own = next((inner for inner, outer in model._names[name].items() if outer == wrt), None)
    with within(name):
        inner_place = f"{place}.{name}" if place else name
        return _through(model.children()[name], model._params_of(params, name), x, own, inner_place, keywords)
