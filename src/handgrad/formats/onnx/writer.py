"""A graph of ONNX nodes as it is built: names that are given once, arrays that are kept once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from handgrad.errors import HandgradError
from handgrad.formats.errors import FormatError
from handgrad.formats.extras import extra

# What every file says it needs. Operator set 20 has all of Gelu and LayerNormalization; with it came the version 9 of
# the format (ONNX 1.15, November 2023). ONNX Runtime reads both from 1.17 on.
OPSET, ML_OPSET, IR_VERSION = 20, 3, 9
BATCH = "batch"  # the name of the axis of samples, whose length is free
ML = "ai.onnx.ml"


class Writer:
    """Nodes, their constants, the graph's inputs and outputs. Values go by their names."""

    def __init__(self, dtype: np.dtype[Any]):
        """dtype: what the network computes in."""
        self.onnx = extra("onnx", "to_onnx")
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._names: set[str] = set()
        self._place = ""

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """What is added meanwhile is named after that place, and errors name it."""
        before, self._place = self._place, f"{self._place}.{place}" if self._place else place
        try:
            yield
        except HandgradError as error:
            raise error.within(place) from None
        finally:
            self._place = before

    def __call__(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        name = self._new(op)
        node = self.onnx.helper.make_node(op, inputs, [name], name=name, domain=domain or None, **attributes)
        self.nodes.append(node)
        return name

    def constant(self, value: Any, name: str = "constant", dtype: Any = None) -> str:
        """Keep an array, or a number of the network's dtype; returns its name."""
        name = self._new(name)
        self.constants[name] = self.onnx.numpy_helper.from_array(np.asarray(value, dtype or self.dtype), name)
        return name

    def parameter(self, name: str, array: np.ndarray) -> None:
        """Keep a parameter under its own name."""
        self._names.add(name)
        self.constants[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)

    def input(self, name: str, dtype: Any, shape: Sequence[int]) -> str:
        """An input of that shape a sample; returns its name."""
        self.inputs.append(self._info(self._free(name), dtype, shape))
        return name

    def output(self, value: str, name: str, dtype: Any, shape: Sequence[int]) -> None:
        """Give a value out under that name."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [self._free(name)], name=name))
        self.outputs.append(self._info(name, dtype, shape))

    def cast(self, x: str, dtype: Any) -> str:
        """The value as another type."""
        return self("Cast", x, to=self._type(dtype))

    def model(self) -> Any:
        """The whole as a ModelProto, which ONNX's own checker has passed."""
        helper = self.onnx.helper
        used = {node.domain for node in self.nodes}
        opsets = [helper.make_opsetid("", OPSET), *([helper.make_opsetid(ML, ML_OPSET)] if ML in used else [])]
        read = {name for node in self.nodes for name in node.input}
        constants = [tensor for name, tensor in self.constants.items() if name in read]
        graph = helper.make_graph(self.nodes, "handgrad", self.inputs, self.outputs, constants)
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="handgrad",
        )
        self.onnx.checker.check_model(model, full_check=True)
        return model

    def _free(self, name: str) -> str:
        """A name that cannot be changed, as callers feed and ask by it."""
        if not name or name in self._names:
            raise FormatError(f"an input or output must have a name of its own, not empty, got {name!r}")
        self._names.add(name)
        return name

    def _new(self, base: str) -> str:
        base = f"{self._place}/{base}" if self._place else base
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        return name

    def _type(self, dtype: Any) -> int:
        kind = np.dtype(dtype)
        kind = np.dtype(object) if kind.kind in "OUS" else kind  # text
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(kind))

    def _info(self, name: str, dtype: Any, shape: Sequence[int]) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, self._type(dtype), [BATCH, *shape])
