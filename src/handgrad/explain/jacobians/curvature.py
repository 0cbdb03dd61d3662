"""Products with second derivatives of a loss, exact to rounding: Gauss-Newton's and the Hessian's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from handgrad.errors import DeviceError, ParameterError, ShapeError
from handgrad.explain.jacobians.complex_step import PIECEWISE_LINEAR, STEP, moving_backward, moving_forward
from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.layers import loss as loss_of
from handgrad.models import Graph
from handgrad.ops.arrays import Array, floating


def gauss_newton_vp(
    model: Layer,
    loss: str | Loss,
    params: Mapping[str, Array],
    x: Array,
    y: Any,
    v: Mapping[str, Array] | Array,
    *,
    sample_weight: Any = None,
    regularizer: L2 | None = None,
) -> Parameters:
    """G v with the Gauss-Newton matrix G = J^T H J of the mean loss: J the scores by the parameters, H the loss by
    the scores. It is the Hessian without the model's own curvature, and no negative where the loss is convex.

    v: a direction, as Parameters, a mapping like `params` or the vector `.flat`. The result is like `params`. With
    regularizer, its Hessian is added. No matrix is formed: the cost is that of a forward and a backward pass, or two.
    Dropout stands still. A piecewise linear loss, such as hinge, has H = 0. Schraudolph (2002), "Fast curvature
    matrix-vector products". Raises as value_and_grad does; NumPy arrays alone.
    """
    loss, given, tangent, x = _checked(model, loss, params, x, v)
    scores, cache = model.forward(given, x)
    moved = model.jvp(np.zeros_like(x), tangent, cache)
    _, grads = model.backward(_loss_curvature(loss, scores, moved, y, sample_weight), cache)
    return _result(given.pack(grads), given, tangent, regularizer, params)


def hessian_vp(
    model: Layer,
    loss: str | Loss,
    params: Mapping[str, Array],
    x: Array,
    y: Any,
    v: Mapping[str, Array] | Array,
    *,
    sample_weight: Any = None,
    regularizer: L2 | None = None,
) -> Parameters:
    """H v with the Hessian H of the mean loss by all parameters, forward over reverse: the gradient's own derivative.

    Each op's gradient is taken a step ih along its tangent, h = 1e-30, where the imaginary part over h is its
    derivative: nothing is subtracted, so that it is exact to rounding. What is piecewise linear goes by its own rule
    instead, so that at a kink the slope is the one the op takes there. Arguments, result and errors are those of
    `gauss_newton_vp`; a layer of your own must take complex numbers. Pearlmutter (1994), "Fast exact multiplication
    by the Hessian".
    """
    loss, given, tangent, x = _checked(model, loss, params, x, v)
    graph = Graph.of(model)
    scores, moved, tape = moving_forward(graph, given, tangent, x)
    _, cache = loss.forward(scores, y, sample_weight=sample_weight)
    dscores = loss.backward(1.0, cache)
    change = _loss_curvature(loss, scores, moved, y, sample_weight)
    grads = moving_backward(graph, tape, dscores + 1j * STEP * change)
    products = {name: None if gradient is None else gradient.imag / STEP for name, gradient in grads.items()}
    return _result(given.pack(products), given, tangent, regularizer, params)


def _loss_curvature(loss: Loss, scores: Array, moved: Array, y: Any, sample_weight: Any) -> Array:
    """The derivative of the loss's gradient along a change of the scores."""
    if isinstance(loss.op, PIECEWISE_LINEAR):
        return np.zeros_like(scores)
    _, cache = loss.forward(scores + 1j * STEP * moved, y, sample_weight=sample_weight)
    return loss.backward(1.0, cache).imag / STEP


def _checked(
    model: Layer, loss: str | Loss, params: Mapping[str, Array], x: Array, v: Mapping[str, Array] | Array
) -> tuple[Loss, Parameters, Parameters, Array]:
    """The loss, parameters, direction and x, in float64."""
    specs = model.parameters()
    arrays = {name: array for name, array in params.items() if name in specs}
    for name, array in {"x": x, **arrays}.items():
        if not isinstance(array, np.ndarray):
            raise DeviceError(f"{name} must be a NumPy array, got {type(array).__name__}")
    if missing := sorted(specs.keys() - params.keys()):
        raise ParameterError(f"params has no {missing[0]!r}; it has {sorted(params)}")
    floating(x=x, **{name: arrays[name] for name in specs})
    empty = Parameters(specs, np.zeros(sum(int(np.prod(spec.shape)) for spec in specs.values())))
    given = empty.pack({name: np.asarray(array, np.float64) for name, array in arrays.items()})
    if isinstance(v, Mapping):
        direction = empty.pack(
            {name: None if each is None else np.asarray(each, np.float64) for name, each in v.items()}
        )
    else:
        vector = np.asarray(v, np.float64)
        if vector.shape != empty.flat.shape:
            raise ShapeError(f"v must have one number for each parameter, {empty.flat.shape}, got {vector.shape}")
        direction = empty.like(vector)
    return loss_of(loss), given, direction, np.asarray(x, np.float64)


def _result(
    product: Parameters, given: Parameters, v: Parameters, regularizer: L2 | None, params: Mapping[str, Array]
) -> Parameters:
    """The product, with the penalty's, in the dtype of the parameters."""
    if regularizer is not None:  # its gradient is linear, so that its Hessian times v is its gradient at v
        for name, part in regularizer.value_and_grad(v)[1].items():
            product[name][...] += part
    dtype = np.result_type(*(params[name].dtype for name in given)) if given else np.float64
    return product.like(product.flat.astype(dtype))
