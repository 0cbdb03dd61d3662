"""What can be checked: an op, a loss, a layer or model, its whole loss, a user's pair. All become one `Target`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat
import numpy as np

from handgrad.errors import DTypeError, ParameterError, ValueRangeError
from handgrad.initializers import zeros
from handgrad.layers import Layer, Loss, Parameter, Parameters
from handgrad.layers import loss as loss_of
from handgrad.models import Container
from handgrad.ops import Op

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """A function of named arrays with its gradient.

    inputs: the arrays gradients are taken by. forward takes a value for each and gives (out, cache); backward takes
    (dout, cache) and gives the gradients by name. known: all names backward may return. ours: whether every line of
    forward is the library's, which takes complex numbers. upstream: the only dout there is, or None for any.
    composed: whether it may be made of several functions, whose kinks can meet.
    """

    title: str
    inputs: dict[str, Any]
    forward: Callable[[Values], tuple[Any, Any]]
    backward: Callable[[Any, Any], dict[str, Any]]
    known: tuple[str, ...]
    ours: bool
    upstream: float | None = None
    composed: bool = False

    def only(self, wrt: str | int | Iterable[str | int] | None) -> Target:
        """This target with gradients by some of its inputs alone; the others become data."""
        if wrt is None:
            return self
        names = list(self.inputs)
        chosen = []
        for key in [wrt] if isinstance(wrt, str | int) else list(wrt):
            if isinstance(key, int) and 0 <= key < len(names):
                chosen.append(names[key])
            elif key in names:
                chosen.append(str(key))
            else:
                raise ValueRangeError(f"wrt must name inputs among {names}, got {key!r}")
        if not chosen:
            raise ValueRangeError(f"wrt must name at least one input among {names}, got none")
        rest = {name: value for name, value in self.inputs.items() if name not in chosen}

        def forward(values: Values) -> tuple[Any, Any]:
            # ops take inputs of one dtype: those that stand still join a complex step
            steps = any(getattr(value, "dtype", None) == np.complex128 for value in values.values())
            still = {name: np.asarray(value, np.complex128) for name, value in rest.items()} if steps else rest
            return self.forward({**still, **values})

        return replace(self, inputs={name: self.inputs[name] for name in names if name in chosen}, forward=forward)


def target_of(target: Any, args: Sequence[Any], keywords: Mapping[str, Any], seed: int) -> Target:
    """The Target that check_gradients was asked for. seed: what dropout draws with when no rng is given."""
    if isinstance(target, Layer):
        return _of_model(target, args, keywords, seed)
    if isinstance(target, Op):
        return _of_op(target, args, keywords)
    if isinstance(target, Loss):
        return _of_loss(target, args, keywords)
    if isinstance(target, tuple | list) and len(target) == 2 and all(callable(part) for part in target):
        return _of_pair(target[0], target[1], args, keywords)
    if isinstance(target, type):
        raise DTypeError(f"target must be an object, got the class {target.__name__}; write {target.__name__}(...)")
    raise DTypeError(
        "target must be an op, a layer or model, a loss or a pair of functions (forward, backward), "
        f"got {type(target).__name__}"
    )


def lift(value: Any) -> Any:
    """`value` for the numeric side: arrays of any library become NumPy's, floats float64, in mappings too."""
    if isinstance(value, Mapping):
        return {key: lift(each) for key, each in value.items()}
    if not array_api_compat.is_array_api_obj(value):
        return value
    array = to_numpy(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def to_numpy(array: Any) -> np.ndarray:
    """An array of any library as NumPy's, a copy where it is not NumPy's already."""
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if array_api_compat.is_torch_array(array):
        return array.detach().cpu().numpy().copy()
    if array_api_compat.is_cupy_array(array):
        return array.get()
    try:
        return np.array(array)
    except Exception as error:
        raise DTypeError(f"an array of {type(array).__module__} can't be converted to NumPy: {error}") from None


def _of_op(op: Op, args: Sequence[Any], keywords: Mapping[str, Any]) -> Target:
    keywords = dict(keywords)
    names = tuple(getattr(op, "inputs", ())) or _names(op.forward, len(args))
    args = list(args)
    while any(name in keywords for name in names[len(args) :]):  # inputs may be given by name, as to forward itself
        args.append(keywords.pop(names[len(args)], None))
    given, data = dict(zip(names, args, strict=False)), args[len(names) :]
    if not given:
        raise ValueRangeError(f"{op!r} needs its inputs {names}, got none")
    inputs = {name: _floating(name, value) for name, value in given.items() if value is not None}

    def forward(values: Values) -> tuple[Any, Any]:
        full = [{**inputs, **values}.get(name) for name in given]
        return _pair(op.forward(*full, *data, **_fresh(keywords)), "forward", "(out, cache)")

    def backward(dout: Any, cache: Any) -> dict[str, Any]:
        return _by_name(op.backward(dout, cache), names, inputs)

    return Target(_title(op), inputs, forward, backward, names, _ours(op))


def _of_loss(loss: Loss, args: Sequence[Any], keywords: Mapping[str, Any]) -> Target:
    if len(args) < 2:
        raise ValueRangeError(f"{type(loss).__name__} needs scores and y, got {len(args)} inputs")
    inputs = {"scores": _floating("scores", args[0])}

    def forward(values: Values) -> tuple[Any, Any]:
        return _pair(loss.forward(values["scores"], *args[1:], **_fresh(keywords)), "forward", "(out, cache)")

    def backward(dout: Any, cache: Any) -> dict[str, Any]:
        return {"scores": loss.backward(dout, cache)}

    return Target(type(loss).__name__, inputs, forward, backward, ("scores",), _ours(loss))


def _of_pair(
    function: Callable[..., Any], gradient: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]
) -> Target:
    names = _names(function, len(args))
    given = {name: _as_array(value) for name, value in zip(names, args, strict=True)}
    inputs = {name: value for name, value in given.items() if _is_floating(value)}
    if not inputs:
        raise DTypeError("inputs must hold at least one array of floating-point numbers to take a gradient by")

    def forward(values: Values) -> tuple[Any, Any]:
        full = {**given, **values}
        return _pair(function(*(full[name] for name in names), **_fresh(keywords)), "forward", "(out, cache)")

    def backward(dout: Any, cache: Any) -> dict[str, Any]:
        return _by_name(gradient(dout, cache), names, inputs)

    return Target(
        getattr(function, "__name__", "the pair"), inputs, forward, backward, names, ours=False, composed=True
    )


