"""What cannot be trained on by workers: said before the first step, and what to do about it."""

import importlib.metadata
import os
import re
import socket
import sys
import threading
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

import handgrad as hg
from handgrad.errors import ClusterError, DTypeError, ShapeError, ValueRangeError
from handgrad.scale import fit
from handgrad.scale.cluster import PATIENCE, faults
from handgrad.scale.data import fitted
from handgrad.scale.files import check_schemas, files_of, schemas
from handgrad.scale.run import places

X = np.random.default_rng(0).standard_normal((6, 3))
Y = np.array([0, 1, 0, 1, 0, 1])
MODEL = hg.mlp([3, 4, 2])
HERE = {"handgrad": "1.2", "torch": "2.13"}

needs_ray = pytest.mark.skipif(
    not all(find_spec(name) for name in ("ray", "torch")), reason="workers need Ray and torch"
)


@needs_ray
def test_nobody_at_the_address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ClusterError, match=rf"no Ray cluster answers at .*{port}.*ray start --head"):
        fit(MODEL, (X, Y), workers=2, address=f"127.0.0.1:{port}")


@needs_ray
def test_nobody_at_the_address_of_the_environment(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(ClusterError, match=f"no Ray cluster answers at '127.0.0.1:{port}'"):
        fit(MODEL, (X, Y), workers=2)


@needs_ray
@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_somebody_else_at_the_address(monkeypatch, says):
    """One that says nothing, and one that speaks another language."""
    monkeypatch.setattr("handgrad.scale.cluster.PATIENCE", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def answer():
            line, _ = other.accept()
            line.sendall(says)
            line.recv(4096)
            over.wait(20)
            line.close()

        over = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with pytest.raises(ClusterError, match="timed out" if not says else "is not Ray"):
                fit(MODEL, (X, Y), workers=2, address=f"127.0.0.1:{port}")
        finally:
            over.set()
            thread.join()


@needs_ray
@pytest.mark.parametrize("address", ["somewhere", "host:port", ":6379"])
def test_an_address_that_is_none(address):
    with pytest.raises(ClusterError, match="host and port"):
        fit(MODEL, (X, Y), address=address)


@needs_ray
def test_an_address_of_ray_client():
    with pytest.raises(ClusterError, match=r"Ray Client.*'10.0.0.1:6379'.*ray job submit"):
        fit(MODEL, (X, Y), address="ray://127.0.0.1:10001")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"workers": 7}, ShapeError, "6 rows cannot be shared by 7 workers"),
        ({"workers": (2, 9)}, ShapeError, "6 rows cannot be shared by 9 workers"),
        ({"workers": 0}, ValueRangeError, "workers"),
        ({"workers": (3, 2)}, ValueRangeError, r"\(least, most\)"),
        ({"threads": 0}, ValueRangeError, "threads"),
        ({"timeout": 0}, ValueRangeError, "timeout"),
        ({"max_failures": -2}, ValueRangeError, "max_failures"),
        ({"resume": True}, ValueRangeError, "checkpoint=FOLDER"),
        ({"every": "now and then"}, ValueRangeError, "every"),
        ({"batchsize": 3}, TypeError, "batchsize"),
        ({"batch_size": 0}, ValueRangeError, "batch_size"),
    ],
)
def test_options(options, error, words):
    with pytest.raises(error, match=words):
        fit(MODEL, (X, Y), **options)


@pytest.mark.parametrize(
    ("has", "counts", "threads", "expected"),
    [
        (5, (2, 2), 2, (2, 2)),  # a processor is left to read
        (4, (2, 2), 2, (2, 1)),  # none is, so that each worker asks for less
        (2, (2, 2), 1, (2, 0.5)),
        (4, (2, 100), 1, (3, 1)),  # not more workers than there are processors for
        (9, (2, 3), 1, (3, 1)),
        (2, (2, 8), 1, (2, 0.5)),
    ],
)
def test_places_of_workers(has, counts, threads, expected):
    assert places(has, counts, threads) == expected


def test_data_and_model():
    with pytest.raises(DTypeError, match="model must be a Layer"):
        fit("mlp", (X, Y))
    with pytest.raises(ValueRangeError, match="finite"):
        fit(MODEL, (np.full_like(X, np.nan), Y))


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'handgrad\[ray\]'"):
        fit(MODEL, (X, Y))


def test_nodes_that_lack_something():
    assert faults({"10.0.0.1": HERE}, HERE) == []
    assert faults({"10.0.0.2": None}, HERE)[0].startswith("node 10.0.0.2 did not answer within")
    assert faults({"10.0.0.3": HERE | {"torch": None}}, HERE) == [
        "node 10.0.0.3 lacks torch: run pip install 'handgrad[ray]' there"
    ]
    (said,) = faults({"10.0.0.4": {"handgrad": "1.1", "torch": "2.12"}}, HERE)
    assert said == "node 10.0.0.4 has handgrad 1.1, and this process has 1.2: install the same there"


