"""Matrix products, with or without a term added to them, and transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import handgrad.ops as ops
from handgrad.explain.derive.arrays import Call
from handgrad.explain.derive.formula import At, Formula, Name, Number, Transposed
from handgrad.explain.derive.rules.arithmetic import pooling
from handgrad.explain.derive.rules.base import (
    Gradient,
    Indices,
    Note,
    Operand,
    Rule,
    Step,
    Wanted,
    aligned,
    pooled,
    total,
)
from handgrad.explain.derive.shapes import Misfit, Shape, broadcast, product


class Product(Rule):
    """Z = X Y, or Z = X Y + C: X and Y may be transposed, C is broadcast. Vectors and stacks as NumPy has them."""

    letter = "Z"
    op = ops.matmul

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        x, y, *added = operands
        shape = product(x.seen, y.seen)
        if added and broadcast(shape, added[0].shape) != shape:
            raise Misfit("the term added is larger than the product")
        return shape

    def formula(self, step: Step) -> Formula:
        x, y, *added = step.operands
        out = x.formula @ y.formula
        return out + added[0].formula if added else out

    def elements(self, step: Step) -> Formula:
        x, y, *added = step.operands
        rows, columns = self._indices(step)
        out = total(step.inner(1), x.at(rows) * y.at(columns))
        return out + added[0].at(aligned(added[0], step.shape, step.indices)) if added else out

    def _indices(self, step: Step) -> tuple[Indices, Indices]:
        """Those in which the factors are met; the axes of a stack are broadcast."""
        x, y = step.operands[:2]
        (k,) = step.inner(1)
        out = step.indices
        column = out[-1:] if len(y.shape) > 1 else ()
        row = out[len(out) - len(column) - 1 : len(out) - len(column)] if len(x.shape) > 1 else ()
        stack, lengths = out[: len(out) - len(row) - len(column)], step.shape
        x_stack = aligned(Operand(x.array, x.shape[:-2]), lengths[: len(stack)], stack)
        y_stack = aligned(Operand(y.array, y.shape[:-2]), lengths[: len(stack)], stack)
        return (*x_stack, *row, k), (*y_stack, k, *column)

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, letters = Wanted(step), step.indices
        x, y, *added = step.operands
        rows, columns = self._indices(step)
        for me, mine, other, others, left in ((x, rows, y, columns, True), (y, columns, x, rows, False)):
            element = me.at(mine)
            factor = other.at(others)
            assert isinstance(element, At)
            assert isinstance(factor, At)
            einsum = f"{''.join(letters)},{''.join(factor.indices)}->{''.join(element.indices)}"
            whole = self._whole(step, me, other, left, einsum)
            flat = step.shape and max(len(step.shape), len(me.shape), len(other.shape)) <= 2
            wanted.add(
                me,
                whole,
                indices=element.indices,
                out=letters,
                local=factor,
                notes=tuple(self._notes(step, me, other, whole, left)),
                other=other if flat else None,
            )
        for term in added:
            indices = aligned(term, step.shape, letters)
            note = pooling(step, term, indices) if isinstance(term.array, Name) else None
            notes = (note,) if note else ()
            array = pooled(step.upstream, step.shape, term.shape)
            wanted.add(term, array, indices=indices, out=letters, local=Number(1), notes=notes)
        return wanted.found

    def _whole(self, step: Step, me: Operand, other: Operand, left: bool, einsum: str) -> Formula:
        """The gradient of one factor, as a product; of a vector beside a stack of matrices, by its indices."""
        dz, f = step.upstream, other.formula
        ndim, other_ndim = len(me.shape), len(other.shape)
        if not step.shape:  # of two vectors
            return dz * f
        if ndim == 1 and other_ndim == 2:
            return (f @ dz) if left else (f.T @ dz)
        if ndim == 2 and other_ndim == 1:
            first, second = (dz, f) if left != me.transposed else (f, dz)
            return Call("outer", (first, second))
        if ndim == 1 or other_ndim == 1:
            return Call("einsum", (dz, other.array), {"indices": einsum})
        stacked = len(step.shape) > 2
        turned = Transposed(other.array, other_ndim > 2) if not other.transposed else other.array
        upstream = Transposed(dz, stacked) if me.transposed else dz
        if not me.transposed:
            whole = upstream @ turned if left else turned @ upstream
        else:
            whole = f @ upstream if left else upstream @ f
        seen = (*step.shape[:-2], *me.shape[-2:])
        return pooled(whole, seen, me.shape)

    def _notes(self, step: Step, me: Operand, other: Operand, whole: Formula, left: bool) -> list[Note]:
        side, first, second = ("right", me, other) if left else ("left", other, me)
        notes = []
        vectors = [operand for operand in (first, second) if len(operand.shape) == 1]
        if step.shape and not (vectors and max(len(me.shape), len(other.shape)) > 2):
            turned: Formula = Transposed(other.array) if not other.transposed else other.array
            mirror = step.upstream @ turned if left else turned @ step.upstream
            parts: list[str | Formula] = ["in ", first.formula @ second.formula, " the other factor, ", other.formula]
            parts += [f", stands on the {side}; kept there and transposed it gives ", mirror]
            if me.transposed:
                parts += ["; as ", me.array, " stands there transposed, the whole is transposed: ", _bare(whole)]
            elif vectors and whole != mirror:
                kind = "rows" if vectors[0] is first else "columns"
                parts += ["; ", vectors[0].array, " and ", step.upstream, f" being {kind}, that is ", whole]
            notes.append(Note("mirror rule", tuple(parts)))
        if not left and len(step.shape) == 2 and len(other.shape) == 2 and not other.transposed:
            sentence = f" serves all {step.shape[0]} rows of "
            after = ", and the product already sums what each of them gives"
            notes.append(Note("batch pooling", (me.array, sentence, other.array, after)))
        elif len(step.shape) > 2 and len(me.shape) == 2:
            notes.append(Note("batch pooling", (me.array, " serves the whole stack, over which its gradient sums")))
        return notes

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        x, y, *added = values
        out = ops.matmul(x, y)
        return ops.add(out, added[0]) if added else out


def _bare(whole: Formula) -> Formula:
    """A product without the sum around it."""
    return whole.arguments[0] if isinstance(whole, Call) and whole.function == "sum" else whole


class Transpose(Rule):
    """Y = X^T, the last two axes swapped."""

    letter = "T"
    op = None

    def shape(self, operands: Sequence[Operand], options: dict[str, Any]) -> Shape:
        (x,) = operands
        return Operand(x.array, x.shape, True).seen if len(x.shape) > 1 else x.shape

    def formula(self, step: Step) -> Formula:
        (x,) = step.operands
        return Transposed(x.array, len(x.shape) > 2) if len(x.shape) > 1 else x.array

    def elements(self, step: Step) -> Formula:
        (x,) = step.operands
        return Operand(x.array, x.shape, len(x.shape) > 1).at(step.indices)

    def gradients(self, step: Step) -> list[Gradient]:
        wanted, (x,) = Wanted(step), step.operands
        out, turned = step.indices, len(x.shape) > 1
        indices = (*out[:-2], out[-1], out[-2]) if turned else out
        whole = Transposed(step.upstream, len(x.shape) > 2) if turned else step.upstream
        wanted.add(x, whole, indices=indices, out=out, local=Number(1))
        return wanted.found

    def evaluate(self, values: Sequence[Any], options: dict[str, Any]) -> Any:
        return values[0].mT if values[0].ndim > 1 else values[0]