def _of_model(model: Layer, args: Sequence[Any], keywords: Mapping[str, Any], seed: int) -> Target:
    if len(args) not in (2, 3):
        raise ValueRangeError(f"{type(model).__name__} takes params, x and, with a loss, y; got {len(args)} inputs")
    allowed = {"loss", "regularizer", "sample_weight", "train", "rng"}
    if unknown := sorted(keywords.keys() - allowed):
        raise ValueRangeError(f"{unknown[0]} is no option for a layer or model; those are {sorted(allowed)}")
    params, x = args[:2]
    if not isinstance(params, Mapping):
        raise DTypeError(f"params must map names to arrays, as layer.init gives them, got {type(params).__name__}")
    own = model.parameters() or {name: Parameter(tuple(value.shape), zeros) for name, value in params.items()}
    if params.keys() != own.keys():
        missing, unknown = sorted(own.keys() - params.keys()), sorted(params.keys() - own.keys())
        raise ParameterError(f"params do not match the model's: missing {missing}, unknown {unknown}")
    entry = "x" if "x" not in own else "input x"
    inputs = {entry: _floating("x", x), **{name: _floating(name, params[name]) for name in own}}
    train, rng = keywords.get("train", False), keywords.get("rng", seed)

    def forward(values: Values) -> tuple[Any, Any]:
        values = {**inputs, **values}
        draw = copy.deepcopy(rng) if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
        made = model.forward({name: values[name] for name in own}, values[entry], train=train, rng=draw)
        return _pair(made, "forward", "(out, cache)")

    def backward(dout: Any, cache: Any) -> dict[str, Any]:
        dx, grads = _pair(model.backward(dout, cache), "backward", "(dx, grads)")
        if not isinstance(grads, Mapping):
            raise DTypeError(f"backward must return (dx, grads), grads by name, got {type(grads).__name__}")
        return {entry: dx, **grads}

    bare = Target(
        _title(model), inputs, forward, backward, (entry, *own), _ours(model), composed=isinstance(model, Container)
    )
    if keywords.get("loss") is not None:
        if len(args) == 2:
            raise ValueRangeError("loss needs y: check_gradients(model, params, x, y, loss=...)")
        return _with_loss(bare, own, args[2], keywords, lambda dout, cache: model.parameter_gradients(dout, cache))
    if len(args) == 3 or any(keywords.get(name) is not None for name in ("regularizer", "sample_weight")):
        raise ValueRangeError("y, regularizer and sample_weight need a loss: give loss= an object or a name")
    return bare


