"""What is known of a value on its way through an ONNX graph: the layers that it has come through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import handgrad.layers as layers
from handgrad.formats.errors import FormatError
from handgrad.layers.base import Layer
from handgrad.layers.gated import Gated
from handgrad.models import Residual, Sequential

DEEPEST = 100  # residual layers within one another
MOST_WITHIN = 20_000  # layers within residual ones, each counted where it stands
TIMES, SPARE = 8, 2**24  # what reading may allocate: so many times the file's bytes, and these besides


@dataclass(frozen=True, eq=False)
class Affine:
    """scale * x + shift, each a number or one for each feature: on the way into a linear layer, or out of it."""

    scale: np.ndarray
    shift: np.ndarray

    @property
    def factor(self) -> float | None:
        """The number that x is multiplied by, where that is all it is."""
        if self.scale.size != 1 or self.shift.any():
            return None
        return shortest(self.scale.reshape(-1)[0], self.scale.dtype)


class Erf:
    """On the way to GELU."""


@dataclass(frozen=True)
class Power:
    """x to a whole power: on the way to the approximation of GELU by tanh."""

    exponent: int


class Cubic:
    """x + 0.044715 x^3: on the way there, too."""


class Positive:
    """Whether x > 0: on the way to LeakyReLU."""


@dataclass(frozen=True, eq=False)
class Flow:
    """A value: that of its parent after a step; the graph's input has neither. rank: axes, None where not known."""

    parent: Flow | None = None
    step: Any = None
    rank: int | None = None
    label: str = ""
    depth: int = 0
    nested: int = 0

    def then(self, step: Any, label: str, rank: int | None = None, nested: int = 0) -> Flow:
        """This value after a step, which keeps the number of axes unless `rank` is given."""
        return Flow(self, step, self.rank if rank is None else rank, label, self.depth + 1, max(self.nested, nested))

    def affine(self, scale: Any, shift: Any, label: str) -> Flow:
        """This value times `scale`, plus `shift`; one after another are one."""
        scale, shift = np.asarray(scale), np.asarray(shift)
        base: Flow = self
        if isinstance(self.step, Affine) and self.parent is not None:
            scale, shift, base = scale * self.step.scale, scale * self.step.shift + shift, self.parent
        if np.allclose(scale, 1, rtol=1e-6, atol=0) and not shift.any():
            return base
        return base.then(Affine(scale, shift), label)

    def scaled(self) -> tuple[Flow, float]:
        """(what this value is a multiple of, by what number)."""
        if isinstance(self.step, Affine) and self.parent is not None and self.step.factor is not None:
            return self.parent, self.step.factor
        return self, 1.0

    def after(self, *kinds: type) -> Flow | None:
        """The value that such steps, the last one first, came from; None where the steps are others."""
        at: Flow | None = self
        for kind in kinds:
            if at is None or not isinstance(at.step, kind):
                return None
            at = at.parent
        return at

    def width(self) -> int | None:
        """The length of the last axis, as far as layers say it."""
        at: Flow | None = self
        while at is not None and at.parent is not None:
            if isinstance(at.step, layers.Linear | Gated):
                return at.step.n_out
            if isinstance(at.step, Residual | layers.Flatten):
                return None
            at = at.parent
        return None

    def descends(self, other: Flow) -> bool:
        """Whether the other value is this one or comes before it."""
        at: Flow | None = self
        while at is not None and at.depth > other.depth:
            at = at.parent
        return at is other


