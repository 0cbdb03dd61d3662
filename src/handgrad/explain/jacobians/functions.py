"""`jacobian`, `vjp` and `jvp` of an op, a loss, a layer or a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handgrad.errors import ShapeError
from handgrad.explain.jacobians.targets import target_of
from handgrad.ops.arrays import Array, namespace_of, operand

Which = int | str


def jacobian(
    target: Any, *inputs: Any, wrt: Which | Sequence[Which] = 0, hyper: Mapping[str, Any] | None = None, **keywords: Any
) -> Any:
    """The derivative of the output by an input, as a Jacobian that knows its structure and forms nothing by itself.

        J = jacobian(ops.linear, x, w, b)              by x: W^T for one sample, I ⊗ W^T for a batch
        J = jacobian(ops.softmax, x, temperature=2.0)  (diag(p) - p p^T) / 2; hyperparameters by keyword
        J = jacobian(ops.cross_entropy, scores, y)     what follows an op's inputs is passed on
        J = jacobian(model, params, x)                 by x; wrt="0.weight" by that parameter
        J @ v, u @ J, J.T, J.dense(), J.blocks()       see Jacobian

    target: an op, a loss, a layer or a model. inputs: what its forward takes, arrays of any library. wrt: an input by
    its name or number; for a model x, number 0, or a parameter. Several of them give a tuple. keywords go to forward,
    of a model train and rng; hyper is for those whose names are taken here.
    At a kink the derivative is the one the op declares there.
    """
    found = target_of(target, inputs, {**keywords, **(hyper or {})})
    if not isinstance(wrt, Sequence) or isinstance(wrt, str):
        return found.jacobian(found.name(wrt))
    return tuple(found.jacobian(found.name(each)) for each in wrt)


def vjp(
    target: Any, *inputs: Any, upstream: Any = None, hyper: Mapping[str, Any] | None = None, **keywords: Any
) -> tuple[Array, dict[str, Array]]:
    """(the output, the downstream gradient J^T u by every input and parameter, by name), for one upstream gradient u.

    upstream: in the shape of the output; a single number needs none. The rest as for `jacobian`.
    """
    found = target_of(target, inputs, {**keywords, **(hyper or {})})
    out = operand(found.out)
    if upstream is None:
        if out.shape != ():
            raise ShapeError(f"upstream must be given, in the shape of the output, {tuple(out.shape)}")
        upstream = 1.0
    upstream = operand(upstream, out)
    if tuple(upstream.shape) != tuple(out.shape):
        raise ShapeError(f"upstream must have the shape of the output, {tuple(out.shape)}, got {tuple(upstream.shape)}")
    return found.out, found.backward(upstream)


def jvp(
    target: Any, *inputs: Any, tangents: Any, hyper: Mapping[str, Any] | None = None, **keywords: Any
) -> tuple[Array, Array]:
    """(the output, its derivative J v along tangents of the inputs and parameters).

    tangents: a mapping from names or numbers of inputs, those left out standing still, or one array for the first
    input (of a model, x). The rest as for `jacobian`.
    """
    found = target_of(target, inputs, {**keywords, **(hyper or {})})
    given = tangents if isinstance(tangents, Mapping) else {0: tangents}
    moved = {name: namespace_of(x=x).zeros_like(x) for name, x in found.inputs.items()}
    for key, tangent in given.items():
        name = found.name(key)
        tangent = operand(tangent, moved[name])
        if tuple(tangent.shape) != tuple(moved[name].shape):
            raise ShapeError(
                f"the tangent of {name!r} must have its shape, {tuple(moved[name].shape)}, got {tuple(tangent.shape)}"
            )
        moved[name] = tangent
    return found.out, found.jvp(moved)
