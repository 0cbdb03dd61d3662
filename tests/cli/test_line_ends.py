"""A CSV file whose lines end in one way here and in another there loses nothing."""

from itertools import product

import pytest

from handgrad.cli.data.sources import read_table

ENDS = ["\r\n", "\n", "\r"]


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize(("common", "odd"), list(product(ENDS, ENDS)))
def test_every_row_is_read_whole(tmp_path, common, odd, far):
    """far: below the part of the file that tells how its lines end."""
    numbers = range(100, 20_000 if far else 110)
    lines = ["a,b", *(f"{i},x{i}" for i in numbers)]
    text = common.join(lines) + odd + '30,"two\r\nlines"' + odd + "50,y" + common + "70,z" + common
    (tmp_path / "t.csv").write_bytes(text.encode())
    table = read_table(tmp_path / "t.csv")
    assert table.columns["a"].values.tolist() == [*numbers, 30, 50, 70]
    assert table.columns["b"].values.tolist() == [*(f"x{i}" for i in numbers), "two\r\nlines", "y", "z"]
