"""Columns become rows: of every kind of table and of number, and what is no number is refused by its name."""

import decimal
import os
from datetime import date

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.errors import DTypeError, HandgradError, ShapeError, StreamError, ValueRangeError
from handgrad.training.streams import tables
from handgrad.training.streams.tables import Table
from soak import examples

RNG = np.random.default_rng(0)
A, B = RNG.standard_normal(500).astype(np.float32), RNG.integers(-5, 5, 500)
TABLE = pa.table({"a": A, "b": B.astype(np.int16), "y": B % 3, "w": RNG.uniform(0, 2, 500)})


def read(source, target="y", **options):
    """X, y and perhaps the weights, of all blocks."""
    return [np.concatenate(parts) for parts in zip(*Table(source, target, **options).blocks(), strict=True)]


def parquet(folder):
    pq.write_table(TABLE.slice(0, 300), folder / "1.parquet", row_group_size=70)
    pq.write_table(TABLE.slice(300), folder / "2.parquet")
    return ds.dataset(folder)


def csv(folder):
    TABLE.to_pandas().to_csv(folder / "table.csv", index=False)
    return ds.dataset(folder, format="csv", schema=TABLE.schema)


def relation(folder):
    connection = duckdb.connect()
    connection.register("t", TABLE)
    return connection.sql("SELECT * FROM t")


SOURCES = {
    "table": lambda folder: TABLE,
    "table in chunks": lambda folder: pa.concat_tables([TABLE.slice(i, 90) for i in range(0, 500, 90)]),
    "dataset in memory": lambda folder: ds.dataset(TABLE),
    "Parquet": parquet,
    "CSV": csv,
    "DuckDB": relation,
    "Polars": lambda folder: pl.from_arrow(TABLE),
    "pandas": lambda folder: TABLE.to_pandas(),
    "reader": lambda folder: TABLE.to_reader(33),
    "function": lambda folder: lambda: TABLE.to_reader(33),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("block", [7, 65536])
def test_every_source_gives_the_same_rows(tmp_path, monkeypatch, name, block):
    monkeypatch.setattr(tables, "BLOCK", block)
    table = Table(SOURCES[name](tmp_path), "y", "w")
    if name not in ("reader", "function"):
        assert table.rows() == 500
    blocks = list(table.blocks())
    assert max(len(each[0]) for each in blocks) <= block
    x, y, weight = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert (y.dtype, weight.dtype) == (np.int64, np.float64)
    np.testing.assert_array_equal(x, np.stack([A, B], 1))
    np.testing.assert_array_equal(y, B % 3)
    np.testing.assert_array_equal(weight, TABLE["w"])
    assert table.named == ("a", "b")


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "reader"])
def test_it_gives_them_again_and_the_columns_that_are_asked_for(tmp_path, name):
    table = Table(SOURCES[name](tmp_path), ("b", "a"), features=("w", "y"))
    for _ in range(2):
        x, y = (np.concatenate(parts) for parts in zip(*table.blocks(), strict=True))
        np.testing.assert_array_equal(x, np.stack([TABLE["w"], B % 3], 1))
        np.testing.assert_array_equal(y, np.stack([B, A], 1))
        assert x.dtype == np.float64
    weighted = Table(SOURCES[name](tmp_path), "y", "w")
    np.testing.assert_array_equal(np.concatenate(list(weighted.weights())), TABLE["w"])


def test_partitions_and_files_of_other_types_come_through(tmp_path):
    """A column that stands in the folder's name, and files with others of another type, in another order."""
    for year, kind in ((2024, pa.float32()), (2025, pa.float64())):
        (tmp_path / f"year={year}").mkdir()
        columns = {"y": [0, 1], "a": pa.array([1.5, year], kind)}
        pq.write_table(
            pa.table(columns if year == 2024 else dict(reversed(columns.items()))),
            tmp_path / f"year={year}" / "x.parquet",
        )
    source = ds.dataset(
        tmp_path, partitioning="hive", schema=pa.schema({"a": pa.float64(), "y": pa.int64(), "year": pa.int32()})
    )
    x, y = read(source)
    np.testing.assert_array_equal(x, [[1.5, 2024], [2024, 2024], [1.5, 2025], [2025, 2025]])
    np.testing.assert_array_equal(y, [0, 1, 0, 1])
    x, _ = read(source, features=("a",))
    np.testing.assert_array_equal(x[:, 0], [1.5, 2024, 1.5, 2025])


