"""The structures that Jacobians have: diagonal, broadcast or summed, reshaped, Kronecker, softmax's, a function's."""

from __future__ import annotations

import math
from collections.abc import Callable

import array_api_compat

from handgrad.ops.arrays import Array, broadcast, namespace_of, sum_to_shape
from handgrad.ops.jacobians.base import Jacobian, Shape, Transposed


class Diagonal(Jacobian):
    """diag(d): each output depends on the input at its own place alone. d has the shape of both."""

    def __init__(self, d: Array, text: str = "diag(d)", latex: str = r"\operatorname{diag}(d)"):
        super().__init__(d.shape, d.shape, d, text, latex, batch=d.ndim > 0)
        self.d = d

    def _push(self, v: Array) -> Array:
        return self.d * v

    def _pull(self, u: Array) -> Array:
        return self.d * u

    @property
    def T(self) -> Jacobian:
        return self


class Reshaped(Jacobian):
    """The same numbers in another shape: a permutation, and the identity where both shapes are one."""

    def __init__(self, out_shape: Shape, in_shape: Shape, like: Array):
        same = tuple(out_shape) == tuple(in_shape)
        text, latex = ("I", "I") if same else ("reshape", r"\operatorname{reshape}")
        batch = len(out_shape) > 0 and len(in_shape) > 0 and out_shape[0] == in_shape[0]
        super().__init__(out_shape, in_shape, like, text, latex, batch)

    def _push(self, v: Array) -> Array:
        return namespace_of(v=v).reshape(v, self.out_shape)

    def _pull(self, u: Array) -> Array:
        return namespace_of(u=u).reshape(u, self.in_shape)

    @property
    def T(self) -> Jacobian:
        return Reshaped(self.in_shape, self.out_shape, self._like)


class Stretched(Jacobian):
    """v broadcast to the output's shape, times a factor for each element; its transpose sums where v was stretched.

    factor: an array of the output's shape, or one number. kept: in_shape with an axis of length 1 for each that is
    stretched, where broadcasting alone would not say which these are.
    """

    def __init__(
        self,
        factor: Array | float,
        out_shape: Shape,
        in_shape: Shape,
        like: Array,
        kept: Shape | None = None,
        text: str = "diag(d) 1",
        latex: str = r"\operatorname{diag}(d) \mathbf{1}",
    ):
        kept = tuple(in_shape if kept is None else kept)
        batch = len(kept) == len(out_shape) > 0 and len(in_shape) > 0 and kept[0] == out_shape[0] == in_shape[0]
        super().__init__(out_shape, in_shape, like, text, latex, batch)
        self.factor, self.kept = factor, kept

    def _push(self, v: Array) -> Array:
        xp = namespace_of(v=v)
        return broadcast(xp, xp.reshape(v, self.kept), self.out_shape) * self.factor

    def _pull(self, u: Array) -> Array:
        xp = namespace_of(u=u)
        return xp.reshape(sum_to_shape(xp, u * self.factor, self.kept), self.in_shape)


def pooled(
    factor: Array,
    out_shape: Shape,
    kept: Shape,
    text: str = "1ᵀ diag(d)",
    latex: str = r"\mathbf{1}^\top\operatorname{diag}(d)",
) -> Jacobian:
    """Weighted sums of the input: the transpose of stretching. factor: of the input's shape, each element's share."""
    return Transposed(Stretched(factor, factor.shape, out_shape, factor, kept), text, latex)


class SoftmaxJacobian(Jacobian):
    """(diag(p) - p p^T) / T along one axis, for each place along the others. Symmetric."""

    def __init__(self, p: Array, temperature: float, axis: int, tag: str = ""):
        text, latex = f"diag(p{tag}) - p{tag} p{tag}ᵀ", rf"\operatorname{{diag}}(p{tag}) - p{tag}\,p{tag}^\top"
        if temperature != 1:
            text, latex = f"({text}) / {temperature:g}", rf"\frac{{1}}{{{temperature:g}}}\left({latex}\right)"
        super().__init__(p.shape, p.shape, p, text, latex, batch=p.ndim > 1 and axis != 0)
        self.p, self.temperature, self.axis = p, temperature, axis

    def _push(self, v: Array) -> Array:
        mean = namespace_of(v=v).sum(self.p * v, axis=self.axis, keepdims=True)
        return self.p * (v - mean) / self.temperature

    def _pull(self, u: Array) -> Array:
        return self._push(u)

    @property
    def T(self) -> Jacobian:
        return self


