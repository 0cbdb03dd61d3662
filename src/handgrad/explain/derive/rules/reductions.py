"""Ops over axes: sum, mean, max, softmax, normalization, and the layout of axes as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.explain.derive.arrays import Call, Length, Shaped
from handgrad.explain.derive.formula import At, Delta, Formula, Holds, Largest, Name, Number, Partial, Total
from handgrad.explain.derive.rules.arithmetic import kinks
from handgrad.explain.derive.rules.base import (
    Gradient,
    Indices,
    Note,
    Operand,
    Rule,
    Step,
    Wanted,
    defaults,
    expanded,
    total,
)
from handgrad.explain.derive.shapes import Misfit, Shape, flattened, show
from handgrad.ops import Op


def settle_axis(axis: Any, shape: Shape) -> int:
    """An axis as a number from 0. Raises Misfit."""
    if isinstance(axis, bool) or not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
        raise Misfit(f"axis={axis!r} is no axis of shape {show(shape)}")
    return axis % len(shape)


class Reduction(Rule):
    """sum, mean or max over axes (None: all)."""

    letter = "R"
    options = defaults(axis=None, keepdims=False)

    def __init__(self, op: Op):
        self.op = op

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        shape, axis = operands[0].shape, options["axis"]
        given = range(len(shape)) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
        axes = tuple(settle_axis(a, shape) for a in given)
        if len(set(axes)) != len(axes):
            raise Misfit(f"axis={axis} names one axis twice")
        options["axes"] = tuple(sorted(axes))
        kept = [1 if i in axes else n for i, n in enumerate(shape)]
        return tuple(n for i, n in enumerate(kept) if options["keepdims"] or i not in axes)

    def formula(self, step: Step) -> Formula:
        (x,), options = step.operands, step.options
        given = {} if options["axis"] is None else {"axis": options["axis"]}
        if options["keepdims"]:
            given["keepdims"] = True
        return Call(self._name, (x.formula,), given)

    @property
    def _name(self) -> str:
        assert self.op is not None
        return self.op.name

    def _letters(self, step: Step) -> tuple[Indices, Indices, Indices]:
        """(the operand's, the output's, those summed over): an axis kept with length 1 has the index "1"."""
        axes, ndim = step.options["axes"], len(step.operands[0].shape)
        letters = tuple(step.letters[:ndim])
        if step.options["keepdims"]:
            out = tuple("1" if i in axes else letters[i] for i in range(ndim))
        else:
            out = tuple(letters[i] for i in range(ndim) if i not in axes)
        return letters, out, tuple(letters[i] for i in axes)

    def output_indices(self, step: Step) -> Indices:
        """Those of an element of the output."""
        return self._letters(step)[1]

    def elements(self, step: Step) -> Formula:
        (x,) = step.operands
        letters, _, over = self._letters(step)
        element = x.at(letters)
        if self._name == "max":
            return Largest(over, element) if over else element
        out = total(over, element)
        return out if self._name == "sum" else 1 / self._count(step) * out

    def _count(self, step: Step) -> Length:
        (x,), axes = step.operands, step.options["axes"]
        assert isinstance(x.array, Name)
        return Length(x.array, axes, tuple(x.shape[a] for a in axes), len(axes) == len(x.shape))

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, (x,), axes = Wanted(step), step.operands, step.options["axes"]
        assert isinstance(x.array, Name)
        letters, out, over = self._letters(step)
        ndim, upstream = len(x.shape), step.upstream
        back = () if step.options["keepdims"] else axes
        count = self._count(step)
        if self._name == "max":
            spread = expanded(upstream, back, ndim, x.array)
            # a share is as large as x, so that nothing need be repeated
            whole = Shaped(upstream, spread.index if isinstance(spread, Shaped) else "") * Call(
                "shares_of_largest", (x.array,), {} if step.options["axis"] is None else {"axis": step.options["axis"]}
            )
            fresh = dict(zip(over, step.letters[ndim:], strict=False))
            tied = Holds(x.at(tuple(fresh.get(i, i) for i in letters)).equals(At(step.out, out)))
            local: Formula = Holds(x.at(letters).equals(At(step.out, out))) / total(list(fresh.values()), tied)
            note = Note("pattern", ("max routes: the upstream gradient goes to the largest element alone",))
        else:
            each: Formula = upstream if self._name == "sum" else upstream / count
            whole = expanded(each, back, ndim, x.array)
            local = Number(1) if self._name == "sum" else 1 / count
            copies = "a sum copies backwards: each of its terms receives the upstream gradient"
            shares = "a mean shares out: each of its terms receives the upstream gradient, divided by their number"
            note = Note("pattern", (copies if self._name == "sum" else shares,))
        wanted.add(x, whole, indices=letters, out=out, local=local, notes=(note, *kinks(self.op)))
        return wanted.found

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        assert self.op is not None
        return self.op(np.asarray(values[0]), axis=options["axes"], keepdims=options["keepdims"])


class Softmax(Rule):
    """p = softmax(x / temperature) along one axis."""

    letter = "P"
    op = ops.softmax
    options = defaults(temperature=1.0, axis=-1)

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        options["at"] = settle_axis(options["axis"], operands[0].shape)
        return operands[0].shape

    def _letters(self, step: Step) -> tuple[Indices, Indices, str]:
        """(the operand's, the output's, the letter that differs)."""
        letters, at, fresh = step.indices, step.options["at"], step.inner(1)[0]
        return letters, (*letters[:at], fresh, *letters[at + 1 :]), fresh

    def _call(self, x: Formula, options: dict[str, Any]) -> Formula:
        return Call("softmax", (x,), {k: options[k] for k, v in self.options.items() if options[k] != v})

    def formula(self, step: Step) -> Formula:
        return self._call(step.operands[0].formula, step.options)

    def elements(self, step: Step) -> Formula:
        (x,), temperature = step.operands, step.options["temperature"]
        letters, out, fresh = self._letters(step)
        return Call("exp", (x.at(letters) / temperature,)) / Total((fresh,), Call("exp", (x.at(out) / temperature,)))

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, (x,), options = Wanted(step), step.operands, step.options
        letters, out, fresh = self._letters(step)
        mine, other = At(step.out, letters), At(step.out, out)
        temperature = options["temperature"]
        local = other * (Delta(fresh, letters[options["at"]]) - mine) / temperature
        up = step.gradient_of(step.out)
        further = mine * (At(up, letters) - Total((fresh,), At(up, out) * other)) / temperature
        inner = Call("sum", (up * step.out,), {"axis": options["axis"], "keepdims": True})
        at, beyond = options["at"], step.inner(2)[1]
        mine_exp, other_exp, every_exp = (
            Call("exp", (x.at((*letters[:at], letter, *letters[at + 1 :])) / temperature,))
            for letter in (letters[at], fresh, beyond)
        )
        whole_exp = Total((beyond,), every_exp)
        first = other_exp * (Delta(fresh, letters[at]) * whole_exp - mine_exp) / (temperature * whole_exp**2)
        p = Name("p")
        jacobian: Formula = Call("diag", (p,)) - p @ p.T
        jacobian = jacobian if temperature == 1 else jacobian / temperature
        notes = (
            Note("Jacobian", ("for p, one softmax along the axis, the local gradients form the matrix ", jacobian)),
            Note("reads", ("each element's upstream gradient, less their mean weighted by ", step.out)),
        )
        whole = step.out * (up - inner) / temperature
        wanted.add(x, whole, indices=letters, out=out, local=local, first=(first,), further=(further,), notes=notes)
        return wanted.found

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        return ops.softmax(values[0], temperature=options["temperature"], axis=options["axis"])


class Normalize(Rule):
    """n = (x - mean) / sqrt(variance + epsilon) along the last axis: a LayerNorm before its scale and shift."""

    letter = "N"
    op = ops.layer_norm
    options = defaults(epsilon=1e-5)

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        if not operands[0].shape:
            raise Misfit("normalize takes an array with an axis to normalize along, got a single number")
        return operands[0].shape

    def _parts(self, step: Step) -> tuple[Name, Name]:
        return Name(f"mean{step.tail}"), Name(f"spread{step.tail}")

    def tail(self, name: str) -> str:
        return name[1:] if name[1:].isdigit() else f"_{name}"

    def auxiliary(self, step: Step) -> list[tuple[Name, Formula, Shape]]:
        x, shape = step.operands[0].formula, (*step.shape[:-1], 1)
        mean, spread = self._parts(step)
        variance = Call("mean", ((x - mean) ** 2,), {"axis": -1, "keepdims": True})
        return [
            (mean, Call("mean", (x,), {"axis": -1, "keepdims": True}), shape),
            (spread, Call("sqrt", (variance + step.options["epsilon"],)), shape),
        ]

    def formula(self, step: Step) -> Formula:
        mean, spread = self._parts(step)
        return (step.operands[0].formula - mean) / spread

    def elements(self, step: Step) -> Formula:
        mean, spread = self._parts(step)
        row = (*step.indices[:-1], "1")
        return (step.operands[0].at(step.indices) - At(mean, row)) / At(spread, row)

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, (x,) = Wanted(step), step.operands
        assert isinstance(x.array, Name)
        letters, (fresh,) = step.indices, step.inner(1)
        out, row = (*letters[:-1], fresh), (*letters[:-1], "1")
        n = Length(x.array, (len(x.shape) - 1,), x.shape[-1:])
        (mean, spread), up = self._parts(step), step.gradient_of(step.out)
        mine, other, wide = At(step.out, letters), At(step.out, out), At(spread, row)
        local = (Delta(fresh, letters[-1]) - 1 / n - other * mine / n) / wide
        mean_up = 1 / n * Total((fresh,), At(up, out))
        mean_product = 1 / n * (mine * Total((fresh,), At(up, out) * other))
        further = (At(up, letters) - mean_up - mean_product) / wide
        by_mean, by_spread = (Partial(At(part, row), At(x.array, letters)) for part in (mean, spread))
        lemmas = ((by_mean, 1 / n), (by_spread, mine / n))
        first = (Delta(fresh, letters[-1]) - 1 / n) / wide - other * mine / (n * wide)
        along = {"axis": -1, "keepdims": True}
        inner = step.out * Call("mean", (up * step.out,), along)
        whole = (up - Call("mean", (up,), along) - inner) / spread
        note = Note("reads", ("the two means take out what moves the row's own mean and spread",))
        wanted.add(
            x,
            whole,
            indices=letters,
            out=out,
            local=local,
            first=(first,),
            further=(further,),
            lemmas=lemmas,
            notes=(note,),
        )
        return wanted.found

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        x = values[0]
        plain = np.ones(x.shape[-1], dtype=x.dtype), np.zeros(x.shape[-1], dtype=x.dtype)
        return ops.layer_norm(x, *plain, epsilon=options["epsilon"])


class Flatten(Rule):
    """Y = X with all axes after the first laid out as one."""

    letter = "F"
    op = ops.reshape

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        shape = operands[0].shape
        if not shape:
            raise Misfit("flatten takes an array with an axis of samples, got a single number")
        return (shape[0], flattened(shape[1:]))

    def formula(self, step: Step) -> Formula:
        return Call("flatten", (step.operands[0].formula,))

    def elements(self, step: Step) -> Formula | None:
        return None

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, (x,) = Wanted(step), step.operands
        assert isinstance(x.array, Name)
        note = Note("reads", ("the same numbers in another layout: the gradient takes that of ", x.array, " again"))
        wanted.add(x, Shaped(step.upstream, "", x.array, "reshape"), notes=(note,))
        return wanted.found

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        x = values[0]
        return x.reshape(x.shape[0], -1)


RULES: dict[str, Rule] = {
    "sum": Reduction(ops.sum),
    "mean": Reduction(ops.mean),
    "max": Reduction(ops.max),
    "softmax": Softmax(),
    "normalize": Normalize(),
    "flatten": Flatten(),
}
