"""The gradient of each sample's own loss by what all samples share, kept as factors.

A weight's gradient for one sample is an outer product, x_i^T dz_i. Its norm, and sums over samples, can be had from the
two factors, in the memory of a batch; the gradients themselves would take that of the parameters once for each sample.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import array_api_compat

from handgrad.ops.arrays import Array

Shape = tuple[int, ...]


class SampleGradients(ABC):
    """g_i for each of m samples, all of one parameter. Sums of two are the gradients of a parameter used twice."""

    @abstractmethod
    def dense(self) -> Array:
        """(m, *shape): the gradients themselves."""

    @property
    @abstractmethod
    def terms(self) -> int:
        """How many products an inner product of two of them sums."""

    @abstractmethod
    def total(self, weights: Array) -> Array:
        """The sum over samples of weights_i g_i, in the parameter's shape; weights: (m,)."""

    def inner(self, other: SampleGradients) -> Array:
        """(m,): the inner product of g_i with the other's, each sample with itself."""
        product = self.dense() * other.dense()
        xp = array_api_compat.array_namespace(product)
        return xp.sum(product, axis=tuple(range(1, product.ndim)))

    def squares(self) -> Array:
        """(m,): the squared norms of the g_i."""
        return self.inner(self)

    def lengths(self) -> Array:
        """(m,): no less than the norms of the g_i: the sum of the lengths of the terms they are made of."""
        xp = array_api_compat.array_namespace(squares := self.squares())
        return xp.sqrt(squares)

    def uncertain(self) -> Array | float:
        """(m,): by how much rounding may have `squares` too small; 0 where nothing in it is subtracted.

        The products of long terms that cancel leave the rounding of the long ones. Higham (2002), "Accuracy and
        stability of numerical algorithms", section 3.1: at most n eps |a| |b| for a product of n numbers each.
        """
        return 0.0

    def __add__(self, other: SampleGradients) -> SampleGradients:
        return Sum((*_parts(self), *_parts(other)))


@dataclass(frozen=True)
class Outer(SampleGradients):
    """g_i = the sum over t of left_it^T right_it: left (m, p) and right (m, q), or (m, t, p) and (m, t, q).

    With one place t the squared norm is |left_i|^2 |right_i|^2; with several it is the sum over pairs of places of
    (left_it . left_iu)(right_it . right_iu). Goodfellow (2015), "Efficient per-example gradient computations"; Li et
    al. (2022), "Large language models can be strong differentially private learners".
    """

    left: Array
    right: Array

    @property
    def terms(self) -> int:
        return self.left.shape[-1] + self.right.shape[-1]

    def dense(self) -> Array:
        if self.left.ndim == 2:
            return self.left[:, :, None] * self.right[:, None, :]
        return self.left.mT @ self.right

    def total(self, weights: Array) -> Array:
        xp = array_api_compat.array_namespace(self.left)
        (p, q), right = (self.left.shape[-1], self.right.shape[-1]), self.right
        right = right * weights[(..., *(None,) * (right.ndim - 1))]
        return xp.reshape(self.left, (-1, p)).mT @ xp.reshape(right, (-1, q))

    def inner(self, other: SampleGradients) -> Array:
        if not isinstance(other, Outer):
            return super().inner(other)
        xp = array_api_compat.array_namespace(self.left)
        if self.left.ndim == other.left.ndim == 2:
            return xp.sum(self.left * other.left, axis=1) * xp.sum(self.right * other.right, axis=1)
        (left, right), (other_left, other_right) = self._placed(), other._placed()
        (t, p), q, u = left.shape[1:], right.shape[2], other_left.shape[1]
        if t * u * (p + q) < (t + u) * p * q:
            return xp.sum((left @ other_left.mT) * (right @ other_right.mT), axis=(1, 2))
        return xp.sum((left.mT @ right) * (other_left.mT @ other_right), axis=(1, 2))

    def lengths(self) -> Array:
        xp = array_api_compat.array_namespace(self.left)
        squares = xp.sum(self.left * self.left, axis=-1) * xp.sum(self.right * self.right, axis=-1)
        return xp.sqrt(squares) if squares.ndim == 1 else xp.sum(xp.sqrt(squares), axis=1)

    def uncertain(self) -> Array | float:
        return 0.0 if self.left.ndim == 2 else _rounding(self)

    def _placed(self) -> tuple[Array, Array]:
        """The factors with an axis of places."""
        return (self.left, self.right) if self.left.ndim == 3 else (self.left[:, None, :], self.right[:, None, :])


@dataclass(frozen=True)
class Each(SampleGradients):
    """The g_i themselves, (m, *shape)."""

    values: Array

    @property
    def terms(self) -> int:
        return math.prod(self.values.shape[1:])

    def dense(self) -> Array:
        return self.values

    def total(self, weights: Array) -> Array:
        xp = array_api_compat.array_namespace(self.values)
        m, *shape = self.values.shape
        return xp.reshape(weights[None, :] @ xp.reshape(self.values, (m, math.prod(shape))), tuple(shape))


@dataclass(frozen=True)
class Sum(SampleGradients):
    """The sum of several, of a parameter that is used in several places."""

    parts: tuple[SampleGradients, ...]

    @property
    def terms(self) -> int:
        return max(part.terms for part in self.parts)

    def dense(self) -> Array:
        first, *others = (part.dense() for part in self.parts)
        return sum(others, first)

    def total(self, weights: Array) -> Array:
        first, *others = (part.total(weights) for part in self.parts)
        return sum(others, first)

    def inner(self, other: SampleGradients) -> Array:
        first, *others = (a.inner(b) for a in self.parts for b in _parts(other))
        return sum(others, first)

    def lengths(self) -> Array:
        first, *others = (part.lengths() for part in self.parts)
        return sum(others, first)

    def uncertain(self) -> Array | float:
        return _rounding(self)


def _rounding(gradients: SampleGradients) -> Array:
    """(m,): how far the squared norm can be off where terms of these lengths cancel."""
    lengths = gradients.lengths()
    xp = array_api_compat.array_namespace(lengths)
    return gradients.terms * xp.finfo(lengths.dtype).eps * lengths * lengths


def _parts(gradients: SampleGradients) -> tuple[SampleGradients, ...]:
    return gradients.parts if isinstance(gradients, Sum) else (gradients,)


def pooled(values: Array) -> Each:
    """The g_i of a vector added to, or multiplied with, the last axis: (m, ..., n), summed over the axes between."""
    xp = array_api_compat.array_namespace(values)
    return Each(values if values.ndim == 2 else xp.sum(values, axis=tuple(range(1, values.ndim - 1))))


def outer(left: Array, right: Array) -> Outer:
    """(m, ..., p) and (m, ..., q), the axes between being places."""
    xp = array_api_compat.array_namespace(left)
    if left.ndim > 3:
        left, right = (xp.reshape(a, (a.shape[0], math.prod(a.shape[1:-1]), a.shape[-1])) for a in (left, right))
    return Outer(left, right)
