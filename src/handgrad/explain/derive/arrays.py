"""Formulas of whole arrays: functions of them, their lengths, and their change of shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from handgrad.explain.derive.formula import ATOM, Formula, Name, closed
from handgrad.explain.derive.functions import CODE, LATEX
from handgrad.explain.derive.shapes import Dim
from handgrad.explain.derive.symbols import operator_name, symbol


@dataclass(frozen=True)
class Length(Formula):
    """The number of elements of an array along axes: shown as their names, taken from the array in code."""

    array: Name
    axes: tuple[int, ...]
    dims: tuple[Dim, ...]
    whole: bool = False  # whether these are all axes
    single = True
    counts = True

    def text(self) -> str:
        shown = " ".join(map(str, self.dims)) or "1"
        return f"({shown})" if len(self.dims) > 1 else shown

    def latex(self) -> str:
        return r" \, ".join(symbol(d) if isinstance(d, str) else str(d) for d in self.dims) or "1"

    def code(self) -> str:
        if self.whole and len(self.axes) != 1:
            return f"{self.array.code()}.size"
        if self.axes == (0,):
            return f"len({self.array.code()})"
        product = " * ".join(f"{self.array.code()}.shape[{axis}]" for axis in self.axes)
        return f"({product})" if len(self.axes) > 1 else product


@dataclass(frozen=True)
class Call(Formula):
    """A function of arrays, with options, as handgrad.explain.derive.functions says how to show it."""

    function: str
    arguments: tuple[Formula, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def single(self) -> bool:
        return all(argument.single for argument in self.arguments)

    def text(self) -> str:
        options = [f"{key}={value}" for key, value in self.options.items()]
        name = {"mean_all": "mean"}.get(self.function, self.function)
        return f"{name}({', '.join([a.text() for a in self.arguments] + options)})"

    def latex(self) -> str:
        arguments = [a.latex() for a in self.arguments]
        if self.function in LATEX:
            return LATEX[self.function](arguments, self.options)
        return rf"{operator_name(self.function)}({', '.join(arguments)})"

    def code(self) -> str:
        return CODE[self.function]([a.code() for a in self.arguments], self.options)

    def __hash__(self) -> int:
        return hash((self.function, self.arguments))


@dataclass(frozen=True)
class Shaped(Formula):
    """An array in another shape: code says how, mathematics need not. `axes` are those it is stretched along."""

    body: Formula
    index: str = ""  # such as "[:, None]"
    like: Name | None = None  # the array whose shape it is stretched to
    how: str = "broadcast"  # or "reshape"

    def text(self) -> str:
        if self.how == "reshape" and self.like is not None:
            return f"{closed(self.body, ATOM, 'text')} in the shape of {self.like.text()}"
        if self.like is None:
            return closed(self.body, ATOM, "text") + self.index
        return f"{closed(self.body, ATOM, 'text')}, repeated to the shape of {self.like.text()}"

    def latex(self) -> str:
        return self.body.latex()

    def code(self) -> str:
        body = closed(self.body, ATOM, "code") + self.index if self.index else self.body.code()
        if self.like is None:
            return body
        if self.how == "reshape":
            return f"{closed(self.body, ATOM, 'code')}.reshape({self.like.code()}.shape)"
        return f"np.broadcast_to({body}, {self.like.code()}.shape)"
