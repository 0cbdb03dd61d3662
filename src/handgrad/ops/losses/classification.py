"""Losses for class labels: multiclass hinge, cross-entropy, binary cross-entropy, all from scores."""

from __future__ import annotations

import numpy as np

import handgrad.checks as checks
from handgrad.errors import ShapeError
from handgrad.ops.activations import logistic
from handgrad.ops.arrays import Array, magnitude, namespace_of, real
from handgrad.ops.base import Kink
from handgrad.ops.losses.base import Loss, class_labels, mean_over_outputs, refuse_first, same_shape, share_of_outputs


class Hinge(Loss):
    """L_i = sum over j != y_i of max(0, s_j - s_{y_i} + margin), the multiclass hinge of Weston and Watkins (1999).

    y holds labels 0 to n - 1. Each active term, one above 0, pulls its own score down and the true one up; a term at
    exactly 0 has gradient 0. Saves which terms are active and the labels.
    """

    name = "hinge"
    formula = r"L_i = \sum_{j \ne y_i} \max(0,\ s_j - s_{y_i} + \Delta)"
    derivative = (
        r"\frac{\partial L_i}{\partial s_j} = \mathbb{1}[s_j - s_{y_i} + \Delta > 0],\quad"
        r"\frac{\partial L_i}{\partial s_{y_i}} = -\sum_{j \ne y_i} \mathbb{1}[s_j - s_{y_i} + \Delta > 0]"
    )
    saves = "the active terms, the labels"
    kinks = (Kink(r"s_j - s_{y_i} + \Delta = 0", "0"),)

    def targets(self, scores: Array, y: Array) -> Array:
        return class_labels(scores, y)

    def value(self, s: Array, y: Array, margin: float = 1.0) -> tuple[Array, tuple[Array, Array]]:
        checks.finite("margin", margin)
        xp = namespace_of(s=s)
        true = one_hot(s, y)
        zero = xp.zeros((), dtype=s.dtype, device=s.device)
        true_score = xp.sum(xp.where(true, s, zero), axis=-1, keepdims=True)
        with np.errstate(over="ignore"):  # a score further below the true one than numbers reach has the loss 0
            terms = s - true_score + margin
        active = (terms > 0) & ~true
        losses = xp.sum(xp.where(active | xp.isnan(terms), terms, zero), axis=-1)
        return losses, (xp.astype(active, s.dtype), true)

    def local(self, saved: tuple[Array, Array], margin: float = 1.0) -> Array:
        active, true = saved
        xp = namespace_of(active=active)
        return xp.where(true, -xp.sum(active, axis=-1, keepdims=True), active)


class CrossEntropy(Loss):
    """L_i = log sum_j exp(s_j) - sum_j q_j s_j, the cross-entropy of softmax(s) with the target distribution q.

    y holds labels 0 to n - 1, of which q is the one-hot row, or the rows q themselves, in the shape of scores,
    of any sum (class weights scale it). Two classes or more: the softmax of one score is 1, whatever it is. With
    label_smoothing e the target is (1 - e) q + e / n. The gradient is p sum(q) - q, p = softmax(s). Computed by
    log-sum-exp, so that scores of any size are safe. Saves p and q. Szegedy et al. (2016) for label smoothing.
    """

    name = "cross_entropy"
    formula = r"L_i = \ln \sum_j e^{s_j} - \sum_j q_j s_j"
    derivative = r"\frac{\partial L_i}{\partial s} = p - q,\quad p = \operatorname{softmax}(s)"
    saves = "p, q"

    def targets(self, scores: Array, y: Array) -> Array:
        if scores.ndim > 1 and scores.shape[-1] < 2:
            hint = "; for one score a sample use binary_cross_entropy" if scores.shape[-1] else ""
            raise ShapeError(f"scores must have two classes or more, got shape {tuple(scores.shape)}{hint}")
        if y.ndim != scores.ndim or scores.ndim < 2 or y.shape[-1] == 1:
            return one_hot(scores, class_labels(scores, y))
        q = same_shape(scores, y)
        xp = namespace_of(q=q)
        refuse_first(
            ~((q >= 0) & xp.isfinite(q)), q, "y as target distributions must hold finite numbers of at least 0"
        )
        return q

    def value(self, s: Array, y: Array, label_smoothing: float = 0.0) -> tuple[Array, tuple[Array, Array]]:
        checks.share("label_smoothing", label_smoothing)
        xp = namespace_of(s=s)
        q = xp.astype(y, real(xp, s).dtype, copy=False)
        if label_smoothing:
            q = (1 - label_smoothing) * q + label_smoothing / s.shape[-1]
        with np.errstate(over="ignore"):  # a score further below the largest than numbers reach has probability 0
            z = s - xp.max(real(xp, s), axis=-1, keepdims=True)
        e = xp.exp(z)
        total = xp.sum(e, axis=-1, keepdims=True)
        # where q is 0 its term is 0, though z be -inf
        target = xp.sum(q * xp.where(q > 0, z, xp.zeros((), dtype=s.dtype, device=s.device)), axis=-1)
        mass = xp.sum(q, axis=-1)
        return xp.log(total[..., 0]) * mass - target, (e / total, q)

    def local(self, saved: tuple[Array, Array], label_smoothing: float = 0.0) -> Array:
        p, q = saved
        return p * namespace_of(q=q).sum(q, axis=-1, keepdims=True) - q


class BinaryCrossEntropy(Loss):
    """L_i = the mean over outputs of log(1 + exp(s)) - y s: each output asks yes or no, with P(yes) = sigmoid(s).

    y holds numbers from 0 to 1 in the shape of scores. Computed as max(s, 0) - y s + log(1 + exp(-|s|)), which no
    score overflows. The gradient is (sigmoid(s) - y) / outputs. Saves s and y.
    """

    name = "binary_cross_entropy"
    formula = r"L_i = \frac{1}{n} \sum_j \ln\left(1 + e^{s_j}\right) - y_j s_j"
    derivative = r"\frac{\partial L_i}{\partial s_j} = \frac{\sigma(s_j) - y_j}{n}"
    saves = "s, y"

    def targets(self, scores: Array, y: Array) -> Array:
        y = same_shape(scores, y)
        refuse_first(~((y >= 0) & (y <= 1)), y, "y must hold numbers from 0 to 1, the probability of yes")
        return y

    def value(self, s: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
        xp = namespace_of(s=s)
        # taken by the real part, as `magnitude` is, so that both agree at 0 in a complex step
        positive = xp.where(real(xp, s) < 0, xp.zeros((), dtype=s.dtype, device=s.device), s)
        return mean_over_outputs(positive - y * s + xp.log1p(xp.exp(-magnitude(xp, s)))), (s, y)

    def local(self, saved: tuple[Array, Array]) -> Array:
        s, y = saved
        return share_of_outputs(logistic(namespace_of(s=s), s) - y)


def one_hot(scores: Array, y: Array) -> Array:
    """Where each sample's label stands among its scores, as booleans in the shape of scores."""
    xp = namespace_of(scores=scores)
    # by 64 bits: there may be more classes than the labels' own type has numbers
    return xp.astype(y, xp.int64)[..., None] == xp.arange(scores.shape[-1], dtype=xp.int64, device=y.device)


hinge = Hinge()
cross_entropy = CrossEntropy()
binary_cross_entropy = BinaryCrossEntropy()