def test_some_row_groups_of_a_file(tmp_path):
    fragment = next(iter(parquet(tmp_path).get_fragments()))
    part = ds.FileSystemDataset([fragment.subset(row_group_ids=[1, 3])], fragment.physical_schema, fragment.format)
    _, y = read(part)
    np.testing.assert_array_equal(y, np.r_[B[70:140], B[210:280]] % 3)


def test_a_dataset_with_a_filter_stays_filtered(tmp_path):
    x, y = read(parquet(tmp_path).filter(ds.field("y") == 1), features=("a",))
    np.testing.assert_array_equal(x[:, 0], A[B % 3 == 1])
    assert set(y) == {1}


NUMBERS = {
    pa.float16(): (st.floats(-100, 100, width=16), np.float32),
    pa.float32(): (st.floats(-(2.0**100), 2.0**100, width=32), np.float32),
    pa.float64(): (st.floats(-1e300, 1e300), np.float64),
    pa.int8(): (st.integers(-128, 127), np.float64),
    pa.uint16(): (st.integers(0, 65535), np.float64),
    pa.int64(): (st.integers(-(2**53), 2**53), np.float64),
    pa.bool_(): (st.booleans(), np.float64),
    pa.decimal128(12, 2): (st.decimals(-1000, 1000, places=2), np.float64),
}


@given(st.data(), st.lists(st.sampled_from(list(NUMBERS)), min_size=1, max_size=4), st.integers(1, 9))
@settings(max_examples=examples(60))
def test_every_kind_of_number_comes_through(data, kinds, count):
    columns = [data.draw(st.lists(NUMBERS[kind][0], min_size=count, max_size=count)) for kind in kinds]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    table = pa.table([*arrays, pa.array(range(count))], names=[*map(str, range(len(kinds))), "y"])
    x, _ = read(table)
    expected = np.array([[float(value) for value in column] for column in columns]).T
    np.testing.assert_allclose(x, expected, rtol=1e-15 if x.dtype == np.float64 else 1e-7)
    wide = {pa.float64(), pa.int64(), pa.decimal128(12, 2)} & set(kinds)
    if wide:
        assert x.dtype == np.float64
    elif {pa.float16(), pa.float32()} & set(kinds):
        assert x.dtype == np.float32


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([True, False]), np.array([1, 0])),
        (pa.array([3, 4], pa.uint8()), np.array([3, 4])),
        (pa.array([decimal.Decimal(2), decimal.Decimal(5)], pa.decimal128(38, 0)), np.array([2, 5])),
        (pa.array([0.5, 1.5], pa.float32()), np.array([0.5, 1.5], np.float32)),
        (pa.array([0.5, 1.5], pa.float16()), np.array([0.5, 1.5], np.float32)),
        (pa.array([decimal.Decimal("2.50"), decimal.Decimal("5.25")]), np.array([2.5, 5.25])),
        (pa.array([7, 9]).dictionary_encode(), np.array([7, 9])),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_targets_that_are_whole_numbers_are_labels(column, expected):
    _, y = read(pa.table({"a": [1.0, 2.0], "y": column}))
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y, expected)


TEXT = pa.array(["x", "y", "x"])
REFUSED = {
    "text": ({"c": TEXT}, DTypeError, r"column 'c' must hold numbers, got text; encode it, or leave it out"),
    "categories": ({"c": TEXT.dictionary_encode()}, DTypeError, r"column 'c' must hold numbers, got text"),
    "dates": ({"c": [date(2026, 1, 1)] * 3}, DTypeError, r"column 'c' must hold numbers, got date32\[day\]"),
    "lists": ({"c": [[1.0], [2.0], []]}, DTypeError, r"column 'c' must hold numbers, got list"),
    "a null": ({"c": [1.0, None, 3.0]}, ValueRangeError, r"column 'c' is null at row 1; fill it"),
    "nothing but nulls": ({"c": [None, None, None]}, ValueRangeError, r"column 'c' is null at row 0"),
    "a null in the target": ({"c": [1, 2, 3], "y": [0, 1, None]}, ValueRangeError, r"column 'y' is null at row 2"),
    "text as the target": ({"c": [1, 2, 3], "y": TEXT}, DTypeError, r"column 'y' must hold numbers, got text"),
    "no features": ({}, ShapeError, r"no columns beside 'y'; features are needed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_number_is_refused_by_its_name(name):
    columns, error, match = REFUSED[name]
    with pytest.raises(error, match=match):
        read(pa.table({"y": [0, 1, 0]} | columns))


def test_a_row_is_counted_over_the_whole_table(monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 4)
    table = pa.table({"a": [1.0] * 10 + [None], "y": range(11)})
    with pytest.raises(ValueRangeError, match="'a' is null at row 10"):
        read(table)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"target": "yy"}, r"target must be one of 'a', 'b', 'y', 'w', got 'yy'; did you mean 'y'\?"),
        ({"weight": "v"}, r"weight must be one of .*, got 'v'"),
        ({"features": ("a", "c")}, r"features must be one of .*, got 'c'"),
    ],
)
@pytest.mark.parametrize("name", ["table", "Parquet", "DuckDB"])
def test_names_that_are_not_there(tmp_path, name, options, match):
    with pytest.raises(ValueRangeError, match=match):
        read(SOURCES[name](tmp_path), **options)


