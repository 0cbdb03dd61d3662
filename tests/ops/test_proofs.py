"""Every proof, over every row of the table; and the table itself: that no op and no hyperparameter is missing."""

import inspect

import numpy as np
import pytest

from handgrad import ops
from proofs import PROOFS, declared
from table import CASES, EXACT, OPS, POINTS, ROWS, Case, Exact


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_is_proved(case: Case, proof) -> None:
    proof(case)


@pytest.mark.parametrize("point", EXACT, ids=str)
def test_declared_gradient_at_a_kink_or_edge(point: Exact) -> None:
    declared(point)


def test_no_two_rows_are_the_same() -> None:
    assert len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("name", OPS)
def test_op_is_in_the_table_and_says_what_it_is(name: str) -> None:
    op = OPS[name]
    assert getattr(ops, name) is op
    assert len(ROWS[name]) >= 4
    assert op.inputs
    assert all(isinstance(text, str) and text for text in (op.formula, op.derivative, op.saves, type(op).__doc__))
    assert type(op).__doc__ != type(op).__base__.__doc__
    assert repr(op) == f"ops.{name}"


@pytest.mark.parametrize("name", OPS)
def test_every_hyperparameter_is_in_the_table(name: str) -> None:
    """Each keyword of forward (of `value`, where forward passes them on) stands in a row with another value."""
    op = OPS[name]
    methods = [op.forward] if not hasattr(op, "value") else [op.forward, op.value]
    keywords = {p.name: p.default for m in methods for p in inspect.signature(m).parameters.values()}
    hypers = {k: d for k, d in keywords.items() if k not in op.inputs and d is not inspect.Parameter.empty}
    for keyword, default in hypers.items():
        given = [case.hyper[keyword] for case in ROWS[name] if keyword in case.hyper]
        assert any(np.any(value != default) for value in given), keyword


@pytest.mark.parametrize("name", OPS)
def test_kinks_are_declared_just_where_an_exact_point_has_one(name: str) -> None:
    piecewise = {"relu", "leaky_relu", "reglu", "max", "maximum", "hinge", "quantile"}
    assert bool(OPS[name].kinks) == (name in piecewise) == any(point.kink for point in POINTS[name])
    assert all(kink.where and kink.subgradient for kink in OPS[name].kinks)