class Kronecker(Jacobian):
    """V to A V B, for the input as a matrix V: A ⊗ B^T over its rows, one after the other. None stands for an identity.

    matrix: (rows, columns) of V. flipped: the input is V^T, kept as (columns, rows).
    """

    def __init__(
        self,
        left: Array | None,
        right: Array | None,
        out_shape: Shape,
        in_shape: Shape,
        matrix: tuple[int, int],
        flipped: bool = False,
        text: str = "A ⊗ Bᵀ",
        latex: str = r"A \otimes B^\top",
    ):
        batch = (
            left is None and not flipped and len(in_shape) > 1 and len(out_shape) > 1 and in_shape[0] == out_shape[0]
        )
        super().__init__(out_shape, in_shape, left if right is None else right, text, latex, batch)
        self.left, self.right, self.matrix, self.flipped = left, right, matrix, flipped
        self._out = (matrix[0] if left is None else left.shape[0], matrix[1] if right is None else right.shape[1])

    def _push(self, v: Array) -> Array:
        xp = namespace_of(v=v)
        v = xp.reshape(v, self.matrix[::-1]).mT if self.flipped else xp.reshape(v, self.matrix)
        return xp.reshape(_between(self.left, v, self.right), self.out_shape)

    def _pull(self, u: Array) -> Array:
        xp = namespace_of(u=u)
        v = _between(_transpose(self.left), xp.reshape(u, self._out), _transpose(self.right))
        return xp.reshape(v.mT if self.flipped else v, self.in_shape)

    @property
    def T(self) -> Jacobian:
        if self.flipped:
            return Transposed(self)
        text, latex = _turned(self.text, "ᵀ"), _turned(self.latex, r"^\top")
        left, right = _transpose(self.left), _transpose(self.right)
        return Kronecker(left, right, self.in_shape, self.out_shape, self._out, False, text, latex)

    def dense(self) -> Array:
        xp, dtype, device = namespace_of(like=self._like), self._like.dtype, array_api_compat.device(self._like)
        left = xp.eye(self.matrix[0], dtype=dtype, device=device) if self.left is None else self.left
        right = xp.eye(self.matrix[1], dtype=dtype, device=device) if self.right is None else self.right
        numbers = left[:, None, :, None] * right.mT[None, :, None, :]  # [a, b, c, d]: of A[a, c] and B[d, b]
        if self.flipped:
            numbers = xp.permute_dims(numbers, (0, 1, 3, 2))
        return xp.reshape(numbers, self.shape)


def _between(left: Array | None, v: Array, right: Array | None) -> Array:
    v = v if left is None else left @ v
    return v if right is None else v @ right


def _transpose(matrix: Array | None) -> Array | None:
    return None if matrix is None else matrix.mT


def _turned(text: str, mark: str) -> str:
    """The text of a Kronecker product, transposed: each of its factors is."""
    sign = " ⊗ " if " ⊗ " in text else r" \otimes "
    parts = [
        p if p.startswith("I") else p.removesuffix(mark) if p.endswith(mark) else p + mark for p in text.split(sign)
    ]
    return sign.join(parts)


class Implicit(Jacobian):
    """A Jacobian known by its two products alone; without `push`, J v is made row by row of `pull`."""

    def __init__(
        self,
        push: Callable[[Array], Array] | None,
        pull: Callable[[Array], Array],
        out_shape: Shape,
        in_shape: Shape,
        like: Array,
        text: str,
        latex: str = "J",
        batch: bool = False,
    ):
        super().__init__(out_shape, in_shape, like, text, latex, batch)
        self.push, self.pull, self._pushes = push, pull, push is not None

    def _push(self, v: Array) -> Array:
        if self.push is not None:
            return self.push(v)
        xp, n = namespace_of(v=v), math.prod(self.in_shape)
        rows = xp.reshape(self._basis_products(1, math.prod(self.out_shape), n), (-1, n))
        return xp.reshape(rows @ xp.reshape(v, (n,)), self.out_shape)

    def _pull(self, u: Array) -> Array:
        return self.pull(u)
