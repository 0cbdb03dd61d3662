"""From an nn.Module to a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import handgrad.layers as layers
from handgrad.errors import HandgradError
from handgrad.formats.errors import FormatError
from handgrad.formats.extras import extra
from handgrad.formats.packing import DTYPES, filled
from handgrad.layers.base import Layer
from handgrad.layers.gated import GATED
from handgrad.layers.parameters import Parameters
from handgrad.models import Residual, Sequential

DEEPEST = 100  # modules within modules
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

Values = dict[Any, np.ndarray]
Made = tuple[Layer, dict[str, Any]]  # a layer, and the tensors of its parameters by the layer's own names


def from_torch(module: Any) -> tuple[Layer, Parameters]:
    """(model, params) of an nn.Sequential, nested or not, of known modules, or of one of these alone.

    Parameters are copied to NumPy in their dtype, float16, float32 or float64; Linear keeps PyTorch's layout, "out_in".
    A module placed twice is one layer placed twice. Modules of a Sequential are named by their place, "0", "1", ...
    Raises FormatError, with its place and type, for a module that is not known, or that holds more than its type has:
    parameters of its own, buffers, hooks; for one parameter in two modules, mixed types, or values on no device.
    """
    torch = extra("torch", "from_torch")
    from handgrad.formats.torch import modules

    if not isinstance(module, torch.nn.Module):
        raise FormatError(f"from_torch takes an nn.Module, got {type(module).__name__}")
    makers = _makers(torch, modules)
    made: dict[int, Layer] = {}
    values: Values = {}
    tensors: dict[int, str] = {}  # where each parameter was first met
    dtypes: dict[Any, str] = {}

    def build(module: Any, place: str, depth: int) -> Layer:
        if id(module) in made:
            return made[id(module)]
        if depth > DEEPEST:
            raise FormatError(f"modules must be nested {DEEPEST} deep at most")
        if type(module) is torch.nn.Sequential:
            _check(module, set(), recurse=False)
            children = [inside(child, str(i), place, depth) for i, child in enumerate(module)]
            layer: Layer = Sequential(children)
        elif type(module) is modules.Residual:
            _check(module, set(), recurse=False)
            layer = Residual(inside(module.layer, "layer", place, depth))
        else:
            make = makers.get(type(module))
            if make is None:
                known = ", ".join(kind.__name__ for kind in (torch.nn.Sequential, *makers))
                kind = type(module)
                raise FormatError(f"{kind.__module__}.{kind.__qualname__} has no layer here; from_torch knows {known}")
            layer, own = make(module)
            _check(module, set(layer.parameters()))
            keys = layer.parameter_keys()
            for name, spec in layer.parameters().items():
                if own.get(name) is None:  # a normalization without scale or shift
                    values[keys[name]] = spec.init(np.random.default_rng(0), spec.shape)
                    continue
                tensor = own[name]
                where = f"{place}.{name}" if place else name
                if id(tensor) in tensors:
                    raise FormatError(
                        f"{where!r} and {tensors[id(tensor)]!r} are one parameter in two modules; "
                        "what is shared here is whole layers"
                    )
                tensors[id(tensor)] = where
                values[keys[name]] = array = _array(tensor, where)
                dtypes.setdefault(array.dtype, where)
        made[id(module)] = layer
        return layer

    def inside(child: Any, name: str, place: str, depth: int) -> Layer:
        try:
            return build(child, f"{place}.{name}" if place else name, depth + 1)
        except HandgradError as error:
            raise error.within(name) from None

    model = build(module, "", 0)
    if len(dtypes) > 1:
        found = " and ".join(f"{dtype} in {name!r}" for dtype, name in dtypes.items())
        raise FormatError(f"parameters must be all of one type, got {found}")
    return model, filled(model, values, next(iter(dtypes), np.float64))


def _check(module: Any, names: set[str], recurse: bool = True) -> None:
    """Raise FormatError where a module holds what its type does not. recurse: whether modules within are its own."""
    kind = type(module).__name__
    if unknown := sorted({name for name, _ in module.named_parameters(recurse=recurse)} - names):
        raise FormatError(f"{kind} has the parameters {unknown}, which its layer lacks")
    if buffers := sorted(name for name, _ in module.named_buffers(recurse=recurse)):
        raise FormatError(f"{kind} has the buffers {buffers}, which its layer lacks")
    if any(getattr(each, hooks, None) for each in (module.modules() if recurse else (module,)) for hooks in HOOKS):
        raise FormatError(f"{kind} has hooks of its own, which a layer has not; remove them first")


def _array(tensor: Any, where: str) -> np.ndarray:
    if tensor.is_meta:
        raise FormatError(f"{where!r} is on no device and has no values")
    kind = str(tensor.dtype).removeprefix("torch.")
    if kind not in {np.dtype(dtype).name for dtype in DTYPES.values()}:
        raise FormatError(f"parameters must be all float16, float32 or float64, got {kind} in {where!r}")
    return tensor.detach().cpu().numpy()


def _makers(torch: Any, modules: Any) -> dict[type, Callable[[Any], Made]]:
    nn = torch.nn

    def linear(module: Any) -> Made:
        bias = module.bias is not None
        flatten = type(module) is modules.FlatLinear
        layer = layers.Linear(module.in_features, module.out_features, bias=bias, layout="out_in", flatten=flatten)
        return layer, dict(module.named_parameters())

    def norm(module: Any) -> Made:
        if len(module.normalized_shape) != 1:
            raise FormatError(f"LayerNorm must be over the last axis alone, got {tuple(module.normalized_shape)}")
        return layers.LayerNorm(module.normalized_shape[0], module.eps), dict(module.named_parameters())

    def flatten(module: Any) -> Made:
        if (module.start_dim, module.end_dim) != (1, -1):
            raise FormatError(f"Flatten must be from axis 1 to the last, got {module.start_dim} to {module.end_dim}")
        return layers.Flatten(), {}

    def softmax(module: Any) -> Made:
        if module.dim is None:
            raise FormatError("Softmax must name its axis: nn.Softmax(dim=-1)")
        return layers.Softmax(getattr(module, "temperature", 1.0), module.dim), {}

    def gated(module: Any) -> Made:
        own = dict(module.named_parameters())
        if any(type(part) is not modules.Projection for part in (module.content, module.gate)):
            raise FormatError("content and gate of a gated unit must be projections, as to_torch makes them")
        n_in, n_out = module.content.weight.shape
        return GATED[module.unit.lower()](n_in, n_out, bias="content.bias" in own), own

    return {
        nn.Linear: linear,
        modules.FlatLinear: linear,
        nn.LayerNorm: norm,
        nn.Flatten: flatten,
        nn.Softmax: softmax,
        modules.Softmax: softmax,
        modules.Gated: gated,
        nn.Identity: lambda module: (layers.Identity(), {}),
        nn.Sigmoid: lambda module: (layers.Sigmoid(), {}),
        nn.Tanh: lambda module: (layers.Tanh(), {}),
        nn.ReLU: lambda module: (layers.ReLU(), {}),
        nn.LeakyReLU: lambda module: (layers.LeakyReLU(module.negative_slope), {}),
        nn.GELU: lambda module: (layers.GELU(module.approximate), {}),
        nn.SiLU: lambda module: (layers.Swish(), {}),
        modules.Swish: lambda module: (layers.Swish(module.beta), {}),
        nn.Dropout: lambda module: (layers.Dropout(module.p), {}),
    }
