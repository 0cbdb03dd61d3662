"""A node of an ONNX graph with what its inputs are, as an operator's handler gets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handgrad.formats.errors import FormatError
from handgrad.formats.onnx.document import Constant, Document, Node, short
from handgrad.formats.onnx.flow import Flow, Store

Value = Constant | Flow


@dataclass
class Call:
    """A node with its inputs' values."""

    node: Node
    values: list[Value | None]
    document: Document
    store: Store
    given: tuple[int | None, ...] | None  # the shape of the graph's input

    @property
    def label(self) -> str:
        """Its name for errors."""
        return self.node.label

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the default's type, or the default."""
        value = self.node.attributes.get(name, default)
        if isinstance(value, FormatError):
            raise value
        kind = (int, float) if type(default) is float else type(default)
        if default is not None and not isinstance(value, kind):
            raise FormatError(f"the attribute {name} must be a {type(default).__name__}, got {short(value)}")
        return value

    def flow(self, place: int = 0) -> Flow:
        """The input at that place, which must depend on the graph's input."""
        value = self.values[place] if place < len(self.values) else None
        if not isinstance(value, Flow):
            raise FormatError(f"its input {place} must come from the graph's input")
        return value

    def constant(self, place: int) -> Constant | None:
        """The input at that place, which must be a constant, or None where it is left out."""
        value = self.values[place] if place < len(self.values) else None
        if isinstance(value, Flow):
            raise FormatError(f"its input {place} must be a constant")
        return value

    def floats(self, place: int) -> Constant:
        """The constant at that place, of floating-point numbers."""
        value = self.constant(place)
        if value is None or value.array.dtype.kind != "f":
            got = "none" if value is None else value.array.dtype.name
            raise FormatError(f"its input {place} must hold floating-point numbers, got {got}")
        return value

    def number(self, place: int, default: float) -> float:
        """The single number at that place."""
        value = self.constant(place)
        if value is None:
            return default
        if value.array.size != 1:
            raise FormatError(f"its input {place} must be one number, got shape {value.array.shape}")
        return float(value.array.reshape(-1)[0])


Handler = Callable[[Call], Value]
