"""The language of expressions, a part of Python's: `H = relu(X @ W1 + b1); Z = H @ W2 + b2`."""

from __future__ import annotations

import ast
import itertools
import math
import operator
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, NoReturn

from handgrad.errors import HandgradError, ShapeError
from handgrad.explain.derive.formula import Name, Number
from handgrad.explain.derive.functions import CODE, HELPERS
from handgrad.explain.derive.meanings import MEANINGS, Put, meant
from handgrad.explain.derive.places import NOWHERE, ExpressionError, Place, fail
from handgrad.explain.derive.program import Program
from handgrad.explain.derive.rules import RULES, Operand, Rule, Step
from handgrad.explain.derive.rules.losses import Classes, ScoreLoss
from handgrad.explain.derive.rules.products import Product
from handgrad.explain.derive.shapes import Misfit, Shape, product, shape_of, show

LETTERS = "ijklpqrstuvabcdefgh"
DEEPEST = 200  # levels of an expression, each a call within another's

OPERATORS: dict[type, tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("add", operator.add),
    ast.Sub: ("subtract", operator.sub),
    ast.Mult: ("multiply", operator.mul),
    ast.Div: ("divide", operator.truediv),
    ast.Pow: ("power", operator.pow),
}

ARITY = {name: 2 if isinstance(rule, ScoreLoss) or name == "maximum" else 1 for name, rule in RULES.items()}
FUNCTIONS = sorted({*RULES, *MEANINGS} - {"transpose"})
OPTIONS: dict[Any, str] = {bool: "True or False", int | float: "a number", str: "a word"}
GATED = {name for name, meaning in MEANINGS.items() if meaning.count("x @") > 1}
PARTS = "give parts of it names, as in A = tanh(X); B = A * X"
RESERVED = {*FUNCTIONS, *HELPERS, *CODE, "np", "math", "len", "cache", "forward", "backward"}


def parse(
    expression: str, shapes: Mapping[str, Any], data: Iterable[str] = (), meanings: Mapping[str, str] | None = None
) -> Program:
    """The expression as steps. shapes: of every array in it. data: names of arrays that no gradient is taken by.

    meanings: what such an array is, in words. Raises ExpressionError for a syntax error, an unknown name or function;
    ShapeError for shapes that do not fit.
    """
    # as Python reads names: of several signs that look alike, one
    inputs = {unicodedata.normalize("NFKC", name): shape_of(name, given) for name, given in shapes.items()}
    try:
        return replace(_Reader(expression, inputs, frozenset(data)).program(), meanings=dict(meanings or {}))
    except RecursionError:  # called from so deep that fewer levels are left
        fail(f"the expression has too many levels: {PARTS}", expression.splitlines(), NOWHERE)


