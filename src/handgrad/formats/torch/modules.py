"""Modules for the layers that PyTorch has none of, on its own operations. Imported only where PyTorch is.

Their parameters have Handgrad's names and, but for `FlatLinear`, Handgrad's shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "GLU": torch.sigmoid,
    "SwiGLU": F.silu,
    "Bilinear": lambda x: x,
    "ReGLU": F.relu,
    "GEGLU": F.gelu,
}


class FlatLinear(nn.Linear):
    """nn.Linear of samples of any shape, each flattened."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (m, d1, ..., dk), with d1 * ... * dk inputs."""
        return super().forward(x.flatten(1))


class Projection(nn.Module):
    """x W + b, W (n_in, n_out), as a gated unit keeps it."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., n_in)."""
        z = x @ self.weight
        return z if self.bias is None else z + self.bias


class Gated(nn.Module):
    """(x W1 + b1) * f(x W2 + b2), with the f that GATES has for its `unit`."""

    def __init__(self, unit: str, content: Projection, gate: Projection):
        super().__init__()
        self.unit, self.content, self.gate = unit, content, gate

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., n_in)."""
        return self.content(x) * GATES[self.unit](self.gate(x))

    def extra_repr(self) -> str:
        """Its unit, where the module is shown."""
        return repr(self.unit)


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """x: of a shape that the layer keeps."""
        return x + self.layer(x)


class Swish(nn.Module):
    """x sigmoid(beta x)."""

    def __init__(self, beta: float):
        super().__init__()
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        """x: of any shape."""
        return x * torch.sigmoid(self.beta * x)

    def extra_repr(self) -> str:
        """Its beta, where the module is shown."""
        return f"beta={self.beta}"


class Softmax(nn.Module):
    """softmax(x / temperature) over one axis."""

    def __init__(self, temperature: float, dim: int):
        super().__init__()
        self.temperature, self.dim = temperature, dim

    def forward(self, x: Tensor) -> Tensor:
        """x: of any shape that has the axis."""
        return torch.softmax(x / self.temperature, dim=self.dim)

    def extra_repr(self) -> str:
        """Its arguments, where the module is shown."""
        return f"temperature={self.temperature}, dim={self.dim}"


class FirstName:
    """After state_dict: keeps a shared parameter under its first name alone, as a file of `save` has it."""

    def __init__(self, first: Mapping[str, str]):
        """first: for each further name, the first one."""
        self.first = dict(first)

    def __call__(self, module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        """As PyTorch calls it."""
        for name in self.first:
            state.pop(prefix + name, None)


class EveryName(FirstName):
    """Before load_state_dict: gives a shared parameter its further names."""

    def __call__(self, module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        """As PyTorch calls it."""
        for name, first in self.first.items():
            if prefix + first in state:
                state.setdefault(prefix + name, state[prefix + first])
