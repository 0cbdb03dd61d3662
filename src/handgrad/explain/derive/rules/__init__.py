"""The rules: what derive knows of each op, one file a family."""

from handgrad.explain.derive.rules import arithmetic, losses, products, reductions
from handgrad.explain.derive.rules.base import Gradient, Note, Operand, Rule, Step

RULES: dict[str, Rule] = {
    **arithmetic.ONE_INPUT,
    **arithmetic.TWO,
    **reductions.RULES,
    **losses.RULES,
    "matmul": products.Product(),
    "linear": products.Product(),
    "transpose": products.Transpose(),
}

__all__ = ["RULES", "Gradient", "Note", "Operand", "Rule", "Step"]