@pytest.fixture
def files(tmp_path):
    """Two tables as Parquet, and a third of other columns."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    columns = {"a": [1, 2], "b": [0.5, 0.25]}
    for name, more in (("0", {}), ("1", {"a": [1.5, 2.5]}), ("2", {"b": ["x", "y"], "c": [1, 2]})):
        pq.write_table(pa.table(columns | more), tmp_path / f"{name}.parquet")
    return tmp_path


def test_files_of_other_columns(files):
    found = files_of(files)
    assert [file[-9:] for file in found] == ["0.parquet", "1.parquet", "2.parquet"]
    check_schemas(schemas(found[:2], "parquet"))  # whole numbers and others are numbers
    with pytest.raises(
        ShapeError, match=r"2\.parquet' does not have the columns of .*0\.parquet'.*'c'.*'b' holds text"
    ):
        check_schemas(schemas(found, "parquet"))


def test_files_that_are_none(files, tmp_path):
    with pytest.raises(ValueRangeError, match="no file"):
        files_of(tmp_path / "nothing*.parquet")
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueRangeError, match="all Parquet or all CSV"):
        files_of(tmp_path)
    assert files_of([str(tmp_path / "text.csv"), "s3://bucket/b.csv"])[1] == "s3://bucket/b.csv"


def test_blocks_that_differ():
    pa = pytest.importorskip("pyarrow")
    schema = pa.schema([("a", pa.int64()), ("y", pa.float64())])
    assert fitted(pa.table({"y": [1], "a": [2]}), schema).schema == schema
    with pytest.raises(ShapeError, match="lacks the column 'y'"):
        fitted(pa.table({"a": [2]}), schema)
    with pytest.raises(DTypeError, match=r"column 'a' is int64 in the first block.*string in another"):
        fitted(pa.table({"y": [1.0], "a": ["one"]}), schema)


@pytest.fixture
def connected(cluster):
    """Ray, connected to the cluster."""
    import ray

    ray.init(address=cluster, log_to_driver=False, logging_level="ERROR")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # within Ray
        yield ray
    ray.shutdown()


def test_what_a_cluster_cannot_do(connected, files, monkeypatch):
    """Each is refused before a worker starts: tables, files, and nodes that have other packages or too little room."""
    pa = pytest.importorskip("pyarrow")
    data = connected.data.from_arrow(pa.table({"a": [1.0, 2.0] * 32, "t": ["x", "y"] * 32, "y": [0, 1] * 32}))
    options = {"workers": 2, "batch_size": 32}
    with pytest.raises(DTypeError, match="column 't' of the dataset holds string"):
        fit(MODEL, (data, "y"), **options)
    with pytest.raises(ValueRangeError, match="target"):
        fit(MODEL, (data, "z"), **options)
    with pytest.raises(ValueRangeError, match="multiple of 2"):
        fit(MODEL, (data, "y"), workers=2, batch_size=33)
    with pytest.raises(ShapeError, match=r"2\.parquet' does not have the columns of .*0\.parquet'"):
        fit(MODEL, (files, "a"), workers=2, batch_size=2)
    few = connected.data.from_arrow(pa.table({"a": [1.0, 2.0, 3.0], "y": [0, 1, 0]}))
    with pytest.raises(ShapeError, match="3 rows cannot be shared by 4 workers"):
        fit(MODEL, (few, "y"), workers=(2, 4), batch_size=4)
    with pytest.raises(ClusterError, match="2 processors, and the workers need 12"):
        fit(MODEL, (X, Y), workers=6, threads=2)
    with pytest.raises(ClusterError, match="2 processors, and the workers need 3"):
        fit(MODEL, (X, Y), workers=(3, 4))
    with pytest.raises(ClusterError, match=r"connected to the cluster at .* already, not to '10.0.0.1:6379'"):
        fit(MODEL, (X, Y), address="10.0.0.1:6379")

    here = importlib.metadata.version("handgrad")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9")  # in this process alone
    said = re.escape(f" has handgrad {here}, and this process has 9.9: install the same there")
    with pytest.raises(ClusterError, match=rf"node [\d.]+{said}"):
        fit(MODEL, (X, Y), workers=2)
    monkeypatch.undo()
    monkeypatch.setattr("handgrad.scale.cluster.NEEDED", ("handgrad", "a_package_that_is_not_there"))
    said = r"node [\d.]+ lacks a_package_that_is_not_there: run pip install 'handgrad\[ray\]' there"
    with pytest.raises(ClusterError, match=said):
        fit(MODEL, (X, Y), workers=2)
    monkeypatch.undo()
    monkeypatch.setattr("handgrad.scale.cluster.PATIENCE", 1.0)
    monkeypatch.setattr("handgrad.scale.cluster._looker", slow_looker)
    with pytest.raises(ClusterError, match=r"node [\d.]+ did not answer within 1 s"):
        fit(MODEL, (X, Y), workers=2)


def slow_looker():
    """One that comes to no end, but in this process."""
    here = os.getpid()

    def look(needed):
        import os
        import time

        time.sleep(600 if os.getpid() != here else 0)
        return dict.fromkeys(needed, "1.2")

    return look


def test_all_that_is_waited_for_is_over_within_30_seconds():
    """For an address to be reached and to answer, half as long each; then for the nodes."""
    assert PATIENCE / 2 + PATIENCE <= 30