def _with_loss(
    model: Target,
    own: Mapping[str, Parameter],
    y: Any,
    keywords: Mapping[str, Any],
    parameter_gradients: Callable[[Any, Any], Mapping[str, Any]],
) -> Target:
    """The total loss, as training takes it: the parameters' gradients come from the same calls as there."""
    loss, regularizer = loss_of(keywords["loss"]), keywords.get("regularizer")
    if regularizer is not None and not hasattr(regularizer, "value_and_grad"):
        raise DTypeError(f"regularizer must be an object such as L2(1e-3), got {type(regularizer).__name__}")
    weight = keywords.get("sample_weight")

    def forward(values: Values) -> tuple[Any, Any]:
        values = {**model.inputs, **values}
        scores, cache = model.forward(values)
        value, loss_cache = loss.forward(scores, y, sample_weight=weight)
        if regularizer is None or not own:
            return value, (loss_cache, cache, {})
        xp = array_api_compat.array_namespace(*(values[name] for name in own))
        flat = xp.concat([xp.reshape(values[name], (-1,)) for name in own])
        extra, grads = regularizer.value_and_grad(Parameters(own, flat))
        return value + extra, (loss_cache, cache, grads)

    def backward(dout: Any, cache: Any) -> dict[str, Any]:
        loss_cache, model_cache, penalties = cache
        dscores = loss.backward(dout, loss_cache)
        grads = model.backward(dscores, model_cache) | dict(parameter_gradients(dscores, model_cache))
        return grads | {name: grads[name] + dout * extra for name, extra in penalties.items()}

    ours = model.ours and _ours(loss) and (regularizer is None or _ours(regularizer))
    title = f"{model.title} with {type(loss).__name__}" + (f" and {regularizer}" if regularizer is not None else "")
    return replace(model, title=title, forward=forward, backward=backward, ours=ours, upstream=1.0)


def _by_name(grads: Any, names: Sequence[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Gradients by name: given by name already, one for each input, or one for each input of floats."""
    if isinstance(grads, Mapping):
        return dict(grads)
    grads = list(grads) if isinstance(grads, tuple | list) else [grads]
    keys = list(names) if len(grads) == len(names) else list(inputs)
    keys += [f"gradient {i}" for i in range(len(keys), len(grads))]
    return {key: value for key, value in zip(keys, grads, strict=False) if value is not None}


def _pair(made: Any, function: str, expected: str) -> tuple[Any, Any]:
    if not isinstance(made, tuple) or len(made) != 2:
        raise DTypeError(f"{function} must return {expected}, got {type(made).__name__}")
    return made


def _names(function: Callable[..., Any], count: int) -> tuple[str, ...]:
    """The names of the first `count` positional arguments, as the function calls them."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        names = [name for name, each in inspect.signature(function).parameters.items() if each.kind in kinds]
    except (TypeError, ValueError):
        names = []
    return tuple(names[:count]) + tuple(f"input {i}" for i in range(min(len(names), count), count))


def _as_array(value: Any) -> Any:
    """Numbers with a fraction, alone or in lists, as float64 arrays; everything else as it is."""
    if isinstance(value, float | np.floating):
        return np.asarray(value)
    if isinstance(value, list):
        try:
            array = np.asarray(value)
        except ValueError:
            return value
        return array if array.dtype.kind == "f" else value
    return value


def _is_floating(value: Any) -> bool:
    if not array_api_compat.is_array_api_obj(value):
        return False
    return bool(array_api_compat.array_namespace(value).isdtype(value.dtype, "real floating"))


def _floating(name: str, value: Any) -> Any:
    value = _as_array(value)
    if not _is_floating(value):
        kind = getattr(value, "dtype", type(value).__name__)
        raise DTypeError(f"{name} must be an array of floating-point numbers, got {kind}")
    return value


def _fresh(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords with each generator copied, so that every evaluation draws the same numbers."""
    return {k: copy.deepcopy(v) if isinstance(v, np.random.Generator) else v for k, v in keywords.items()}


def _ours(part: Any) -> bool:
    """Whether all code of an op, loss, regularizer or layer, with all layers within, is the library's."""
    if not type(part).__module__.startswith("handgrad."):
        return False
    return all(_ours(child) for child in part.children().values()) if isinstance(part, Container) else True


def _title(part: Any) -> str:
    return repr(part) if isinstance(part, Op) and hasattr(part, "name") else type(part).__name__
