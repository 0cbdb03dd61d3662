"""Wrong gradients, made from right ones: each mutator changes one expression of a function's source."""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

REDUCERS = {"sum", "mean", "sum_to_shape", "share_of_outputs", "reshape", "rows"}
SWAPPED_OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
SWAPPED_COMPARISONS = {
    ast.Gt: (ast.GtE, ast.Lt),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}
Mutator = Callable[[ast.AST], Iterator[ast.AST]]
MUTATORS: dict[str, Mutator] = {}


@dataclass(frozen=True)
class Mutant:
    """A function with one expression changed."""

    function: FunctionType
    mutator: str
    before: str
    after: str
    code: CodeType

    def __str__(self) -> str:
        return f"{self.function.__qualname__}, {self.mutator}: `{self.before}` -> `{self.after}`"


def mutator(make: Mutator) -> Mutator:
    MUTATORS[make.__name__.replace("_", " ")] = make
    return make


@mutator
def wrong_sign(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield ast.BinOp(node.left, SWAPPED_OPERATORS[type(node.op)](), node.right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    if isinstance(node, ast.Return):
        parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        for i, part in enumerate(parts):
            flipped = [*parts[:i], ast.UnaryOp(ast.USub(), part), *parts[i + 1 :]]
            yield ast.Return(ast.Tuple(flipped, ast.Load()) if isinstance(node.value, ast.Tuple) else flipped[0])


@mutator
def missing_transpose(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Attribute) and node.attr == "mT":
        yield node.value


@mutator
def missing_sum(node: ast.AST) -> Iterator[ast.AST]:
    """The sum, mean or change of shape left out: f(xp, a, ...) -> a, xp.f(a, ...) -> a."""
    if isinstance(node, ast.Call) and _called(node) in REDUCERS:
        yield node.args[1 if _is(node.args[0], "xp") else 0]


@mutator
def wrong_axis(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call):
        for i, keyword in enumerate(node.keywords):
            if keyword.arg == "axis":
                for other in (0, 1, None):
                    changed = copy.deepcopy(node)
                    changed.keywords[i].value = ast.Constant(other)
                    yield changed


@mutator
def multiply_for_divide(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        yield ast.BinOp(node.left, SWAPPED_OPERATORS[type(node.op)](), node.right)


@mutator
def dropped_operand(node: ast.AST) -> Iterator[ast.AST]:
    """A factor or a term left out."""
    if isinstance(node, ast.BinOp):
        yield node.left
        yield node.right


@mutator
def swapped_factors(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield ast.BinOp(node.right, node.op, node.left)


@mutator
def wrong_comparison(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for other in SWAPPED_COMPARISONS.get(type(node.ops[0]), ()):
            yield ast.Compare(node.left, [other()], node.comparators)


@mutator
def wrong_branch(node: ast.AST) -> Iterator[ast.AST]:
    """A condition turned round, `and` for `or`, the arms of a `where` exchanged."""
    if isinstance(node, ast.IfExp) and not isinstance(node.test, ast.Compare):
        yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    if isinstance(node, ast.Call) and _called(node) == "where":
        condition, one, other = node.args
        yield ast.Call(node.func, [condition, other, one], [])


@mutator
def wrong_constant(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1 if isinstance(node.value, int) else node.value * 1.5 or 1.0)


@mutator
def swapped_gradients(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) > 1:
        first, second, *rest = node.value.elts
        yield ast.Return(ast.Tuple([second, first, *rest], ast.Load()))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


class _Replaced(ast.NodeTransformer):
    def __init__(self, place: int, new: ast.AST):
        self.place, self.new = place, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if getattr(node, "place", None) == self.place else self.generic_visit(node)


def _expressions(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Every node of the body in which a mathematical mistake can be made: not a check that raises, nor a docstring."""
    waiting: list[ast.AST] = list(reversed(function.body))
    while waiting:
        node = waiting.pop()
        check = isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise)
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not check and not docstring:
            yield node
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def mutants(function: FunctionType) -> list[Mutant]:
    """Every mutant of a function, by every mutator at every place; those that read the same are one."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    for place, node in enumerate(ast.walk(tree)):
        node.place = place  # type: ignore[attr-defined]
    found: dict[str, Mutant] = {ast.unparse(tree): None}  # type: ignore[dict-item]
    for node in _expressions(tree):
        for name, make in MUTATORS.items():
            for new in make(node):
                changed = _Replaced(node.place, new).visit(copy.deepcopy(tree))
                source = ast.unparse(changed)
                if source not in found:
                    code = _compiled(source, function)
                    found[source] = Mutant(function, name, ast.unparse(node), ast.unparse(new), code)
    return [mutant for mutant in found.values() if mutant is not None]


def _compiled(source: str, function: FunctionType) -> CodeType:
    """The code of a function's changed source, with the cells (such as super's `__class__`) the function has."""
    cells = function.__code__.co_freevars
    text = f"def enclosing({', '.join(cells)}):\n{textwrap.indent(source, '    ')}\n    return {function.__name__}"
    space: dict[str, Any] = {}
    module = ast.parse(text)
    enclosing = module.body[0]
    inner = enclosing.body[0]
    inner.decorator_list, inner.returns = [], None
    for argument in ast.walk(inner.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    inner.args.defaults = [ast.Constant(None) for _ in inner.args.defaults]
    inner.args.kw_defaults = [d and ast.Constant(None) for d in inner.args.kw_defaults]
    exec(compile(ast.fix_missing_locations(module), f"<mutant of {function.__qualname__}>", "exec"), space)
    return space["enclosing"](*cells).__code__
