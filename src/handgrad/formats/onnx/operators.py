"""What each ONNX operator is here: a layer, a step towards one, or a constant worked out at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import handgrad.layers as layers
from handgrad.formats.errors import FormatError
from handgrad.formats.onnx.call import Call, Handler, Value
from handgrad.formats.onnx.document import Constant
from handgrad.formats.onnx.flow import Affine, Cubic, Erf, Flow, Positive, Power, shortest
from handgrad.layers.base import Layer
from handgrad.layers.gated import Gated

FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}  # ONNX's numbers for them
WHOLE = {6: np.int32, 7: np.int64, 9: np.bool_}
GATES = {layers.Sigmoid: layers.GLU, layers.ReLU: layers.ReGLU, layers.GELU: layers.GEGLU, layers.Swish: layers.SwiGLU}


def _gemm(call: Call) -> Value:
    weight = call.floats(1)
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    if call.attribute("transA", 0):
        raise FormatError("it transposes the samples, which no layer does")
    bias = call.floats(2) if call.constant(2) is not None else None

    def scaled(w: np.ndarray, b: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        if alpha == beta == 1:
            return w, b
        call.store.spend(2 * w.nbytes)
        return w * w.dtype.type(alpha), None if b is None else b * b.dtype.type(beta)

    return _linear(call, weight, bool(call.attribute("transB", 0)), bias, scaled, ("linear", alpha, beta))


def _linear(
    call: Call,
    weight: Constant,
    transposed: bool,
    bias: Constant | None,
    adjust: Callable[[Any, Any], Any] = lambda w, b: (w, b),
    key: tuple[Any, ...] = ("linear", 1.0, 1.0),
) -> Flow:
    if weight.array.ndim != 2:
        raise FormatError(f"its weight must have two axes, got shape {weight.array.shape}")
    outward = transposed != weight.flipped
    array = weight.array.T if weight.flipped else weight.array
    width = array.shape[0 if outward else 1]
    b = None if bias is None else _row(bias.array, width)
    name = (*key, weight.tensor, None if bias is None else bias.tensor, outward)
    if name not in call.store.made:
        array, b = adjust(array, b)
    layer = call.store.linear(name, array, b, "out_in" if outward else "in_out", call.label)
    return call.flow().then(layer, call.label)


def _row(array: np.ndarray, width: int) -> np.ndarray:
    if array.size not in (1, width) or array.size != (array.shape[-1] if array.ndim else 1):
        raise FormatError(f"its bias must have {width} numbers, got shape {array.shape}")
    return np.broadcast_to(array.reshape(-1), (width,))


def _matmul(call: Call) -> Value:
    return _linear(call, call.floats(1), False, None)


def _add(call: Call) -> Value:
    a, b = call.values
    if isinstance(a, Flow) and isinstance(b, Flow):
        for start, end in ((a, b), (b, a)):
            base, factor = end.scaled()
            if base.step == Power(3) and base.parent is start and math.isclose(factor, 0.044715, rel_tol=1e-6):
                return start.then(Cubic(), call.label)
            if end.descends(start):
                return call.store.residual(start, end, call.label)
        raise FormatError("it adds two values of which neither comes from the other, which no layer does")
    flow, place = (a, 1) if isinstance(a, Flow) else (call.flow(1), 0)
    constant = call.floats(place)
    linear = flow.step
    if isinstance(linear, layers.Linear) and not linear.bias and flow.parent is not None:
        _features(constant.array, flow)
        key = call.store.keys[id(linear)]
        weight = call.store.values[id(linear), "weight"]
        bias = _row(constant.array, linear.n_out)
        made = call.store.linear((*key, "then", constant.tensor), weight, bias, linear.layout, call.label)
        return flow.parent.then(made, call.label)
    return flow.affine(1.0, _features(constant.array, flow), call.label)


def _features(array: np.ndarray, flow: Flow) -> np.ndarray:
    """A constant that acts on each feature of the last axis, or on all alike, and adds no axis."""
    if array.ndim > (flow.rank or 1) or array.size != (array.shape[-1] if array.ndim else 1):
        raise FormatError(f"a constant must have one number, or one for each feature, got shape {array.shape}")
    return array.reshape(-1)


def _subtract(call: Call) -> Value:
    flow = call.flow()
    return flow.affine(1.0, -_features(call.floats(1).array, flow), call.label)


def _divide(call: Call) -> Value:
    with np.errstate(divide="ignore"):
        flow = call.flow()
        return flow.affine(1 / _features(call.floats(1).array, flow), 0.0, call.label)


def _multiply(call: Call) -> Value:
    a, b = call.values
    if not isinstance(a, Flow) or not isinstance(b, Flow):
        flow, place = (a, 1) if isinstance(a, Flow) else (call.flow(1), 0)
        return flow.affine(_features(call.floats(place).array, flow), 0.0, call.label)
    for x, other in ((a, b), (b, a)):
        if (found := _gate_of_itself(call, x, other) or _gated(call, x, other)) is not None:
            return found
    raise FormatError("it multiplies two values in a way that no layer does")


def _gate_of_itself(call: Call, x: Flow, other: Flow) -> Flow | None:
    """x sigmoid(beta x), GELU as exporters write it out, or a power of x."""
    if x is other:
        return x.then(Power(2), call.label)
    if other.step == Power(2) and other.parent is x:
        return x.then(Power(3), call.label)
    if (inner := other.after(layers.Sigmoid)) is not None:
        base, beta = inner.scaled()
        if inner is x or base is x:
            return x.then(layers.Swish(1.0 if inner is x else beta), call.label)
    start, outside = x.scaled()
    for steps, approximate, unit in (
        ((Erf,), "none", math.sqrt(0.5)),
        ((layers.Tanh,), "tanh", math.sqrt(2 / math.pi)),
    ):
        if (inner := other.after(Affine, *steps)) is None:
            continue
        base, inside = inner.scaled()
        if approximate == "tanh":
            base = base.after(Cubic) or base
        scale, shift = other.step.scale, other.step.shift  # of x (1 + f(x)), the number before the bracket
        alike = scale.size == shift.size == 1 and np.allclose(scale, shift, rtol=1e-6, atol=0)
        if alike and base is start and math.isclose(inside, unit, rel_tol=1e-6):
            factor = 2 * float(scale.reshape(-1)[0]) * outside
            return base.then(layers.GELU(approximate), call.label).affine(factor, 0.0, call.label)
    return None


def _gated(call: Call, content: Flow, gate: Flow) -> Flow | None:
    """A linear map times a function of another one of the same value."""
    if not isinstance(content.step, layers.Linear) or content.parent is None:
        return None
    inner = gate
    kind: type[Gated] = layers.Bilinear
    if type(gate.step) in GATES and gate.parent is not None:
        if gate.step not in (layers.Sigmoid(), layers.ReLU(), layers.GELU(), layers.Swish()):
            return None
        inner, kind = gate.parent, GATES[type(gate.step)]
    if not isinstance(inner.step, layers.Linear) or inner.parent is not content.parent:
        return None
    return content.parent.then(call.store.gated(kind, content.step, inner.step, call.label), call.label)


def _normalized(call: Call) -> Value:
    x, scale = call.flow(), call.floats(1)
    axis = call.attribute("axis", -1)
    if axis != -1 and (x.rank is None or axis != x.rank - 1):
        raise FormatError(f"it must be over the last axis alone, got axis {axis}")
    n = scale.array.size
    shift = call.floats(2) if call.constant(2) is not None else None
    arrays = {
        "weight": _row(scale.array, n),
        "bias": np.zeros(n, scale.array.dtype) if shift is None else _row(shift.array, n),
    }
    epsilon = _written(call, "epsilon", 1e-5)
    key = ("norm", scale.tensor, None if shift is None else shift.tensor, epsilon)
    return x.then(call.store.layer(key, layers.LayerNorm(n, epsilon), arrays, call.label), call.label)


def _batch_normalized(call: Call) -> Value:
    """What batch normalization is when it predicts: a scale and a shift."""
    if call.attribute("training_mode", 0):
        raise FormatError("it normalizes by the batch, as in training, which no layer does")
    if call.flow().rank not in (None, 2):
        raise FormatError("it must be of samples of one axis")
    scale, shift, mean, variance = (
        _features(call.floats(i).array, call.flow()).astype(np.float64) for i in (1, 2, 3, 4)
    )
    factor = scale / np.sqrt(variance + call.attribute("epsilon", 1e-5))
    return call.flow().affine(factor, shift - mean * factor, call.label)


def _softmax(call: Call) -> Value:
    x = call.flow()
    axis = call.attribute("axis", -1 if call.document.opset >= 13 else 1)
    if call.document.opset < 13 and (x.rank != 2 or axis not in (1, -1)):
        raise FormatError("before operator set 13 it must be over axis 1 of an input known to have two axes")
    base, factor = x.scaled()
    last = x.rank is not None and axis == x.rank - 1
    kind = x.step.scale.dtype if isinstance(x.step, Affine) else None
    return base.then(layers.Softmax(shortest(1 / factor, kind), -1 if last else axis), call.label)


def _flatten(call: Call) -> Value:
    if (axis := call.attribute("axis", 1)) != 1:
        raise FormatError(f"it must keep the axis of samples alone, got axis {axis}")
    return call.flow().then(layers.Flatten(), call.label, rank=2)


def _reshape(call: Call) -> Value:
    target = call.constant(1)
    if target is None or target.array.dtype.kind != "i" or target.array.ndim != 1 or target.array.size > 8:
        raise FormatError("its shape must be a constant list of whole numbers")
    shape = target.array.tolist()
    if isinstance(call.values[0], Constant):
        array = call.values[0].array
        call.store.spend(array.nbytes)
        return Constant(array.reshape(shape), call.node.outputs[0])
    x, given = call.flow(), call.given
    if len(shape) != 2:
        raise FormatError(f"it must flatten each sample, with the shape [0, -1], got {shape}")
    if shape[0] == -1 and x.rank == 2 and shape[1] == x.width():
        return x
    # -1 samples of n numbers are the samples as they were, where each has n of them
    first = x.parent is None and given is not None and None not in given[1:]
    n = math.prod(length or 0 for length in given[1:]) if first and given else None
    as_before = (shape[0] == 0 and not call.attribute("allowzero", 0)) or (given and shape[0] == given[0] is not None)
    if not as_before and not (shape[0] == -1 and n and shape[1] == n):
        raise FormatError(f"it must flatten each sample, with the shape [0, -1], got {shape}")
    return x.then(layers.Flatten(), call.label, rank=2)


def _dropout(call: Call) -> Value:
    if call.number(2, 0.0):
        raise FormatError("it is set to drop numbers when predicting")
    rate = call.number(1, call.attribute("ratio", 0.5))
    return call.flow().then(layers.Dropout(shortest(rate, np.float32)), call.label)


def _power(call: Call) -> Value:
    exponent = call.number(1, math.nan)
    if exponent not in (2, 3):
        raise FormatError(f"the exponent must be 2 or 3, got {exponent:g}")
    return call.flow().then(Power(int(exponent)), call.label)


def _scaler(call: Call) -> Value:
    offset, scale = (np.asarray(call.attribute(name, [])) for name in ("offset", "scale"))
    if offset.dtype.kind != "f" or scale.dtype.kind != "f" or not offset.size or not scale.size:
        raise FormatError("its offset and scale must be lists of numbers")
    return call.flow().affine(scale, -offset * scale, call.label)


def _cast(call: Call) -> Value:
    to = call.attribute("to", 0)
    value = call.values[0]
    if isinstance(value, Constant) and to in FLOATS | WHOLE:
        call.store.spend(8 * value.array.size)
        return Constant(value.array.astype((FLOATS | WHOLE)[to]), call.node.outputs[0])
    if to not in FLOATS:
        raise FormatError(f"it must be to a floating-point type, got ONNX's type {to}")
    return call.flow()


def _transpose(call: Call) -> Value:
    value = call.constant(0)
    if value is None or value.array.ndim != 2 or call.attribute("perm", None) not in (None, [1, 0]):
        raise FormatError("it must turn a constant matrix")
    return Constant(value.array.T, value.tensor, not value.flipped)


def _constant(call: Call) -> Value:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if (value := call.attribute(name, None)) is not None:
            kind = np.float32 if "float" in name else np.int64 if "int" in name else None
            return Constant(np.asarray(value, kind), call.node.outputs[0])
    raise FormatError("it holds no numbers")


def _identity(call: Call) -> Value:
    value = call.values[0] if call.values else None
    if value is None:
        raise FormatError("it has no input")
    return value


def _where(call: Call) -> Value:
    """LeakyReLU in float64: x where x > 0, otherwise alpha x."""
    test, x, other = (call.flow(i) for i in range(3))
    base, alpha = other.scaled()
    if not isinstance(test.step, Positive) or test.parent is not x or base is not x:
        raise FormatError("it chooses between two values in a way that no layer does")
    return x.then(layers.LeakyReLU(alpha), call.label)


def _greater(call: Call) -> Value:
    if call.number(1, math.nan) != 0:
        raise FormatError("it must compare with 0")
    return call.flow().then(Positive(), call.label)


def _leaky(call: Call) -> Value:
    return call.flow().then(layers.LeakyReLU(_written(call, "alpha", 0.01)), call.label)


def _swish(call: Call) -> Value:
    return call.flow().then(layers.Swish(_written(call, "alpha", 1.0)), call.label)


def _written(call: Call, name: str, default: float) -> float:
    """An attribute, which ONNX keeps in float32, as it was written."""
    return shortest(call.attribute(name, default), np.float32)


def _gelu(call: Call) -> Value:
    return call.flow().then(layers.GELU(call.attribute("approximate", "none")), call.label)


def _unary(layer: Layer) -> Handler:
    return lambda call: call.flow().then(layer, call.label)


OPERATORS: dict[str, Handler] = {
    "Add": _add,
    "BatchNormalization": _batch_normalized,
    "Cast": _cast,
    "Constant": _constant,
    "Div": _divide,
    "Dropout": _dropout,
    "Erf": lambda call: call.flow().then(Erf(), call.label),
    "Flatten": _flatten,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "Greater": _greater,
    "Identity": _identity,
    "LayerNormalization": _normalized,
    "LeakyRelu": _leaky,
    "MatMul": _matmul,
    "Mul": _multiply,
    "Pow": _power,
    "Relu": _unary(layers.ReLU()),
    "Reshape": _reshape,
    "Sigmoid": _unary(layers.Sigmoid()),
    "Softmax": _softmax,
    "Sub": _subtract,
    "Swish": _swish,
    "Tanh": _unary(layers.Tanh()),
    "Transpose": _transpose,
    "Where": _where,
    "ai.onnx.ml.Scaler": _scaler,
}
