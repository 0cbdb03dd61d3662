"""Tables of many makes, read as the same columns, and what is refused by name."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handgrad.errors import DTypeError, ShapeError, ValueRangeError
from handgrad.estimators.tabular.columns import CATEGORY, DATE, EMPTY, NUMBER, Column, is_missing, roles_of, table_of

NOON = datetime.datetime(2024, 2, 29, 12)
CELLS = {
    "age": [31, 45, None],
    "name": ["Ann", None, "Bo"],
    "member": [True, False, None],
    "joined": [NOON, None, NOON + datetime.timedelta(days=1)],
    "gone": [None, None, None],
}
ROLES = [NUMBER, CATEGORY, NUMBER, DATE, EMPTY]


def object_array():
    return np.array(list(zip(*CELLS.values(), strict=True)), object)


def arrow():
    return pa.table(CELLS)


def arrow_with_dictionaries():
    return arrow().set_column(1, "name", pa.array(CELLS["name"]).dictionary_encode())


def pandas():
    return pd.DataFrame(CELLS)


def pandas_of_its_own_types():
    return pandas().astype({"age": "Int64", "name": "category", "member": "boolean"})


def polars():
    return pl.DataFrame(CELLS)


def column_of(*cells):
    """An array of one column of objects, lists among them."""
    X = np.empty((len(cells), 1), object)
    for i, cell in enumerate(cells):
        X[i, 0] = cell
    return X


MAKERS = [object_array, arrow, arrow_with_dictionaries, pandas, pandas_of_its_own_types, polars]


@pytest.mark.parametrize("make", MAKERS)
def test_every_make_of_table_is_read_the_same(make):
    X = make()
    columns = roles_of(X)
    assert [column.role for column in columns] == ROLES
    assert [column.name for column in columns] == (list(range(5)) if make is object_array else list(CELLS))
    table = table_of(X, columns)
    days = NOON.date() - datetime.date(1970, 1, 1)
    np.testing.assert_array_equal(table.numbers[:, :2], [[31, 1], [45, 0], [np.nan, np.nan]])
    # 29 February 2024, a Thursday, is the 60th day of the year
    np.testing.assert_array_equal(table.numbers[0, 2:], [days.days + 0.5, 59, 3, 43200])
    assert np.isnan(table.numbers[1, 2:]).all()
    assert [keys.tolist() for keys in table.categories] == [["Ann", None, "Bo"]]
    part = table.take(slice(1, 3))
    assert len(part) == 2
    assert part.categories[0].tolist() == [None, "Bo"]


def test_numbers_of_any_kind_are_numbers():
    X = np.array([[1, True, Decimal("2.5"), np.float32(3), np.bool_(False)]], object)
    columns = roles_of(X)
    assert {column.role for column in columns} == {NUMBER}
    np.testing.assert_array_equal(table_of(X, columns).numbers, [[1, 1, 2.5, 3, 0]])


def test_dates_of_numpy_and_durations():
    dates = pa.table({"day": pa.array([datetime.date(2023, 1, 1)]), "took": pa.array([datetime.timedelta(minutes=2)])})
    columns = roles_of(dates)
    assert [column.role for column in columns] == [DATE, NUMBER]
    np.testing.assert_array_equal(table_of(dates, columns).numbers, [[19358, 0, 6, 0, 120]])  # a Sunday
    moments = np.array([["1969-12-31T23:00"], ["NaT"]], "datetime64[m]")
    (column,) = roles_of(moments)
    np.testing.assert_array_equal(table_of(moments, (column,)).numbers[0], [-1 / 24, 364, 2, 82800])


@given(st.datetimes(datetime.datetime(1800, 1, 1), datetime.datetime(2200, 1, 1)))
def test_dates_are_what_the_calendar_says(moment):
    X = np.array([[moment]], object)
    days, of_year, weekday, seconds = table_of(X, roles_of(X)).numbers[0]
    assert of_year == moment.timetuple().tm_yday - 1
    assert weekday == moment.weekday()
    assert seconds == pytest.approx(
        (moment - datetime.datetime.combine(moment, datetime.time())).total_seconds(), abs=1e-4
    )
    assert days == pytest.approx((moment - datetime.datetime(1970, 1, 1)).total_seconds() / 86400, abs=1e-8)


def test_categories_that_are_numbers_are_categories():
    keys = pa.chunked_array([[3, 1], [None, 3]])
    series = pd.Series([3, 1, None, 3]).astype("Int64").astype("category")
    for X in (pa.table({"a": keys.dictionary_encode()}), pd.DataFrame({"a": series})):
        (column,) = roles_of(X)
        assert column == Column("a", CATEGORY)
        assert table_of(X, (column,)).categories[0].tolist() == [3, 1, None, 3]


def test_durations_among_objects_are_seconds():
    minute = datetime.timedelta(minutes=1)
    X = np.array([[minute], [None], [np.timedelta64(1500, "ms")], [np.timedelta64("NaT")]], object)
    (column,) = roles_of(X)
    assert column.role == NUMBER
    np.testing.assert_array_equal(table_of(X, (column,)).numbers[:, 0], [60, np.nan, 1.5, np.nan])


def test_a_record_batch_is_a_table():
    X = pa.record_batch({"age": pa.array([1, None]), "name": pa.array(["a", None])})
    table = table_of(X, roles_of(X))
    np.testing.assert_array_equal(table.numbers, [[1], [np.nan]])
    assert table.categories[0].tolist() == ["a", None]


def test_text_beside_numbers_is_a_category():
    X = np.array([["a"], [1], [2.0], [None]], object)
    columns = roles_of(X)
    assert columns[0].role == CATEGORY
    assert table_of(X, columns).categories[0].tolist() == ["a", 1, 2.0, None]


def test_missing():
    for value in (None, float("nan"), np.float32("nan"), Decimal("nan"), np.datetime64("NaT"), np.timedelta64("NaT")):
        assert is_missing(value)
    for value in (0, "", "nan", False, np.float64(1), NOON):
        assert not is_missing(value)


@pytest.mark.parametrize(
    ("role", "cells", "error", "message"),
    [
        (NUMBER, [1.0, "old"], DTypeError, r"column 'age' held numbers at fit, got 'old' in row 1"),
        (NUMBER, [1.0, NOON], DTypeError, r"column 'age' held numbers at fit, got datetime.* in row 1"),
        (NUMBER, [1.0, np.inf], ValueRangeError, r"Input X contains infinity: column 'age' in row 1"),
        (NUMBER, [1.0, -(10**400)], ValueRangeError, r"Input X contains infinity: column 'age' in row 1"),
        (CATEGORY, ["a", ("b", [])], DTypeError, r"column 'age' must hold .* got \('b', \[\]\) in row 1"),
        (DATE, [NOON, 3], DTypeError, r"column 'age' held dates at fit, got 3 in row 1"),
        (
            CATEGORY,
            ["a", {}],
            DTypeError,
            r"column 'age' must hold numbers, text, .* got {} in row 1",
        ),
    ],
)
def test_what_does_not_fit_its_column_is_named(role, cells, error, message):
    X = column_of(*cells)
    with pytest.raises(error, match=message):
        table_of(X, (Column("age", role),))


def test_infinity_in_an_array_is_named():
    X = np.array([[0.0, 1.0], [2.0, -np.inf]])
    with pytest.raises(ValueRangeError, match="infinity: column 1 in row 1"):
        table_of(X, roles_of(X))


def test_what_is_no_table_of_cells_is_refused():
    with pytest.raises(DTypeError, match=r"column 0 must hold numbers, text, .* got \[\] in row 0"):
        roles_of(column_of([], ["a"]))
    with pytest.raises(DTypeError, match=r"column 0 must hold numbers, .* got dtype complex128"):
        roles_of(np.array([[1j]]))
    twice = pa.table([[1], [2]], names=["a", "a"])
    with pytest.raises(ShapeError, match="names of their own, got 'a' more than once"):
        roles_of(twice)
