"""From a model to an nn.Module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import handgrad.layers as layers
from handgrad.errors import HandgradError
from handgrad.formats.errors import FormatError
from handgrad.formats.extras import extra
from handgrad.formats.packing import packed
from handgrad.layers.base import Layer
from handgrad.layers.gated import GATED, Gated
from handgrad.models import Residual, Sequential
from handgrad.ops.arrays import Array

Values = Mapping[str, np.ndarray]


def to_torch(model: Layer, params: Mapping[str, Array]) -> Any:
    """The model as an nn.Module on the CPU, with copies of its parameters, in their dtype.

    Modules are PyTorch's own where it has them: nn.Sequential, nn.Linear, nn.ReLU and so on. Names in its state_dict
    are ours, a shared parameter's only once; weights of Linear are (n_out, n_in) there, so that a file `save` wrote of
    a model with layout="out_in" loads strictly into it. A layer placed twice is one module placed twice.
    Raises FormatError, with its place, for a layer that has no module, ParameterError or ShapeError for parameters of
    another model.
    """
    torch = extra("torch", "to_torch")
    from handgrad.formats.torch import modules

    values = packed(model, params)
    made: dict[int, Any] = {}

    def build(layer: Layer, own: Values) -> Any:
        if id(layer) not in made:
            # not a subclass of these, which may compute something else
            if type(layer) is Sequential or type(layer) is Residual:
                within = {}
                for place, child in layer.children().items():
                    try:
                        within[place] = build(child, layer._params_of(own, place))
                    except HandgradError as error:
                        raise error.within(place) from None
                kind = torch.nn.Sequential if type(layer) is Sequential else modules.Residual
                made[id(layer)] = kind(*within.values())
            else:
                made[id(layer)] = _module(torch, modules, layer, own)
        return made[id(layer)]

    module = build(model, values)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    every = module.named_parameters(remove_duplicate=False)
    if first := {name: names[id(parameter)] for name, parameter in every if names[id(parameter)] != name}:
        module.register_state_dict_post_hook(modules.FirstName(first))
        module.register_load_state_dict_pre_hook(modules.EveryName(first))
    return module


Make = Callable[[Any, Any, Any, dict[str, Any]], Any]  # of torch, our modules, the layer and its tensors


def _linear(torch: Any, modules: Any, layer: layers.Linear, own: dict[str, Any]) -> Any:
    kind = modules.FlatLinear if layer.flatten else torch.nn.Linear
    # on no device: PyTorch would draw first values, and so move on its generator
    module = kind(layer.n_in, layer.n_out, bias=layer.bias, device="meta")
    weight = own["weight"] if layer.layout == "out_in" else own["weight"].T.contiguous()
    return _holding(torch, module, own | {"weight": weight})


def _gated(torch: Any, modules: Any, layer: Gated, own: dict[str, Any]) -> Any:
    maps = (modules.Projection(own[f"{part}.weight"], own.get(f"{part}.bias")) for part in ("content", "gate"))
    return modules.Gated(type(layer).__name__, *maps)


def _holding(torch: Any, module: Any, own: dict[str, Any]) -> Any:
    for name, tensor in own.items():
        setattr(module, name, torch.nn.Parameter(tensor))
    return module


MODULES: dict[type[Layer], Make] = {
    layers.Linear: _linear,
    **dict.fromkeys(GATED.values(), _gated),
    layers.LayerNorm: lambda torch, modules, layer, own: _holding(
        torch, torch.nn.LayerNorm(layer.n, eps=layer.epsilon, device="meta"), own
    ),
    layers.Identity: lambda torch, *_: torch.nn.Identity(),
    layers.Flatten: lambda torch, *_: torch.nn.Flatten(),
    layers.Sigmoid: lambda torch, *_: torch.nn.Sigmoid(),
    layers.Tanh: lambda torch, *_: torch.nn.Tanh(),
    layers.ReLU: lambda torch, *_: torch.nn.ReLU(),
    layers.LeakyReLU: lambda torch, modules, layer, own: torch.nn.LeakyReLU(layer.alpha),
    layers.GELU: lambda torch, modules, layer, own: torch.nn.GELU(layer.approximate),
    layers.Dropout: lambda torch, modules, layer, own: torch.nn.Dropout(layer.rate),
    layers.Swish: lambda torch, modules, layer, own: torch.nn.SiLU() if layer.beta == 1 else modules.Swish(layer.beta),
    layers.Softmax: lambda torch, modules, layer, own: (
        torch.nn.Softmax(layer.axis) if layer.temperature == 1 else modules.Softmax(layer.temperature, layer.axis)
    ),
}


def _module(torch: Any, modules: Any, layer: Layer, own: Values) -> Any:
    make = MODULES.get(type(layer))
    if make is None:
        known = ", ".join(kind.__name__ for kind in (*MODULES, Sequential, Residual))
        raise FormatError(f"to_torch has no module for {type(layer).__name__}; it knows {known}")
    return make(torch, modules, layer, {name: torch.from_numpy(np.array(array)) for name, array in own.items()})
