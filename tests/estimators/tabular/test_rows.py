"""Small tables in one order, and rows that are held out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from handgrad.estimators.tabular.columns import Table
from handgrad.estimators.tabular.rows import FEW, REPEATED, held_out, settled


def table_of_rows(rows):
    return Table(np.array([[row[0]] for row in rows], float), [np.array([row[1] for row in rows], object)])


CELLS = st.tuples(st.sampled_from([0.0, -0.0, 1.5, float("nan")]), st.sampled_from(["a", "b", None]))


@given(st.lists(CELLS, min_size=1, max_size=REPEATED // 3), st.randoms(use_true_random=False))
def test_weights_and_repetitions_are_the_same(rows, random):
    counts = [random.randint(1, 3) for _ in rows]
    y = np.array([random.randint(0, 1) for _ in rows])
    weighted = settled(table_of_rows(rows), y, np.array(counts, float))
    order = [i for i, count in enumerate(counts) for _ in range(count)]
    random.shuffle(order)
    repeated = settled(table_of_rows([rows[i] for i in order]), y[order], np.ones(len(order)))
    if len(set(counts)) > 1:  # equal ones are no weights
        np.testing.assert_array_equal(weighted[0].numbers, repeated[0].numbers)
        assert weighted[0].categories[0].tolist() == repeated[0].categories[0].tolist()
        np.testing.assert_array_equal(weighted[1], repeated[1])
    assert set(weighted[2]) == set(repeated[2]) == {1.0}


def test_weights_that_are_no_counts_stay():
    table = Table(np.array([[2.0], [1.0], [3.0]]), [])
    sorted_table, y, weight = settled(table, np.array([0, 1, 2]), np.array([0.5, 1.0, 1.5]))
    order = np.argsort([row.tobytes() for row in table.numbers])
    np.testing.assert_array_equal(sorted_table.numbers, table.numbers[order])
    np.testing.assert_array_equal(y, order)
    np.testing.assert_array_equal(weight, np.array([0.5, 1.0, 1.5])[order])
    many = settled(
        table, np.array([0, 1, 2]), np.array([1.0, REPEATED, 1.0])
    )  # copies would be on both sides of a split
    assert sorted(many[2]) == [1, 1, REPEATED]
    huge = settled(table, np.array([0, 1, 2]), np.array([1.0, FEW, 1.0]))
    assert sorted(huge[2]) == [1, 1, FEW]


def test_long_tables_stay_as_they_are():
    table = Table(np.arange(FEW + 1.0)[::-1, None], [])
    y = np.arange(FEW + 1)
    weight = 1.0 + y % 2
    for given_, kept in zip((table, y, weight), settled(table, y, weight), strict=True):
        assert given_ is kept
    np.testing.assert_array_equal(settled(table, y, np.full(FEW + 1, 0.3))[2], np.ones(FEW + 1))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(1, 9), st.sampled_from([0.1, 0.2, 0.25, 0.5]))
def test_members_take_turns_over_equal_parts_of_each_stratum(strata, members, fraction):
    strata = np.array(strata)
    parts = held_out(strata, members, fraction, np.random.default_rng(0))
    count = round(1 / fraction)
    assert len(parts) == members
    lonely = np.isin(strata, [s for s in range(5) if (strata == s).sum() == 1])
    for part in parts:
        assert not lonely[part].any()
        for stratum in np.unique(strata[~lonely]):
            total, held = (strata == stratum).sum(), (strata[part] == stratum).sum()
            assert total // count <= held <= -(-total // count)
            assert held < total
    if members >= count:
        everyone = np.sort(np.concatenate(parts[:count]))
        np.testing.assert_array_equal(everyone, np.flatnonzero(~lonely))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_tiny_fraction_holds_out_a_row_or_none():
    parts = held_out(np.zeros(10), 3, 1e-9, np.random.default_rng(0))
    assert [len(part) for part in parts] == [1, 1, 1]


def test_another_turn_is_another_split():
    parts = held_out(np.zeros(100), 10, 0.2, np.random.default_rng(0))
    assert not np.array_equal(parts[0], parts[5])
