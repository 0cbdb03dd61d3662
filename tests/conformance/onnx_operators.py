"""ONNX's operators from our ops: function(*inputs, **attributes) -> output or outputs, as its schema has them.

An input that a node leaves out is None. The defaults in the signatures are those of the ONNX operator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from math import prod, sqrt
from typing import Any

import numpy as np

from conformance.harness import MoveAxis, forward, log_softmax
from handgrad import ops, optim

Array = np.ndarray


def gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Array:
    layout = "out_in" if transB else "in_out"
    w = b if alpha == 1 else ops.multiply(alpha, b)
    c = c if c is None or beta == 1 else ops.multiply(beta, c)
    is_bias = c is not None and c.shape[-1:] == (w.shape[0 if transB else 1],) == (c.size,)
    y = ops.linear(a.T if transA else a, w, c.reshape(-1) if is_bias else None, layout=layout)
    return y if is_bias or c is None else ops.add(y, c)


def swiglu(gate: Array, content: Array, *, alpha: float = 1.0) -> Array:
    # ours holds the projections: [gate content] by identities gives both back. swish_alpha(a) b is ours at alpha a
    # and b / alpha, as swish_alpha(a) = swish_1(alpha a) / alpha.
    n = gate.shape[-1]
    eye, none = np.eye(n, dtype=gate.dtype), np.zeros((n, n), dtype=gate.dtype)
    w_content, w_gate = np.concatenate([none, eye]), np.concatenate([eye, none])
    one = gate.dtype.type(alpha)
    return ops.swiglu(np.concatenate([gate, content], axis=-1), w_content / one, w_gate * one)


def layer_normalization(
    x: Array, scale: Array, shift: Array, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Array, Array, Array]:
    # over all axes from `axis` on; ours over the last, which those are joined to
    kept = x.shape[: axis % x.ndim]
    rows = ops.reshape(x, shape=(*kept, prod(x.shape[axis:])))
    y = ops.layer_norm(rows, scale.reshape(-1), shift.reshape(-1), epsilon=epsilon)
    mean = ops.mean(rows, axis=-1, keepdims=True)
    centred = ops.subtract(rows, mean)
    variance = ops.mean(ops.multiply(centred, centred), axis=-1, keepdims=True)
    inverse = ops.power(ops.add(variance, epsilon), -0.5)
    ones = (*kept, *(1 for _ in x.shape[axis:]))
    return y.reshape(x.shape), mean.reshape(ones), inverse.reshape(ones)


def softmax_cross_entropy_loss(
    scores: Array,
    labels: Array,
    weights: Array | None = None,
    *,
    reduction: str = "mean",
    ignore_index: int | None = None,
) -> tuple[Array, Array]:
    # (N, C, d1, ...) is ours with the classes moved last. A weight a class is the weight of each sample of that class,
    # and an ignored sample is one of weight 0; its label may lie outside the classes, so that another stands for it.
    rows = MoveAxis().forward(scores, 1, -1)[0]
    ignored = labels == ignore_index if ignore_index is not None else np.zeros(labels.shape, dtype=bool)
    labels = np.where(ignored, 0, labels)
    sample_weight = None
    if weights is not None or ignored.any():
        weights = np.ones(scores.shape[1], dtype=scores.dtype) if weights is None else weights
        sample_weight = np.where(ignored, scores.dtype.type(0), weights[labels])
    losses = partial(ops.cross_entropy, rows, labels, sample_weight=sample_weight)
    loss = ops.sum(losses(reduction="none")) if reduction == "sum" else losses(reduction=reduction)
    return loss, log_softmax(forward, scores, axis=1)


def adam(
    rate: Array,
    t: Array,
    *vectors: Array,
    alpha: float = 0.9,
    beta: float = 0.999,
    epsilon: float = 0.0,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> list[Array]:
    # ONNX divides by sqrt(v) + e where ours divides by sqrt(v / c2) + epsilon, and multiplies by r' where ours has
    # rate / c1, with the corrections c1 = 1 - b1^t and c2 = 1 - b2^t. Both are one update when epsilon = e / sqrt(c2)
    # and rate = r' c1 / sqrt(c2). ONNX's r' is r sqrt(c2) / c1, which makes our rate r, but at t = 0 it corrects
    # nothing: r' = r. Our steps count from 1, so that t = 0 goes there as the first.
    x, g, m, v = join(vectors, 4)
    step = max(int(t), 1)
    c1, c2 = 1 - alpha**step, 1 - beta**step
    ours = optim.Adam(
        learning_rate=float(rate) * (c1 / sqrt(c2) if t == 0 else 1.0),
        beta1=alpha,
        beta2=beta,
        epsilon=epsilon / sqrt(c2),
    )
    state = {"step": step - 1, "first_moment": m, "second_moment": v}
    state, update = ours.update(state, decayed(x, g, norm_coefficient), x)
    x = (1 - norm_coefficient_post) * (x + update)
    return split(vectors, 4, x, state["first_moment"], state["second_moment"])


def momentum(
    rate: Array,
    t: Array,
    *vectors: Array,
    alpha: float,
    beta: float,
    mode: str,
    norm_coefficient: float,
) -> list[Array]:
    # v = alpha v + beta g, and beta counts as 1 at t = 0: ours at the gradient beta g
    x, g, v = join(vectors, 3)
    scale = 1.0 if t == 0 else beta
    assert mode == "standard" or scale == 1, "Nesterov's step takes g itself, which a scaled gradient cannot stand for"
    ours = optim.SGD(learning_rate=float(rate), momentum=alpha, nesterov=mode == "nesterov")
    gradient = ops.multiply(scale, decayed(x, g, norm_coefficient))
    state, update = ours.update({"step": int(t), "velocity": v}, gradient, x)
    return split(vectors, 3, x + update, state["velocity"])


def decayed(x: Array, g: Array, coefficient: float) -> Array:
    """The gradient with that of an L2 penalty added: coefficient x, of coefficient / 2 times the sum of x^2."""
    _, cache = ops.l2.forward(x, strength=coefficient / 2)
    return ops.add(g, ops.l2.backward(1.0, cache)[0])


def join(vectors: tuple[Array, ...], kinds: int) -> list[Array]:
    """X1, X2, ..., G1, G2, ..., as one flat vector of each kind."""
    each = len(vectors) // kinds
    return [np.concatenate(vectors[i : i + each]) for i in range(0, len(vectors), each)]


def split(vectors: tuple[Array, ...], kinds: int, *flat: Array) -> list[Array]:
    """Each flat vector in the pieces that `join` made it of."""
    ends = np.cumsum([x.size for x in vectors[: len(vectors) // kinds]])[:-1]
    return [piece for vector in flat for piece in np.split(vector, ends)]


def reduction(op: Callable[..., Array]) -> Callable[..., Array]:
    def run(x: Array, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
        given = () if axes is None else tuple(int(a) for a in axes)
        return op(x, axis=given if given or noop_with_empty_axes else None, keepdims=bool(keepdims))

    return run


def reshape(x: Array, shape: Array, *, allowzero: int = 0) -> Array:
    # a 0 keeps the length x has there, unless allowzero
    return ops.reshape(x, shape=[int(n) if n or allowzero else x.shape[i] for i, n in enumerate(shape)])


def mean_of(*inputs: Array) -> Array:
    return ops.divide(reduce(ops.add, inputs), float(len(inputs)))


OPERATORS: dict[str, Callable[..., Any]] = {
    "Gemm": gemm,
    "MatMul": ops.matmul,
    "Relu": ops.relu,
    "LeakyRelu": ops.leaky_relu,
    "Sigmoid": ops.sigmoid,
    "Tanh": ops.tanh,
    "Softmax": ops.softmax,
    "LogSoftmax": partial(log_softmax, forward),
    "Swish": lambda x, alpha=1.0: ops.swish(x, beta=alpha),
    "SwiGLU": swiglu,
    "Gelu": ops.gelu,
    "LayerNormalization": layer_normalization,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy_loss,
    "Adam": adam,
    "Momentum": momentum,
    "Add": ops.add,
    "Sub": ops.subtract,
    "Mul": ops.multiply,
    "Div": ops.divide,
    "Pow": ops.power,
    "Neg": ops.negative,
    "Exp": ops.exp,
    "Log": ops.log,
    "Sum": lambda *inputs: reduce(ops.add, inputs),
    "Mean": mean_of,
    "Max": lambda *inputs: reduce(ops.maximum, inputs),
    "ReduceSum": reduction(ops.sum),
    "ReduceMean": reduction(ops.mean),
    "ReduceMax": reduction(ops.max),
    "Reshape": reshape,
}
