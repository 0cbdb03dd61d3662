"""Losses, the mean over samples of each one's, and the L2 penalty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import handgrad.ops as ops
from handgrad.explain.derive.arrays import Call, Length
from handgrad.explain.derive.formula import At, Formula, Holds, Name, Number, Total
from handgrad.explain.derive.rules.arithmetic import kinks
from handgrad.explain.derive.rules.base import Gradient, Note, Operand, Rule, Step, Wanted, defaults, total
from handgrad.explain.derive.shapes import Misfit, Shape, show
from handgrad.ops import Op

Pointwise = Callable[[Formula, Formula, dict[str, Any]], Formula]


class ScoreLoss(Rule):
    """The mean loss of scores against targets, which are data: a single number."""

    letter = "loss"

    def tail(self, name: str) -> str:
        return "" if name in ("L", "loss") else f"_{name}"

    def scores(self, step: Step) -> tuple[Operand, Operand, Name]:
        """(scores, targets, the scores' name)."""
        s, y = step.operands
        assert isinstance(s.array, Name)
        return s, y, s.array


class Mean(ScoreLoss):
    """A loss that is the mean of l(s, y) over all scores. value, slope: (s, y, options) -> l and dl/ds."""

    def __init__(self, op: Op, value: Pointwise, slope: Pointwise, **options: Any):
        self.op, self.value, self.slope, self.options = op, value, slope, options

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        s, y = operands
        if s.shape != y.shape or not s.shape:
            raise Misfit(f"targets must have the shape of the scores, {show(s.shape)}, got {show(y.shape)}")
        return ()

    def formula(self, step: Step) -> Formula:
        return Call("mean_all", (self.value(*self._met(step), step.options),))

    def _met(self, step: Step, letters: tuple[str, ...] | None = None) -> tuple[Formula, Formula]:
        """What `value` and `slope` take: scores and targets, as arrays or one element of each."""
        s, y = step.operands
        return (s.formula, y.formula) if letters is None else (s.at(letters), y.at(letters))

    def _count(self, name: Name, shape: Shape) -> Length:
        return Length(name, tuple(range(len(shape))), shape, True)

    def elements(self, step: Step) -> Formula:
        s, _, name = self.scores(step)
        letters = step.letters[: len(s.shape)]
        return 1 / self._count(name, s.shape) * Total(letters, self.value(*self._met(step, letters), step.options))

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, (s, _, name) = Wanted(step), self.scores(step)
        letters = step.letters[: len(s.shape)]
        count = self._count(name, s.shape)
        local = self.slope(*self._met(step, letters), step.options) / count
        whole = step.upstream * self.slope(*self._met(step), step.options) / count
        wanted.add(s, whole, indices=letters, local=local, notes=tuple(kinks(self.op)))
        return wanted.found

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        assert self.op is not None
        return self.op(values[0], np.real(values[1]), **options)


class Huber(Mean):
    """c (d - c / 2) of the difference d and of c, which is d held within delta. Huber (1964)."""

    def __init__(self) -> None:
        super().__init__(ops.huber, lambda d, c, o: c * (d - Number(0.5) * c), lambda d, c, o: c, delta=1.0)

    def auxiliary(self, step: Step) -> list[tuple[Name, Formula, Shape]]:
        s, y, _ = self.scores(step)
        d, c = Name(f"D{step.tail}"), Name(f"C{step.tail}")
        delta = step.options["delta"]
        return [
            (d, s.formula - y.formula, s.shape),
            (c, Call("clip", (d, Number(-delta), Number(delta))), s.shape),
        ]

    def _met(self, step: Step, letters: tuple[str, ...] | None = None) -> tuple[Formula, Formula]:
        (d, _, _), (c, _, _) = self.auxiliary(step)
        return (d, c) if letters is None else (At(d, letters), At(c, letters))


class Classes(ScoreLoss):
    """A loss of scores (..., n) against labels (...,)."""

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        s, y = operands
        if len(s.shape) < 2 or s.shape[:-1] != y.shape:
            raise Misfit(f"labels must have the shape {show(s.shape[:-1])} of the samples, got {show(y.shape)}")
        return ()

    def samples(self, name: Name, shape: Shape) -> Length:
        """Their number."""
        return Length(name, tuple(range(len(shape) - 1)), shape[:-1])

    def one_hot(self, s: Operand, y: Operand, name: Name) -> Formula:
        """The labels as rows."""
        last = len(s.shape) - 1
        return Call("one_hot", (y.formula, Length(name, (last,), s.shape[last:])))

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        assert self.op is not None
        return self.op(values[0], np.real(values[1]).astype(int), **options)


class CrossEntropy(Classes):
    """ln sum exp(s) - sum q s, of labels or, where y has the shape of the scores, of distributions."""

    op = ops.cross_entropy
    options = defaults(label_smoothing=0.0)

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        s, y = operands
        return () if len(s.shape) > 1 and s.shape == y.shape else super().shape(operands, options)

    def auxiliary(self, step: Step) -> list[tuple[Name, Formula, Shape]]:
        s, y, name = self.scores(step)
        target = y.formula if y.shape == s.shape else self.one_hot(s, y, name)
        if smoothing := step.options["label_smoothing"]:
            classes = Length(name, (len(s.shape) - 1,), s.shape[-1:])
            target = Number(1 - smoothing) * target + Number(smoothing) / classes
        softmax = Call("softmax", (s.formula,))
        return [(self._q(step), target, s.shape), (self._p(step), softmax, s.shape)]

    def _q(self, step: Step) -> Name:
        return Name(f"Q{step.tail}")

    def _p(self, step: Step) -> Name:
        return Name(f"P{step.tail}")

    def formula(self, step: Step) -> Formula:
        s, y, _ = self.scores(step)
        inner: Formula = Call("log_sum_exp", (s.formula,))
        if y.shape == s.shape:
            inner = inner * Call("sum", (self._q(step),), {"axis": -1})
        return Call("mean_all", (inner - Call("sum", (self._q(step) * s.formula,), {"axis": -1}),))

    def elements(self, step: Step) -> Formula:
        s, y, name = self.scores(step)
        letters = step.letters[: len(s.shape)]
        q, last = At(self._q(step), letters), letters[-1:]
        log_total = Call("log", (Total(last, Call("exp", (s.at(letters),))),))
        inner: Formula = log_total - Total(last, q * s.at(letters))
        if y.shape == s.shape:
            inner = Total(last, q) * log_total - Total(last, q * s.at(letters))
        return 1 / self.samples(name, s.shape) * Total(letters[:-1], inner)

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, (s, y, name) = Wanted(step), self.scores(step)
        letters = step.letters[: len(s.shape)]
        p, q, m = self._p(step), self._q(step), self.samples(name, s.shape)
        mine, target = At(p, letters), At(q, letters)
        fresh = step.letters[len(s.shape)]
        shares = Call("exp", (s.at(letters),)) / Total((fresh,), Call("exp", (s.at((*letters[:-1], fresh)),)))
        weighted: Formula = p
        element: Formula = mine
        if y.shape == s.shape:
            weighted = p * Call("sum", (q,), {"axis": -1, "keepdims": True})
            element = mine * Total((fresh,), At(q, (*letters[:-1], fresh)))
        notes = (
            Note(
                "collapses",
                ("the derivative of the log of the sum is the softmax ", p, ", that of the other term ", q),
            ),
        )
        whole = step.upstream * (weighted - q) / m
        local = (element - target) / m
        wanted.add(s, whole, indices=letters, local=local, lemmas=((mine, shares),), notes=notes)
        return wanted.found

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        if values[1].shape == values[0].shape:
            return ops.cross_entropy(values[0], np.real(values[1]), **options)
        return super().evaluate(values, options)


class Hinge(Classes):
    """The sum over the other classes of max(0, s_j - s_true + margin). Weston and Watkins (1999)."""

    op = ops.hinge
    options = defaults(margin=1.0)

    def _names(self, step: Step) -> tuple[Name, Name, Name]:
        q, margins, active = (Name(f"{name}{step.tail}") for name in ("Q", "M", "active"))
        return q, margins, active

    def auxiliary(self, step: Step) -> list[tuple[Name, Formula, Shape]]:
        s, y, name = self.scores(step)
        q, margins, active = self._names(step)
        true = Call("sum", (q * s.formula,), {"axis": -1, "keepdims": True})
        above = Holds(margins.over(Number(0)))
        return [
            (q, self.one_hot(s, y, name), s.shape),
            (margins, s.formula - true + step.options["margin"], s.shape),
            (active, above * (1 - q), s.shape),
        ]

    def formula(self, step: Step) -> Formula:
        s, _, name = self.scores(step)
        _, margins, active = self._names(step)
        return Call("sum", (active * margins,)) / self.samples(name, s.shape)

    def elements(self, step: Step) -> Formula:
        s, _, name = self.scores(step)
        letters = step.letters[: len(s.shape)]
        q, fresh = self._names(step)[0], (*letters[:-1], step.letters[len(s.shape)])
        gap = s.at(letters) - Total(fresh[-1:], At(q, fresh) * s.at(fresh)) + step.options["margin"]
        inner = Total(letters[-1:], (1 - At(q, letters)) * Call("relu", (gap,)))
        return 1 / self.samples(name, s.shape) * Total(letters[:-1], inner)

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, (s, _, name) = Wanted(step), self.scores(step)
        letters = step.letters[: len(s.shape)]
        q, margins, active = self._names(step)
        m, fresh = self.samples(name, s.shape), (*letters[:-1], step.letters[len(s.shape)])
        counted = Total(fresh[-1:], At(active, fresh))
        local = (At(active, letters) - At(q, letters) * counted) / m
        lemma = At(active, letters), (1 - At(q, letters)) * Holds(At(margins, letters).over(Number(0)))
        note = Note("reads", ("each active margin pushes its own score down and pulls the true one up",))
        pulled = q * Call("sum", (active,), {"axis": -1, "keepdims": True})
        whole = step.upstream * (active - pulled) / m
        wanted.add(s, whole, indices=letters, local=local, lemmas=(lemma,), notes=(note, *kinks(self.op)))
        return wanted.found


class Penalty(Rule):
    """R = strength * the sum of all squares."""

    letter = "penalty"
    op = ops.l2
    options = defaults(strength=1.0)

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        return ()

    def formula(self, step: Step) -> Formula:
        return Number(step.options["strength"]) * Call("sum", (step.operands[0].formula ** 2,))

    def elements(self, step: Step) -> Formula:
        (w,) = step.operands
        letters = step.letters[: len(w.shape)]
        return Number(step.options["strength"]) * total(letters, w.at(letters) ** 2)

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, (w,) = Wanted(step), step.operands
        letters, twice = step.letters[: len(w.shape)], Number(2 * step.options["strength"])
        note = Note("reads", ("each weight is pulled towards 0 in proportion to itself",))
        wanted.add(w, step.upstream * (twice * w.formula), indices=letters, local=twice * w.at(letters), notes=(note,))
        return wanted.found


def _pinball(s: Formula, y: Formula, options: dict[str, Any]) -> Formula:
    return Call("maximum", (Number(options["q"]) * (y - s), Number(options["q"] - 1) * (y - s)))


def _pinball_slope(s: Formula, y: Formula, options: dict[str, Any]) -> Formula:
    q = options["q"]
    return Number(1 - q) * Holds(s.over(y)) - Number(q) * Holds(y.over(s))


RULES: dict[str, Rule] = {
    "cross_entropy": CrossEntropy(),
    "hinge": Hinge(),
    "binary_cross_entropy": Mean(
        ops.binary_cross_entropy,
        lambda s, y, o: Call("softplus", (s,)) - y * s,
        lambda s, y, o: Call("sigmoid", (s,)) - y,
    ),
    "squared_error": Mean(ops.squared_error, lambda s, y, o: (s - y) ** 2, lambda s, y, o: Number(2) * (s - y)),
    "huber": Huber(),
    "poisson": Mean(ops.poisson, lambda s, y, o: Call("exp", (s,)) - y * s, lambda s, y, o: Call("exp", (s,)) - y),
    "quantile": Mean(ops.quantile, _pinball, _pinball_slope, q=0.5),
    "l2": Penalty(),
}
