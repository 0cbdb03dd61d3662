"""The Jacobian of each op by each of its inputs, from the cache of one forward call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from handgrad.errors import ShapeError
from handgrad.ops.arithmetic import Binary, MatMul
from handgrad.ops.arrays import Array, broadcast, namespace_of, operand, rows
from handgrad.ops.base import Cache, Elementwise, Op
from handgrad.ops.dropout import Dropout
from handgrad.ops.gated import Gated
from handgrad.ops.jacobians.base import Jacobian, product, total
from handgrad.ops.jacobians.maps import Diagonal, Implicit, Kronecker, Reshaped, SoftmaxJacobian, Stretched, pooled
from handgrad.ops.linear import Linear, linear
from handgrad.ops.losses import Loss
from handgrad.ops.losses.penalty import L2Penalty
from handgrad.ops.normalization import LayerNorm
from handgrad.ops.reductions import Max, Reshape, Sum, _kept
from handgrad.ops.softmax import Softmax

POOLS = {
    "sum": ("1ᵀ", r"\mathbf{1}^\top"),
    "mean": ("1ᵀ / n", r"\frac{1}{n} \mathbf{1}^\top"),
    "max": ("select", r"\operatorname{select}"),
    "l2": ("2 λ wᵀ", r"2 \lambda w^\top"),
}


@dataclass(frozen=True)
class Call:
    """One call of an op's forward: its array inputs (None where one was left out), output and cache.

    tag: what tells this call from others in a text, such as "[2]", the place in a model.
    """

    inputs: tuple[Any, ...]
    out: Array
    cache: Cache
    tag: str = ""

    @classmethod
    def of(cls, op: Op, inputs: tuple[Any, ...], data: tuple[Any, ...] = (), **hyper: Any) -> Call:
        """Call forward. data: what it takes after its inputs, such as a loss's targets."""
        out, cache = op.forward(*inputs, *data, **hyper)
        return cls(tuple(inputs), out, cache)

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of input i."""
        return tuple(operand(self.inputs[i], self.out).shape)


@singledispatch
def local_jacobian(op: Op, call: Call, i: int = 0) -> Jacobian:
    """The derivative of the call's output by its input number i, as a structure. Nothing of its size is formed.

    An op of your own is known by its jvp and backward.
    """
    xp = namespace_of(out=call.out)
    zeros = [None if x is None else xp.zeros_like(operand(x, call.out)) for x in call.inputs]
    shape = call.shape(i)

    def push(v: Array) -> Array:
        return op.jvp((*zeros[:i], v, *zeros[i + 1 :]), call.cache)

    def pull(u: Array) -> Array:
        return op.backward(u, call.cache)[i]

    like = operand(call.inputs[i], call.out)
    return Implicit(push, pull, call.out.shape, shape, like, f"J({op.name}{call.tag}, {op.inputs[i]})")


def required(op: Op, call: Call, i: int) -> None:
    """Raise ShapeError for an input that was left out."""
    if call.inputs[i] is None:
        raise ShapeError(f"{op!r} was called without {op.inputs[i]}, so that there is no derivative by it")


@local_jacobian.register
def _elementwise(op: Elementwise, call: Call, i: int = 0) -> Jacobian:
    saved, hyper = call.cache
    if op.name == "identity":
        return Reshaped(call.out.shape, call.out.shape, call.out)
    name = f"{op.name}{call.tag}"
    return Diagonal(op.local(saved, **hyper), f"diag({name}')", rf"\operatorname{{diag}}(\mathrm{{{_word(name)}}}')")


@local_jacobian.register
def _binary(op: Binary, call: Call, i: int = 0) -> Jacobian:
    by = op.local(call.cache[0])[i]
    shape, out_shape = call.shape(i), tuple(call.out.shape)
    if isinstance(by, float):
        sign = "" if by > 0 else "-"
        if shape == out_shape:
            negative = Stretched(by, shape, shape, call.out, text="-I", latex="-I")
            return Reshaped(shape, shape, call.out) if by == 1 else negative
        return Stretched(by, out_shape, shape, call.out, text=f"{sign}1", latex=rf"{sign}\mathbf{{1}}")
    by = broadcast(namespace_of(by=by), by, out_shape)
    name = f"∂{op.name}{call.tag}/∂{op.inputs[i]}"
    latex = rf"\operatorname{{diag}}(\partial\,\mathrm{{{_word(op.name + call.tag)}}}/\partial {op.inputs[i]})"
    if shape == out_shape:
        return Diagonal(by, f"diag({name})", latex)
    return Stretched(by, out_shape, shape, call.out, text=f"diag({name}) 1", latex=rf"{latex} \mathbf{{1}}")


@local_jacobian.register
def _matmul(op: MatMul, call: Call, i: int = 0) -> Jacobian:
    x, y, out_shape = call.cache
    if x.ndim > 2 or y.ndim > 2:
        return local_jacobian.dispatch(object)(op, call, i)
    row, column = x[None, :] if x.ndim == 1 else x, y[:, None] if y.ndim == 1 else y
    if i == 0:
        text, latex = _times(row.shape[0] if x.ndim > 1 else 0, f"Y{call.tag}")
        return Kronecker(None, column, out_shape, x.shape, tuple(row.shape), text=text, latex=latex)
    text, latex = _by_weights(f"X{call.tag}", column.shape[1])
    return Kronecker(row, None, out_shape, y.shape, tuple(column.shape), text=text, latex=latex)


@local_jacobian.register
def _linear(op: Linear, call: Call, i: int = 0) -> Jacobian:
    required(op, call, i)
    x, w, _, layout, flatten = call.cache
    xp = namespace_of(x=x)
    out_shape, inward = tuple(call.out.shape), layout == "in_out"
    x2 = xp.reshape(x, (x.shape[0], math.prod(x.shape[1:]))) if flatten else rows(xp, x)
    if i == 0:
        # Z = X W, or X W^T: the factor on the right is what V is multiplied by
        text, latex = _times(x2.shape[0] if x.ndim > 1 else 0, f"W{call.tag}", turned=not inward)
        return Kronecker(None, w if inward else w.mT, out_shape, x.shape, tuple(x2.shape), text=text, latex=latex)
    n_out = out_shape[-1]
    if i == 1:
        text, latex = _by_weights("x" if x2.shape[0] == 1 and x.ndim == 1 else f"X{call.tag}", n_out)
        return Kronecker(x2, None, out_shape, w.shape, (x2.shape[1], n_out), not inward, text, latex)
    return Stretched(1.0, out_shape, (n_out,), call.out, text="1", latex=r"\mathbf{1}")


def _times(m: int, name: str, turned: bool = False) -> tuple[str, str]:
    """How V -> V W is written: W^T for one sample, I_m ⊗ W^T for m."""
    text, latex = (name, _subscript(name)) if turned else (f"{name}ᵀ", rf"{_subscript(name)}^\top")
    return (f"I{m} ⊗ {text}", rf"I_{{{m}}} \otimes {latex}") if m else (text, latex)


def _by_weights(name: str, n_out: int) -> tuple[str, str]:
    row, top = ("ᵀ", r"^\top") if name == "x" else ("", "")  # one sample is a column x, and its row is x^T
    return f"{name}{row} ⊗ I{n_out}", rf"{_subscript(name)}{top} \otimes I_{{{n_out}}}"


def _subscript(name: str) -> str:
    """W[0] as LaTeX writes it."""
    letter, _, place = name.partition("[")
    return rf"{letter}_{{\mathrm{{{_word(place[:-1])}}}}}" if place else letter


def _word(name: str) -> str:
    return name.replace("_", r"\_")


@local_jacobian.register
def _reduction(op: Sum | Max | L2Penalty, call: Call, i: int = 0) -> Jacobian:
    xp = namespace_of(out=call.out)
    factor = op.backward(xp.ones_like(call.out), call.cache)[0]
    shape = tuple(factor.shape)
    axes = call.cache[1] if isinstance(op, Sum | Max) else tuple(range(len(shape)))
    text, latex = POOLS[op.name]
    return pooled(factor, call.out.shape, _kept(shape, axes), text, latex)


@local_jacobian.register
def _loss(op: Loss, call: Call, i: int = 0) -> Jacobian:
    xp = namespace_of(out=call.out)
    factor = op.backward(xp.ones_like(call.out), call.cache)[0]
    whole = factor.ndim - call.out.ndim
    kept = (*call.out.shape, *[1] * whole) if call.out.ndim else tuple(1 for _ in factor.shape)
    word = rf"\nabla\mathrm{{{_word(op.name)}}}^\top"
    return pooled(factor, call.out.shape, kept, f"∇{op.name}{call.tag}ᵀ", word)


@local_jacobian.register
def _reshape(op: Reshape, call: Call, i: int = 0) -> Jacobian:
    return Reshaped(call.out.shape, call.shape(0), call.out)


@local_jacobian.register
def _softmax(op: Softmax, call: Call, i: int = 0) -> Jacobian:
    p, temperature, axis = call.cache
    return SoftmaxJacobian(p, temperature, axis, call.tag)


@local_jacobian.register
def _dropout(op: Dropout, call: Call, i: int = 0) -> Jacobian:
    ones = namespace_of(out=call.out).ones_like(call.out)
    return Diagonal(
        op.backward(ones, call.cache)[0], f"diag(k{call.tag}) / (1 - r)", r"\operatorname{diag}(k) / (1 - r)"
    )


@local_jacobian.register
def _layer_norm(op: LayerNorm, call: Call, i: int = 0) -> Jacobian:
    n, inverse, scale = call.cache
    shape = tuple(n.shape)
    if i == 1:
        return Stretched(n, shape, scale.shape, n, text="diag(n) 1", latex=r"\operatorname{diag}(n) \mathbf{1}")
    if i == 2:
        return Stretched(1.0, shape, scale.shape, n, text="1", latex=r"\mathbf{1}")
    return Implicit(
        lambda v: op._normalized(v, n, inverse) * scale,
        lambda u: op._normalized(u * scale, n, inverse),
        shape,
        shape,
        n,
        f"diag(scale{call.tag} / s) (I - (11ᵀ + nnᵀ) / d)",
        r"\operatorname{diag}(\gamma / s) \left(I - \frac{\mathbf{1} \mathbf{1}^\top + n n^\top}{d}\right)",
        batch=n.ndim > 1,
    )


@local_jacobian.register
def _gated(op: Gated, call: Call, i: int = 0) -> Jacobian:
    """y = c * f(g): by x the sum of both ways, by a weight or bias its own way alone."""
    required(op, call, i)
    x, c, g, w_content, w_gate, content_bias, gate_bias = call.cache
    f, saved = op.gate.value(g)
    names, ways = ("content", "gate"), []
    for inner, (weights, biased, factor, name) in enumerate(
        ((w_content, content_bias, f, "f(g)"), (w_gate, gate_bias, c * op.gate.local(saved), "c f'(g)"))
    ):
        place = 0 if i == 0 else {1 + inner: 1, 3 + inner: 2}.get(i)
        if place is not None:
            bias = call.inputs[3 + inner] if biased else None
            tag = f"[{call.tag[1:-1]}.{names[inner]}]" if call.tag else f"[{names[inner]}]"
            one = Call((x, weights, bias), c, (x, weights, biased, "in_out", False), tag)
            latex = rf"\operatorname{{diag}}({name})"
            ways.append(product(Diagonal(factor, f"diag({name})", latex), local_jacobian(linear, one, place)))
    return total(*ways)
