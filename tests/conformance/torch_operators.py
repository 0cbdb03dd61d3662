"""PyTorch's functions from our ops: function(do, *args, **kwargs) -> output, with PyTorch's own arguments.

`do` runs one op and keeps it on a tape. Arrays are NumPy's or PyTorch's; what is done to them outside `do` is done to
targets and weights alone, which are data and have no gradient here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import array_api_compat
import numpy as np

from conformance.harness import Beyond, MoveAxis, log_softmax
from handgrad import ops
from handgrad.errors import ShapeError, ValueRangeError

Array = Any
Do = Callable[..., Array]
move_axis = MoveAxis()


def like(x: Array, values: Any) -> Array:
    """The values as an array of x's library and dtype."""
    return array_api_compat.array_namespace(x).asarray(values, dtype=x.dtype)


def scaled(op: Any) -> Callable[..., Array]:
    """x + alpha y, or x - alpha y."""

    def run(do: Do, x: Array, y: Array, alpha: float = 1) -> Array:
        return do(op, x, y if alpha == 1 else do(ops.multiply, y, float(alpha)))

    return run


def plain(op: Any, **renamed: str) -> Callable[..., Array]:
    """The op itself, with PyTorch's names of its keywords in ours."""

    def run(do: Do, *inputs: Array, **kwargs: Any) -> Array:
        return do(op, *inputs, **{renamed.get(name, name): value for name, value in kwargs.items()})

    return run


def linear(do: Do, x: Array, w: Array, b: Array | None = None) -> Array:
    return do(ops.linear, x, w, b, layout="out_in")


def softmax(do: Do, x: Array, dim: int, dtype: Any = None) -> Array:
    return do(ops.softmax, x, axis=dim)


def log_softmax_of(do: Do, x: Array, dim: int, dtype: Any = None) -> Array:
    return log_softmax(do, x, axis=dim)


def glu(do: Do, x: Array, dim: int = -1) -> Array:
    # PyTorch's halves, content first, are projections of x by the two halves of the identity
    x = do(move_axis, x, dim, -1)
    half = x.shape[-1] // 2
    eye = np.eye(2 * half)
    return do(move_axis, do(ops.glu, x, like(x, eye[:, :half]), like(x, eye[:, half:])), -1, dim)


def layer_norm(
    do: Do, x: Array, shape: tuple[int, ...], scale: Any = None, shift: Any = None, eps: float = 1e-5
) -> Array:
    n = prod(shape)
    rows = do(ops.reshape, x, shape=(*x.shape[: x.ndim - len(shape)], n))
    scale = like(x, np.ones(n)) if scale is None else do(ops.reshape, scale)
    shift = like(x, np.zeros(n)) if shift is None else do(ops.reshape, shift)
    return do(ops.reshape, do(ops.layer_norm, rows, scale, shift, epsilon=eps), shape=x.shape)


def reduced(do: Do, losses: Array, reduction: str, shape: Iterable[int]) -> Array:
    """The losses of all samples, as PyTorch reduces them: its mean is their sum over their number, weighted or not."""
    if reduction == "none":
        return do(ops.reshape, losses, shape=tuple(shape))
    return do(ops.sum if reduction == "sum" else ops.mean, losses)


def elementwise_loss(op: Any, **renamed: str) -> Callable[..., Array]:
    """A loss of each element. Ours takes outputs together to samples; one number a sample gives each by itself."""

    def run(do: Do, s: Array, y: Array, weight: Any = None, reduction: str = "mean", **hyper: Any) -> Array:
        hyper = {renamed.get(name, name): value for name, value in hyper.items()}
        if reduction == "mean" and weight is None and s.ndim:
            return do(op, s, y, **hyper)
        xp = array_api_compat.array_namespace(s)
        if weight is not None:
            weight = xp.reshape(xp.broadcast_to(weight, s.shape), (-1,))
        flat, y = do(ops.reshape, s), xp.reshape(y, (-1,))
        return reduced(do, do(op, flat, y, sample_weight=weight, reduction="none", **hyper), reduction, s.shape)

    return run


