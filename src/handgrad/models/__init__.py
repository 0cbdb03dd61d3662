"""Containers: layers made of layers, which keep the caches on the way forward and hand them back in reverse."""

from handgrad.models.container import Container
from handgrad.models.graph import Graph
from handgrad.models.mlp import mlp
from handgrad.models.residual import Residual
from handgrad.models.sequential import Sequential

__all__ = ["Container", "Graph", "Residual", "Sequential", "mlp"]
