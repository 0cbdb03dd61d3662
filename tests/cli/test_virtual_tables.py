"""Virtual tables of SQLite, such as indexes for text: reading one runs a module on what the file holds."""

import sqlite3
from contextlib import closing

import pytest

from handgrad.cli.data.given import Data
from handgrad.cli.data.sources import read_table
from handgrad.cli.faults import InputError

MODULES = {"fts5": "fts5(body, kind)", "fts4": "fts4(body, kind)", "rtree": "rtree(id, low, high)"}
SAID = "a virtual table, which is not read; copy its rows into a plain one"


@pytest.fixture(params=MODULES)
def path(request, tmp_path):
    """A file with a virtual table "v" beside a plain one."""
    place = tmp_path / "t.sqlite"
    with closing(sqlite3.connect(place)) as connection:
        try:
            connection.execute(f"CREATE VIRTUAL TABLE v USING {MODULES[request.param]}")
        except sqlite3.OperationalError as error:
            pytest.skip(reason=f"this SQLite lacks it: {error}")
        values = [(i, i + 1, i + 2)[: MODULES[request.param].count(",") + 1] for i in range(20)]
        connection.executemany(f"INSERT INTO v VALUES ({', '.join('?' * len(values[0]))})", values)
        connection.execute("CREATE TABLE plain (a, b)")
        connection.executemany("INSERT INTO plain VALUES (?, ?)", [(i, i % 2) for i in range(20)])
        connection.commit()
    return place


def test_the_plain_table_is_the_only_one(path):
    assert read_table(path).rows == 20
    with pytest.raises(InputError, match=r"has no table 'v_data'.*its tables are plain"):
        read_table(Data(str(path), table="v_data"))


def test_it_is_refused(path):
    with pytest.raises(InputError, match=rf"'v' is {SAID}"):
        read_table(Data(str(path), table="v"))
    with pytest.raises(InputError, match=SAID + "|it does more than to SELECT"):
        read_table(Data(str(path), sql="SELECT * FROM v"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE plain")
    with pytest.raises(InputError, match=rf"'v' is {SAID}"):
        read_table(path)
