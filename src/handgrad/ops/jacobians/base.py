"""The contract of a Jacobian: a linear map that multiplies from both sides, is transposed, and is formed on demand."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import array_api_compat

from handgrad.errors import ShapeError
from handgrad.ops.arrays import Array, namespace_of, operand

Shape = tuple[int, ...]


class Jacobian(ABC):
    """The derivative of an output by an input, J[i, j] = d out_i / d in_j, kept as its structure, not as its numbers.

    J @ v       J v: what a change v of the input, of shape in_shape, makes of the output
    u @ J       J^T u: the downstream gradient of an upstream gradient u, of shape out_shape
    J.T         the transpose, which takes u to J^T u
    J @ K       the chain rule, K first;  J + K  the sum of two ways from one input to one output
    J.dense()   all its numbers, of shape (*out_shape, *in_shape), which is also J.shape
    J.blocks()  where it is block diagonal over the batch (J.batch): each sample's own block, (m, *out, *in)

    `text` and `latex` say what it is. A subclass gives `_push`, v to J v, and `_pull`, u to J^T u.
    """

    __array_ufunc__ = None  # NumPy leaves u @ J to us

    text: str
    latex: str
    batch: bool = False
    _pushes: bool = True  # whether _push is more than a loop over _pull

    def __init__(self, out_shape: Shape, in_shape: Shape, like: Array, text: str, latex: str, batch: bool = False):
        self.out_shape, self.in_shape = tuple(out_shape), tuple(in_shape)
        # the library, dtype and device of its numbers
        self._like = namespace_of(like=like).empty(0, dtype=like.dtype, device=array_api_compat.device(like))
        self.text, self.latex, self.batch = text, latex, batch

    @abstractmethod
    def _push(self, v: Array) -> Array: ...

    @abstractmethod
    def _pull(self, u: Array) -> Array: ...

    @property
    def shape(self) -> Shape:
        """(*out_shape, *in_shape)."""
        return (*self.out_shape, *self.in_shape)

    @property
    def size(self) -> int:
        """How many numbers `dense` gives."""
        return math.prod(self.shape)

    @property
    def T(self) -> Jacobian:
        """The transpose, from out_shape to in_shape."""
        return Transposed(self)

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, Jacobian):
            return product(self, other)
        return self._push(self._fitting(other, self.in_shape, "J @ v: v", "input"))

    def __rmatmul__(self, other: Any) -> Array:
        return self._pull(self._fitting(other, self.out_shape, "u @ J: u", "output"))

    def __add__(self, other: Any) -> Jacobian:
        return total(self, other) if isinstance(other, Jacobian) else NotImplemented

    def dense(self) -> Array:
        """All numbers, (*out_shape, *in_shape), from products with one basis vector after the other."""
        if not self.batch:
            numbers = self._basis_products(1, math.prod(self.out_shape), math.prod(self.in_shape))[0]
            return namespace_of(numbers=numbers).reshape(numbers, self.shape)
        blocks = self._blocks()
        xp = namespace_of(blocks=blocks)
        m, n_out, n_in = blocks.shape
        numbers = xp.zeros((m, n_out, m, n_in), dtype=blocks.dtype, device=array_api_compat.device(blocks))
        for i in range(m):
            numbers[i, :, i, :] = blocks[i, :, :]
        return xp.reshape(numbers, self.shape)

    def blocks(self) -> Array:
        """Each sample's own Jacobian, (m, *output, *input). Raises ShapeError where `batch` is False."""
        if not self.batch:
            raise ShapeError(f"{self!r} is not block diagonal over a batch, so that it has no blocks; see dense()")
        blocks = self._blocks()
        shape = (self.out_shape[0], *self.out_shape[1:], *self.in_shape[1:])
        return namespace_of(blocks=blocks).reshape(blocks, shape)

    def density(self) -> float:
        """The share of its numbers that are not 0, which are formed to be counted."""
        numbers = self.dense()
        return float(namespace_of(numbers=numbers).sum(numbers != 0)) / max(1, self.size)

    def _blocks(self) -> Array:
        return self._basis_products(self.out_shape[0], math.prod(self.out_shape[1:]), math.prod(self.in_shape[1:]))

    def _basis_products(self, m: int, n_out: int, n_in: int) -> Array:
        """(m, n_out, n_in): every column, or every row where those are fewer, of all m blocks at once."""
        xp, by_rows = namespace_of(like=self._like), n_out < n_in or not self._pushes
        multiply, shape = (self._pull, self.out_shape) if by_rows else (self._push, self.in_shape)
        count, other = (n_out, n_in) if by_rows else (n_in, n_out)
        device = array_api_compat.device(self._like)
        vectors = []
        for k in range(count):
            basis = xp.zeros((m, count), dtype=self._like.dtype, device=device)
            basis[:, k] = 1
            vectors.append(xp.reshape(multiply(xp.reshape(basis, shape)), (m, other)))
        if not vectors:
            return xp.zeros((m, n_out, n_in), dtype=self._like.dtype, device=device)
        return xp.stack(vectors, axis=1 if by_rows else 2)

    def _fitting(self, vector: Any, shape: Shape, name: str, what: str) -> Array:
        like = self._like
        if isinstance(vector, list | tuple):
            vector = namespace_of(like=like).asarray(vector, dtype=like.dtype, device=array_api_compat.device(like))
        vector = operand(vector, like)
        if tuple(vector.shape) != shape:
            raise ShapeError(f"{name} must have the shape of the {what}, {shape}, got {tuple(vector.shape)}")
        return vector

    def __repr__(self) -> str:
        return f"Jacobian, {self.out_shape} by {self.in_shape}: {self.text}"

    def _repr_latex_(self) -> str:
        return f"${self.latex}$"


