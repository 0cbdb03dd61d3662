"""The general container: a graph of ops and layers, run forward and backward, with each gradient to be looked at."""

from handgrad.models.graph.graph import Graph
from handgrad.models.graph.nodes import Node
from handgrad.models.graph.run import Edge, Run

__all__ = ["Edge", "Graph", "Node", "Run"]