def test_two_columns_of_one_name():
    table = pa.table([[1.0], [2.0], [1]], names=["a", "a", "y"])
    with pytest.raises(ValueRangeError, match="the table has 2 columns 'a'"):
        read(table)


@pytest.mark.parametrize("source", ["table.parquet", 5, lambda: [1, 2]])
def test_what_is_no_table(source):
    hint = r"; pyarrow.dataset.dataset\(path\) reads files" if isinstance(source, str) else ""
    with pytest.raises(
        DTypeError, match=f"source must be a pyarrow Dataset .* when target names a column, got .*{hint}"
    ):
        read(source)


def test_a_file_that_vanishes_is_named(tmp_path):
    table = Table(parquet(tmp_path), "y")
    list(table.blocks())
    (tmp_path / "2.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"2\.parquet"):
        list(table.blocks())


def test_a_file_that_vanishes_before_it_was_ever_read_is_named(tmp_path):
    table = Table(parquet(tmp_path), "y")
    (tmp_path / "2.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"2\.parquet"):
        list(table.blocks())


def test_a_file_that_is_written_anew_is_named(tmp_path):
    table = Table(parquet(tmp_path), "y")
    list(table.blocks())
    pq.write_table(TABLE.slice(0, 200), tmp_path / "2.parquet")
    with pytest.raises(StreamError, match=r"2\.parquet' was written to since it was first read"):
        list(table.blocks())


def test_a_file_that_is_written_to_while_it_is_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 10)
    table = Table(parquet(tmp_path), "y")
    blocks = table.blocks()
    next(blocks)
    path = tmp_path / "2.parquet"
    path.write_bytes(path.read_bytes()[:300])
    os.utime(path, ns=(1, 1))
    with pytest.raises(StreamError, match=r"2\.parquet' was written to"):
        list(blocks)


def test_a_pass_that_is_given_up_lets_go_of_the_table():
    """DuckDB runs one query at a time: the next works when the one before was closed."""
    source = relation(None)
    for _ in range(3):
        blocks = Table(source, "y").blocks()
        next(blocks)
        blocks.close()
    assert len(source.fetchall()) == 500


def test_pandas_with_missing_values_names_the_column():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": pd.array([1, None], "Int64"), "y": [0, 1]})
    with pytest.raises(HandgradError, match="column 'b' is null at row 1"):
        read(frame)


def test_the_index_of_pandas_is_no_feature():
    frame = TABLE.to_pandas()
    kept = frame[frame.b > 0]  # its index has gaps
    table = Table(kept, "y", "w")
    x = np.concatenate([block[0] for block in table.blocks()])
    assert table.named == ("a", "b")
    np.testing.assert_array_equal(x, kept[["a", "b"]])


def test_small_integers_alone_are_float32():
    table = pa.table({"a": pa.array([1, 2], pa.int8()), "b": pa.array([3, 65535], pa.uint16()), "y": [0, 1]})
    x, _ = read(table)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, [[1, 3], [2, 65535]])


def test_decimals_too_large_for_labels_are_numbers():
    _, y = read(pa.table({"a": [1.0], "y": pa.array([decimal.Decimal(10**30)], pa.decimal128(38, 0))}))
    assert (y.dtype, y[0]) == (np.float64, 1e30)


def test_whole_numbers_beyond_int64_do_not_wrap():
    y = pa.array([2**63, 5, 2**64 - 1], pa.uint64())
    _, found = read(pa.table({"x": [1.0, 2.0, 3.0], "y": y}))
    assert found.dtype == np.float64
    assert found.tolist() == [2.0**63, 5.0, 2.0**64]
    _, found = read(pa.table({"x": [1.0, 2.0, 3.0], "y": y.slice(1, 1).take(pa.array([0, 0, 0]))}))
    assert (found.dtype, found.tolist()) == (np.int64, [5, 5, 5])
