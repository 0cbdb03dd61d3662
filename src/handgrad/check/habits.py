"""What backward promises beside its numbers: names, shapes, dtypes, and to leave everything else as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import array_api_compat
import numpy as np

from handgrad.check.targets import Target, to_numpy
from handgrad.errors import DTypeError

Snapshot = list[np.ndarray]


@dataclasses.dataclass
class Habits:
    """gradients: as backward gave them, by name. problems: of the whole target. faults: of one array, by its name."""

    gradients: dict[str, Any]
    problems: list[str]
    faults: dict[str, str]
    upstream: Any
    finite: bool


def observe(target: Target, seed: int) -> Habits:
    """Run forward and backward several times on the inputs as given, and note what changes that should not."""
    rng = np.random.default_rng(seed)
    values = {name: _copy(x) for name, x in target.inputs.items()}
    elsewhere = {name: _moved(x, rng) for name, x in target.inputs.items()}
    problems = []

    target.forward(elsewhere)  # first of all, so that a state kept from the first call is one kept from elsewhere
    out, cache = target.forward(values)
    dout = _upstream(target, out, rng)
    out_before, saved, given, up = _snapshot(out), _snapshot(cache), _snapshot(values), _snapshot(dout)
    if not _same(given, _snapshot(target.inputs)):
        problems.append("forward changes its inputs")
    if _narrowed(out, target.inputs):
        problems.append("forward gives float32 for inputs of float64: every number here is rounded to seven digits")
    if not _same(out_before, _snapshot(target.forward(values)[0])):
        problems.append("forward gives another output when called again: does it draw random numbers of its own?")

    first = target.backward(dout, cache)
    kept = _snapshot(first)
    if not _same(up, _snapshot(dout)):
        problems.append("backward changes dout, the upstream gradient, which others may still need")
        dout = _upstream_again(dout, up)
    if not _same(given, _snapshot(values)):
        problems.append("backward changes the inputs")
        values = {name: _copy(x) for name, x in target.inputs.items()}
    if not _same(saved, _snapshot(cache)):
        problems.append("backward changes the cache, which must serve any number of times")
        out, cache = target.forward(values)
    if not _same(out_before, _snapshot(out)):
        problems.append("backward changes the output")
    if not _same(kept, _snapshot(target.backward(dout, cache))):
        problems.append("backward gives other gradients when called again with the same cache")
    elif not _same(kept, _snapshot(first)):
        problems.append("a second call of backward overwrites the gradients that the first returned")
    else:
        target.forward(elsewhere)
        if not _same(kept, _snapshot(target.backward(dout, cache))):
            problems.append("backward uses what the latest forward left behind (a stale cache), not its own cache")

    gradients = target.backward(dout, target.forward(values)[1])
    if extra := sorted(gradients.keys() - set(target.known)):
        problems.append(f"backward returns gradients for {', '.join(extra)}, which are no inputs")
    faults = {name: _fault(x, gradients.get(name), name in gradients) for name, x in target.inputs.items()}
    finite = bool(np.all(np.isfinite(to_numpy(out))))
    return Habits(gradients, problems, {k: v for k, v in faults.items() if v}, dout, finite)


def _narrowed(out: Any, inputs: Mapping[str, Any]) -> bool:
    return "float32" in str(getattr(out, "dtype", "")) and all("float64" in str(x.dtype) for x in inputs.values())


def _fault(x: Any, gradient: Any, given: bool) -> str:
    """What is wrong with the kind of a gradient, in words; "" when nothing is."""
    if not given or gradient is None:
        return "backward returns no gradient for it (if it is data, name the others by wrt=)"
    shape, expected = tuple(np.shape(gradient)), tuple(x.shape)
    if shape != expected:
        return f"the gradient has shape {shape}, its input {expected}"
    dtype = getattr(gradient, "dtype", None)
    if dtype is not None and dtype != x.dtype:
        return f"the gradient has dtype {dtype}, its input {x.dtype}"
    if dtype is not None and not np.all(np.isfinite(to_numpy(gradient))):
        return "the gradient is not finite"
    return ""


def _upstream(target: Target, out: Any, rng: np.random.Generator) -> Any:
    """A random upstream gradient of the output's kind, no number of it near 0 when it is one number alone."""
    if not array_api_compat.is_array_api_obj(out) and not isinstance(out, float):
        raise DTypeError(f"forward must return an array as its output, got {type(out).__name__}")
    if target.upstream is not None:
        return target.upstream
    if isinstance(out, float | np.generic):
        kind = np.float64 if type(out) is float else type(out)
        return kind(rng.uniform(0.5, 1.5))
    if not array_api_compat.array_namespace(out).isdtype(out.dtype, "real floating"):
        raise DTypeError(f"forward must return floating-point numbers, got dtype {out.dtype}")
    draw = rng.standard_normal(tuple(out.shape)) if out.ndim else np.asarray(rng.uniform(0.5, 1.5))
    return _like(out, draw)


def _upstream_again(dout: Any, numbers: Snapshot) -> Any:
    return _like(dout, numbers[0])


def _like(array: Any, numbers: np.ndarray) -> Any:
    """The numbers as an array of the library, dtype and device of `array`."""
    if isinstance(array, np.ndarray):
        return np.array(numbers, dtype=array.dtype)
    xp = array_api_compat.array_namespace(array)
    return xp.asarray(numbers, dtype=array.dtype, device=array_api_compat.device(array))


def _copy(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return x.copy()
    return array_api_compat.array_namespace(x).asarray(x, copy=True)


def _moved(x: Any, rng: np.random.Generator) -> Any:
    """Each number changed by a percent or so, which keeps its sign and its order of magnitude."""
    return _like(x, to_numpy(x) * (1 + 0.01 * rng.uniform(-1, 1, tuple(x.shape))))


def _snapshot(tree: Any) -> Snapshot:
    return [np.array(to_numpy(array)) for array in _arrays(tree)]


def _same(before: Snapshot, after: Snapshot) -> bool:
    return len(before) == len(after) and all(
        a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(before, after, strict=True)
    )


def _arrays(tree: Any, depth: int = 12) -> Iterator[Any]:
    """All arrays within tuples, lists, mappings and plain objects, in order."""
    if depth == 0 or tree is None or isinstance(tree, str | bytes | int):
        return
    if isinstance(tree, float):
        yield np.float64(tree)
    elif array_api_compat.is_array_api_obj(tree):
        yield tree
    else:
        for part in _parts(tree):
            yield from _arrays(part, depth - 1)


def _parts(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        return list(tree.values())
    if isinstance(tree, tuple | list):
        return list(tree)
    return list(getattr(tree, "__dict__", {}).values())
