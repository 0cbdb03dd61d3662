"""Columns of a Ray dataset as numbers: as `handgrad train` encodes them, and its errors."""

import numpy as np
import pytest

from handgrad.errors import DTypeError, ShapeError, ValueRangeError

pa = pytest.importorskip("pyarrow")
pytest.importorskip("ray", reason="the aggregates are Ray Data's")
ROWS = 400


def table():
    """Numbers with and without empty cells, whole ones, truth values, text of few and of many values, one value."""
    rng = np.random.default_rng(4)
    gaps = rng.random(ROWS) < 0.1
    many = [f"v{int(value)}" for value in rng.exponential(12, ROWS)] + [f"w{i}" for i in range(60)]
    columns = {
        "price": pa.array(rng.lognormal(3, 1, ROWS), mask=gaps),
        "rooms": rng.integers(1, 6, ROWS),
        "new": rng.random(ROWS) < 0.3,
        "city": pa.array(rng.choice(["Ulm", "Bonn", "Köln"], ROWS), mask=~gaps & (rng.random(ROWS) < 0.05)),
        "street": rng.permutation(many)[:ROWS],
        "same": np.full(ROWS, 7.0),
        "sold": rng.choice(["no", "yes"], ROWS),
        "w": rng.uniform(0.5, 2, ROWS),
    }
    return pa.table(columns)


def by_the_command(given, tmp_path):
    """The features and labels that `handgrad train` makes of these rows, all of them to train on."""
    import pyarrow.parquet as pq

    from handgrad.cli.data.columns import Features
    from handgrad.cli.data.sources import Data, read_table

    pq.write_table(given, tmp_path / "table.parquet")
    read = read_table(Data(str(tmp_path / "table.parquet")))
    features, _ = Features.learn(read.without(["sold", "w"]), np.arange(ROWS))
    return features.encode(read, np.float32)


@pytest.mark.filterwarnings("ignore")  # of what is deprecated within Ray
def test_as_the_command_encodes(cluster, tmp_path):
    import ray

    from handgrad.scale import encoders

    given = table()
    ray.init(address=cluster, log_to_driver=False, logging_level="ERROR")
    try:
        prices = given["price"].to_pylist()
        wrong = given.set_column(0, "price", pa.array([float("nan"), *prices[1:]]))
        parts = [given.slice(start, 90) for start in range(0, ROWS, 90)]
        made = encoders(ray.data.from_arrow(parts), "sold", "w")
        with pytest.raises(ValueRangeError, match="target"):
            encoders(ray.data.from_arrow(parts), "sould")
        with pytest.raises(ValueRangeError, match="'price' holds NaN"):
            encoders(ray.data.from_arrow([*parts, wrong]), "sold")
        with pytest.raises(ShapeError, match="no column is left to learn from; of one value: same"):
            encoders(ray.data.from_arrow(given.select(["same", "sold"])), "sold")
        dated = given.append_column("day", pa.array([0] * ROWS, pa.timestamp("s")))
        with pytest.raises(DTypeError, match="column 'day' holds timestamp"):
            encoders(ray.data.from_arrow(dated), "sold")
    finally:
        ray.shutdown()
    assert made.left_out == ("same",)
    assert made.labels == ("no", "yes")
    encoded = made.table(given)
    x = np.stack([encoded.column(name).to_numpy() for name in encoded.column_names[:-2]], axis=1)
    expected = by_the_command(given, tmp_path)
    assert x.shape == expected.shape == (ROWS, made.width)
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)
    assert encoded.column_names[-2:] == ["w", "sold"]
    assert [made.labels[place] for place in encoded["sold"].to_pylist()] == given["sold"].to_pylist()
    other = given.set_column(given.column_names.index("sold"), "sold", pa.array(["maybe"] * ROWS))
    with pytest.raises(ValueRangeError, match="'maybe', which is none of its classes"):
        made.table(other)