def binary_cross_entropy(
    do: Do, s: Array, y: Array, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Array:
    loss = elementwise_loss(ops.binary_cross_entropy)
    if pos_weight is None:
        return loss(do, s, y, weight, reduction)
    # p y (-ln sigmoid(s)) + (1 - y) (-ln sigmoid(-s)): two losses, of yes and of no, each with its own weight
    weight = 1 if weight is None else weight
    yes = loss(do, s, 0 * y + 1, weight * pos_weight * y, reduction)
    return do(ops.add, yes, loss(do, s, 0 * y, weight * (1 - y), reduction))


def smooth_l1(do: Do, s: Array, y: Array, reduction: str = "mean", beta: float = 1.0) -> Array:
    return do(ops.divide, elementwise_loss(ops.huber)(do, s, y, reduction=reduction, delta=beta), float(beta))


def poisson(
    do: Do, s: Array, y: Array, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"
) -> Array:
    # scores that are rates, not their logarithms: exp(ln(s + eps)) is eps more than PyTorch's s
    scores = s if log_input else do(ops.log, do(ops.add, s, float(eps)))
    losses = elementwise_loss(ops.poisson)(do, scores, y, reduction="none")
    if not log_input:
        losses = do(ops.subtract, losses, float(eps))
    if full:  # Stirling's term, of y alone
        xp = array_api_compat.array_namespace(y)
        losses = do(ops.add, losses, xp.where(y > 1, y * xp.log(y) - y + 0.5 * xp.log(2 * np.pi * y), 0 * y))
    return reduced(do, losses, reduction, s.shape)


def cross_entropy(
    do: Do,
    s: Array,
    y: Array,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    xp = array_api_compat.array_namespace(s)
    s = do(move_axis, s, 1, -1)
    sample_weight = None
    if xp.isdtype(y.dtype, "real floating"):  # a distribution, which class weights scale, to any sum
        y = xp.moveaxis(y, 1, -1)
        y = y if weight is None else y * weight
    else:
        ignored = y == ignore_index
        y = xp.where(ignored, 0 * y, y)
        if weight is not None or bool(xp.any(ignored)):
            weight = xp.ones(s.shape[-1], dtype=s.dtype) if weight is None else weight
            sample_weight = xp.where(ignored, 0 * weight[y], weight[y])
    how = {"sample_weight": sample_weight, "label_smoothing": label_smoothing}
    if reduction == "mean":
        return do(ops.cross_entropy, s, y, **how)
    return reduced(do, do(ops.cross_entropy, s, y, reduction="none", **how), reduction, s.shape[:-1])


def multi_margin(
    do: Do, s: Array, y: Array, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
) -> Array:
    # theirs is the hinge loss over the number of classes, and its mean is not over the weights
    xp = array_api_compat.array_namespace(s)
    scores = s if s.ndim == 2 else do(ops.reshape, s, shape=(1, -1))
    y = xp.reshape(y, (-1,))
    weight = None if weight is None else weight[y]
    losses = do(ops.hinge, scores, y, margin=margin, sample_weight=weight, reduction="none")
    return reduced(do, do(ops.divide, losses, float(scores.shape[-1])), reduction, y.shape)


def no_axis(sample: Any) -> bool:
    axis = sample.kwargs.get("dim", sample.args[0] if sample.args else ())
    return sample.input.ndim == 0 and axis != ()


def has(**kwargs: Any) -> Callable[[Any], bool]:
    return lambda sample: any(sample.kwargs.get(name) == value for name, value in kwargs.items())


NO_AXIS = Beyond("an axis of an array that has none; PyTorch takes 0 and -1 there", no_axis, ShapeError)
EMPTY_AXIS = Beyond("no element along the axis", lambda sample: sample.input.shape[-1:] == (0,), ShapeError)
ROUNDED = Beyond(
    "a quotient rounded to an integer, of gradient 0", lambda sample: "rounding_mode" in sample.kwargs, TypeError
)


@dataclass(frozen=True)
class Match:
    """How one of PyTorch's functions is ours, and of which tensors ours has a gradient: all, or the first alone."""

    run: Callable[..., Array]
    beyond: tuple[Beyond, ...] = ()
    again: tuple[dict[str, Any], ...] = ()  # keywords that no sample has, each given to every sample that allows it
    allows: Callable[[Any], bool] = lambda sample: True
    targets: bool = False  # the second tensor is a target, data here, of which PyTorch has a gradient too


OPERATORS: dict[str, Match] = {
    "nn.functional.linear": Match(linear),
    "matmul": Match(plain(ops.matmul)),
    "mm": Match(plain(ops.matmul)),
    "bmm": Match(plain(ops.matmul)),
    "add": Match(scaled(ops.add)),
    "sub": Match(scaled(ops.subtract)),
    "mul": Match(plain(ops.multiply)),
    "div": Match(plain(ops.divide), beyond=(ROUNDED,)),
    "neg": Match(plain(ops.negative)),
    "pow": Match(plain(ops.power)),
    "exp": Match(plain(ops.exp)),
    "log": Match(plain(ops.log)),
    "sum": Match(plain(ops.sum, dim="axis", keepdim="keepdims"), beyond=(NO_AXIS,)),
    "mean": Match(plain(ops.mean, dim="axis", keepdim="keepdims"), beyond=(NO_AXIS,)),
    "amax": Match(plain(ops.max, dim="axis", keepdim="keepdims"), beyond=(NO_AXIS,)),
    "maximum": Match(plain(ops.maximum)),
    "reshape": Match(lambda do, x, shape: do(ops.reshape, x, shape=shape)),
    "view": Match(lambda do, x, shape: do(ops.reshape, x, shape=shape)),
    "sigmoid": Match(plain(ops.sigmoid)),
    "tanh": Match(plain(ops.tanh)),
    "nn.functional.relu": Match(plain(ops.relu)),
    "nn.functional.leaky_relu": Match(plain(ops.leaky_relu, negative_slope="alpha"), again=({"negative_slope": 0.3},)),
    "nn.functional.silu": Match(plain(ops.swish)),
    "nn.functional.gelu": Match(plain(ops.gelu)),
    "softmax": Match(softmax, beyond=(NO_AXIS, EMPTY_AXIS)),
    "log_softmax": Match(log_softmax_of, beyond=(NO_AXIS, EMPTY_AXIS)),
    "nn.functional.glu": Match(glu),
    "nn.functional.layer_norm": Match(
        layer_norm,
        beyond=(Beyond("a negative epsilon", lambda sample: sample.kwargs.get("eps", 1) < 0, ValueRangeError),),
    ),
    "nn.functional.cross_entropy": Match(
        cross_entropy,
        again=({"label_smoothing": 0.1},),
        allows=lambda sample: "weight" not in sample.kwargs,  # PyTorch's weights are then of classes, not of samples
        targets=True,
    ),
    "nn.functional.binary_cross_entropy_with_logits": Match(binary_cross_entropy, targets=True),
    "nn.functional.mse_loss": Match(elementwise_loss(ops.squared_error), targets=True),
    "nn.functional.huber_loss": Match(elementwise_loss(ops.huber), again=({"delta": 1.5},), targets=True),
    "nn.functional.smooth_l1_loss": Match(
        smooth_l1,
        beyond=(Beyond("beta 0, the absolute error, for which there is quantile", has(beta=0), ValueRangeError),),
        targets=True,
    ),
    "nn.functional.poisson_nll_loss": Match(poisson, targets=True),
    "nn.functional.multi_margin_loss": Match(
        multi_margin, beyond=(Beyond("p = 2, the squared hinge", has(p=2), None),), targets=True
    ),
}