@dataclass
class Store:
    """Layers, each made once, and their parameters. left: bytes that these may still take."""

    left: int
    within: int = 0
    values: dict[Any, np.ndarray] = field(default_factory=dict)
    made: dict[Any, Layer] = field(default_factory=dict)
    keys: dict[int, Any] = field(default_factory=dict)  # what each was made for
    types: dict[Any, str] = field(default_factory=dict)  # of parameters, and where each was met first

    def layer(self, key: Any, layer: Layer, arrays: dict[str, np.ndarray], label: str) -> Layer:
        """The layer made before for this key, if any, or this one with these parameters."""
        if key in self.made:
            return self.made[key]
        for name, unique in layer.parameter_keys().items():
            self.values[unique] = arrays[name]
            self.types.setdefault(arrays[name].dtype, label)
        key = (id(layer),) if key is None else key
        self.made[key], self.keys[id(layer)] = layer, key
        return layer

    def spend(self, size: int) -> None:
        """Count bytes before they are allocated. Raises FormatError where they are far more than the file's own."""
        self.left -= size
        if self.left < 0:
            raise FormatError("its tensors are used so often that the parameters would be far larger than the file")

    def linear(self, key: Any, weight: np.ndarray, bias: np.ndarray | None, layout: str, label: str) -> Layer:
        """The linear layer of these arrays."""
        n_in, n_out = weight.shape if layout == "in_out" else weight.shape[::-1]
        layer = layers.Linear(n_in, n_out, bias=bias is not None, layout=layout)
        return self.layer(key, layer, {"weight": weight} | ({} if bias is None else {"bias": bias}), label)

    def map_of(self, layer: layers.Linear) -> tuple[np.ndarray, np.ndarray]:
        """A linear layer's weight, (n_in, n_out), and bias, zeros where it has none."""
        weight = self.values[id(layer), "weight"]
        weight = weight if layer.layout == "in_out" else weight.T
        return weight, self.values.get((id(layer), "bias"), np.zeros(layer.n_out, weight.dtype))

    def gated(self, kind: type[Gated], content: layers.Linear, gate: layers.Linear, label: str) -> Layer:
        """The gated unit of two linear layers."""
        bias = content.bias or gate.bias
        arrays = {}
        for name, part in (("content", content), ("gate", gate)):
            arrays[f"{name}.weight"], arrays[f"{name}.bias"] = self.map_of(part)
        arrays = {name: array for name, array in arrays.items() if bias or not name.endswith("bias")}
        return self.layer((kind, id(content), id(gate)), kind(content.n_in, content.n_out, bias=bias), arrays, label)

    def residual(self, start: Flow, end: Flow, label: str) -> Flow:
        """start + end, where `end` comes from `start`."""
        steps = self._steps(start, end)
        self.within += len(steps)
        if self.within > MOST_WITHIN:
            raise FormatError(f"residual layers must hold at most {MOST_WITHIN} layers in all")
        nested = 1 + max((at.nested for at in steps), default=0)
        if nested > DEEPEST:
            raise FormatError(f"residual layers must be nested {DEEPEST} deep at most")
        found = self.path(start, end)
        layer = Residual(found[0] if len(found) == 1 else Sequential(found))
        return start.then(self.made.setdefault(("residual", *map(id, found)), layer), label, nested=nested)

    def path(self, start: Flow | None, end: Flow) -> list[Layer]:
        """The layers from one value to a later one. Raises FormatError for a step that is part of no layer."""
        steps = self._steps(start, end)
        found: list[Layer] = []
        for i, at in enumerate(steps):
            before = steps[i - 1].step if i else None
            after = steps[i + 1].step if i + 1 < len(steps) else None
            if isinstance(at.step, Affine) and isinstance(before, layers.Linear):
                found[-1] = self._joined(found[-1], at.step, at.label)
            elif isinstance(at.step, Affine) and isinstance(after, layers.Linear):
                continue
            elif not isinstance(at.step, Layer):
                raise FormatError(f"{at.label}: it is part of no layer that from_onnx knows")
            elif isinstance(at.step, layers.Linear) and isinstance(before, Affine):
                first = i > 1 and isinstance(steps[i - 2].step, layers.Linear)
                found.append(at.step if first else self._fed(before, at.step, at.label))
            else:
                found.append(at.step)
        return found

    def _steps(self, start: Flow | None, end: Flow) -> list[Flow]:
        steps = []
        at = end
        while at is not start and at.parent is not None:
            steps.append(at)
            at = at.parent
        return steps[::-1]

    def _fed(self, affine: Affine, layer: layers.Linear, label: str) -> Layer:
        """The linear layer after scale and shift, as one: (s x + t) W + b = x (s W) + (t W + b)."""
        weight, bias = self.map_of(layer)
        self.spend(3 * weight.nbytes)
        scale, shift = _wide(affine, layer.n_in)
        dtype = weight.dtype
        return self.linear(
            None, (scale[:, None] * weight).astype(dtype), (shift @ weight + bias).astype(dtype), "in_out", label
        )

    def _joined(self, layer: Any, affine: Affine, label: str) -> Layer:
        """Scale and shift after the linear layer, as one: s (x W + b) + t = x (W s) + (s b + t)."""
        weight, bias = self.map_of(layer)
        self.spend(3 * weight.nbytes)
        scale, shift = _wide(affine, layer.n_out)
        dtype = weight.dtype
        return self.linear(None, (weight * scale).astype(dtype), (bias * scale + shift).astype(dtype), "in_out", label)


def shortest(number: float, dtype: Any) -> float:
    """The number as it was most likely written, before float32 made 0.00999999977 of 0.01."""
    return float(str(np.float32(number))) if dtype == np.float32 else float(number)


def _wide(affine: Affine, n: int) -> list[np.ndarray]:
    for array in (affine.scale, affine.shift):
        if array.size not in (1, n):
            raise FormatError(f"a constant must have one number, or one for each of {n} features, got {array.shape}")
    return [np.broadcast_to(array.reshape(-1), (n,)).astype(np.float64) for array in (affine.scale, affine.shift)]