class _Reader:
    """Reads one expression. `shapes` and `needed` grow with each step."""

    def __init__(self, expression: str, inputs: dict[str, Shape], data: frozenset[str]):
        self.lines = expression.splitlines() or [""]
        self.expression = expression
        self.inputs = inputs
        self.shapes = dict(inputs)
        self.steps: list[Step] = []
        self.used: set[str] = set()
        try:
            self.tree = ast.parse(expression.strip("\n") and expression)
        except SyntaxError as error:
            column, end = (error.offset or 1) - 1, (error.end_offset or 0) - 1
            self._fail(f"the expression is not Python: {error.msg}", (error.lineno or 1, column, max(end, column + 1)))
        except (RecursionError, MemoryError):
            self._fail(f"the expression has more than {DEEPEST} levels: {PARTS}", NOWHERE)
        self._check_depth()
        self.data = data | self._targets()
        self.needed = {name: name not in self.data for name in inputs}
        taken = self._names()
        self.letters = tuple(name for name in (*LETTERS, *(f"i{k}" for k in range(1, 99))) if name not in taken)
        self.objective = "J" if "L" in taken else "L"
        self.taken = taken | RESERVED

    def program(self) -> Program:
        """All statements, and the checks of the whole."""
        if not self.tree.body:
            self._fail('the expression is empty; expected one such as "Z = X @ W + b"', (1, 0, 1))
        for name in self.inputs:
            if not name.isidentifier() or name in RESERVED:
                self._fail(
                    f"{name!r} cannot be the name of an array: it is taken, or no name in Python", self._of(name)
                )
        for statement in self.tree.body:
            output = self._statement(statement)
        for name in self.inputs:
            if name not in self.used:
                self._fail(f"{name} is given the shape {show(self.inputs[name])} but does not occur", (1, 0, 0))
        if output not in self.shapes or output in self.inputs:
            self._fail("the last statement must work something out", self._place(self.tree.body[-1]))
        for name in self.shapes:
            if f"d{name}" in self.shapes:
                self._fail(f"d{name} would be the gradient of {name}: give it another name", self._of(f"d{name}"))
        if not any(self.needed[name] for name in self.inputs):
            self._fail("there is nothing to take a gradient by", NOWHERE)
        self._check_uses(output)
        data = self.data & self.inputs.keys()
        return Program(self.expression, self.inputs, tuple(self.steps), output, data, self.objective)

    def _check_depth(self) -> None:
        level: list[ast.AST] = [self.tree]
        for _ in range(DEEPEST):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
        if places := [self._place(node) for node in level if isinstance(node, ast.expr)]:
            self._fail(f"the expression has more than {DEEPEST} levels: {PARTS}", places[0])

    def _check_uses(self, output: str) -> None:
        """Every step leads to the output, and labels stand in losses alone."""
        reached = {output}
        for step in reversed(self.steps):
            if step.name not in reached:
                self._fail(f"the last statement does not depend on {step.name}: leave it out", step.place)
            reached |= {operand.array.name for operand in step.operands if isinstance(operand.array, Name)}
        labels = set()
        for step in self.steps:
            if isinstance(step.rule, Classes) and step.operands[0].shape != step.operands[1].shape:
                labels.add(step.operands[1].array)
        for step in self.steps:
            for operand in step.operands[2 if isinstance(step.rule, Classes) else 0 :]:
                if operand.array in labels:
                    self._fail(f"{operand.array.text()} holds labels, which stand in a loss alone", step.place)

    # statements and expressions

    def _statement(self, node: ast.stmt) -> str:
        if isinstance(node, ast.Expr):
            return self._named(node.value, self._output_name(node))
        if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            self._fail("a statement must be name = expression", self._place(node))
        target = node.targets[0]
        if target.id in self.shapes:
            self._fail(f"{target.id} is given twice", self._place(target))
        if target.id in RESERVED:
            self._fail(f"{target.id} is taken, so that it cannot be the name of an array", self._place(target))
        return self._named(node.value, target.id)

    def _named(self, node: ast.expr, name: str | None) -> str:
        found = self._visit(node, name)
        if isinstance(found.array, Number):
            self._fail("this is a number, of which there is no gradient", self._place(node))
        if name is not None and found.array.name != name:
            return self._step("identity", [found], {}, node, name).array.name  # type: ignore[union-attr]
        return found.array.name

    def _output_name(self, node: ast.Expr) -> str | None:
        """What to call the result of an expression without a name: Y, where that is free."""
        last = node is self.tree.body[-1] and not isinstance(node.value, ast.Name | ast.Constant)
        return "Y" if last and not {"Y", "y", "dY"} & self.taken else None

    def _visit(self, node: ast.expr, name: str | None = None) -> Operand:
        """What a node stands for, the steps for it taken; the last of them is called `name`."""
        if isinstance(node, ast.Name):
            return self._known(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return self._number(lambda: node.value, node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            body = self._visit(node.operand)
            if isinstance(body.array, Number):
                return Operand(Number(-body.array.value), needed=False)
            return self._step("negative", [body], {}, node, name)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            return self._step("matmul", self._factors(node), {}, node, name)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return self._binary(node, name)
        if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
            return self._step("transpose", [self._turnable(node)], {}, node, name)
        if isinstance(node, ast.Call):
            return self._call(node, name)
        self._fail("this is none of names, numbers, + - * / ** @, .T and functions", self._place(node))

    def _known(self, node: ast.Name) -> Operand:
        if node.id not in self.shapes:
            hint = self._closest(node.id, self.shapes)
            self._fail(f'{node.id} is unknown: give its shape, as {node.id}="m n"{hint}', self._place(node))
        self.used.add(node.id)
        shape = self.shapes[node.id]
        return Operand(Name(node.id, shape == ()), shape, needed=self.needed[node.id])

    def _binary(self, node: ast.BinOp, name: str | None) -> Operand:
        kind, compute = OPERATORS[type(node.op)]
        if kind == "add":
            for factors, term in ((node.left, node.right), (node.right, node.left)):
                if isinstance(factors, ast.BinOp) and isinstance(factors.op, ast.MatMult):
                    x, y = self._factors(factors)
                    if isinstance(term, ast.BinOp) and isinstance(term.op, ast.MatMult):
                        break  # two products: neither is a term of the other
                    added = self._visit(term)
                    operands = [x, y, added]
                    if not isinstance(added.array, Number) and self._is_linear(operands):
                        return self._step("linear", operands, {}, node, name)
                    first = self._step("matmul", [x, y], {}, factors)
                    pair = [first, added] if factors is node.left else [added, first]
                    return self._step(kind, pair, {}, node, name)
        x, y = self._visit(node.left), self._visit(node.right)
        if kind == "add" and (terms := self._terms(node.left, x, y)):
            return self._step(kind, terms, {}, node, name)
        if isinstance(x.array, Number) and isinstance(y.array, Number):
            a, b = float(x.array.value), float(y.array.value)  # whole numbers of Python's would have no largest
            return self._number(lambda: compute(a, b), node)
        return self._step(kind, [x, y], {}, node, name)

    def _number(self, value: Callable[[], Any], node: ast.AST) -> Operand:
        try:
            found = value()
            if isinstance(found, complex) or not math.isfinite(found):
                self._fail(f"this number is not finite and real: {found}", self._place(node))
        except (ArithmeticError, TypeError) as error:
            self._fail(f"this number cannot be worked out: {error.args[-1]}", self._place(node))
        return Operand(Number(found), needed=False)

    def _terms(self, left: ast.expr, x: Operand, y: Operand) -> list[Operand]:
        """The terms of a + b + c, all of one shape, as one step; empty where they are none."""
        if not isinstance(left, ast.BinOp) or not isinstance(left.op, ast.Add) or x.shape != y.shape:
            return []
        place = next((i for i, step in enumerate(self.steps) if step.name == getattr(x.array, "name", "")), -1)
        step = self.steps[place]
        if step.rule is not RULES["add"] or any(operand.shape != y.shape for operand in step.operands):
            return []
        del self.steps[place], self.shapes[step.name]
        self.taken.discard(step.name)
        return [*step.operands, y]

    def _is_linear(self, operands: list[Operand]) -> bool:
        try:
            return RULES["linear"].shape(operands, {}) == product(operands[0].seen, operands[1].seen)
        except Misfit:
            return False

    def _factors(self, node: ast.BinOp) -> list[Operand]:
        """The two sides of a matrix product; a transpose is part of the factor."""
        factors = []
        for side in (node.left, node.right):
            if isinstance(side, ast.Attribute) and side.attr in ("T", "mT"):
                body = self._turnable(side)
                factors.append(Operand(body.array, body.shape, len(body.shape) > 1, body.needed))
            else:
                factors.append(self._visit(side))
        return factors

    def _turnable(self, node: ast.Attribute) -> Operand:
        body = self._visit(node.value)
        if isinstance(body.array, Number) or (node.attr == "mT" and len(body.shape) < 2):
            self._fail(f"a shape of {show(body.shape)} has no .{node.attr}", self._place(node), ShapeError)
        if node.attr == "T" and len(body.shape) > 2:
            self._fail(".T turns all axes around; write .mT to swap the last two", self._place(node), ShapeError)
        return body

    def _call(self, node: ast.Call, name: str | None) -> Operand:
        if not isinstance(node.func, ast.Name):
            self._fail("only functions with plain names can be called", self._place(node))
        function = node.func.id
        if function in MEANINGS:
            return self._visit(self._meant(node, function), name)
        if function not in ARITY or function == "transpose":
            hint = self._closest(function, FUNCTIONS)
            known = ", ".join(FUNCTIONS)
            self._fail(f"{function} is no function here{hint}. There are {known}", self._place(node.func))
        rule, arity = RULES[function], ARITY[function]
        if len(node.args) < arity:
            self._fail(f"{function} takes {arity} array{'s' * (arity > 1)}, got {len(node.args)}", self._place(node))
        operands = [self._visit(argument) for argument in node.args[:arity]]
        if all(isinstance(operand.array, Number) for operand in operands):
            self._fail(f"{function} takes an array; this is a number", self._place(node))
        return self._step(function, operands, self._options(node, function, rule, node.args[arity:]), node, name)

    def _options(self, node: ast.Call, function: str, rule: Rule, extra: list[ast.expr]) -> dict[str, Any]:
        names = list(rule.options)
        given: dict[str, ast.expr] = dict(zip(names, extra, strict=False))
        if len(extra) > len(names):
            self._fail(f"{function} takes no further arguments", self._place(extra[len(names)]))
        for keyword in node.keywords:
            if keyword.arg is None:
                self._fail("an option is written name=value", self._place(keyword.value))
            if keyword.arg not in names:
                self._fail(f"{function} has no option {keyword.arg}; it has {names}", self._place(keyword.value))
            given[str(keyword.arg)] = keyword.value
        options = dict(rule.options)
        for key, value in given.items():
            try:
                found = ast.literal_eval(value)
            except ValueError:
                self._fail(f"the option {key} must be a plain value", self._place(value))
            if isinstance(found, list):
                found = tuple(found)
            default = rule.options[key]
            kind = next((kind for kind in OPTIONS if isinstance(default, kind)), None)
            if kind and (not isinstance(found, kind) or isinstance(found, bool) != isinstance(default, bool)):
                self._fail(f"the option {key} must be {OPTIONS[kind]}, got {found!r}", self._place(value))
            options[key] = found
        return options

    def _meant(self, node: ast.Call, function: str) -> ast.expr:
        """The expression that a function stands for, with its arguments put in their places."""
        names, body = meant(function)
        if not sum("?" not in name for name in names) <= len(node.args) <= len(names):
            self._fail(f"{function} takes {' '.join(names)}, got {len(node.args)} arguments", self._place(node))
        if node.keywords:
            self._fail(f"{function} takes no options here", self._place(node.keywords[0].value))
        given: dict[str, ast.expr] = dict(zip([name.strip("?") for name in names], node.args, strict=False))
        if function in GATED and not isinstance(node.args[0], ast.Name):
            operand = self._visit(node.args[0])  # once, though it is used twice
            assert isinstance(operand.array, Name)
            given["x"] = ast.copy_location(ast.Name(operand.array.name), node.args[0])
        tree: ast.expr = Put(given, node).visit(body)
        return tree

    # steps

    def _step(
        self, kind: str, operands: list[Operand], options: dict[str, Any], node: ast.AST, name: str | None = None
    ) -> Operand:
        rule, place = RULES[kind], self._place(node)
        try:
            shape = rule.shape(operands, options)
        except Misfit as error:
            shapes = ", ".join(
                f"{operand.array.text()} is {show(operand.shape)}" for operand in operands if operand.shape
            )
            self._fail(f"{error} ({shapes})" if shapes else str(error), place, ShapeError)
        if name is None:
            name = self._fresh(rule.letter if not isinstance(rule, Product) else "Z", shape)
        step = Step(name, rule, tuple(operands), options, shape, self.letters, self.objective, place=place)
        tails = (f"{rule.tail(name)}{k or ''}" for k in itertools.count())
        extras = (replace(step, tail=tail) for tail in tails)
        step = next(s for s in extras if all(extra.name not in self.taken for extra, _, _ in rule.auxiliary(s)))
        self.steps.append(step)
        for extra, _, of_extra in rule.auxiliary(step):
            self.taken.add(extra.name)
            self.shapes[extra.name], self.needed[extra.name] = of_extra, False
        self.shapes[name] = shape
        self.needed[name] = any(operand.needed for operand in operands)
        self.taken.add(name)
        self.used.add(name)
        return Operand(Name(name, shape == ()), shape, needed=self.needed[name])

    def _fresh(self, letter: str, shape: Shape) -> str:
        letter = letter if len(shape) > 1 or len(letter) > 1 else letter.lower()
        names = (f"{letter}{i}" if i else letter for i in itertools.count())
        return next(name for name in names if name not in self.taken and f"d{name}" not in self.taken)

    # what stands in the expression

    def _names(self) -> set[str]:
        return {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)} | self.inputs.keys()

    def _targets(self) -> set[str]:
        """The names that stand as targets of a loss."""
        found = set()
        calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call) and len(node.args) > 1]
        for call in calls:
            if isinstance(call.func, ast.Name) and isinstance(RULES.get(call.func.id), ScoreLoss):
                target = call.args[1]
                if not isinstance(target, ast.Name) or target.id not in self.inputs:
                    self._fail(f"the targets of {call.func.id} must be an input", self._place(target))
                found.add(target.id)
        return found

    # errors

    def _closest(self, name: str, names: Iterable[str]) -> str:
        close = get_close_matches(name, list(names), n=1)
        return f"; did you mean {close[0]}?" if close else ""

    def _of(self, name: str) -> Place:
        """Where a name stands first."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Name) and node.id == name]
        return self._place(found[0]) if found else NOWHERE

    def _place(self, node: ast.AST) -> Place:
        line = getattr(node, "lineno", 1)
        source = self.lines[line - 1].encode()
        end = node.end_col_offset if getattr(node, "end_lineno", line) == line else len(source)  # type: ignore[attr-defined]
        return line, len(source[: node.col_offset].decode()), len(source[:end].decode())  # type: ignore[attr-defined]

    def _fail(self, message: str, place: Place, kind: type[HandgradError] = ExpressionError) -> NoReturn:
        fail(message, self.lines, place, kind)