class Transposed(Jacobian):
    """J^T of another J."""

    def __init__(self, of: Jacobian, text: str = "", latex: str = ""):
        text, latex = text or f"{_factor(of.text)}ᵀ", latex or rf"{_factor(of.latex)}^\top"
        super().__init__(of.in_shape, of.out_shape, of._like, text, latex, of.batch)
        self.of = of

    def _push(self, v: Array) -> Array:
        return self.of._pull(v)

    def _pull(self, u: Array) -> Array:
        return self.of._push(u)

    @property
    def T(self) -> Jacobian:
        return self.of


class Product(Jacobian):
    """The chain rule: factors one after the other, the last first."""

    def __init__(self, factors: tuple[Jacobian, ...]):
        text, latex = (" ".join(_factor(getattr(f, kind)) for f in factors) for kind in ("text", "latex"))
        first, last = factors[0], factors[-1]
        super().__init__(first.out_shape, last.in_shape, last._like, text, latex, all(f.batch for f in factors))
        self.factors = factors

    def _push(self, v: Array) -> Array:
        for factor in reversed(self.factors):
            v = factor._push(v)
        return v

    def _pull(self, u: Array) -> Array:
        for factor in self.factors:
            u = factor._pull(u)
        return u

    @property
    def T(self) -> Jacobian:
        return Product(tuple(factor.T for factor in reversed(self.factors)))


class Sum(Jacobian):
    """Several ways from one input to one output, whose derivatives add."""

    def __init__(self, terms: tuple[Jacobian, ...]):
        text, latex = (" + ".join(getattr(t, kind) for t in terms) for kind in ("text", "latex"))
        one = terms[0]
        super().__init__(one.out_shape, one.in_shape, one._like, text, latex, all(t.batch for t in terms))
        self.terms = terms

    def _push(self, v: Array) -> Array:
        first, *rest = (term._push(v) for term in self.terms)
        for each in rest:
            first = first + each
        return first

    def _pull(self, u: Array) -> Array:
        first, *rest = (term._pull(u) for term in self.terms)
        for each in rest:
            first = first + each
        return first

    @property
    def T(self) -> Jacobian:
        return Sum(tuple(term.T for term in self.terms))


def product(*maps: Jacobian) -> Jacobian:
    """The product of Jacobians, the last applied first. Raises ShapeError where their shapes do not fit."""
    for left, right in pairwise(maps):
        if left.in_shape != right.out_shape:
            raise ShapeError(f"{left!r} takes {left.in_shape}, but {right!r} gives {right.out_shape}")
    factors = [f for each in maps for f in (each.factors if isinstance(each, Product) else (each,))]
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def total(*maps: Jacobian) -> Jacobian:
    """The sum of Jacobians of one shape. Raises ShapeError where their shapes differ."""
    for other in maps[1:]:
        if (other.out_shape, other.in_shape) != (maps[0].out_shape, maps[0].in_shape):
            raise ShapeError(f"{maps[0]!r} and {other!r} must have one shape to be added")
    terms = [t for each in maps for t in (each.terms if isinstance(each, Sum) else (each,))]
    return terms[0] if len(terms) == 1 else Sum(tuple(terms))


def _factor(text: str) -> str:
    """The text of a factor, in brackets where it is made of several parts."""
    depth = 0
    for character in text:
        depth += (character in "({") - (character in ")}")
        if character in " ⊗" and depth == 0:
            return f"({text})"
    return text
