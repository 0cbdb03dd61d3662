"""Mutation of an op's gradient: which functions make it, and which mutants of them the proofs let live."""

from __future__ import annotations

import functools
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import CodeType, FrameType, FunctionType
from typing import Any

import handgrad.ops
from handgrad.ops.base import Op
from handgrad.ops.losses import base as loss_base
from handgrad.ops.reductions import Max
from mutation.equivalent import EQUIVALENT
from mutation.mutators import Mutant, mutants
from proofs import PROOFS, declared
from table import OPS, POINTS, ROWS

# What backward calls to check and to convert: a mistake there is an error raised, never a wrong gradient.
CHECKS = {"match_upstream", "namespace_of", "operand", "floating", "_library"}
# What makes the gradient already in forward: the weight of each sample, and each element's share of a maximum.
BEFOREHAND = {loss_base.Loss: (loss_base.Loss.forward, loss_base._weights), Max: (Max.forward,)}


@dataclass(frozen=True)
class Result:
    """One op's mutants: how many there are, which lived, and which of those are known to be equivalent."""

    mutants: int
    survivors: tuple[str, ...]  # neither killed nor listed
    equivalent: tuple[str, ...]  # listed, and alive
    unlisted: tuple[str, ...]  # listed, but killed or not there: the list is wrong


def functions_by_code() -> dict[CodeType, tuple[FunctionType, type | None]]:
    """Every function and method under handgrad.ops, with the class that owns it, by its code."""
    found: dict[CodeType, tuple[FunctionType, type | None]] = {}
    for info in pkgutil.walk_packages(handgrad.ops.__path__, "handgrad.ops."):
        for value in vars(import_module(info.name)).values():
            if isinstance(value, FunctionType):
                found.setdefault(value.__code__, (value, None))
            elif inspect.isclass(value):
                for method in vars(value).values():
                    if isinstance(method, FunctionType):
                        found[method.__code__] = (method, value)
    return found


def gradient_functions(op: Op) -> list[FunctionType]:
    """What runs when the op's backward runs on its rows: its own methods and helpers, not other ops it is made of."""
    known = functions_by_code()
    used: dict[FunctionType, None] = {}
    foreign: list[FrameType] = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and foreign and foreign[-1] is frame:
            foreign.pop()
        if event != "call" or foreign or frame.f_code not in known:
            return
        function, owner = known[frame.f_code]
        if owner is not None and owner not in type(op).__mro__:
            foreign.append(frame)
        elif function.__name__ not in CHECKS:
            used[function] = None

    for case in ROWS[op.name]:
        out, cache = case.forward(case.draw())
        u = case.upstream(out)
        sys.setprofile(watch)
        try:
            op.backward(u, cache)
        finally:
            sys.setprofile(None)
    used |= {f: None for owner, functions in BEFOREHAND.items() if isinstance(op, owner) for f in functions}
    return list(used)


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """The mutant's code in place of the function's, for everyone who calls it."""
    right = mutant.function.__code__
    mutant.function.__code__ = mutant.code
    try:
        yield
    finally:
        mutant.function.__code__ = right


@contextmanager
def stale(op: Op) -> Iterator[None]:
    """forward gives the cache of an earlier call: the mistake of a layer that keeps its cache on itself."""
    forward, caches = op.forward, []

    def late(*inputs: Any, **hyper: Any) -> tuple[Any, Any]:
        out, cache = forward(*inputs, **hyper)
        caches.append(cache)
        return out, caches[0]

    op.forward = late  # type: ignore[method-assign]
    try:
        yield
    finally:
        del op.forward


@functools.cache
def checks(name: str) -> list[Callable[[], None]]:
    """Every proof for every row of that op, and each point where its gradient is declared."""
    points = [functools.partial(declared, point) for point in POINTS[name]]
    return points + [functools.partial(proof, case) for case in ROWS[name] for proof in PROOFS]


def proved(op: Op) -> bool:
    """Whether all of its checks hold. What fails comes first the next time: it kills most of the next mutants too."""
    every = checks(op.name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, check in enumerate(every):
            try:
                check()
            except Exception:  # an error is as loud as a failed assertion
                every.insert(0, every.pop(number))
                return False
    return True


@functools.cache
def measure(name: str) -> Result:
    """Run every mutant of an op's gradient against the proofs."""
    op = OPS[name]
    assert proved(op), f"the proofs of {name} fail before anything is mutated"
    known = {key: why for key, why in EQUIVALENT.items() if key[0] == name}
    alive, equivalent, count = [], {}, 1
    with stale(op):
        if proved(op):
            alive.append("forward, stale cache")
    for function in gradient_functions(op):
        for mutant in mutants(function):
            count += 1
            with mutated(mutant):
                if not proved(op):
                    continue
            key = (name, mutant.mutator, f"{mutant.before} -> {mutant.after}")
            if key in known:
                equivalent[key] = str(mutant)
            else:
                alive.append(str(mutant))
    wrong = tuple(" | ".join(key) for key in known if key not in equivalent)
    return Result(count, tuple(alive), tuple(equivalent.values()), wrong)
