"""The parameters of a model: one flat vector, with a named view for each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import array_api_compat
import numpy as np

import handgrad.pages as pages
from handgrad.errors import DTypeError, ParameterError, ShapeError
from handgrad.initializers import Initializer
from handgrad.ops.arrays import Array


@dataclass(frozen=True)
class Parameter:
    """What a layer says of one of its parameters, before any value exists.

    shape: the array's shape. init: draws its first value. decays: whether L2 and weight decay pull it to 0 (weights do,
    biases and normalization's scale and shift do not).
    """

    shape: tuple[int, ...]
    init: Initializer
    decays: bool = True


class Parameters(Mapping[str, Array]):
    """A mapping from names, such as "0.weight", to arrays that are views of one flat vector, `.flat`.

    Gradients come in the same form. Optimizers, clipping and checkpoints work on `.flat` in one pass, layers on the
    views. The views and `.flat` share memory: to write to one is to write to both.
    """

    __slots__ = ("_flat", "_views", "specs")

    def __init__(self, specs: Mapping[str, Parameter], flat: Array):
        """specs: what each parameter is, in the order of the vector. flat: (total,), of any array library."""
        size = sum(math.prod(spec.shape) for spec in specs.values())
        if tuple(flat.shape) != (size,):
            raise ShapeError(f"flat must have shape {(size,)} to hold these parameters, got {tuple(flat.shape)}")
        self.specs = dict(specs)
        self._flat = flat
        views, offset = {}, 0
        for name, spec in specs.items():
            end = offset + math.prod(spec.shape)
            views[name] = flat[offset:end].reshape(spec.shape) if len(spec.shape) != 1 else flat[offset:end]
            offset = end
        self._views = views

    @classmethod
    def draw(cls, specs: Mapping[str, Parameter], rng: np.random.Generator | int, dtype: Any = np.float64) -> Self:
        """First values, each by its own initializer, in the order of `specs`. rng: a generator or a seed."""
        dtype = np.dtype(dtype)
        if dtype.kind != "f":
            raise DTypeError(f"dtype must be a floating-point type, got {dtype}")
        rng = np.random.default_rng(rng)
        params = cls(specs, pages.zeros(sum(math.prod(spec.shape) for spec in specs.values()), dtype))
        for name, spec in specs.items():
            value = spec.init(rng, spec.shape)
            if np.shape(value) != spec.shape:
                raise ShapeError(f"init of {name!r} must give shape {spec.shape}, got {np.shape(value)}")
            params[name][...] = value
        return params

    def like(self, flat: Array) -> Self:
        """The same names and shapes over another flat vector."""
        return type(self)(self.specs, flat)

    def pack(self, arrays: Mapping[str, Array]) -> Self:
        """Copies of `arrays`, one for each name, as Parameters over one new vector. None stands for zeros."""
        self.check_names(arrays)
        flat = array_api_compat.array_namespace(self.flat).empty_like(self.flat)
        packed = self.like(flat)
        for name, view in packed._views.items():
            value = arrays[name]
            if value is None:
                view[...] = 0
            elif value.shape != view.shape:
                raise ShapeError(f"{name!r} must have shape {tuple(view.shape)}, got {tuple(value.shape)}")
            else:
                view[...] = value
        return packed

    def check_names(self, arrays: Mapping[str, Any]) -> None:
        """Raise ParameterError, which lists them, when names are missing or unknown."""
        if arrays.keys() != self._views.keys():
            missing = sorted(self._views.keys() - arrays.keys())
            unknown = sorted(arrays.keys() - self._views.keys())
            raise ParameterError(f"parameters do not match the model's: missing {missing}, unknown {unknown}")

    @property
    def flat(self) -> Array:
        """The vector of all numbers, of which the arrays under the names are views."""
        return self._flat

    @flat.setter
    def flat(self, vector: Array) -> None:
        if vector is not self._flat:  # `params.flat -= step` sets the vector that it has changed in place
            raise ParameterError(
                "flat cannot be another vector, of which the arrays under the names would be no views: "
                "write params.flat[...] = vector, or take params.like(vector)"
            )

    @property
    def decays(self) -> Array:
        """A vector beside `.flat`: 1 where weight decay applies, else 0, in its dtype."""
        xp = array_api_compat.array_namespace(self.flat)
        mask = self.like(xp.zeros_like(self.flat))
        for name, spec in self.specs.items():
            if spec.decays:
                mask[name][...] = 1
        return mask.flat

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same names and shapes and equal numbers."""
        if not isinstance(other, Parameters) or self.specs.keys() != other.specs.keys():
            return False
        if any(self[name].shape != other[name].shape for name in self):
            return False
        return bool((self.flat == other.flat).all())

    __hash__ = None  # type: ignore[assignment]  # its numbers may change

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.specs, self.flat)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name!r}: {spec.shape}" for name, spec in self.specs.items())
        return f"Parameters({{{shapes}}}, {self.flat.shape[0]} {self.flat.dtype} numbers)"
