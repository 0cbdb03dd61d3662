"""history.jsonl while a run is trained: lines as epochs end, each once, and a disk that has no room for them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handgrad.cli.runs import history
from handgrad.cli.runs.history import HistoryFile, Lines, rows_in
from handgrad.errors import LogWarning
from handgrad.training import EpochEnd


def told(lines, epochs, **columns):
    for epoch in epochs:
        lines(EpochEnd({"epoch": epoch, "loss": 1 / epoch, **columns}, None, None))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.jsonl"


def epochs_in(path):
    return [row["epoch"] for row in rows_in(path)]


def test_a_line_is_there_when_its_epoch_ends(path):
    lines = Lines(HistoryFile(path))
    for epoch in (1, 2, 3):
        told(lines, [epoch])
        assert epochs_in(path) == list(range(1, epoch + 1))
    assert path.read_text().endswith('\n{"epoch": 3, "loss": 0.3333333333333333}\n')
    assert lines.state() == {}


def test_a_number_that_is_not_finite_is_null(path):
    told(Lines(HistoryFile(path)), [1], validation_loss=float("inf"))
    assert json.loads(path.read_text())["validation_loss"] is None


@given(
    done=st.integers(0, 5), kept=st.integers(0, 5), cut=st.integers(0, 60), members=st.sampled_from([(None,), (1, 2)])
)
def test_who_goes_on_finds_each_epoch_once(tmp_path_factory, done, kept, cut, members):
    """The file has `done` epochs, of which the last is cut short; the training goes on after `kept` of them."""
    path = tmp_path_factory.mktemp("run") / "history.jsonl"
    file = HistoryFile(path)
    for member in members:
        told(Lines(file, member), range(1, done + 1))
    if path.exists():
        path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])
    before = [(row.get("member"), row["epoch"]) for row in rows_in(path)]
    file = HistoryFile(path)
    for member in members:
        told(Lines(file, member), range(kept + 1, 7))
    expected = [pair for pair in before if pair[1] <= kept] + [(m, e) for m in members for e in range(kept + 1, 7)]
    assert [(row.get("member"), row["epoch"]) for row in rows_in(path)] == expected


def test_a_full_disk_keeps_the_lines_for_later(path, monkeypatch):
    lines = Lines(HistoryFile(path))
    told(lines, [1])
    opened = history._opened

    class Full:
        """A file that takes five bytes and no more."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *rest):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            self.file.write(data[:5])
            self.file.flush()
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(history, "_opened", lambda path: Full(opened(path)))
        with pytest.warns(LogWarning) as caught:
            told(lines, [2, 3])
        said = f"{path}: no space left on device; training goes on, and its epochs are kept in memory"
        assert [str(each.message) for each in caught] == [said]
        assert epochs_in(path) == [1]
    told(lines, [4])
    assert epochs_in(path) == [1, 2, 3, 4]
    assert path.read_text().count("\n") == 4


def test_rows_that_are_none_are_passed_over(path):
    path.write_text(
        '{"epoch": 1}\nnot JSON\n[]\n{"epoch": "2"}\n{"epoch": 0}\n{"epoch": 1e99}\n{}\n\n{"epoch": 2}\n{"ep'
    )
    assert epochs_in(path) == [1, 2]
    path.write_text('{"epoch": ' + "9" * 40 + "}\n")
    assert epochs_in(path) == []
    assert list(rows_in(path.parent)) == []
