"""Every hyperparameter is checked when the object is made, and the message names it and what was expected."""

import dataclasses
import math
import pickle
import re
from fractions import Fraction

import numpy as np
import pytest

from handgrad.errors import ValueRangeError
from handgrad.optim import SGD, Adam, AdamW, Constant, Cosine, OneCycle, RMSprop, Step, WarmUp, by_name

RATE, ABOVE, DECAY, SHARE = (
    "a finite number of at least 0",
    "a finite number above 0",
    "a number from 0 to below 1",
    "a number from 0 to 1",
)
NO_NUMBER = [True, False, "0.1", None, math.nan, 0.1j, [0.1], np.array(0.1), np.True_]
WRONG = {RATE: [-0.1, math.inf, 10**400], ABOVE: [0, -1, math.inf], DECAY: [-0.1, 1, 1.5], SHARE: [-0.1, 1.01]}
RIGHT = {RATE: [0, 7, 1e-30, 1e30], ABOVE: [1e-30, 3], DECAY: [0, 0.999999], SHARE: [0, 1, 0.5]}

NUMBERS = [
    *((kind, "learning_rate", RATE, {}) for kind in (SGD, RMSprop, Adam, AdamW)),
    (SGD, "momentum", DECAY, {}),
    (RMSprop, "decay", DECAY, {}),
    (RMSprop, "epsilon", ABOVE, {}),
    *((kind, name, DECAY, {}) for kind in (Adam, AdamW) for name in ("beta1", "beta2")),
    *((kind, "epsilon", ABOVE, {}) for kind in (Adam, AdamW)),
    (AdamW, "weight_decay", RATE, {}),
    (Constant, "rate", RATE, {}),
    (Step, "rate", RATE, {"every": 2}),
    (Step, "factor", SHARE, {"rate": 1, "every": 2}),
    (Cosine, "rate", RATE, {}),
    (Cosine, "final", RATE, {"rate": 1}),
    (WarmUp, "start", RATE, {"steps": 1, "then": Constant(1)}),
    (OneCycle, "peak", RATE, {}),
    (OneCycle, "warm", SHARE, {"peak": 1}),
    (OneCycle, "start_div", ABOVE, {"peak": 1}),
    (OneCycle, "final_div", ABOVE, {"peak": 1}),
]
COUNTS = [
    (Step, "every", 1, {"rate": 1}),
    (Cosine, "steps", 1, {"rate": 1}),
    (OneCycle, "steps", 1, {"peak": 1}),
    (WarmUp, "steps", 0, {"then": Constant(1)}),
]
ids = [f"{kind.__name__}.{name}" for kind, name, _, _ in NUMBERS]


def test_the_tables_name_every_hyperparameter():
    others = {(SGD, "nesterov"), (WarmUp, "then")}
    named = {(kind, name) for kind, name, _, _ in (*NUMBERS, *COUNTS)} | others
    kinds = (SGD, RMSprop, Adam, AdamW, Constant, Step, Cosine, WarmUp, OneCycle)
    assert named == {(kind, field.name) for kind in kinds for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(("kind", "name", "expected", "others"), NUMBERS, ids=ids)
def test_wrong_numbers(kind, name, expected, others):
    for wrong in (*WRONG[expected], *NO_NUMBER):
        message = f"{kind.__name__}: {name} must be {expected}, got {wrong!r:.200}"
        with pytest.raises(ValueRangeError, match=re.escape(message)):
            kind(**others, **{name: wrong})


@pytest.mark.parametrize(("kind", "name", "expected", "others"), NUMBERS, ids=ids)
def test_right_numbers_become_python_floats(kind, name, expected, others):
    for right in RIGHT[expected]:
        assert getattr(kind(**others, **{name: right}), name) == right
    for half in (np.float64(0.5), np.float32(0.5), Fraction(1, 2)):
        value = getattr(kind(**others, **{name: half}), name)
        assert type(value) is float
        assert value == 0.5


@pytest.mark.parametrize(("kind", "name", "low", "others"), COUNTS)
def test_counts(kind, name, low, others):
    for wrong in (low - 1, 2.0, "3", True, math.nan):
        message = f"{kind.__name__}: {name} must be a whole number of at least {low}, got {wrong!r}"
        with pytest.raises(ValueRangeError, match=re.escape(message)):
            kind(**others, **{name: wrong})
    assert type(getattr(kind(**others, **{name: np.int64(3)}), name)) is int
    assert getattr(kind(**others, **{name: low}), name) == low


def test_nesterov():
    with pytest.raises(ValueRangeError, match="nesterov=True needs momentum above 0"):
        SGD(nesterov=True)
    for wrong in (1, 0, "yes", None):
        with pytest.raises(ValueRangeError, match=f"SGD: nesterov must be True or False, got {wrong!r}"):
            SGD(momentum=0.9, nesterov=wrong)
    assert SGD(momentum=0.9, nesterov=np.True_).nesterov is True


@pytest.mark.parametrize("wrong", [0.1, None, Constant])
def test_then_is_a_schedule(wrong):
    message = f"WarmUp: then must be a schedule, such as Constant(0.001), got {wrong!r}"
    with pytest.raises(ValueRangeError, match=re.escape(message)):
        WarmUp(3, wrong)


@pytest.mark.parametrize("thing", [SGD(), Adam(), AdamW(Cosine(0.1)), WarmUp(2, OneCycle(0.1))])
def test_frozen_hashable_and_picklable(thing):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, dataclasses.fields(thing)[0].name, 1)
    assert hash(thing) == hash(dataclasses.replace(thing))
    assert pickle.loads(pickle.dumps(thing)) == thing


class TestByName:
    @pytest.mark.parametrize(
        ("name", "optimizer"),
        [
            ("sgd", SGD(0.01)),
            ("momentum", SGD(0.01, momentum=0.9)),
            ("nesterov", SGD(0.01, momentum=0.9, nesterov=True)),
            ("rmsprop", RMSprop(1e-3, decay=0.9, epsilon=1e-8)),
            ("adam", Adam(1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8)),
            ("adamw", AdamW(1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01)),
        ],
    )
    def test_names(self, name, optimizer):
        assert type(by_name(name)) is type(optimizer)
        assert by_name(name) == optimizer

    def test_an_object_is_itself(self):
        optimizer = Adam(0.3)
        assert by_name(optimizer) is optimizer

    @pytest.mark.parametrize(("given", "meant"), [("adma", "adam"), ("Adam", "adam"), ("SGD", "sgd"), (AdamW, "adamw")])
    def test_the_closest_match(self, given, meant):
        with pytest.raises(ValueRangeError, match=f"did you mean '{meant}'"):
            by_name(given)

    @pytest.mark.parametrize("given", ["xyzzy", "", None, 3, ["adam"]])
    def test_unknown(self, given):
        everything = "'sgd', 'momentum', 'nesterov', 'rmsprop', 'adam', 'adamw'"
        with pytest.raises(ValueRangeError, match=re.escape(f"one of {everything}, got {given!r}")) as error:
            by_name(given)
        assert "did you mean" not in str(error.value)
