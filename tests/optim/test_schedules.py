"""Schedules at their first and last steps, beyond them, and without a number of steps."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handgrad.errors import ValueRangeError
from handgrad.optim import Constant, Cosine, CosineLog, OneCycle, Schedule, Step, WarmUp

BOUND = [
    Constant(0.3),
    Step(0.3, 4),
    Cosine(0.3, 9, 0.1),
    CosineLog(0.3, 9),
    WarmUp(3, Cosine(0.3, 9)),
    OneCycle(0.3, 9),
]
OPEN = [Cosine(0.3), CosineLog(0.3), OneCycle(0.3), WarmUp(3, Cosine(0.3)), WarmUp(1, WarmUp(2, OneCycle(0.3)))]


def test_constant():
    assert [Constant(0.3)(step) for step in (0, 1, 10**9)] == [0.3] * 3


def test_step():
    assert [Step(8, 2, 0.5)(step) for step in range(7)] == [8, 8, 4, 4, 2, 2, 1]
    assert Step(1, 10)(29) == pytest.approx(0.01, rel=1e-15)


def test_cosine():
    assert Cosine(4, 2)(0) == 4
    rates = [Cosine(4, 4, 2)(step) for step in range(7)]
    np.testing.assert_allclose(rates, [4, 3 + 0.5**0.5, 3, 3 - 0.5**0.5, 2, 2, 2])


def test_cosine_log():
    schedule = CosineLog(2, 15)  # waves of 1, 2, 4 and 8 steps
    for bottom in (0, 1, 3, 7, 15):
        assert schedule(bottom) == pytest.approx(0, abs=1e-14)
    rates = [CosineLog(2, 1500)(step) for step in range(1501)]
    peaks = [i for i in range(1, 1500) if rates[i - 1] < rates[i] > rates[i + 1]]
    np.testing.assert_allclose(peaks, [100 * (2 ** (i + 0.5) - 1) for i in range(4)], atol=1)
    np.testing.assert_allclose([rates[i] for i in peaks], 2, rtol=1e-3)


def test_warm_up():
    schedule = WarmUp(4, Step(8, 2, 0.5))
    assert [schedule(step) for step in range(9)] == [0, 2, 4, 6, 8, 8, 4, 4, 2]
    assert [WarmUp(2, Constant(3), start=1)(step) for step in range(4)] == [1, 2, 3, 3]
    assert [WarmUp(2, Constant(1), start=3)(step) for step in range(4)] == [3, 2, 1, 1]
    assert [WarmUp(0, Constant(3))(step) for step in range(2)] == [3, 3]


def test_one_cycle():
    schedule = OneCycle(1, 20, warm=0.25, start_div=10, final_div=100)
    assert schedule(0) == pytest.approx(0.1, rel=1e-14)
    assert schedule(4) == 1
    assert schedule(19) == pytest.approx(0.001, rel=1e-12)
    rates = [schedule(step) for step in range(20)]
    assert rates[:5] == sorted(rates[:5])
    assert rates[4:] == sorted(rates[4:], reverse=True)


@pytest.mark.parametrize(("steps", "warm"), [(1, 0.3), (2, 0.3), (3, 0.1), (10, 0.1), (5, 0.0)])
def test_one_cycle_without_room_to_rise_begins_at_the_peak(steps, warm):
    schedule = OneCycle(1, steps, warm=warm)
    assert schedule(0) == 1
    if steps > 1:
        assert schedule(steps - 1) == pytest.approx(1 / 25e4)


@pytest.mark.parametrize(
    "schedule", [Cosine(0.3, 9, 0.1), CosineLog(0.3, 9), OneCycle(0.3, 9), OneCycle(0.3, 9, warm=1.0)], ids=str
)
def test_beyond_the_last_step_the_final_value_holds(schedule):
    assert {schedule(step) for step in (9, 10, 12, 18, 10**9)} == {schedule(9)}
    assert schedule(7) != schedule(9)
    warmed = WarmUp(5, schedule)
    assert warmed(10**9) == schedule(9)


@pytest.mark.parametrize("schedule", OPEN, ids=str)
def test_unbound(schedule):
    assert not schedule.bound
    with pytest.raises(ValueRangeError, match=r"(Cosine|CosineLog|OneCycle).* does not know its number of steps"):
        schedule(0)
    bound = schedule.bind(12)
    assert bound.bound
    assert not schedule.bound
    assert bound(11) >= 0


def test_bind():
    assert Cosine(0.3, final=0.1).bind(7) == Cosine(0.3, 7, 0.1)
    assert CosineLog(0.3, cycles=2).bind(7) == CosineLog(0.3, 7, 2)
    assert OneCycle(0.3, warm=0.5).bind(7) == OneCycle(0.3, 7, warm=0.5)
    assert WarmUp(3, Cosine(0.3), 0.1).bind(10) == WarmUp(3, Cosine(0.3, 7), 0.1)
    for schedule in BOUND:
        assert schedule.bind(2) is schedule
    with pytest.raises(ValueRangeError, match=r"steps must be below the 3 steps of the training, .*Cosine.*, got 3"):
        WarmUp(3, Cosine(0.3)).bind(3)
    for schedule in (*BOUND, *OPEN):
        for total in (0, -1, 2.5, True, None):
            with pytest.raises(ValueRangeError, match="total must be a whole number of at least 1, got"):
                schedule.bind(total)


@pytest.mark.parametrize("schedule", BOUND, ids=str)
def test_steps_are_whole_numbers_from_0(schedule):
    for wrong in (-1, 1.0, "1", True, None):
        with pytest.raises(ValueRangeError, match="step must be a whole number of at least 0, got"):
            schedule(wrong)
    assert schedule(np.int32(5)) == schedule(5)
    assert type(schedule(np.int32(5))) is float


any_schedule = st.recursive(
    st.one_of(
        st.builds(Constant, st.floats(0, 10)),
        st.builds(Step, st.floats(0, 10), st.integers(1, 9), st.floats(0, 1)),
        st.builds(Cosine, st.floats(0, 10), st.integers(1, 50), st.floats(0, 10)),
        st.builds(CosineLog, st.floats(0, 10), st.integers(1, 50), st.integers(1, 8)),
        st.builds(OneCycle, st.floats(0, 10), st.integers(1, 50), st.floats(0, 1), st.floats(1, 50), st.floats(1, 1e6)),
    ),
    lambda then: st.builds(WarmUp, st.integers(0, 20), then, st.floats(0, 10)),
    max_leaves=3,
)


@given(any_schedule, st.integers(0, 10**6))
def test_rates_are_floats_in_range_and_the_same_again(schedule, step):
    rate = schedule(step)
    assert type(rate) is float
    assert 0 <= rate <= 10 + 1e-12
    assert schedule(step) == rate


def test_a_schedule_of_one_s_own_is_held_to_the_same_range():
    @dataclass(frozen=True)
    class Falling(Schedule):
        def at(self, step):
            return 1 - step

    assert Falling()(1) == 0
    with pytest.raises(ValueRangeError, match=r"the rate of Falling at step 2 must be .* at least 0, got -1"):
        Falling()(2)
