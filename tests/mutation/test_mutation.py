"""Every wrong gradient is found out: no mutant lives that is not listed, with its reason, as equivalent."""

import pytest

from handgrad import ops
from handgrad.ops.base import Elementwise
from mutation.equivalent import EQUIVALENT
from mutation.harness import Result, gradient_functions, measure, mutated, proved
from mutation.mutators import MUTATORS, mutants
from mutation.report import PAGE, published, row
from table import OPS


@pytest.mark.parametrize("name", OPS)
def test_every_mutant_is_killed_and_the_count_is_published(name: str) -> None:
    result: Result = measure(name)
    assert not result.survivors, "\n".join(result.survivors)
    assert not result.unlisted, "listed as equivalent, but killed or gone:\n" + "\n".join(result.unlisted)
    assert published(PAGE.read_text())[name] == row(name, result), "run: PYTHONPATH=tests python -m mutation.report"


def test_the_published_table_has_each_op_once() -> None:
    assert list(published(PAGE.read_text())) == sorted(OPS)


def test_equivalent_mutants_are_of_ops_and_mutators_that_exist() -> None:
    assert {op for op, _, _ in EQUIVALENT} <= set(OPS)
    assert {mutator for _, mutator, _ in EQUIVALENT} <= set(MUTATORS)
    assert all(EQUIVALENT.values())


@pytest.mark.parametrize("mutator", MUTATORS)
def test_every_mutator_finds_something_to_change(mutator: str) -> None:
    functions = {
        function for name in ("linear", "softmax", "quantile", "add") for function in gradient_functions(OPS[name])
    }
    assert any(mutant.mutator == mutator for function in functions for mutant in mutants(function))


def test_a_mutant_is_in_place_for_every_caller_and_gone_afterwards() -> None:
    assert Elementwise.backward in gradient_functions(ops.tanh)
    wrong = mutants(type(ops.tanh).local)[0]
    with mutated(wrong):
        assert not proved(ops.tanh)
    assert proved(ops.tanh)
