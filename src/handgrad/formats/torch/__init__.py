"""PyTorch: a model as an nn.Module, and a Sequential of known modules as a model, with equal outputs and gradients."""

from handgrad.formats.torch.reading import from_torch
from handgrad.formats.torch.writing import to_torch

__all__ = ["from_torch", "to_torch"]
